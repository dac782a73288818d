"""Parts of a student that are not trained: `config.init.freeze`, as for a linear probe."""

import dataclasses
import re
from collections.abc import Callable

import jax

from kd.config import ConfigDict
from kd.errors import InputError
from kd.step import Step
from kd.types import Batch, DistillState, PyTree, Teacher


def freeze(step: Step, pattern: str, teacher: Teacher) -> Step:
    """The step that keeps what matches the pattern as it is: parameters, and BatchNorm's averages.

    In training, layers that are kept see the batch as others do: dropout drops, and BatchNorm
    normalises by the moments of the batch. An optimizer's `clip_norm` is of the gradient of all
    parameters, of those that are kept, too.

    Args:
      step: from `kd.step.make_step`.
      pattern: regular expression of paths such as `student/layer1/kernel`; "": nothing is kept.
      teacher: of the step.
    """
    if not pattern:
        return step
    is_kept = _matcher(pattern)

    def update(
        state: DistillState, frozen: PyTree, batch: Batch
    ) -> tuple[DistillState, dict[str, jax.Array]]:
        new, metrics = step(state, frozen, batch)
        leaf = lambda path, before, after: before if is_kept(path) else after
        merged = [
            jax.tree_util.tree_map_with_path(leaf, before, after)
            for before, after in ((state.params, new.params), (state.stats, new.stats))
        ]
        new = dataclasses.replace(new, params=merged[0], stats=merged[1])
        return dataclasses.replace(new, teacher=teacher.update(state.teacher, new.student)), metrics

    return update


def check(config: ConfigDict, state: DistillState) -> None:
    """Raises InputError for a pattern that matches no parameter, or all of them.

    Args:
      config: of the run.
      state: its shapes.
    """
    pattern = config.init.freeze
    if not pattern:
        return
    is_kept = _matcher(pattern)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state.params)]
    kept = [is_kept(path) for path in paths]
    if any(kept) and not all(kept):
        return
    some = ", ".join(_name(path) for path in paths[:4])
    raise InputError(
        f"config.init.freeze = {pattern!r} matches {'every' if any(kept) else 'no'} parameter "
        f"({some}, ...). Give a regular expression of those that stay as they are."
    )


def _matcher(pattern: str) -> Callable[[tuple], bool]:
    compiled = re.compile(pattern)
    return lambda path: compiled.search(_name(path)) is not None


def _name(path: tuple) -> str:
    """Such as `student/layer1/kernel`, also in collections such as `batch_stats`."""
    keys = [str(entry.key) for entry in path if isinstance(entry, jax.tree_util.DictKey)]
    collections = ("batch_stats",)
    return "/".join(key for i, key in enumerate(keys) if not (i == 1 and key in collections))
