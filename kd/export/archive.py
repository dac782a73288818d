"""The archive of a student: a StableHLO program with its weights that jax alone can run."""

import hashlib
from pathlib import Path

import jax

from kd.errors import InputError
from kd.export import lower, reading
from kd.export.checks import Predict
from kd.export.source import Source

PLATFORMS = ("cpu", "cuda", "tpu")

FILE = "model.stablehlo"
MARK = b"kd sha256 "
"""Before the hash, 64 hexadecimal digits, at the end of the file. `jax.export.deserialize` ignores
what follows the program.
"""


def serialize(source: Source) -> bytes:
    """The program: a batch of raw examples [b, ...] of any size, uint8 pixels or floats, to float32
    logits [b, c].

    Raises:
      InputError: the network cannot be traced for a batch of any size.
    """
    image = source.dataset.train.image
    (batch,) = jax.export.symbolic_shape("b")
    example = jax.ShapeDtypeStruct((batch, *image.shape[1:]), image.dtype)
    with lower.portable():
        program = jax.jit(lower.for_raw(source))
        try:
            exported = jax.export.export(program, platforms=PLATFORMS)(example)
        except InputError:
            raise
        except Exception as error:  # tracing runs the network's own code
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            name = source.config["student"]["name"]
            raise InputError(
                f"{name}: the network cannot be written for a batch of any size: {first} Its code "
                "may read the batch as `x.shape[0]`, not as `len(x)`, and must not decide by its "
                "size."
            ) from error
    program = bytes(exported.serialize())
    return program + _hash(program)


def _hash(program: bytes) -> bytes:
    return MARK + hashlib.sha256(program).hexdigest().encode()


def open_archive(path: Path | str) -> Predict:
    """The program of an archive, checked, as a function of raw examples [b, ...]: logits [b, c].

    The file is compared with the hash at its end, and in an export's directory with that in
    `report.json`, too. Both reveal damage, not forgery.

    Args:
      path: an export's directory, or an archive alone.

    Raises:
      InputError: there is no archive, it is damaged, or it has no hash.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    recorded = (file.parent / reading.MARK).exists() and file.name == FILE
    if recorded:
        report = reading.read(file.parent)
        content = reading.verify(file.parent, report, FILE)
    else:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    if content[-len(_hash(b"")) :][: len(MARK)] != MARK and not recorded:
        raise InputError(
            f"{file} ends without its hash, so that damage would not be noticed: it is damaged, or "
            "an archive of an earlier version. Export it again, or leave it beside its report.json."
        )
    return load(content, str(file))


def load(content: bytes, name: str = "the archive") -> Predict:
    """The program of a file's content. Raises InputError where its hash is another one."""
    size = len(_hash(b""))
    program, end = content[:-size], content[-size:]
    if not end.startswith(MARK):  # of an earlier version
        program = content
    elif end != _hash(program):
        raise InputError(f"{name} is damaged: its program has another sha256. Export it again.")
    try:
        return jax.jit(jax.export.deserialize(bytearray(program)).call)
    except Exception as error:  # of whatever the bytes are taken for
        raise InputError(
            f"{name} is no archive that jax {jax.__version__} reads: "
            f"{str(error).strip().partition(chr(10))[0] or type(error).__name__}"
        ) from error


def original(source: Source) -> Predict:
    """The network itself: in equal batches the archive must equal it in every bit."""
    return jax.jit(lower.for_raw(source))
