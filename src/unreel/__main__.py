"""`python -m unreel`: the command line."""

import sys

from unreel.cli import main

if __name__ == "__main__":
    sys.exit(main())
