"""`python -m instructrec`: the command line."""

import sys

from instructrec.cli import main

if __name__ == "__main__":
    sys.exit(main())
