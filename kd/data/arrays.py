"""Data sets from one `.npz` file of NumPy arrays."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from kd.data import labels, layout
from kd.data.base import UNKNOWN, Dataset, Split, channel_moments
from kd.data.check import check
from kd.data.paths import existing
from kd.errors import InputError
from kd.files.parsers import parse_npz
from kd.ranges import Deviations, Means, Range
from kd.values import check_memory

Classes = Annotated[int, Range(2, labels.MOST_CLASSES)]

# Names of the arrays in Keras' mnist.npz, in kd's own files, and in MedMNIST.
SPELLINGS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("image_train", "label_train", "image_test", "label_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)


def load(
    path: str,
    kind: str | None = None,
    num_classes: Classes | None = None,
    class_names: Sequence[str] = (),
    mean: Means | None = None,
    std: Deviations | None = None,
    classes: Classes | None = None,
    channels: str | None = None,
) -> Dataset:
    """Loads the data set in the file `path`.

    Args:
      path: `.npz` with arrays x_train, y_train, x_test, y_test (or image_train, label_train, ... or
        train_images, train_labels, ...). Images are [n, h, w] or [n, h, w, c], uint8 or floating
        point; series are [n, t, c] and tables [n, f], which become float32. Labels are [n] or
        [n, 1]: integers from 0, or names, which become classes.
      kind: "image", "series" or "table", where the shape does not tell: floats [n, a, b] may be
        grey images or series.
      num_classes: another name of `classes`.
      class_names: names of the classes, in the order of the labels. Default: labels that are names,
        sorted.
      mean: per channel, subtracted from the pixels (those of uint8 images first scaled to [0, 1]).
        Default: for uint8 that of the training images, for floats 0.
      std: per channel, by which the difference is divided. Default: for uint8 that of the training
        images, for floats 1.
      classes: number of classes. Default: the number of names, or else of the integers in the
        training labels, which must then be 0, 1, ... without a gap.
      channels: "last" or "first", where the shape does not tell: [n, 3, 32, 32] has them first.

    Raises:
      InputError: the file is missing or damaged, its arrays are not as described, or they can be
        read in two ways.
    """
    _check_choice("kind", kind, tuple(layout.KINDS))
    _check_choice("channels", channels, ("first", "last"))
    if None not in (classes, num_classes) and classes != num_classes:
        raise InputError(
            f"classes = {classes!r} and num_classes = {num_classes!r} differ. Give one of them."
        )
    file = existing(path, "file")
    arrays = read_npz(file)
    spelling = next((names for names in SPELLINGS if names[0] in arrays), SPELLINGS[0])
    missing = [name for name in spelling if name not in arrays]
    if missing:
        raise InputError(
            f"{file} lacks the arrays {', '.join(missing)}; it has {', '.join(arrays) or 'none'}. "
            f"Save it by numpy.savez(path, {', '.join(f'{name}=...' for name in spelling)})."
        )
    x_train, y_train, x_test, y_test = (arrays[name] for name in spelling)
    places = (f"{file}, {spelling[0]}", f"{file}, {spelling[2]}")
    x_train, x_test = layout.examples(x_train, x_test, kind, channels, places)
    names = _names(class_names)
    y_train, y_test, names = labels.numbered(y_train, y_test, names, str(file))
    return dataset_of(
        Split(x_train, y_train),
        Split(x_test, y_test),
        str(file),
        classes if num_classes is None else num_classes,
        names,
        mean,
        std,
    )


def _check_choice(key: str, value: object, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise InputError(f"{key} must be {' or '.join(map(repr, known))}, not {value!r}.")


def _names(class_names: object) -> tuple[str, ...]:
    if class_names is None:
        return ()
    if not isinstance(class_names, list | tuple):
        raise InputError(f"class_names must be a list of names, not {class_names!r}.")
    names = tuple(str(name) for name in class_names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"class_names has {twice[0]!r} more than once.")
    return names


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
                content.seek(0)
                what = "not a .npz file, or was cut short. Write it again by numpy.savez"
                if content.read(6) == b"\x93NUMPY":
                    what = "a single array (.npy). Save all of them in one file by numpy.savez"
                raise InputError(f"{file} is {what}.")
            size = sum(entry.file_size for entry in zipfile.ZipFile(content).infolist())
            check_memory(f"the arrays in {file}", size, "Store less, or pixels as uint8.")
            return parse_npz(content)
    except InputError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        damage = ":" if "pickled" in str(error) else " is damaged,"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{file}{damage} {reason}.") from error


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
        has_labels = bool((train.label != UNKNOWN).any())
        num_classes = labels.count((train if has_labels else test).label, what)
    channels = train.image.shape[-1]
    defaults = ((0.0,) * channels, (1.0,) * channels)
    if train.image.dtype == np.uint8 and train.image.size and None in (mean, std):
        defaults = channel_moments(np.asarray(train.image))
    try:
        mean, std = (
            default if values is None else tuple(float(v) for v in values)
            for values, default in zip((mean, std), defaults, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{what}: mean and std must be one number per channel, not {mean!r} and {std!r}."
        ) from None
    names = tuple(str(name) for name in class_names)
    return check(Dataset(train, test, num_classes, mean, std, names), what)
