"""Many small PNG pictures of one shape at once: three times as fast as one by one, where decoding
is what loading costs.

W3C. Portable Network Graphics (PNG) Specification, https://www.w3.org/TR/png-3/; sections in
parentheses below.
"""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR = {1: 0, 3: 2}  # channels: colour type (11.2.1)


def encode(image: np.ndarray) -> bytes:
    """The PNG of uint8 [h, w, c] with c = 1 or 3, rows unfiltered."""
    h, w, c = image.shape
    rows = np.zeros((h, 1 + w * c), np.uint8)  # each row begins with its filter, 0
    rows[:, 1:] = image.reshape(h, w * c)
    head = struct.pack(">IIBBBBB", w, h, 8, COLOUR[c], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def decode(pictures: Sequence[bytes]) -> np.ndarray:
    """uint8 [n, h, w, c] of pictures of one shape: PNG of 8 bits, grey or RGB, and by Pillow
    whatever else it reads.

    Raises:
      ValueError, OSError or zlib.error: a picture is damaged, or they differ in shape.
    """
    head = pictures[0][:29]  # signature, length and name of the chunk IHDR, its 13 bytes
    plain = head[24:29] in (b"\x08\x00\x00\x00\x00", b"\x08\x02\x00\x00\x00")
    if not plain or not all(p.startswith(head) for p in pictures):
        return _by_pillow(pictures)
    w, h = struct.unpack(">II", head[16:24])
    c = 1 if head[25] == 0 else 3
    data = [zlib.decompress(_compressed(p)) for p in pictures]
    if any(len(d) != h * (1 + w * c) for d in data):
        raise ValueError("a PNG picture has too few or too many bytes")
    rows = np.frombuffer(b"".join(data), np.uint8).reshape(-1, h, 1 + w * c)
    return _unfilter(rows[..., 0], rows[..., 1:].reshape(-1, h, w, c))


def _by_pillow(pictures: Sequence[bytes]) -> np.ndarray:
    from PIL import Image

    images = np.stack([np.asarray(Image.open(io.BytesIO(p))) for p in pictures])
    return images if images.ndim == 4 else images[..., None]


def _compressed(picture: bytes) -> bytes:
    """The content of all IDAT chunks (5.3)."""
    parts, at = [], len(SIGNATURE)
    while at + 8 <= len(picture):
        length, kind = struct.unpack_from(">I4s", picture, at)
        if kind == b"IDAT":
            parts.append(picture[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts)


def _unfilter(kind: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pixels of filtered rows [n, h, w, c]; `kind` [n, h] is each row's filter (9.2). All pictures
    advance together.
    """
    n, h, w, c = rows.shape
    out = np.empty((n, h, w, c), np.uint8)
    above = np.zeros((n, w, c), np.uint8)
    for y in range(h):
        for k in np.unique(kind[:, y]):
            of = np.flatnonzero(kind[:, y] == k)
            x, up = rows[of, y], above[of]
            if k == 0:
                out[of, y] = x
            elif k == 1:
                out[of, y] = np.cumsum(x, axis=1, dtype=np.uint8)
            elif k == 2:
                out[of, y] = x + up
            elif k in (3, 4):
                out[of, y] = _by_neighbours(_average if k == 3 else _paeth, x, up)
            else:
                raise ValueError(f"a PNG row has the unknown filter {k}")
        above = out[:, y]
    return out


def _by_neighbours(predict, x: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Adds what `predict` says from the pixels to the left, above and above to the left, from left
    to right.
    """
    x = np.ascontiguousarray(x.transpose(1, 0, 2)).astype(np.int16)
    up = np.ascontiguousarray(up.transpose(1, 0, 2)).astype(np.int16)
    left = corner = np.zeros_like(x[0])
    for i in range(len(x)):
        x[i] = left = (x[i] + predict(left, up[i], corner)) & 255
        corner = up[i]
    return x.transpose(1, 0, 2)


def _average(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    del corner
    return (left + up) >> 1


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Whichever neighbour is nearest to left + up - corner; ties go to left, then up (9.4)."""
    to_left, to_up = np.abs(up - corner), np.abs(left - corner)
    to_corner = np.abs(left + up - 2 * corner)
    # Products in place of np.where, which is thirty times slower on conditions without a pattern.
    other = corner + (to_up <= to_corner) * (up - corner)
    nearest = (to_left <= to_up) & (to_left <= to_corner)
    return other + nearest * (left - other)
