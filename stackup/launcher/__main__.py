"""`python -I -S -E -B stackup/launcher FD`: started by the supervisor, never by hand (see boot.py).

Run as a folder, so that not even the `site` module is loaded; the package's own name is made importable first.
"""

import sys

if not __package__:
    sys.path[0] = sys.path[0].rsplit("/", 2)[0]

from stackup.launcher import boot

sys.path.pop(0)
boot.main(int(sys.argv[1]))
