"""Reads MNIST, Fashion-MNIST and CIFAR from their published files, and verifies them."""

import gzip
import hashlib
import math
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kd.data import cifar10, cifar100, fashion_mnist, mnist
from kd.data.arrays import read_npz
from kd.errors import InputError

type Arrays = dict[str, dict[str, np.ndarray]]
"""{split: {"image": uint8 [n, h, w, c], "label": [n], for cifar100 also "coarse_label": [n]}}"""

IDX = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# SHA-256 of each file of IDX, uncompressed. TFDS registers those of the .gz files, which include
# the name and the date in the gzip header, so that a recompressed copy would not be recognised. A
# test checks that both belong to the same content.
CONTENT = {
    "mnist": {
        "train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
}

LARGEST = 2**28
"""Bytes of an uncompressed file at most; those of the sets have 180 MB or less."""

CIFAR = {
    "cifar10": {"train": [f"data_batch_{k}.bin" for k in range(1, 6)], "test": ["test_batch.bin"]},
    "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
}

SETS = {"mnist": mnist, "fashion_mnist": fashion_mnist, "cifar10": cifar10, "cifar100": cifar100}


def files(name: str, source: Path) -> list[Path]:
    """The files of a set: the archive, four idx files, or a `.npz`, in directory `source` or
    `source` itself. Empty if they are not complete.
    """
    names = [*_archive(name), f"{name}.npz"]
    if source.is_file():
        return [source] if source.suffix == ".npz" or source.name in names else []
    if name in CONTENT:
        idx = [_idx_file(source, file) for file in CONTENT[name]]
        existing = [file for file in idx if file]
        if len(existing) == len(idx):
            return existing
    return [source / file for file in names if (source / file).is_file()][:1]


def wanted(name: str) -> str:
    """The names that `files` looks for, for messages."""
    idx = [f"{file}[.gz]" for file in CONTENT.get(name, ())]
    return f"{', '.join(idx or _archive(name))}, or {name}.npz"


def read(name: str, files: list[Path]) -> Arrays:
    """Arrays of the idx files or the `.npz` from `files`. Raises InputError if one is damaged."""
    if len(files) == 1:
        return read_keras(name, files[0])
    return read_idx(dict(zip(CONTENT[name], files, strict=True)))


def _archive(name: str) -> list[str]:
    return [f"cifar-{name[5:]}-binary.tar.gz"] if name in CIFAR else []


def _idx_file(source: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    names = (f"{name}.gz", name, f"{dotted}.gz", dotted)
    return next((source / n for n in names if (source / n).is_file()), None)


def read_idx(files: Mapping[str, Path]) -> Arrays:
    """Arrays of the four idx files, plain or gzipped, by their names in `IDX`. Raises InputError if
    one is damaged.
    """
    return {
        split: {"image": _idx(files[image], 3)[..., None], "label": _idx(files[label], 1)}
        for split, (image, label) in IDX.items()
    }


def _idx(file: Path, axes: int) -> np.ndarray:
    """Bytes uint8 of the idx file `file`, which must have so many axes."""
    try:
        with file.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        zero, kind, rank = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{rank}I", data, 4)
    except (OSError, EOFError, ValueError, zlib.error, struct.error) as error:
        raise InputError(f"{file} is damaged: {error}.") from error
    start = 4 + 4 * rank
    if (zero, kind, rank) != (0, 8, axes) or len(data) - start != math.prod(shape):
        raise InputError(f"{file} is not an idx file of bytes with {axes} axes, or was cut short.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_cifar(name: str, archive: Path) -> Arrays:
    """Arrays of cifar-10-binary.tar.gz or cifar-100-binary.tar.gz. Raises InputError if it is
    damaged.
    """
    keys = ["coarse_label", "label"] if name == "cifar100" else ["label"]
    content = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                file_name = member.name.rpartition("/")[2]
                wanted = any(file_name in names for names in CIFAR[name].values())
                file = tar.extractfile(member) if wanted and member.isfile() else None
                if file is not None:
                    if member.size > LARGEST:
                        raise ValueError(f"{file_name} has more than {LARGEST:,} bytes")
                    content[file_name] = file.read()
        arrays = {}
        for split, files in CIFAR[name].items():
            data = b"".join(content[file] for file in files)
            rows = np.frombuffer(data, np.uint8).reshape(-1, len(keys) + 3072)
            image = rows[:, len(keys) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            arrays[split] = {k: rows[:, i] for i, k in enumerate(keys)}
            arrays[split]["image"] = image
    except Exception as error:  # a damaged archive may raise anything
        message = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{archive} is damaged: {message}.") from error
    return arrays


def read_keras(name: str, file: Path) -> Arrays:
    """Arrays of a `.npz` with x_train, y_train, x_test and y_test, as Keras distributes MNIST."""
    stored = read_npz(file)
    arrays = {}
    for split in ("train", "test"):
        if f"x_{split}" not in stored or f"y_{split}" not in stored:
            raise InputError(
                f"{file} must hold x_train, y_train, x_test and y_test; it holds "
                f"{', '.join(stored)}."
            )
        image, label = (stored[f"{k}_{split}"] for k in "xy")
        for array in (image, label):
            if not _are_bytes(array):
                raise InputError(f"{file}: pixels and labels must be integers, 0 to 255.")
        image, label = image.astype(np.uint8), label.astype(np.uint8).reshape(-1)
        image = image[..., None] if image.ndim == 3 else image
        classes = len(SETS[name].CLASS_NAMES)
        if image.ndim != 4 or len(image) != len(label) or label.max(initial=0) >= classes:
            raise InputError(
                f"{file}: x_{split} {list(image.shape)} must be images [n, h, w] or [n, h, w, c], "
                f"and y_{split} their labels, 0 to {classes - 1}."
            )
        arrays[split] = {"image": image, "label": label}
        if name == "cifar100":
            arrays[split]["coarse_label"] = cifar100.coarse(label)
    return arrays


def _are_bytes(array: np.ndarray) -> bool:
    """Whether an array holds integers from 0 to 255, of whatever type."""
    if array.dtype.kind not in "iubf":
        return False
    with np.errstate(all="ignore"):
        return bool(((array >= 0) & (array <= 255) & (array == array.astype(np.uint8))).all())


def identify(name: str, arrays: Arrays) -> str | None:
    """Verifies that arrays are the published ones.

    Returns:
      How they were verified, in words; None if only their statistics could be checked.

    Raises:
      InputError: they are not: other bytes, or for CIFAR another number of images per class or
        other means of the channels.
    """
    if name in CONTENT:
        for split, (image, label) in IDX.items():
            for file, key in ((image, "image"), (label, "label")):
                if idx_digest(arrays[split][key]) != CONTENT[name][file]:
                    raise InputError(
                        f"the {key}s of {split} are not those of {name} as published (SHA-256 of "
                        f"{file}): damaged or other data. For your own data use the data set "
                        "`arrays`."
                    )
        return "byte for byte as published, by SHA-256"
    _check_statistics(name, arrays)
    return None


def idx_digest(array: np.ndarray) -> str:
    """SHA-256 of the idx file with the content of this array, uint8 [n] or [n, h, w, 1]."""
    array = np.ascontiguousarray(array[..., 0] if array.ndim == 4 else array)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return hashlib.sha256(header + array.tobytes()).hexdigest()


def _check_statistics(name: str, arrays: Arrays) -> None:
    classes = len(SETS[name].CLASS_NAMES)
    for split, n in (("train", 50_000), ("test", 10_000)):
        image, label = arrays[split]["image"], arrays[split]["label"]
        if image.shape != (n, 32, 32, 3) or image.dtype != np.uint8:
            raise InputError(
                f"{name} {split}: images must be uint8 {[n, 32, 32, 3]}, not {image.dtype} "
                f"{list(image.shape)}."
            )
        if np.bincount(label, minlength=classes).tolist() != [n // classes] * classes:
            raise InputError(f"{name} {split}: there must be {n // classes} images of each class.")
    mean = arrays["train"]["image"].mean((0, 1, 2)) / 255
    if np.abs(mean - SETS[name].MEAN).max() > 5e-4:
        raise InputError(
            f"{name}: the channels' means are {mean.round(4).tolist()}, those of the published "
            f"data {list(SETS[name].MEAN)}."
        )
