"""Checkpoints of a run by orbax: asynchronous, atomic, restored onto any number of devices.

The student's variables are a separate part, so that another run can load only them. The teacher's
weights never change and are not saved. Only this module imports orbax, whose v1 API still changes.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Generator, Mapping
from typing import Any

import jax
from etils import epath

from kd.errors import InputError, RunError
from kd.files import refusals
from kd.types import DistillState, PyTree


def _parts(state: DistillState) -> dict[str, PyTree]:
    """The state as two trees without common leaves."""
    return {
        "student": {"params": state.params["student"], "stats": state.stats["student"]},
        "training": {
            "step": state.step,
            "key": state.key,
            "params": state.params["objective"],
            "stats": state.stats["objective"],
            "opt": state.opt,
            "teacher": state.teacher,
        },
    }


def _join(parts: dict[str, PyTree], like: DistillState) -> DistillState:
    student, training = parts["student"], parts["training"]
    return dataclasses.replace(
        like,
        step=training["step"],
        key=training["key"],
        params={"student": student["params"], "objective": training["params"]},
        stats={"student": student["stats"], "objective": training["stats"]},
        opt=training["opt"],
        teacher=training["teacher"],
    )


def _orbax(directory: epath.Path, **options: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    logging.getLogger("absl").setLevel(logging.ERROR)  # it logs every file
    return ocp.training.Checkpointer(directory, **options)


class Checkpoints:
    """The checkpoints of one run.

    A save that a kill interrupts leaves a temporary directory, which is never read.
    """

    def __init__(self, directory: epath.PathLike, keep: int = 1):
        from orbax.checkpoint import v1 as ocp

        training = ocp.training
        self._directory = directory
        self._orbax = _orbax(
            epath.Path(directory).absolute(),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=training.preservation_policies.LatestN(keep),
            cleanup_tmp_directories=True,
        )

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        latest = self._orbax.latest
        return None if latest is None else latest.step

    def save(self, state: DistillState, step: int) -> None:
        """Starts a save and returns once the arrays are copied.

        Waits first for an earlier save that is still in progress.
        """
        with self._one_line():
            self._orbax.save_checkpointables_async(step, _parts(state))

    def restore(self, like: DistillState) -> DistillState:
        """The newest state, with the shapes, types and shardings of `like`.

        The leaves of `like` are arrays or `jax.ShapeDtypeStruct`.
        """
        abstract = jax.tree.map(_abstract, _parts(like))
        return _join(self._orbax.load_checkpointables(None, abstract), like)

    def wait(self) -> None:
        """Returns when all saves are on disk."""
        with self._one_line():
            self._orbax.wait()

    def close(self) -> None:
        """Waits, then releases the directory."""
        with self._one_line():
            self._orbax.close()

    @contextlib.contextmanager
    def _one_line(self) -> Generator[None]:
        """Turns whatever a save raises into a RunError."""
        try:
            with refusals(self._directory):
                yield
        except RunError:
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0] or type(error).__name__
            raise RunError(
                f"{self._directory}: a checkpoint could not be saved: {first}"
            ) from error


def load_student(directory: epath.PathLike, like: PyTree) -> PyTree:
    """The student's variables in the newest checkpoint of a run.

    Args:
      directory: of the checkpoints.
      like: variables (arrays or `jax.ShapeDtypeStruct`) with the shapes, types and shardings
        wanted.

    Raises:
      InputError: no complete checkpoint, or one of another network.
    """
    stats = {k: v for k, v in like.items() if k != "params"}
    abstract = jax.tree.map(_abstract, {"params": like["params"], "stats": stats})
    reader = _orbax(epath.Path(directory).absolute())
    try:
        if reader.latest is None:
            raise InputError(f"{directory}: no complete checkpoint.")
        loaded = reader.load_checkpointables(None, {"student": abstract})["student"]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{directory}: the checkpoint does not hold this network: {first}"
        ) from error
    finally:
        reader.close()
    return {"params": loaded["params"], **loaded["stats"]}


def stored(directory: epath.PathLike) -> dict[str, PyTree]:
    """Metadata, with shapes, of the newest checkpoint's variables: `student` and `objective`."""
    reader = _orbax(epath.Path(directory).absolute())
    try:
        if reader.latest is None:
            raise InputError(f"{directory}: no complete checkpoint.")
        metadata = reader.checkpointables_metadata(None).metadata
    finally:
        reader.close()
    variables = lambda part: {"params": part["params"], **part["stats"]}
    return {"student": variables(metadata["student"]), "objective": variables(metadata["training"])}


def load_some(directory: epath.PathLike, like: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """The newest checkpoint's variables that `like` has: a part of `stored`, with shardings."""
    from orbax.checkpoint import v1 as ocp

    places = {"student": "student", "objective": "training"}
    abstract = {}
    for side, variables in like.items():
        stats = {k: v for k, v in variables.items() if k != "params"}
        params = {"params": variables["params"]} if "params" in variables else {}
        abstract[places[side]] = params | ({"stats": stats} if stats else {})
    loading = ocp.options.PyTreeOptions.Loading(partial_load=True)
    with ocp.Context(pytree_options=ocp.options.PyTreeOptions(loading=loading)):
        reader = _orbax(epath.Path(directory).absolute())
        try:
            loaded = reader.load_checkpointables(None, abstract)
        finally:
            reader.close()
    parts = {side: loaded[places[side]] for side in like}
    return {
        side: {k: part[k] for k in ("params",) if k in part} | part.get("stats", {})
        for side, part in parts.items()
    }


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
