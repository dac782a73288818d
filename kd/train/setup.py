"""Everything that a training needs before its first step: arrays on the devices, compiled steps."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, Sharding

from kd import optim
from kd.config import ConfigDict
from kd.convolutions.lowering import compiled_by
from kd.data.base import class_tables, image_tables
from kd.data.pictures import Pictures
from kd.devices import mesh as sharding
from kd.devices import precision
from kd.init import make_init
from kd.ranges import check_fields
from kd.runs.environment import git_commit
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.train import evidence, freezing, placement, sampling
from kd.train.alternating import alternate
from kd.train.batches import last_batch_errors
from kd.train.checks import warned
from kd.train.choices import Choices, choose
from kd.train.evaluation import Evaluation, make_evaluation
from kd.train.label_needs import check_classes, check_labels, check_mix, needs_of
from kd.train.parts import Parts, for_labels_of, make_parts, make_plan
from kd.train.plan import Plan
from kd.train.program import (
    make_init_all,
    make_order,
    make_update,
    make_updates,
    seed_keys,
    trace,
)
from kd.train.streaming import Batches, shuffled
from kd.train.warm_start import Start, make_start
from kd.types import Augment, Batch, DistillState, PyTree


@dataclasses.dataclass(frozen=True)
class Setup:
    """A training that is ready to start. Making one writes no file."""

    config: ConfigDict
    parts: Parts
    plan: Plan
    start: Start
    state_sharding: Sharding
    seeds_how: str  # vmap, map or unroll over the seeds
    convolutions: str  # of the run's programs: xla or onednn
    inputs: tuple[PyTree, dict[str, jax.Array]]  # frozen, data
    init: Callable[[], DistillState]
    shapes: DistillState  # of the state, abstract
    order: Callable[[jax.Array], jax.Array]  # epoch [] -> example indices [s, n]
    updates: Mapping[int, Callable]  # by batch size, see `kd.train.program.make_updates`
    evaluation: Evaluation
    close: Callable[[], None]  # stops the decoding of pictures once training has ended
    commit: str | None  # of the code that was imported: the working tree may change during a run

    @property
    def split(self) -> str:
        """Name of the evaluated split."""
        return "validation" if self.config.holdout else "test"


def prepare(config: ConfigDict, *teachers: Workdir, start: Workdir | None = None) -> Setup:
    """The setup of a config, its parts included.

    Args:
      config: of the run, spelled out.
      teachers: directories of the finished runs of its teachers, one for each group.
      start: directory of the finished run whose variables the students start with.

    Raises:
      InputError: a part cannot be built, or parts do not fit together.
    """
    mesh = placement.make_mesh(config)
    return set_up(config, make_parts(config, teachers, mesh), mesh, start)


def set_up(config: ConfigDict, parts: Parts, mesh: Mesh, start: Workdir | None = None) -> Setup:
    """The setup of given parts.

    Args:
      config: seeds, lengths, sizes and devices of the run; `parts` replace what it names.
      parts: see `Parts`.
      mesh: from `kd.train.placement.make_mesh`.
      start: see `prepare`.

    Raises:
      InputError: parts do not fit together.
    """
    check_fields(parts.student, "student")
    check_fields(parts.objective, "objective")
    teacher = parts.teacher
    check_labels(parts.objective, parts.dataset, teacher.reduce)
    check_classes(parts.objective, parts.dataset)
    if parts.mix:
        check_mix(config, parts.objective, parts.dataset, teacher.reduce)
    sampling.check(parts.sampling, config, parts.dataset, needs_of(parts.objective))
    parts = dataclasses.replace(parts, objective=for_labels_of(parts.dataset, parts.objective))
    dataset = parts.dataset
    replicated = sharding.replicated(mesh)
    state_sharding = placement.place_of_states(config, mesh)
    plan = make_plan(config, dataset)
    inputs = _put_inputs(config, parts, plan, mesh)
    network = precision.network(parts.student, config.precision)
    seen: list[evidence.Seen] = []
    init = make_init(
        network,
        parts.objective,
        teacher.teacher,
        parts.optimizer,
        parts.augment,
        watch=lambda view, variables: seen.append(evidence.seen(view, variables)),
    )
    init_all = make_init_all(init, plan.part_size, teacher.per_student, parts.mix)
    init_all = jax.jit(init_all, out_shardings=state_sharding)
    shapes = jax.eval_shape(init_all, inputs.keys, inputs.frozen, inputs.first_examples, {})
    optim.check_decay(config.optimizer.to_dict(), shapes.params)
    freezing.check(config, shapes)
    warm = make_start(config, start, dataset, shapes, replicated, parts.student)
    choices = choose(config, parts.student, teacher, shapes, dataset, mesh)
    updates = {
        size: _make_updates(config, parts, plan, mesh, size, choices, inputs.pictures)
        for size in plan.batch_sizes
    }
    for size in plan.traced_sizes:
        _check_last_batch(size, config, plan, updates[size], shapes, inputs, mesh)
    first = start.read("config.json") if start else None
    evidence.check(parts.objective, seen[-1], plan.steps, teacher, shapes.student, config, first)
    return Setup(
        config=config,
        parts=parts,
        plan=plan,
        start=warm,
        state_sharding=state_sharding,
        seeds_how=choices.how,
        convolutions=choices.convolutions,
        inputs=(inputs.frozen, inputs.data),
        init=lambda: warned(
            init_all(
                inputs.keys,
                inputs.frozen,
                inputs.first_examples,
                sharding.to_devices(warm.variables, state_sharding),
            ),
            parts.student,
            dataset,
            inputs.first_examples["image"],
            plan.part_size,
            replicated,
        ),
        shapes=shapes,
        order=inputs.order,
        updates=updates,
        evaluation=make_evaluation(config, dataset, parts.student, teacher, choices, mesh),
        close=inputs.close,
        commit=git_commit(),
    )


class _Inputs(NamedTuple):
    """Arrays of a run on its devices."""

    keys: jax.Array  # [s]
    frozen: PyTree  # the teacher's weights and the tables, as `kd.step` takes them
    data: dict[str, jax.Array]
    first_examples: dict[str, jax.Array]  # image and label, for shapes and initial statistics
    order: Callable[[jax.Array], jax.Array]
    pictures: Callable[[int, int], jax.Array] | None  # of a batch, where images are streamed
    close: Callable[[], None]


def _put_inputs(config: ConfigDict, parts: Parts, plan: Plan, mesh: Mesh) -> _Inputs:
    """Puts the training set on the devices, or starts the decoding of its pictures."""
    replicated = sharding.replicated(mesh)
    image, label = parts.dataset.train
    tables = class_tables(label, parts.dataset.num_classes) | image_tables(parts.dataset)
    tables["updates"] = np.array(plan.steps_per_epoch, np.int32)
    keys = seed_keys(config.seed, config.seeds)
    tables, label, keys = sharding.to_devices((tables, label, keys), replicated)
    frozen = {"teacher": parts.teacher.frozen, "tables": tables}
    balanced = parts.sampling == sampling.BALANCED
    if isinstance(image, Pictures):
        batches = Batches(
            image,
            range(config.seed, config.seed + config.seeds),
            plan,
            replicated,
            partial(sharding.image_sharding, mesh),
            config.teacher.cache_window,
            _streamed_order(parts, config.repeats),
        )
        # As with any other data set, the first examples set the initial statistics.
        first = sharding.to_devices(image.centered(range(plan.batch_sizes[0])), replicated)
        first_examples = {"image": first, "label": label}
        return _Inputs(
            keys,
            frozen,
            {"label": label},
            first_examples,
            batches.order,
            batches.pictures,
            batches.close,
        )
    data = {"image": sharding.to_devices(image, replicated), "label": label}
    order = (
        sampling.make_order(parts.dataset.train.label) if balanced else make_order(plan.examples)
    )
    order = sampling.repeated(order, config.repeats)
    order = jax.jit(order, out_shardings=placement.place_of_states(config, mesh))
    return _Inputs(keys, frozen, data, data, lambda epoch: order(keys, epoch), None, lambda: None)


def _streamed_order(parts: Parts, repeats: int) -> Callable | None:
    """(seed, epoch) -> the order of streamed pictures; None for the usual one."""
    label = parts.dataset.train.label
    if parts.sampling == sampling.BALANCED:
        return sampling.Streamed(label)
    return sampling.repeated(partial(shuffled, n=len(label)), repeats) if repeats > 1 else None


def _make_updates(
    config: ConfigDict,
    parts: Parts,
    plan: Plan,
    mesh: Mesh,
    size: int,
    choices: Choices,
    pictures: Callable[[int, int], jax.Array] | None,
) -> Callable:
    """The compiled updates for batches of `size` examples."""
    teacher = parts.teacher
    parts_of_batch = plan.parts(size)
    place = placement.choose(
        config, mesh, size, teacher.spread, teacher.per_student, parts_of_batch
    )
    step = make_step(
        precision.network(parts.student, config.precision),
        parts.objective,
        teacher.teacher,
        parts.optimizer,
        _then(parts.augment, place.augmented),
        split=place.student,
        axis_name=place.axis_name,
        accumulate=parts_of_batch,
        unroll=choices.unroll,
    )
    step = precision.training(step, config.precision)
    step = alternate(step, parts.student, teacher.teacher)
    step = freezing.freeze(step, config.init.freeze, teacher.teacher)
    repeats = parts.sampling == sampling.BALANCED or config.repeats > 1
    per_student = teacher.per_student
    update = make_update(step, size, choices.how, per_student, place.read, repeats, parts.mix)
    compile = lambda f: compiled_by(choices.convolutions, place.compile(f))
    return make_updates(update, size, plan.steps_per_call, choices.loop, compile, pictures)


def _check_last_batch(
    size: int,
    config: ConfigDict,
    plan: Plan,
    updates: Callable,
    shapes: DistillState,
    inputs: _Inputs,
    mesh: Mesh,
) -> None:
    """Raises InputError if the short last batch cannot be trained on, before the run begins."""
    data: dict = dict(inputs.data)
    if inputs.pictures:
        shape = (config.seeds, size, *inputs.first_examples["image"].shape[1:])
        place = sharding.image_sharding(mesh, size)
        data["pictures"] = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=place)
    order = jax.ShapeDtypeStruct((config.seeds, plan.examples), jnp.int32)
    place = placement.place_of_states(config, mesh)
    states, order = sharding.shapes_on((shapes, order), place)
    with last_batch_errors(plan, size):
        trace(updates, states, inputs.frozen, data, order)


def _then(augment: Augment, place: Callable[[Batch], Batch]) -> Augment:
    """`augment` with a sharding constraint on its result.

    Without it the compiler splits the result further and gathers it again.
    """
    return lambda key, batch: place(augment(key, batch))
