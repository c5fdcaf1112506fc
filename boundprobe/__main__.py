"""``python -m boundprobe``."""

import sys

from boundprobe.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
