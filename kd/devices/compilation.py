"""The cache of compiled programs on disk: the second run of a kind does not wait for XLA."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from kd.errors import InputError
from kd.values import expanded

MAX_BYTES = 2 * 1024**3
"""Size limit of the directory; beyond it, the least recently used programs are removed."""

STORED_SECONDS = 0.1
"""Programs that take this long to compile are stored; jax stores those of a second. A run has
dozens of small ones.
"""


def default_directory() -> Path:
    """`kd/xla` in the user's cache directory (`$XDG_CACHE_HOME`, default ~/.cache)."""
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "XDG_CACHE_HOME") / "kd/xla"


def configure_cache(directory: str) -> None:
    """Makes jax store compiled programs, and look for them before it compiles.

    Args:
      directory: a path; `default` for the directory in JAX_COMPILATION_CACHE_DIR, or else
        `default_directory()`; `none` for no cache.

    Raises:
      InputError: the directory cannot be created.
    """
    if directory == "none":
        _set(None)
    elif directory != "default":
        path = expanded(directory, "config.compilation_cache")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"config.compilation_cache: {path} cannot be created ({error.strerror}). Name "
                "another directory, or 'none'."
            ) from error
        _set(path)
    elif jax.config.jax_compilation_cache_dir is None:  # pyrefly: ignore
        path = default_directory()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:  # a read-only home: no cache, and nothing else changes
            return
        _set(path)
    else:
        _store_small_programs()


def _set(path: Path | None) -> None:
    jax.config.update("jax_compilation_cache_dir", path and os.fspath(path))
    _store_small_programs()
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    compilation_cache.reset_cache()  # jax opens its cache once; this makes it open the new one


def _store_small_programs() -> None:
    """Lowers jax's limit, unless the user's environment sets it."""
    option = "jax_persistent_cache_min_compile_time_secs"
    if option.upper() not in os.environ and getattr(jax.config, option) > STORED_SECONDS:
        jax.config.update(option, STORED_SECONDS)
