"""Data sets of picture files, one folder per class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from kd.data import picture_files
from kd.data.arrays import dataset_of
from kd.data.base import Dataset, Split, divide, stratified
from kd.data.paths import existing
from kd.data.picture_files import Files
from kd.errors import InputError
from kd.ranges import Deviations, Length, Means, Natural, Range, Side
from kd.values import check_memory

SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "eval")
"""Names of folders that are hardly ever classes, in lower case."""


def load(
    path: str,
    size: Side | Annotated[Sequence[Side], Length(2, 2)],
    channels: Annotated[int, Range(1, 3)] = 3,
    test_fraction: Annotated[float, Range(above=0, below=1)] = 0.2,
    seed: Natural = 0,
    mean: Means | None = None,
    std: Deviations | None = None,
) -> Dataset:
    """Loads the pictures below `path`, uint8 [n, h, w, channels]; classes are the folders, sorted.

    Hidden files and folders, such as `.ipynb_checkpoints`, and what systems leave behind, such as
    `__MACOSX`, are skipped. Links that lead out of `path` are followed and reported.

    Args:
      path: directory with `train/` and `test/`, each with one folder per class; or with only the
        folders of the classes, in which case a stratified random part becomes the test split.
      size: height and width, or one number for both. A picture is cropped at its centre to this
        ratio, then resized (bicubic).
      channels: 3 for colour, 1 for grey.
      test_fraction: fraction for the test split where there are no `train/` and `test/`.
      seed: of the random choice.
      mean: per channel, of pixels scaled to [0, 1]. Default: that of the training pictures.
      std: likewise.

    Raises:
      InputError: the directory does not exist, there are fewer than two classes, test has classes
        that train lacks, or pictures cannot be read; all of those are counted, the first named.
    """
    sides = _sides(size)
    if channels not in (1, 3):
        raise InputError(f"channels must be 3 (colour) or 1 (grey), not {channels!r}.")
    root = existing(path, "directory")
    if (root / "train").is_dir() and (root / "test").is_dir():
        names = _classes(root / "train")
        unseen = sorted(set(_classes(root / "test")) - set(names))
        if unseen:
            raise InputError(
                f"{root / 'test'} has classes that train lacks, so they cannot be learned: "
                f"{', '.join(unseen)}."
            )
        files = [_files(root / split, names) for split in ("train", "test")]
        pictures = _read(root, files, sides, channels)
        n = len(files[0].paths)
        train, test = Split(pictures[:n], files[0].label), Split(pictures[n:], files[1].label)
        paths = (files[0].paths, files[1].paths)
    else:
        names = _classes(root)
        _check_no_splits(root, names)
        everything = _files(root, names)
        chosen = _held_out(everything, test_fraction, seed, root)
        train, test = divide(_read(root, [everything], sides, channels), everything.label, chosen)
        of = lambda mask: tuple(p for p, c in zip(everything.paths, mask, strict=True) if c)
        paths = (of(~chosen), of(chosen))
    dataset = dataset_of(train, test, str(root), len(names), names, mean, std)
    return dataset._replace(files=paths)


def _sides(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _classes(root: Path) -> list[str]:
    """The names of the class folders, sorted. Raises InputError if there are fewer than two."""
    if not root.is_dir():
        raise InputError(f"{root} is a file; expected a directory of class folders.")
    names = picture_files.folders(root)
    if len(names) < 2:
        raise InputError(
            f"{root} must hold one folder of pictures for each class, two classes or more; it "
            f"holds: {', '.join(names) or 'no folder'}."
        )
    return names


def _check_no_splits(root: Path, names: Sequence[str]) -> None:
    """Raises InputError if a folder is a split by its name and its content."""
    splits = [n for n in names if n.lower() in SPLITS and picture_files.folders(root / n)]
    if splits:
        raise InputError(
            f"{root}: {', '.join(splits)} would be read as classes, and hold folders themselves. "
            "Name the two splits train and test, or give the directory of the class folders."
        )


def _files(root: Path, names: Sequence[str]) -> Files:
    """The pictures of the classes. Raises InputError for a class without any, but in test."""
    files = picture_files.find(root, names)
    empty = [n for k, n in enumerate(names) if not (files.label == k).any()]
    if root.name != "test" and empty:
        raise InputError(
            f"{', '.join(str(root / n) for n in empty[:3])}{', ...' * (len(empty) > 3)} holds no "
            f"picture (looked for {' '.join(picture_files.SUFFIXES)})."
        )
    if not files.paths:
        raise InputError(f"{root} holds no picture.")
    return files


def _read(root: Path, splits: Sequence[Files], sides: tuple[int, int], channels: int) -> np.ndarray:
    """All pictures, uint8 [n, h, w, channels]; links out of the directory are reported."""
    paths = [path for files in splits for path in files.paths]
    check_memory(
        f"{len(paths):,} pictures of {sides[0]:,} x {sides[1]:,} in {root}",
        2 * len(paths) * sides[0] * sides[1] * channels,  # the list of them, and the array
        "Give a smaller size.",
    )
    picture_files.tell_of_links(root, splits)
    return picture_files.read(paths, sides, channels)


def _held_out(everything: Files, fraction: object, seed: int, root: Path) -> np.ndarray:
    """bool [n], the pictures of the test split."""
    n = len(everything.label)
    size = round(fraction * n) if isinstance(fraction, float) and 0 < fraction < 1 else 0
    chosen = stratified(everything.label, size, seed)
    if not chosen.any():
        raise InputError(
            f"{root}: test_fraction {fraction!r} of {n} pictures leaves a split empty. Give a "
            "fraction between 0 and 1 that makes at least one picture."
        )
    return chosen
