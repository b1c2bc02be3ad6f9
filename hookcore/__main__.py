"""``python -m hookcore`` is the same as ``hookcore``."""

import sys

from hookcore.cli import main

if __name__ == "__main__":
    sys.exit(main())
