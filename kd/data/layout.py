"""What the axes of a user's arrays mean: images, series or tables, and where the channels are.

Arrays whose shape has two plausible readings are refused with both, and the key that settles it.
"""

import numpy as np

from kd.errors import InputError

KINDS = {
    "image": "[n, h, w] or [n, h, w, c]",
    "series": "[n, t, c]",
    "table": "[n, f]",
}

RANKS = {"image": (3, 4), "series": (3,), "table": (2,)}

MOST_CHANNELS = 16  # of series that are recognised
ELONGATED = 4  # a picture is hardly ever so many times as high as wide; series are


def examples(
    train: np.ndarray,
    test: np.ndarray,
    kind: str | None,
    channels: str | None,
    names: tuple[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, h, w, c], series [n, t, c] or tables [n, f], uint8 or float32.

    Both splits are read as the first one is.

    Args:
      train: numbers.
      test: likewise.
      kind: of KINDS, or None if the shape shall tell.
      channels: "first" or "last", or None if the shape shall tell.
      names: of the two arrays in messages.

    Raises:
      InputError: no numbers, another rank, several readings, or pixels out of 0 to 255.
    """
    for array, what in zip((train, test), names, strict=True):
        if array.dtype.kind not in "iubf":
            raise InputError(f"{what} must be numbers, not {array.dtype}.")
    if {train.ndim, test.ndim} == {3, 4}:  # grey images, of one split without their channel
        kind = kind or "image"
    kind = kind or _kind(train, names[0])
    if train.ndim not in RANKS[kind] or test.ndim not in RANKS[kind]:
        shapes = zip(names, (train.shape, test.shape), strict=True)
        raise InputError(
            f"{' and '.join(f'{what} {list(shape)}' for what, shape in shapes)} must be "
            f"{KINDS[kind]} for kind = {kind!r}. Reshape them before saving."
        )
    first = _channels_first(train, kind, channels, names[0])
    pair = [
        _converted(array, kind, first, what)
        for array, what in zip((train, test), names, strict=True)
    ]
    return pair[0], pair[1]


def _kind(image: np.ndarray, what: str) -> str:
    """The kind that a shape tells. Raises InputError if it tells none or two."""
    if image.ndim == 2:
        return "table"
    if image.ndim == 4:
        return "image"
    if image.ndim != 3:
        raise InputError(
            f"{what} must be images [n, h, w] or [n, h, w, c], series [n, t, c] or a table [n, f], "
            f"not {list(image.shape)}. Reshape it before saving."
        )
    n, a, b = image.shape
    pixels = image.dtype.kind != "f" and _are_pixels(image)
    elongated = b <= MOST_CHANNELS and a >= ELONGATED * b
    if pixels and not (elongated and b <= 4 and image.dtype.kind != "b"):
        return "image"
    if elongated and not pixels:
        return "series"
    bound = "" if pixels or image.dtype.kind == "f" else " (integer pixels must lie in 0 to 255)"
    raise InputError(
        f"{what}, {image.dtype} {[n, a, b]}, can be read in two ways: {n:,} grey images of {a} x "
        f'{b}, kind = "image"{bound}; or {n:,} series of {a} steps and {b} channels, '
        'kind = "series". Say which in config.data.'
    )


def _channels_first(image: np.ndarray, kind: str, channels: str | None, what: str) -> bool:
    """Whether axis 1 holds the channels. Raises InputError for two readings."""
    shape = list(image.shape)
    has_channels = image.ndim == 4 or kind == "series"
    if channels is not None or not has_channels:
        return channels == "first" and has_channels
    sizes = shape[1:]
    if kind == "series":
        steps, width = sizes
        two_ways = steps <= MOST_CHANNELS and width >= ELONGATED * steps
    else:
        two_ways = _may_be_first(*sizes)
    if not two_ways:
        return False
    describe = lambda s: f"{' x '.join(map(str, s[:-1]))} with {s[-1]} channels"
    raise InputError(
        f"{what}, {image.dtype} {shape}, can be read in two ways: "
        f'{describe([*sizes[1:], sizes[0]])}, channels = "first"; or {describe(sizes)}, '
        'channels = "last". Say which in config.data.'
    )


def _may_be_first(a: int, b: int, c: int) -> bool:
    """Whether images [n, a, b, c] may have their channels in axis 1."""
    square_if_last, square_if_first = a == b, b == c
    if c <= 4 < a:
        return False
    if a <= 4 < c:
        return True
    if c <= 4:
        return square_if_first and c > 1 and (a in (1, 3) or not square_if_last)
    return square_if_first and not square_if_last


def _converted(image: np.ndarray, kind: str, first: bool, what: str) -> np.ndarray:
    if first and image.ndim > 2:
        image = np.ascontiguousarray(np.moveaxis(image, 1, -1))
    if kind == "image":
        image = image[..., None] if image.ndim == 3 else image
        if image.dtype.kind in "iub" and image.dtype != np.uint8:
            if not _are_pixels(image):
                raise InputError(
                    f"{what}: integer pixels must lie in 0 to 255, not {image.min()} to "
                    f"{image.max()}. Scale them, or store floats; or, if they are series "
                    '[n, t, c], set kind = "series".'
                )
            return image.astype(np.uint8)
        if image.dtype == np.uint8:
            return image
    with np.errstate(all="ignore"):  # what overflows is reported as infinite
        return image.astype(np.float32, copy=False)


def _are_pixels(image: np.ndarray) -> bool:
    return not image.size or bool(image.min() >= 0 and image.max() <= 255)
