"""The file of `config.teacher.logits`: a teacher's logits of the images of a data set.

    numpy.savez("logits.npz", train=train, test=test)

`train` are logits [n, c] of the data set's n training images in their order, before any is held out
or left out, or [m, n, c] of m members; `test`, which may be left out, those of the test images.

Further arrays say which image each row is of, in any order, and are checked: `index` int [n], its
place among the training images, or `fingerprint` uint64 [n], see `kd.data.fingerprints`. `label`
int [n] is compared with the labels that are known. For `test` they are `test_index`,
`test_fingerprint` and `test_label`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd import build
from kd.config import ConfigDict
from kd.data.arrays import read_npz
from kd.data.base import UNKNOWN, Dataset, Split
from kd.data.fingerprints import fingerprint
from kd.errors import InputError, unknown

ABOUT_ROWS = ("index", "fingerprint", "label")
"""Arrays that say which images the rows of `train` are of; with `test_` before them, of `test`."""

NAMES = ("train", *ABOUT_ROWS, "test", *(f"test_{name}" for name in ABOUT_ROWS))
"""All arrays that a file may have."""


class Stored(NamedTuple):
    """Logits of a run's images, in their order.

    Attributes:
      train: float [m, n, c].
      evaluated: of the evaluated split, [m, n', c]; None where the file has none.
    """

    train: Float[np.ndarray, "m n c"]
    evaluated: Float[np.ndarray, "m n2 c"] | None


def arrays_of(path: str, key: str) -> dict[str, np.ndarray]:
    """The arrays of a file that a teacher's answers are stored in.

    Args:
      path: of the `.npz` file.
      key: of section `teacher` that names it, for messages.

    Raises:
      InputError: the file is damaged, has an unknown array or lacks `train`.
    """
    arrays = read_npz(Path(path))
    for name in arrays:
        if name not in NAMES:
            raise unknown(f"array in {path}", name, NAMES)
    if "train" not in arrays:
        raise InputError(
            f"config.teacher.{key}: {path} lacks the array 'train'; it has "
            f"{', '.join(arrays) or 'none'}. Save it by numpy.savez(path, train=...)."
        )
    return arrays


def read(config: ConfigDict, dataset: Dataset) -> Stored:
    """The logits of the images of a run.

    With `config.holdout` the held-out images are training images, and their logits are in `train`.

    Args:
      config: of the run.
      dataset: of the run.

    Raises:
      InputError: the file is damaged, or its arrays are not those of the data.
    """
    path = config.teacher.logits
    arrays = arrays_of(path, "logits")
    c = dataset.num_classes
    train = members(arrays["train"], c, f"{path}, train")
    numbered, total = numbered_data(config, dataset)
    places = np.asarray(numbered.train.image)
    chosen = rows_of(arrays, "train", dataset.train, places, total, path)
    evaluated = None
    if config.holdout:
        places = np.asarray(numbered.test.image)
        evaluated = train[:, rows_of(arrays, "train", dataset.test, places, total, path)]
    elif "test" in arrays:
        test = members(arrays["test"], c, f"{path}, test")
        if len(test) != len(train):
            raise InputError(
                f"config.teacher.logits: {path} has {len(train)} members in train and {len(test)} "
                "in test. Give both of the same members."
            )
        n = len(dataset.test.label)
        evaluated = test[:, rows_of(arrays, "test", dataset.test, np.arange(n), n, path)]
    elif extra := [name for name in arrays if name.startswith("test_")]:
        raise InputError(f"config.teacher.logits: {path} has {extra[0]} and no array 'test'.")
    return Stored(train[:, chosen], evaluated)


def members(logits: np.ndarray, classes: int, where: str) -> Float[np.ndarray, "m n c"]:
    """Logits [n, c] or [m, n, c] of so many classes, checked, as float16 or float32 [m, n, c].

    Raises:
      InputError: another shape or type, NaN, or probabilities.
    """
    if logits.ndim not in (2, 3) or logits.shape[-1] != classes or 0 in logits.shape:
        raise InputError(
            f"{where} is {list(logits.shape)}; expected logits [n, {classes}], or [m, n, "
            f"{classes}] of m members, for {classes} classes."
        )
    if logits.dtype.kind not in "fiu":
        raise InputError(f"{where}: expected numbers, got {logits.dtype}.")
    if logits.dtype != np.float16:
        with np.errstate(over="ignore"):  # infinite then, and refused below
            logits = logits.astype(np.float32)
    bad = np.argwhere(~np.isfinite(logits))
    if len(bad):
        raise InputError(
            f"{where} has {len(bad):,} entries that are NaN, infinite or beyond float32, the first "
            f"in row {bad[0][-2]}. Logits are finite: of a probability p the logit is log p, of "
            "0 log 1e-12."
        )
    sums = logits.sum(-1, dtype=np.float64)
    if classes > 1 and logits.min() >= 0 and np.allclose(sums, 1, atol=1e-2):
        raise InputError(
            f"{where} are probabilities: each row is at least 0 and has the sum 1. kd takes "
            "logits, the values before the softmax; store numpy.log(p + 1e-12) in their place."
        )
    return logits if logits.ndim == 3 else logits[None]


def numbered_data(config: ConfigDict, dataset: Dataset) -> tuple[Dataset, int]:
    """The data set with places in place of images, and the number of all training images.

    Places are those among the training images as the data set stores them.
    """
    divides = config.holdout or config.validation or config.train_classes
    if not divides and config.data.get("unlabelled", "keep") == "keep":
        n = len(dataset.train.label)
        return dataset._replace(train=Split(np.arange(n), dataset.train.label)), n
    stored = build.stored_data(config)
    label, n = stored.train.label, len(stored.train.label)
    nowhere = np.full(len(stored.test.label), -1)
    numbered = stored._replace(
        train=Split(np.arange(n), label), test=Split(nowhere, stored.test.label)
    )
    return build.make_data(config, numbered), n


def rows_of(
    arrays: Mapping[str, np.ndarray],
    name: str,
    split: Split,
    places: np.ndarray,
    total: int,
    path: str,
    key: str = "logits",
) -> Int[np.ndarray, " n"]:
    """The row of each image of a split in the array `name`, [m, n, c] or [n, d].

    Args:
      arrays: of the file.
      name: train or test.
      split: images and labels.
      places: of the images among all images of `name`, [n].
      total: number of all images of `name`.
      path: of the file.
      key: of `config.teacher` that names it.

    Raises:
      InputError: another number of rows, an image without a row, or rows of other images.
    """
    prefix, file = "test_" if name == "test" else "", f"config.teacher.{key}: {path}"
    count = arrays[name].shape[-2]
    images = "test images" if prefix else "training images"
    about = {key: arrays[prefix + key] for key in ABOUT_ROWS if prefix + key in arrays}
    for key, values in about.items():
        kinds = "u" if key == "fingerprint" else "iu"
        if values.shape != (count,) or values.dtype.kind not in kinds:
            raise InputError(
                f"{path}, {prefix + key} is {values.dtype} {list(values.shape)}; expected one "
                f"{'unsigned 64-bit number' if key == 'fingerprint' else 'integer'} for each of "
                f"the {count:,} rows of {name}."
            )
    if "index" in about:
        index = about["index"]
        if len(np.unique(index)) < count or index.min() < 0 or index.max() >= total:
            raise InputError(
                f"{path}, {prefix}index: expected distinct places from 0 to {total - 1:,} of the "
                f"{total:,} {images}."
            )
        rows = _rows_with(index, places, f"{path}, {prefix}index", images)
    elif "fingerprint" in about:
        prints = fingerprint(split.image)
        rows = _rows_with(about["fingerprint"], prints, f"{path}, {prefix}fingerprint", images)
    elif count != total:
        raise InputError(
            f"config.teacher.{key}: {path} has {key} of {count:,} {images} in {name}, and the "
            f"data set has {total:,}. Give all of them in their order, or say which image each row "
            f"is of, by an array {prefix}index [{count}]."
        )
    else:
        rows = places
    if "index" in about and "fingerprint" in about:
        _compare(about["fingerprint"][rows], fingerprint(split.image), "fingerprint", file, images)
    if "label" in about:
        label = about["label"][rows].astype(np.int64)
        known = (split.label != UNKNOWN) & (label != UNKNOWN)
        _compare(np.where(known, label, split.label), split.label, "label", file, images)
    return rows


def _rows_with(values: np.ndarray, wanted: np.ndarray, where: str, images: str) -> np.ndarray:
    """Where each of `wanted` stands in `values`. Raises InputError for one that does not."""
    order = np.argsort(values, kind="stable")
    at = np.minimum(np.searchsorted(values[order], wanted), len(values) - 1)
    rows = order[at]
    missing = np.flatnonzero(values[rows] != wanted)
    if len(missing):
        raise InputError(
            f"{where}: {len(missing):,} of the {len(wanted):,} {images} of this run have no row, "
            f"the first of them number {missing[0]}. Compute their logits, too."
        )
    return rows


def _compare(theirs: np.ndarray, ours: np.ndarray, what: str, file: str, images: str) -> None:
    differ = np.flatnonzero(theirs != ours)
    if len(differ):
        i = differ[0]
        raise InputError(
            f"{file} is in another order than the data, or of other images: "
            f"{len(differ):,} of {len(ours):,} {images} have another {what}, the first of them "
            f"number {i} ({what} {theirs[i]} in the file, {ours[i]} in the data)."
        )
