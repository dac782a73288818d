"""The archive of a student: a StableHLO program with its weights, which jax alone reads, on CPU,
GPU and TPU.
"""

from collections.abc import Callable

import jax
import numpy as np

from kd.export import lower
from kd.export.source import Source

PLATFORMS = ("cpu", "cuda", "tpu")


def serialize(source: Source) -> bytes:
    """The program: raw examples [b, ...] of any number, uint8 pixels or floats, to float32 logits
    [b, c].
    """
    image = source.dataset.train.image
    (batch,) = jax.export.symbolic_shape("b")
    example = jax.ShapeDtypeStruct((batch, *image.shape[1:]), image.dtype)
    with lower.no_places():
        program = jax.jit(lower.for_raw(source))
        exported = jax.export.export(program, platforms=PLATFORMS)(example)
    return bytes(exported.serialize())


def run(content: bytes, image: np.ndarray, size: int) -> np.ndarray:
    """Logits of raw examples, `size` at a time, by the program read back."""
    return _batched(jax.jit(jax.export.deserialize(bytearray(content)).call), image, size)


def original(source: Source, image: np.ndarray, size: int) -> np.ndarray:
    """The same by the network itself, in the same batches: what the archive has to equal to the
    last bit.
    """
    return _batched(jax.jit(lower.for_raw(source)), image, size)


def _batched(call: Callable, image: np.ndarray, size: int) -> np.ndarray:
    with jax.default_device(jax.devices("cpu")[0]):
        starts = range(0, len(image), size)
        return np.concatenate([np.asarray(call(image[i : i + size])) for i in starts])
