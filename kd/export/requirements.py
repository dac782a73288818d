"""The optional packages that exports need, asked for before anything is imported."""

import importlib.util
import os

from kd.errors import InputError

MODULES = {
    "tflite": ("ai_edge_litert", "ai_edge_quantizer", "litert_converter", "tflite_micro"),
    "mcu": ("bakenn", "tflite"),
}
"""What each extra of pyproject.toml brings."""


def require(extra: str, purpose: str) -> None:
    """Raises InputError with the line that installs the extra, where a module of it is missing.

    What is there is told not to use, and so not to announce, kernels that it does not need.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    missing = [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            f"not installed: pip install 'kd[{extra}]' (in a clone: uv sync --extra {extra})."
        )
