"""`python -m rea.job SPEC.json`."""

import sys

from rea.job.wrapper import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
