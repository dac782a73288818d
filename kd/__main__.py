"""`python -m kd` is the command `kd`."""

import sys

from kd.main import main

sys.exit(main())
