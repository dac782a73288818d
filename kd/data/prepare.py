"""Writes data sets where TensorFlow Datasets looks for them, without TensorFlow (`kd prepare`).

The result is what TFDS's own builder would write (same version, features, keys and order), as
array_record, so that `tfds.data_source(NAME, split=...)` reads it.
"""

import contextlib
import errno
import importlib
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd.data import png, published, tfds
from kd.data.paths import existing
from kd.data.published import Arrays
from kd.errors import InputError, RunError, unknown
from kd.files.writing import message

BUILDERS = {
    "mnist": "mnist.MNIST",
    "fashion_mnist": "mnist.FashionMNIST",
    "cifar10": "cifar.Cifar10",
    "cifar100": "cifar.Cifar100",
}

# Where Debian's package dataset-fashion-mnist installs the files.
DEBIAN = {"fashion_mnist": (Path("/usr/share/datasets/fashion-mnist"),)}


def run(names: Sequence[str], source: str | None = None, data_dir: str | None = None) -> None:
    """Prepares several sets, one after the other; see `prepare`. Raises InputError."""
    if not names:
        raise InputError(f"name one or more data sets: {', '.join(BUILDERS)}.")
    for name in names:
        _known(name)
    for name in names:
        prepare(name, source, data_dir)


def prepare(
    name: str, source: str | Path | None = None, data_dir: str | Path | None = None
) -> Path:
    """Prepares a data set and returns its directory; an existing one is left alone.

    Args:
      name: mnist, fashion_mnist, cifar10 or cifar100.
      source: directory with the published files (the archives of CIFAR; of the others the idx
        files, gzipped or not) or NAME.npz with x_train, y_train, x_test, y_test; or that file
        itself. For fashion_mnist, Debian's package is tried next. Default: download from TFDS's
        URLs. Archives must have the SHA-256 that TFDS registers; idx files and arrays of MNIST and
        Fashion-MNIST that of the published bytes; arrays of CIFAR its class counts and means.
      data_dir: directory of prepared sets. Default: the environment variable TFDS_DATA_DIR, or else
        ~/tensorflow_datasets.

    An interrupted run leaves nothing that looks prepared: the directory is renamed at the end.

    Raises:
      InputError: an unknown set, no usable files in `source`, wrong checksums, no network.
    """
    _known(name)
    if done := tfds.prepared(name, data_dir):
        _say(f"{name}: already prepared in {done}")
        return done
    files = _local_files(name, source)
    if not files:
        return write(name, data_dir)
    if files[0].name.endswith(".tar.gz"):
        return write(name, data_dir, manual=files[0].parent)
    arrays = published.read(name, files)
    how = published.identify(name, arrays) or (
        "UNVERIFIED: nobody publishes a checksum of this form; class counts and means agree"
    )
    _say(f"{name}: from {files[0] if len(files) == 1 else files[0].parent}, {how}")
    return write(name, data_dir, arrays)


def write(
    name: str, data_dir: str | Path | None, arrays: Arrays | None = None, manual: Path | None = None
) -> Path:
    """Writes a data set in TFDS's format and returns its directory.

    Args:
      name: as in `prepare`.
      data_dir: as in `prepare`.
      arrays: the examples. None: read them from the set's archives.
      manual: directory of the archives. None: download them.
    """
    import tensorflow_datasets
    from tensorflow_datasets.core.download import DownloadConfig
    from tensorflow_datasets.core.registered import skip_registration

    module, _, stock = BUILDERS[name].partition(".")
    base: Any = getattr(
        importlib.import_module(f"tensorflow_datasets.image_classification.{module}"), stock
    )

    def split_generators(self: Any, downloads: Any) -> dict[str, Iterator]:
        content = arrays or _from_archives(name, self.url_infos, downloads, manual)
        if name in published.CIFAR:
            self.info.features["label"].names = published.SETS[name].CLASS_NAMES
        if name == "cifar100":
            coarse = published.cifar100.SUPERCLASSES
            self.info.features["coarse_label"].names = list(coarse)
        _say(
            f"{name}: writing {' + '.join(str(len(s['label'])) for s in content.values())} images "
            "..."
        )
        return {split: _examples(name, split, content[split]) for split in content}

    # TFDS's builder and its checksums, without the parts that need TensorFlow: reading archives and
    # encoding images.
    overrides = dict(
        _split_generators=split_generators, pkg_dir_path=None, url_infos=base.url_infos
    )
    tensorflow_datasets.disable_progress_bar()
    with _as_input_error(name), contextlib.redirect_stdout(io.StringIO()):
        with skip_registration():
            builder = type(base.__name__, (base,), overrides)(
                data_dir=tfds.root(data_dir), file_format="array_record"
            )
        builder.download_and_prepare(
            download_config=DownloadConfig(
                manual_dir=manual, try_download_gcs=False, force_checksums_validation=True
            )
        )
    _say(f"{name}: prepared in {builder.data_dir}")
    return Path(builder.data_dir)


def _known(name: str) -> None:
    if name in ("digits", "arrays", "folder"):
        raise InputError(f"the data set {name} needs no preparation.")
    if name not in BUILDERS:
        raise unknown("data set to prepare", name, BUILDERS)


def _local_files(name: str, source: str | Path | None) -> list[Path]:
    """The set's files in `source` or in Debian's package; empty if they must be downloaded."""
    places = [existing(str(source), "any")] if source is not None else []
    for place in [*places, *DEBIAN.get(name, ())]:
        if files := published.files(name, place):
            return files
    if source is not None:
        raise InputError(f"{source} holds no files of {name}: looked for {published.wanted(name)}.")
    return []


def _from_archives(
    name: str, url_infos: dict[str, Any], downloads: Any, manual: Path | None
) -> Arrays:
    """Arrays of the archives that TFDS downloads and checks by size and SHA-256."""
    urls = {info.filename: url for url, info in url_infos.items()}
    if manual is None:
        first = next(iter(urls.values()))
        _reach(name, first)
        _say(f"{name}: downloading {first}, ...")
    files = {n: Path(path) for n, path in downloads.download(urls).items()}
    if name in published.CIFAR:
        return published.read_cifar(name, *files.values())
    return published.read_idx({n.removesuffix(".gz"): p for n, p in files.items()})


def _reach(name: str, url: str) -> None:
    """Fails within seconds if the URL cannot be reached; TFDS would retry for minutes."""
    import requests

    try:
        with requests.get(url, stream=True, timeout=20) as response:
            response.raise_for_status()
    except requests.RequestException as error:
        raise InputError(
            f"cannot download {name} from {url}: {error}. "
            f"Put its published files in a directory and run `kd prepare {name} --from DIR`."
        ) from error


def _examples(
    name: str, split: str, data: dict[str, np.ndarray]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Examples with the keys of TFDS's builder, which determine their order on disk."""
    for i, image in enumerate(data["image"]):
        # TFDS stores an open file unchanged; an array it would encode with TensorFlow.
        picture = io.BytesIO(png.encode(image))
        example: dict[str, Any] = {"image": picture, "label": int(data["label"][i])}
        if name in published.CIFAR:
            example["id"] = f"{split}_{i:05d}"
        if name == "cifar100":
            example["coarse_label"] = int(data["coarse_label"][i])
        yield i, example


@contextlib.contextmanager
def _as_input_error(name: str) -> Iterator[None]:
    import requests
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.util import DownloadError

    try:
        yield
    except NonMatchingChecksumError as error:
        raise InputError(f"{name}: {error} Download the file again.") from error
    except (DownloadError, requests.RequestException) as error:
        raise InputError(f"{name}: the download failed: {error}") from error
    except OSError as error:
        path = error.filename or f"the data set {name}"
        raise RunError(message(path, error.errno or errno.EIO)) from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
