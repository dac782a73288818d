"""Variables of a Flax module: msgpack, `.npz`, `.safetensors`, a checkpoint of Orbax; no pickle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import numpy as np

from kd.errors import InputError
from kd.files.parsers import parse_npz
from kd.types import PyTree
from kd.weights import safetensors

PICKLED = (b"\x80", b"(dp", b"(lp", b"ccopy", b"c__")
"""How a pickle begins, by its protocol."""

FORMATS = (
    "flax.serialization.to_bytes(variables) (.msgpack), or arrays named params/layer/kernel by "
    "numpy.savez or safetensors, or as a checkpoint of Orbax"
)


def read(path: Path) -> dict[str, PyTree]:
    """`{"params": ..., "batch_stats": ...}`, as the file has them; parameters alone are `params`.

    In `.npz` and `.safetensors` names are paths, joined by `/`, or by `.` where no name has one.

    Of a directory it is the only checkpoint in it.

    Raises:
      InputError: another format, a damaged file, or a pickle, which could run code.
    """
    if path.is_dir():
        tree = _orbax(path)
        return tree if "params" in tree else {"params": tree}
    try:
        with path.open("rb") as content:
            start = content.read(16)
            if start.startswith(b"PK"):
                content.seek(0)
                tree = nested(parse_npz(content))
            elif safetensors.matches(start):
                tree = nested(safetensors.read(path))
            elif start.startswith(PICKLED):
                raise InputError(
                    f"{path} is a pickle, which is not read because it could run code. Store the "
                    f"variables by {FORMATS}."
                )
            else:
                content.seek(0)
                tree = flax.serialization.msgpack_restore(content.read())
    except InputError:
        raise
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path} holds no variables that can be read ({reason}). Store them by {FORMATS}."
        ) from error
    if not isinstance(tree, dict) or not tree:
        raise InputError(f"{path} holds no variables. Store them by {FORMATS}.")
    return tree if "params" in tree else {"params": tree}


def _orbax(directory: Path) -> dict[str, PyTree]:
    """The only tree of arrays in a directory that Orbax wrote. Raises InputError."""
    files = sorted(directory.rglob("_METADATA"))
    places = [file.parent for file in files]
    if len(places) != 1:
        shown = ", ".join(str(place) for place in places[:4])
        raise InputError(
            f"config.teacher.variables: {directory} has {len(places) or 'no'} checkpoints of Orbax"
            f"{f' ({shown})' if places else ''}; expected one. Name its directory, which has a "
            "file _METADATA, or a file of variables."
        )
    import orbax.checkpoint as ocp

    try:
        with ocp.PyTreeCheckpointer() as reader:
            place = places[0].absolute()
            metadata: Any = reader.metadata(place).item_metadata
            of_numpy = lambda _: ocp.RestoreArgs(restore_type=np.ndarray)
            args = jax.tree.map(of_numpy, metadata.tree)
            tree = reader.restore(place, restore_args=args)
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"config.teacher.variables: {places[0]} holds no checkpoint that Orbax can read "
            f"({reason})."
        ) from error
    if not isinstance(tree, dict) or not tree:
        raise InputError(f"config.teacher.variables: {places[0]} holds no variables by name.")
    return tree


def nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A tree of arrays from their paths. Raises ValueError where a path is also a part of one."""
    separator = "/" if any("/" in name for name in arrays) else "."
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split(separator)
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{name!r} goes on from an array")
        if last in place:
            raise ValueError(f"{name!r} is an array and has parts")
        place[last] = array
    return tree


def check(variables: PyTree, shapes: PyTree, path: Path) -> None:
    """Raises InputError unless variables have the names and shapes of a module.

    Args:
      variables: of the file.
      shapes: of the module, `jax.eval_shape` of its `init`.
      path: of the file.
    """
    ours = {name: tuple(np.shape(x)) for name, x in _leaves(variables)}
    theirs = {name: tuple(x.shape) for name, x in _leaves(shapes)}
    for words, names in (
        ("lacks", [name for name in theirs if name not in ours]),
        ("has and the module does not", [name for name in ours if name not in theirs]),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"config.teacher.variables: {path} {words} {names[0]}{more}. Give the variables of "
                "the module that config.teacher.apply names."
            )
    for name, shape in theirs.items():
        if ours[name] != shape:
            raise InputError(
                f"config.teacher.variables: {name} is {list(ours[name])} in {path} and "
                f"{list(shape)} in the module of config.teacher.apply."
            )
    for name, x in _leaves(variables):
        if np.asarray(x).dtype.kind not in "fiub" and "bfloat" not in str(np.asarray(x).dtype):
            raise InputError(f"config.teacher.variables: {name} in {path} holds no numbers.")


def _leaves(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        return [(prefix, tree)]
    return [
        leaf for key, value in tree.items() for leaf in _leaves(value, f"{prefix}/{key}".strip("/"))
    ]
