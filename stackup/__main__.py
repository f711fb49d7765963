"""`python -m stackup`: the same program as the installed `stackup`."""

import sys

from stackup.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
