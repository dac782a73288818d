"""Fingerprints of images, by which rows of a file find the images that they are about."""

import hashlib

import numpy as np
from jaxtyping import UInt64

from kd.data.pictures import Pictures
from kd.errors import InputError


def fingerprint(image: np.ndarray | Pictures) -> UInt64[np.ndarray, " n"]:
    """A number for each image [n, ...]: the first eight bytes of BLAKE2b of its bytes, big-endian.

    Images are taken as a data set has them: uint8, or float32. Grey images [h, w] and [h, w, 1]
    have one fingerprint.

    Raises:
      InputError: images that are decoded from files during training.
    """
    if isinstance(image, Pictures):
        raise InputError(
            "fingerprints are of arrays, and these images are decoded from files when needed."
        )
    image = np.ascontiguousarray(image if image.dtype == np.uint8 else image.astype(np.float32))
    digests = (hashlib.blake2b(x.tobytes(), digest_size=8).digest() for x in image)
    return np.fromiter((int.from_bytes(digest) for digest in digests), np.uint64, len(image))
