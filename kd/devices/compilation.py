"""Compiled programs kept on disk between runs: the second run of a kind starts without waiting for
XLA.
"""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from kd.errors import InputError

MAX_BYTES = 2 * 1024**3
"""Size of the directory beyond which the programs that were not used for the longest time are
removed.
"""


def default_directory() -> Path:
    """`kd/xla` where this system keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kd/xla"


def keep_programs(directory: str) -> None:
    """Has jax keep what it compiles, and look there before it does.

    Args:
      directory: where. `default` leaves a directory that the environment gave jax
        (JAX_COMPILATION_CACHE_DIR) and is `default_directory()` else; `none` turns it off.

    Raises:
      InputError: a directory that cannot be made.
    """
    if directory == "none":
        _set(None)
    elif directory != "default":
        path = Path(directory).expanduser()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"config.compilation_cache: {path} cannot be made ({error.strerror}). Name another "
                "directory, or 'none'."
            ) from error
        _set(path)
    elif jax.config.jax_compilation_cache_dir is None:  # pyrefly: ignore
        path = default_directory()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:  # a read-only home: nothing is kept, and nothing else changes
            return
        _set(path)


def _set(path: Path | None) -> None:
    jax.config.update("jax_compilation_cache_dir", path and os.fspath(path))
    # A program of a tenth of a second is worth a file: a run has dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    compilation_cache.reset_cache()  # jax opens it once; this lets it open another
