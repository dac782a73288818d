"""Finds and reads picture files in folders of classes."""

import os
import stat
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kd.errors import InputError
from kd.files import escaping

SUFFIXES = [
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

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of what a file may hold; among its other formats is one that starts a program."""

LEFT_BEHIND = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Folders of operating systems. Those that begin with a dot are hidden anyway."""

MOST_PIXELS = 178_956_970  # twice Pillow's limit, from where on it refuses a picture


class Files(NamedTuple):
    """Picture files of folders.

    Attributes:
      paths: of the pictures, by class and then by name.
      label: int32 [n], the place of each picture's folder.
      links: "link -> where it leads to" of links that lead out of the directory.
      ignored: links to folders within classes, which are not followed.
    """

    paths: tuple[str, ...]
    label: np.ndarray
    links: tuple[str, ...]
    ignored: tuple[str, ...]


def is_skipped(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by a system."""
    return name.startswith(".") or name in LEFT_BEHIND


def folders(root: Path) -> list[str]:
    """Names of the folders in a directory that are not skipped, sorted."""
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not is_skipped(p.name))


def find(root: Path, names: Sequence[str]) -> Files:
    """The pictures below the folders called `names` in `root`, however deep.

    Links to folders are followed for the folders called `names` themselves, not below them, as
    they may lead in circles.
    """
    home = root.resolve()
    paths: list[Path] = []
    label: list[int] = []
    links: list[str] = []
    ignored: list[str] = []

    def note(path: Path) -> None:
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(home):
            links.append(f"{path} -> {target}")

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be listed: {error.strerror}.")

    for k, name in enumerate(names):
        before = len(paths)
        note(root / name)
        for directory, inner, entries in os.walk(root / name, onerror=refuse):
            inner[:] = [d for d in inner if not is_skipped(d)]
            ignored += [f"{directory}/{d}" for d in inner if (Path(directory) / d).is_symlink()]
            for entry in entries:
                path = Path(directory) / entry
                if path.suffix.lower() in SUFFIXES and not is_skipped(entry):
                    paths.append(path)
                    if path.is_symlink():
                        note(path)
        paths[before:] = sorted(paths[before:])
        label += [k] * (len(paths) - before)
    return Files(
        tuple(map(str, paths)), np.array(label, np.int32), tuple(links), tuple(sorted(ignored))
    )


def tell_of_links(root: Path, splits: Sequence[Files]) -> None:
    """Prints how many links lead out of a directory or are not followed, and the first three."""
    for links, what in (
        (
            [link for files in splits for link in files.links],
            f"lead out of {root} and are followed",
        ),
        (
            [link for files in splits for link in files.ignored],
            "lead to folders within classes and are not followed",
        ),
    ):
        if links:
            first = f"{', '.join(links[:3])}{', ...' * (len(links) > 3)}"
            line = escaping.message(f"kd: links that {what}, {len(links):,}: {first}.")
            print(line, file=sys.stderr, flush=True)


def read(paths: Sequence[str], sides: tuple[int, int], channels: int) -> np.ndarray:
    """All pictures, cropped at the centre and resized: uint8 [n, h, w, channels].

    Raises:
      InputError: some cannot be read; the message counts them and names the first five.
    """
    reader = partial(_picture_or_reason, sides=sides, channels=channels)
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")  # of Pillow, about metadata and large pictures
        pictures = list(pool.map(reader, paths))
    bad = [(path, p) for path, p in zip(paths, pictures, strict=True) if isinstance(p, str)]
    if bad:
        first = "; ".join(f"{path}{reason}" for path, reason in bad[:5])
        more = f"; and {len(bad) - 5:,} more" if len(bad) > 5 else ""
        raise InputError(
            f"{len(bad):,} of {len(paths):,} pictures cannot be used. {first}{more}. Repair or "
            "remove them."
        )
    return np.stack([picture for picture in pictures if not isinstance(picture, str)])


def _picture_or_reason(path: str, sides: tuple[int, int], channels: int) -> np.ndarray | str:
    """Pixels uint8 [h, w, channels], or what is wrong with the file, to follow its name."""
    from PIL import Image, ImageOps

    height, width = sides
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 # opening a pipe would wait
            return " is no file but a folder, pipe, socket or device"
        with Image.open(path, formats=FORMATS) as picture:
            if picture.mode[0] in "IF":
                return (
                    ": pixels of more than 8 bits would be clipped. Convert them to 8 bits, "
                    "or store arrays"
                )
            upright = ImageOps.exif_transpose(picture)
            if "transparency" in upright.info:
                upright = upright.convert("RGBA")
            plain = upright.convert("RGB" if channels == 3 else "L")
            fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BICUBIC)
            return np.asarray(fitted, np.uint8).reshape(height, width, channels)
    except Image.DecompressionBombError:
        return f" has more than {MOST_PIXELS / 1e6:z.0f} megapixels: make it smaller"
    except Exception as error:  # Pillow's decoders raise anything on damaged files
        return f" cannot be read: {' '.join(str(error).split()) or type(error).__name__}"
