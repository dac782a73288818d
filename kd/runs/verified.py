"""Loads parts of a checkpoint that are what was saved."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from kd.errors import InputError, RunError
from kd.runs import digests, quiet
from kd.types import PyTree

DIGESTS = "digests"
"""Key of a checkpoint's metadata: `kd.runs.digests.of` the state."""


class Damaged(InputError):
    """A checkpoint is damaged."""


def load(reader: Any, step: int, abstract: dict[str, PyTree]) -> dict[str, PyTree]:
    """Parts of a checkpoint, whose digests are compared.

    Args:
      reader: orbax's of the checkpoints.
      step: of one of them.
      abstract: shapes, types and shardings of the parts.

    Raises:
      Damaged: it is damaged.
      InputError: it holds another network.
    """
    where = f"{reader.directory}: the checkpoint of step {step}"
    with quiet.failures() as refusals:
        try:
            loaded = reader.load_checkpointables(step, abstract)
            metadata = reader.checkpointables_metadata(step).custom_metadata or {}
            if metadata.get("step", step) != step:
                raise digests.Mismatch(f"it is that of step {metadata['step']}")
            digests.compare(metadata.get(DIGESTS, {}), loaded)
            return loaded
        except (RunError, MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # whatever damage makes parsers do, the file is at fault
            if difference := _difference(reader, step, abstract):
                refusals.append(InputError(f"{where} does not hold this network: {difference}."))
            else:
                reason = f": {error}" if isinstance(error, digests.Mismatch) else ""
                refusals.append(Damaged(f"{where} is damaged{reason}."))
    raise refusals[0]


def _difference(reader: Any, step: int, abstract: Mapping[str, PyTree]) -> str:
    """In what the wanted student differs from the stored one; "" if in nothing, or if unknown."""
    try:
        metadata = reader.checkpointables_metadata(step).metadata
        old, new = (dict(_shapes(tree["student"])) for tree in (metadata, abstract))
    except Exception:  # damaged: nothing is known
        return ""
    wrong = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
    if not wrong:
        return ""
    shape = lambda shapes: list(shapes[wrong[0]]) if wrong[0] in shapes else "absent"
    return f"{wrong[0]} is {shape(new)} here and {shape(old)} there"


def _shapes(tree: PyTree) -> Iterator[tuple[str, tuple[int, ...]]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), tuple(leaf.shape)
