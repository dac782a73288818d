"""`python -m kd` is the command `kd`."""

import sys

from kd.cli.main import main

sys.exit(main())
