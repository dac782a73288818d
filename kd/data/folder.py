"""Data sets of picture files, one folder per class."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from kd.data.arrays import dataset_of, existing
from kd.data.base import Dataset, Split, divide, stratified
from kd.errors import InputError
from kd.ranges import Length, Natural, Positive, Range, Side
from kd.values import check_memory

PICTURES = [
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
]  # other files are ignored


def load(
    path: str,
    size: Side | Annotated[Sequence[Side], Length(2, 2)],
    channels: Annotated[int, Range(1, 3)] = 3,
    test_fraction: Annotated[float, Range(above=0, below=1)] = 0.2,
    seed: Natural = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[Positive] | None = None,
) -> Dataset:
    """Loads the pictures below `path`, uint8 [n, h, w, channels]; classes are the folders, sorted.

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
        that train lacks, or a picture cannot be read.
    """
    root = existing(path)
    height, width = _sides(size)
    if channels not in (1, 3):
        raise InputError(f"channels must be 3 (colour) or 1 (grey), not {channels!r}.")
    read = partial(_read, size=(height, width), channels=channels)
    if (root / "train").is_dir() and (root / "test").is_dir():
        names = _folders(root / "train")
        unseen = sorted(set(_folders(root / "test")) - set(names))
        if unseen:
            raise InputError(
                f"{root / 'test'} has classes that train lacks, so they cannot be learned: "
                f"{', '.join(unseen)}."
            )
        train, test = (_load_split(root / s, names, read) for s in ("train", "test"))
    else:
        names = _folders(root)
        everything = _load_split(root, names, read)
        train, test = _held_out(everything, test_fraction, seed, root)
    return dataset_of(train, test, str(root), len(names), class_names=names, mean=mean, std=std)


def _sides(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(s, int) and s > 0 for s in sides):
        raise InputError(f"size must be a number of pixels or (height, width), not {size!r}.")
    return sides[0], sides[1]


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise InputError(f"{root} is a file; expected a directory of class folders.")
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise InputError(
            f"{root} must hold one folder of pictures for each class, two classes or more; it "
            f"holds: {', '.join(names) or 'no folder'}."
        )
    return names


def _load_split(root: Path, names: Sequence[str], read) -> Split:
    files, labels = [], []
    for label, name in enumerate(names):
        pictures = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in PICTURES)
        files += pictures
        labels += [label] * len(pictures)
        if not pictures and root.name != "test":
            raise InputError(f"{root / name} holds no picture (looked for {' '.join(PICTURES)}).")
    if not files:
        raise InputError(f"{root} holds no picture.")
    height, width = read.keywords["size"]
    check_memory(
        f"{len(files):,} pictures of {height} x {width} in {root}",
        len(files) * height * width * read.keywords["channels"],
        "Give a smaller size.",
    )
    with ThreadPoolExecutor() as pool:
        return Split(np.stack(list(pool.map(read, files))), np.array(labels, np.int32))


def _held_out(everything: Split, fraction: float, seed: int, root: Path) -> tuple[Split, Split]:
    valid = isinstance(fraction, float) and 0 < fraction < 1
    size = round(fraction * len(everything.label)) if valid else 0
    chosen = stratified(everything.label, size, seed)
    if not chosen.any():
        raise InputError(
            f"{root}: test_fraction {fraction!r} of {len(everything.label)} pictures leaves a "
            "split empty. Give a fraction between 0 and 1 that makes at least one picture."
        )
    return divide(everything.image, everything.label, chosen)


def _read(file: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    """Pixels uint8 [h, w, channels]. Raises InputError, which names the file."""
    from PIL import Image, ImageOps

    height, width = size
    try:
        with Image.open(file) as picture:
            if picture.mode[0] in "IF":
                raise InputError(
                    f"{file}: pixels of more than 8 bits would be clipped. Convert the pictures to "
                    "8 bits, or store arrays."
                )
            upright = ImageOps.exif_transpose(picture)
            if "transparency" in upright.info:
                upright = upright.convert("RGBA")
            plain = upright.convert("RGB" if channels == 3 else "L")
            fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BICUBIC)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(
            f"the picture {file} cannot be read: {error}. Repair or remove it."
        ) from error
    return np.asarray(fitted, np.uint8).reshape(height, width, channels)
