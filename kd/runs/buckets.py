"""Paths that may lie in a bucket, such as `gs://BUCKET/runs`, read and written through fsspec."""

import functools
import os
from typing import Any

from etils import epath

from kd import extras
from kd.errors import InputError


def is_bucket(path: os.PathLike | str) -> bool:
    """Whether a path names a scheme, so that it is in no file system of this machine."""
    return "://" in os.fspath(path)


def absolute(path: os.PathLike | str) -> epath.Path:
    """The absolute path; a bucket's is absolute, and stays as it is.

    Raises InputError where the package that reads such buckets is missing.
    """
    if not is_bucket(path):
        return epath.Path(path).absolute()
    require(os.fspath(path).partition("://")[0])
    return epath.Path(path)


@functools.cache
def require(scheme: str) -> None:
    """Prepares the access to buckets of a scheme: what other processes write shows at once.

    Raises InputError for an unknown scheme, and where a package is missing.
    """
    import fsspec

    name = "gcs" if scheme == "gs" else scheme
    fsspec.config.conf.setdefault(name, {}).setdefault("use_listings_cache", False)
    try:
        epath.Path(f"{scheme}://bucket")
        fsspec.get_filesystem_class(name)
    except (KeyError, ValueError):  # neither is a bucket what fsspec reads alone, such as https://
        raise InputError(
            f"{scheme}://: unknown kind of bucket. Expected gs://BUCKET/DIRECTORY, or a directory."
        ) from None
    except ImportError as error:
        how = f"Install the extra 'gcs': {extras.command('gcs')}" if name == "gcs" else str(error)
        raise InputError(f"{scheme}:// needs a package that is not installed. {how}") from None


def file_system(path: os.PathLike | str) -> Any:
    """The fsspec file system of a path in a bucket."""
    import fsspec

    scheme = os.fspath(path).partition("://")[0]
    require(scheme)
    options = {"finalize_on_close": True} if scheme == "gs" else {}  # epath's: the same object
    return fsspec.filesystem("gcs" if scheme == "gs" else scheme, **options)
