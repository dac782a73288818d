"""Checkpoints of a run by orbax: asynchronous, atomic, restored onto any number of devices.

The student's variables are a separate part, so that another run can load only them. The teacher's
weights never change and are not saved. The metadata hold a digest of every array, which is compared
whenever the array is loaded; checkpoints of earlier versions have none. Only this module imports
orbax, whose v1 API still changes.
"""

import contextlib
import dataclasses
import functools
import logging
import sys
from collections.abc import Callable, Generator, Mapping
from typing import Any

import jax
from etils import epath

from kd.devices import processes
from kd.errors import InputError, RunError
from kd.files.escaping import message
from kd.files.writing import refusals
from kd.runs import buckets, digests
from kd.runs.verified import DIGESTS, Damaged, load
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


@functools.cache
def _silence_late_writers() -> None:
    """Keeps a failed save to one line: threads that go on writing its other arrays each print a
    traceback, since the event loop that they report to is closed by then.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not (kind is RuntimeError and str(error) == "Event loop is closed"):
            before(kind, error, trace)

    sys.excepthook = hook


def _orbax(directory: epath.Path, **options: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    _silence_late_writers()
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # it logs every file
    return ocp.training.Checkpointer(directory, **options)


class Checkpoints:
    """The checkpoints of one run.

    A save that a kill interrupts leaves a temporary directory, which is never read. Two or more are
    kept, so that a run whose newest is damaged goes on from the one before; `prune` removes all but
    `keep` once the run has ended.

    Args:
      directory: of the checkpoints.
      keep: how many `prune` leaves.
      check: called before anything is written; it raises if another process has taken over.
    """

    def __init__(
        self, directory: epath.PathLike, keep: int = 1, check: Callable[[], None] = lambda: None
    ):
        from orbax.checkpoint import v1 as ocp

        training = ocp.training
        self._directory = directory
        self._keep, self._check = keep, check
        self._orbax = _orbax(
            buckets.absolute(directory),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=training.preservation_policies.LatestN(max(keep, 2)),
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
        self._check()
        parts = _parts(state)
        metadata = {"step": step, DIGESTS: digests.of(parts)}
        with self._one_line():
            # A process that took over may meet a checkpoint that the earlier one finished late.
            self._orbax.save_checkpointables_async(
                step, parts, overwrite=True, custom_metadata=metadata
            )

    def restore(self, like: DistillState) -> DistillState:
        """The newest state that is not damaged, with the shapes, types and shardings of `like`.

        Damaged ones that are newer are put aside, as `damaged-STEP`, and a line is printed.

        Args:
          like: its leaves are arrays or `jax.ShapeDtypeStruct`.

        Raises:
          InputError: all are damaged, or of another network.
        """
        abstract = jax.tree.map(_abstract, _parts(like))
        damaged: list[tuple[int, InputError]] = []
        for step in sorted(checkpoint.step for checkpoint in self._orbax.checkpoints)[::-1]:
            state, refusal = None, None
            try:
                state = _join(load(self._orbax, step, abstract), like)
            except InputError as error:
                refusal = error
            (failed,) = processes.any_of(refusal is not None)
            if state is not None and not failed:
                self._put_aside(damaged, step)
                return state
            damaged.append((step, refusal or Damaged(f"step {step} is damaged")))
        first = damaged[0][1] if damaged else f"{self._orbax.directory}: no complete checkpoint."
        raise InputError(
            f"{first} No earlier checkpoint can take its place. Bring it back, or remove "
            f"{self._orbax.directory.parent}, to train anew."
        )

    def _put_aside(self, damaged: list[tuple[int, InputError]], step: int) -> None:
        """Renames damaged checkpoints, so that later saves and restores do not meet them."""
        directory = epath.Path(self._orbax.directory)
        for number, error in damaged:
            aside = directory / f"damaged-{number}"

            def rename(number: int = number, aside: epath.Path = aside) -> None:
                self._check()
                if aside.exists():
                    aside.rmtree()
                (directory / str(number)).rename(aside)

            processes.write(rename)
            if processes.is_writer():
                line = message(f"{error} Going on from step {step}.")
                print(line, file=sys.stderr, flush=True)
        if damaged:
            self._orbax.reload()

    def prune(self) -> None:
        """Waits, then removes all but the newest checkpoints, as many as are to be kept."""
        self.wait()
        self._check()
        with self._one_line():
            for checkpoint in self._orbax.checkpoints[: -self._keep]:
                self._orbax.delete(checkpoint.step)

    def wait(self) -> None:
        """Returns when all saves are on disk."""
        with self._one_line():
            self._orbax.wait()

    def close(self) -> None:
        """Waits, then releases the directory; not if another process has taken it over."""
        self._check()
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
      InputError: no complete checkpoint, a damaged one, or one of another network.
    """
    stats = {k: v for k, v in like.items() if k != "params"}
    abstract = jax.tree.map(_abstract, {"params": like["params"], "stats": stats})
    loaded = _load_newest(directory, {"student": abstract})["student"]
    return {"params": loaded["params"], **loaded["stats"]}


def _load_newest(directory: epath.PathLike, abstract: dict[str, PyTree]) -> dict[str, PyTree]:
    reader = _orbax(buckets.absolute(directory))
    try:
        return load(reader, _newest(reader, directory), abstract)
    finally:
        reader.close()


def _newest(reader: Any, directory: epath.PathLike) -> int:
    if reader.latest is None:
        raise InputError(f"{directory}: no complete checkpoint.")
    return reader.latest.step


def stored(directory: epath.PathLike) -> dict[str, PyTree]:
    """Metadata, with shapes, of the newest checkpoint's variables: `student` and `objective`."""
    reader = _orbax(buckets.absolute(directory))
    try:
        step = _newest(reader, directory)
        metadata = reader.checkpointables_metadata(step).metadata
        student, training = metadata["student"], metadata["training"]
    except InputError:
        raise
    except Exception as error:  # whatever damage makes parsers do, the file is at fault
        name = type(error).__name__
        raise Damaged(
            f"{directory}: the metadata of the checkpoint are damaged ({name})."
        ) from error
    finally:
        reader.close()
    variables = lambda part: {"params": part["params"], **part["stats"]}
    return {"student": variables(student), "objective": variables(training)}


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
        loaded = _load_newest(directory, abstract)
    parts = {side: loaded[places[side]] for side in like}
    return {
        side: {k: part[k] for k in ("params",) if k in part} | part.get("stats", {})
        for side, part in parts.items()
    }


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
