"""Runs the command `kd` as `python -m kd`."""

import sys

from kd.cli.main import main

sys.exit(main())
