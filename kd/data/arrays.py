"""Data sets from one `.npz` file of NumPy arrays."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from kd import ranges
from kd.data.base import Dataset, Split, channel_moments
from kd.data.check import check
from kd.errors import InputError
from kd.parsers import parse_npz
from kd.ranges import Positive, Range
from kd.values import expanded

# Names of the arrays in Keras' mnist.npz, in kd's own files, and in MedMNIST.
SPELLINGS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("image_train", "label_train", "image_test", "label_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)


def load(
    path: str,
    kind: str | None = None,
    num_classes: Annotated[int, Range(2, 2**24)] | None = None,
    class_names: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[Positive] | None = None,
) -> Dataset:
    """Loads the data set in the file `path`.

    Args:
      path: `.npz` with arrays x_train, y_train, x_test, y_test (or image_train, label_train, ... or
        train_images, train_labels, ...). Images are [n, h, w] or [n, h, w, c], uint8 or floating
        point; series are floating point [n, t, c]. Labels are integers [n] (or [n, 1]) from 0.
      kind: "image" or "series", for arrays of rank 3; by default integers are images [n, h, w] and
        floats are series [n, t, c].
      num_classes: default: the number of class names, or else the largest training label plus one.
      class_names: names of the classes, in the order of the labels.
      mean: per channel, subtracted from the pixels (those of uint8 images first scaled to [0, 1]).
        Default: for uint8 that of the training images, for floats 0.
      std: per channel, by which the difference is divided. Default: for uint8 that of the training
        images, for floats 1.

    Raises:
      InputError: the file is missing or damaged, or its arrays are not as described.
    """
    if kind not in (None, "image", "series"):
        raise InputError(f"kind must be 'image' or 'series', not {kind!r}.")
    file = existing(path)
    arrays = read_npz(file)
    spelling = next((names for names in SPELLINGS if names[0] in arrays), SPELLINGS[0])
    missing = [name for name in spelling if name not in arrays]
    if missing:
        raise InputError(
            f"{file} lacks the arrays {', '.join(missing)}; it has {', '.join(arrays) or 'none'}. "
            f"Save it by numpy.savez(path, {', '.join(f'{name}=...' for name in spelling)})."
        )
    x_train, y_train, x_test, y_test = (arrays[name] for name in spelling)
    return dataset_of(
        Split(_images(x_train, kind, f"{file}, {spelling[0]}"), _labels(y_train)),
        Split(_images(x_test, kind, f"{file}, {spelling[2]}"), _labels(y_test)),
        str(file),
        num_classes,
        class_names,
        mean,
        std,
    )


def existing(path: str) -> Path:
    """The path with `~` expanded. Raises InputError if it does not exist."""
    file = expanded(path, "path")
    try:
        exists = file.exists()
    except OSError as error:  # such as a name that is too long
        raise InputError(f"path {ranges.short(path)}: {error.strerror}.") from error
    if not exists:
        raise InputError(f"there is no {file} (looked for from {Path.cwd()}).")
    return file


def read_npz(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file, by name.

    Raises:
      InputError: the file is damaged, or holds Python objects, which could run code.
    """
    if file.is_dir():
        raise InputError(f"{file} is a directory; expected a .npz file.")
    try:
        with file.open("rb") as content:
            if not zipfile.is_zipfile(content):
                raise InputError(
                    f"{file} is not a .npz file, or was cut short. Write it again by numpy.savez."
                )
            return parse_npz(content)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        damage = ":" if "pickled" in str(error) else " is damaged,"
        raise InputError(f"{file}{damage} {error}.") from error


def dataset_of(
    train: Split,
    test: Split,
    what: str,
    num_classes: int | None = None,
    class_names: Sequence[str] = (),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """A checked data set of two splits; missing facts are computed from the training split.

    Args:
      train: training split.
      test: test split.
      what: name of the data in messages.
      num_classes: see `load`, as for the others.
      class_names: names of the classes.
      mean: per channel.
      std: per channel.

    Raises:
      InputError: the splits do not fit together, or cannot be used.
    """
    if num_classes is None and class_names:
        num_classes = len(class_names)
    if num_classes is None:
        num_classes = _count_classes(train.label, what)
    channels = train.image.shape[-1]
    defaults = ((0.0,) * channels, (1.0,) * channels)
    if train.image.dtype == np.uint8 and train.image.size and None in (mean, std):
        defaults = channel_moments(np.asarray(train.image))
    try:
        mean, std = (
            default if values is None else tuple(float(v) for v in values)
            for values, default in zip((mean, std), defaults, strict=True)
        )
    except (TypeError, ValueError):
        raise InputError(
            f"{what}: mean and std must be one number per channel, not {mean!r} and {std!r}."
        ) from None
    names = tuple(str(name) for name in class_names)
    return check(Dataset(train, test, num_classes, mean, std, names), what)


def _count_classes(label: np.ndarray, what: str) -> int:
    if label.dtype.kind not in "iu" or not label.size:
        return 2  # `check` reports what is wrong with such labels
    present = np.unique(label)
    if present[0] == 0 and present[-1] >= len(present):
        raise InputError(
            f"{what}: labels go up to {present[-1]}, but only {len(present)} different ones occur "
            "in train. Number the classes 0, 1, ... without gaps, or set num_classes."
        )
    return int(present[-1]) + 1


def _images(image: np.ndarray, kind: str | None, what: str) -> np.ndarray:
    """Images [n, h, w, c] or series [n, t, c], uint8 or float32."""
    shape = image.shape
    if image.dtype.kind in "iub" and image.dtype != np.uint8:
        if image.size and (image.min() < 0 or image.max() > 255):
            raise InputError(
                f"{what}: integer pixels must lie in 0 to 255, not {image.min()} to {image.max()}. "
                "Scale them, or store floats."
            )
        image = image.astype(np.uint8)
    series = kind == "series" or (kind is None and image.dtype.kind == "f")
    if series and image.ndim == 3:
        return image.astype(np.float32)
    if image.ndim == 3:
        image = image[..., None]
    if image.ndim != 4 or kind == "series":
        wanted = "[n, t, c]" if kind == "series" else "[n, h, w] or [n, h, w, c]"
        raise InputError(f"{what} must be {wanted}, not {list(shape)}. Reshape it before saving.")
    return image


def _labels(label: np.ndarray) -> np.ndarray:
    return label[:, 0] if label.ndim == 2 and label.shape[1] == 1 else label
