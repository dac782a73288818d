"""All that a run needs before it starts, made from its config: parts that fit, arrays on the
devices, programs.
"""

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Sharding

from kd import build, optim
from kd.config import ConfigDict
from kd.data.augment import make_augment
from kd.data.base import Dataset, class_tables
from kd.data.pictures import Pictures
from kd.devices import mesh as sharding
from kd.devices import precision
from kd.devices.vectorize import fastest, loops_are_slow, pick
from kd.errors import InputError
from kd.export import requirements
from kd.init import make_init
from kd.runs.environment import git_commit
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.train import checks, placement, warm_start
from kd.train.alternating import in_turns
from kd.train.evaluation import Evaluation, make_evaluation
from kd.train.plan import Plan
from kd.train.program import make_order, make_update, make_updates, seed_keys, trace
from kd.train.streaming import Batches
from kd.train.teacher import RunTeacher, Stack, make_teacher
from kd.train.warm_start import Start, make_start
from kd.types import Augment, Batch, DistillState, PyTree


def check_parts(config: ConfigDict) -> None:
    """Makes the parts that need no teacher, and forgets them. Raises InputError where one cannot
    be.
    """
    dataset = build.make_data(config)
    plan = make_plan(config, dataset)
    placement.make_mesh(config)
    if isinstance(dataset.train.image, Pictures):
        placement.check_streamed(config)
    checks.check_views(config)
    checks.check_length(config)
    checks.check_batches(config, plan)
    _augment(config, dataset)
    student = build.make_model(config.student.to_dict(), dataset.num_classes)
    precision.network(student, config.precision)
    tx = build.make_tx(config, plan.steps_per_epoch)
    image = jax.ShapeDtypeStruct((2, *dataset.train.image.shape[1:]), jnp.float32)
    what = (
        f"config.student {config.student.to_dict()} cannot be built for images "
        f"{list(image.shape[1:])}"
    )
    with _told(what):
        init = lambda x: student.init(jax.random.key(0), x, train=False)
        variables = jax.eval_shape(init, image)
        jax.eval_shape(tx.init, variables["params"])
    warm_start.check(config, variables, image, dataset.num_classes)
    if config.export:
        requirements.require("tflite", f"config.export = {config.export!r}")
        from kd.export import run_end

        run_end.check(config, dataset, student)


def make_plan(config: ConfigDict, dataset: Dataset) -> Plan:
    """The grid of dispatches."""
    return Plan(
        len(dataset.train.label),
        config.batch_size,
        config.epochs,
        config.steps_per_call,
        config.drop_last,
    )


def _augment(config: ConfigDict, dataset: Dataset) -> Augment:
    """What the networks see of the raw images in training, tried on the shape of one."""
    image = dataset.train.image
    example = jax.ShapeDtypeStruct(image.shape[1:], image.dtype)
    unit = dataset.mean, dataset.std
    window = config.teacher.cache_window
    return make_augment(config.augment, *unit, example, config.second_view, window)


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that a run needs before it starts: parts, arrays on the devices, programs. Making it
    writes nothing.
    """

    config: ConfigDict
    dataset: Dataset
    plan: Plan
    student: nn.Module
    taught: RunTeacher
    start: Start
    place: Sharding  # of the states
    how: str  # over seeds
    inputs: tuple[PyTree, dict[str, jax.Array]]  # frozen, data
    keys: jax.Array  # [s]
    init: Callable[[], DistillState]
    shapes: DistillState  # of the state, abstract
    order: Callable[[jax.Array], jax.Array]  # epoch [] -> [s, n]
    updates: Mapping[int, Callable]
    evaluation: Evaluation
    close: Callable[[], None]  # ends what decodes pictures, once training is over
    commit: str | None  # of the code that was loaded: a working tree may move on while a run trains

    @property
    def split(self) -> str:
        """Name of the evaluated split."""
        return "validation" if self.config.holdout else "test"


def set_up(
    config: ConfigDict, teachers: Sequence[Workdir] = (), first: Workdir | None = None
) -> Setup:
    """The setup of a run. Raises InputError where parts do not fit.

    Args:
      config: of the run.
      teachers: the finished runs of its teachers, one for each group.
      first: the finished run that its students start from.
    """
    dataset = build.make_data(config)
    mesh = placement.make_mesh(config)
    place, states = sharding.everywhere(mesh), placement.place_of_states(config, mesh)
    plan = make_plan(config, dataset)
    taught = make_teacher(config, teachers, dataset, mesh)
    student = build.make_model(config.student.to_dict(), dataset.num_classes)
    objective = build.make_objective(
        config.objective.to_dict(), taught.lifted_weights, plan.steps_per_epoch, config.epochs
    )
    tx = build.make_tx(config, plan.steps_per_epoch)
    augment = _augment(config, dataset)
    tables = class_tables(dataset.train.label, dataset.num_classes)
    tables, label, keys = sharding.put(
        (tables, dataset.train.label, seed_keys(config.seed, config.seeds)), place
    )
    frozen = {"teacher": taught.frozen, "tables": tables}
    image, batches = dataset.train.image, None
    if isinstance(image, Pictures):
        seeds = range(config.seed, config.seed + config.seeds)
        split = partial(sharding.pictures, mesh)
        window = config.teacher.cache_window
        batches = Batches(image, seeds, plan, place, split, window)
        # Initial weights and statistics see the first examples, as they do of any set.
        shown = sharding.put(image.centered(range(plan.batch_sizes[0])), place)
        data, initial = {"label": label}, {"image": shown, "label": label}
        order = batches.order
    else:
        data = initial = {"image": sharding.put(image, place), "label": label}
        compiled = jax.jit(make_order(plan.examples), out_shardings=states)
        order = lambda epoch: compiled(keys, epoch)
    trainee = precision.network(student, config.precision)
    made = make_init(trainee, objective, taught.teacher, tx, augment)
    begin = jax.jit(_init_all(made, plan, taught.per_student), out_shardings=states)
    shapes = jax.eval_shape(begin, keys, frozen, initial, {})
    optim.check_decay(config.optimizer.to_dict(), shapes.params)
    given = make_start(config, first, dataset, shapes, place)
    how, loop = _ways(config, student, taught, shapes, dataset)
    updates = {}
    for size in plan.batch_sizes:
        way = placement.choose(config, mesh, size, taught.spread, taught.per_student)
        view = _placed(augment, way.seen)
        made = trainee, objective, taught.teacher, tx, view
        step = make_step(*made, split=way.split, axis_name=way.axis_name)
        step = precision.training(step, config.precision)
        step = in_turns(step, student, taught.teacher)
        update = make_update(step, size, how, taught.per_student, way.place)
        updates[size] = make_updates(
            update,
            size,
            plan.steps_per_call,
            loop,
            way.compile,
            batches.pictures if batches else None,
        )
    for size in plan.batch_sizes[1:]:
        pictures = (config.seeds, size, *image.shape[1:])
        shown = jax.ShapeDtypeStruct(pictures, jnp.uint8)
        seen = data | ({"pictures": shown} if batches else {})
        places = jax.ShapeDtypeStruct((config.seeds, plan.examples), jnp.int32)
        _check_tail(size, plan, updates[size], shapes, frozen, seen, places)
    return Setup(
        config=config,
        dataset=dataset,
        plan=plan,
        student=student,
        taught=taught,
        start=given,
        place=states,
        how=how,
        inputs=(frozen, data),
        keys=keys,
        init=lambda: begin(keys, frozen, initial, sharding.put(given.variables, states)),
        shapes=shapes,
        order=order,
        updates=updates,
        evaluation=make_evaluation(config, dataset, student, taught, how, mesh),
        close=batches.close if batches else lambda: None,
        commit=git_commit(),
    )


def _check_tail(size: int, plan: Plan, updates: Callable, *shapes: PyTree) -> None:
    """Raises InputError where the short last batch cannot be trained on: a run is told so before it
    begins, not after an epoch.
    """
    what = (
        f"the last batch of an epoch has {size} examples in place of {plan.batch_size} and cannot "
        "be trained on. Leave it out, config.drop_last = True, or take another config.batch_size. "
        "What it fails with"
    )
    with _told(what):
        trace(updates, *shapes)


@contextmanager
def _told(what: str) -> Generator[None]:
    """What jax or a module says of shapes that do not fit, as an InputError: these words and its
    first line.
    """
    try:
        yield
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{what}: {first}") from error


def _placed(augment: Augment, place: Callable[[Batch], Batch]) -> Augment:
    """`augment` whose result, too, is where `place` says: else the compiler splits it further and
    gathers it again.
    """
    return lambda key, batch: place(augment(key, batch))


def _init_all(init: Callable, plan: Plan, paired: bool) -> Callable:
    """`init` for all seeds, on the first examples: (keys [s], frozen, data, given [s]) -> states
    [s].
    """

    def start(keys: jax.Array, frozen: PyTree, data: PyTree, given: PyTree) -> DistillState:
        size = plan.batch_sizes[0]
        batch = {name: values[:size] for name, values in data.items()}
        batch |= {"index": jnp.arange(size), "epoch": jnp.zeros((), jnp.int32)}

        def one(key: jax.Array, teacher: PyTree, given: PyTree) -> DistillState:
            frozen_of_one = {"teacher": teacher, "tables": frozen["tables"]}
            return init(key, frozen_of_one, batch, given)

        axes = (0, 0 if paired else None, 0)
        return jax.vmap(one, axes)(keys, frozen["teacher"], given)

    return start


def _ways(
    config: ConfigDict,
    student: nn.Module,
    taught: RunTeacher,
    shapes: DistillState,
    dataset: Dataset,
) -> tuple[str, str]:
    """How to go over the seeds, and where to loop over updates: as the config says, or what is
    fastest here.
    """
    shape = (1, *dataset.train.image.shape[1:])
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), shapes.student)
    forward = lambda v, x: student.apply(v, x, train=False)
    how, loop = config.seeds_how, config.loop
    if how == "auto":
        how = fastest(forward, one, image)
    if isinstance(dataset.train.image, Pictures):
        return how, "host"
    if loop == "auto":
        asked = not config.teacher.cache and _teachers_convolve(taught, image)
        slow = loops_are_slow(forward, one, image) or asked
        loop = "host" if slow else "device"
    return how, loop


def _teachers_convolve(taught: RunTeacher, image: jax.ShapeDtypeStruct) -> bool:
    """Whether one of them does, on a CPU."""

    def slow(group: Stack) -> bool:
        forward = lambda v, x: group.model.apply(v, x, train=False)
        one = jax.eval_shape(lambda members: pick(members, 0), group.variables)
        return loops_are_slow(forward, one, image)

    return any(slow(group) for group in taught.stacks)
