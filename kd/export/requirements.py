"""Optional packages that exports need, checked before they are imported."""

import os

from kd import extras
from kd.errors import InputError


def require(extra: str, purpose: str) -> None:
    """Raises InputError, with the command that installs the extra, where a module of it is missing.

    Also turns off oneDNN, which announces itself on import and is not needed.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    if missing := extras.missing(extra):
        raise InputError(
            f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f"not installed. Install the extra {extra!r}: {extras.command(extra)}"
        )
