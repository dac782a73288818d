"""Optional packages that exports need, checked before they are imported."""

import importlib.util
import os

from kd.errors import InputError

MODULES = {
    "tflite": ("ai_edge_litert", "ai_edge_quantizer", "litert_converter", "tflite_micro"),
    "mcu": ("bakenn", "tflite"),
}
"""Modules of each extra of pyproject.toml."""


def require(extra: str, purpose: str) -> None:
    """Raises InputError, with the command that installs the extra, where a module of it is missing.

    Also turns off oneDNN, which announces itself on import and is not needed.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    missing = [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f"not installed: pip install 'kd[{extra}]' (in a clone: uv sync --extra {extra})."
        )
