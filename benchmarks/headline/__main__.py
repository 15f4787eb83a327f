"""`python -m benchmarks.headline`: see run.py."""

import sys

from benchmarks.headline.run import main

sys.exit(main())
