"""The archive of a student: a StableHLO program with its weights that jax alone can run."""

import jax

from kd.export import lower
from kd.export.checks import Predict
from kd.export.source import Source

PLATFORMS = ("cpu", "cuda", "tpu")


def serialize(source: Source) -> bytes:
    """The program: a batch of raw examples [b, ...] of any size, uint8 pixels or floats, to float32
    logits [b, c].
    """
    image = source.dataset.train.image
    (batch,) = jax.export.symbolic_shape("b")
    example = jax.ShapeDtypeStruct((batch, *image.shape[1:]), image.dtype)
    with lower.no_locations():
        program = jax.jit(lower.for_raw(source))
        exported = jax.export.export(program, platforms=PLATFORMS)(example)
    return bytes(exported.serialize())


def load(content: bytes) -> Predict:
    """The program, read back."""
    return jax.jit(jax.export.deserialize(bytearray(content)).call)


def original(source: Source) -> Predict:
    """The network itself: in equal batches the archive must equal it in every bit."""
    return jax.jit(lower.for_raw(source))
