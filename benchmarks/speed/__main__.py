"""`python benchmarks/speed`: see run.py."""

import run

run.main()
