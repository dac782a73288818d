"""A run before its teacher is trained: the first state and each update, traced on shapes.

What the networks and the objective refuse (features that do not pair, one member where several are
needed, a teacher that nothing learns from) is refused before hours of training of a teacher.
"""

import os
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd import build, teachers
from kd.config import ConfigDict
from kd.config.identity import same_data_settings
from kd.config.teachers import Members, groups_of, member_weights
from kd.data.base import Dataset, image_tables
from kd.data.mix import Mix
from kd.devices import precision
from kd.devices.vectorize import tree_index
from kd.init import make_init
from kd.models.peers import peers, variables_of
from kd.names import trust
from kd.runs import teacher_input
from kd.runs.networks import check_alike, facts_of, workdir_of, workdirs_of_teachers
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.teachers import kind
from kd.teachers.input_view import InputView
from kd.train import evidence, external, warm_start
from kd.train.batches import last_batch_errors, shape_errors
from kd.train.parts import augmentation, for_labels_of, make_plan, mixing
from kd.train.run_teacher import RunTeacher, Stack, combined
from kd.types import Batch, PyTree


def rehearse(config: ConfigDict, root: os.PathLike | str) -> None:
    """Traces a run, with shapes in place of the weights of its teacher.

    Nothing is traced where only training can say what the networks of the teacher are.

    Args:
      config: of the run, spelled out.
      root: directory of the runs whose config names no directory.

    Raises:
      InputError: parts do not fit together.
    """
    dataset = build.make_data(config)
    _check_start(config, root, dataset)
    teacher = _teacher(config, root, dataset)
    if teacher is None:
        return
    plan = make_plan(config, dataset)
    objective = build.make_objective(
        config.objective.to_dict(), teacher.lifted_weights, plan.steps_per_epoch, config.epochs
    )
    objective = for_labels_of(dataset, objective)
    student = build.make_model(config.student.to_dict(), dataset.num_classes)
    network = precision.network(student, config.precision)
    parts = (
        network,
        objective,
        teacher.teacher,
        build.make_tx(config, plan.steps_per_epoch),
        augmentation(config, dataset),
    )
    seen: list[evidence.Seen] = []
    init = make_init(*parts, watch=lambda view, memory: seen.append(evidence.seen(view, memory)))
    frozen = {"teacher": teacher.frozen, "tables": _tables(dataset)}
    key = jax.eval_shape(lambda: jax.random.key(0))
    mix = mixing(config, dataset)
    examples = lambda size: _batch(dataset, size, mix)
    with shape_errors("the student, its objective and its teacher do not fit together"):
        state = jax.eval_shape(init, key, frozen, examples(plan.part_size))
    for size in plan.traced_sizes:
        step = make_step(*parts, accumulate=plan.parts(size))
        step = precision.training(step, config.precision)
        with last_batch_errors(plan, size):
            jax.eval_shape(step, state, frozen, examples(size))
    start = _start(config, root)
    evidence.check(objective, seen[-1], plan.steps, teacher, state.student, config, start)


def _check_start(config: ConfigDict, root: os.PathLike | str, dataset: Dataset) -> None:
    """Raises InputError if the student starts from a run that is not trained yet, on other data."""
    workdir = workdir_of(config.init, root)
    if workdir is None or workdir.finished or not config.init.config:
        return
    first = build.load_config(config.init.config)
    if not same_data_settings(first, config):
        warm_start.check_data(config, workdir, first.to_dict(), facts_of(first), dataset)


def _start(config: ConfigDict, root: os.PathLike | str) -> dict[str, Any] | None:
    """The config of the run that the student starts from; None if there is none yet, nor any."""
    workdir = workdir_of(config.init, root)
    if workdir is not None and workdir.finished:
        return workdir.read("config.json")
    return build.load_config(config.init.config).to_dict() if config.init.config else None


def _batch(dataset: Dataset, size: int, mix: Mix | None) -> Batch:
    image = dataset.train.image
    shape = jax.ShapeDtypeStruct
    batch = {
        "image": shape((size, *image.shape[1:]), image.dtype),
        "label": shape((size,), jnp.int32),
        "index": shape((size,), jnp.int32),
        "epoch": shape((), jnp.int32),
    }
    if mix is None:
        return batch
    return jax.eval_shape(lambda batch: mix.pair(jax.random.key(0), batch), batch)


def _tables(dataset: Dataset) -> dict[str, Any]:
    """Shapes of the tables of a run, see `kd.types.View`."""
    of_classes = jax.ShapeDtypeStruct((dataset.num_classes,), jnp.int32)
    order = jax.ShapeDtypeStruct((len(dataset.train.label),), jnp.int32)
    of_images = jax.eval_shape(lambda: image_tables(dataset))
    updates = jax.ShapeDtypeStruct((), jnp.int32)
    of_labels = {"order": order, "start": of_classes, "count": of_classes}
    return of_labels | of_images | {"updates": updates}


def _teacher(config: ConfigDict, root: os.PathLike | str, dataset: Dataset) -> RunTeacher | None:
    """The teacher of one student, its arrays being shapes; None if only its run can tell."""
    teacher_kind = kind.find(config.teacher.name)
    student = build.make_model(config.student.to_dict(), dataset.num_classes)
    network = precision.network(student, config.precision)
    groups = groups_of(config.teacher)
    loaded = None
    if groups:
        pairs = zip(groups, workdirs_of_teachers(config, root), strict=True)
        stacks = [_members(config, group, workdir, dataset) for group, workdir in pairs]
        if any(stack is None for stack in stacks):
            return None
        loaded = _reduced(config, groups, [stack for stack in stacks if stack], dataset)
    elif loaded := external.load(config, dataset):
        loaded = external.of_one_student(loaded)
    context = kind.Context(network, dataset.num_classes, loaded.teacher if loaded else None)
    teacher = teacher_kind(context, **teacher_kind.settings(config.teacher.to_dict()))
    loaded = loaded or RunTeacher(teacher, ())
    return loaded._replace(teacher=teacher, student_variables=teacher_kind.student_variables)


def _reduced(
    config: ConfigDict,
    groups: Sequence[Members],
    members: Sequence[tuple[nn.Module, PyTree]],
    dataset: Dataset,
) -> RunTeacher:
    """The teacher of one student, as `kd.train.teacher.make_teacher` combines its members."""
    stacks = tuple(Stack(model, variables, "vmap") for model, variables in members)
    sizes = [jax.tree.leaves(stack.variables)[0].shape[0] for stack in stacks]
    if config.teacher.cache:
        n, c = len(dataset.train.label), dataset.num_classes
        logits = lambda m: {"logits": jax.ShapeDtypeStruct((m, 1, n, c), jnp.float32)}
        frozen, singles = [logits(m) for m in sizes], [teachers.cached(c) for _ in stacks]
    else:
        networks = [precision.network(stack.model, config.precision) for stack in stacks]
        frozen = [stack.variables for stack in stacks]
        singles = [teachers.frozen(network) for network in networks]
    paired = config.teacher.members == "paired"
    run_teacher = RunTeacher(
        singles[0],
        tuple(frozen),
        stacks,
        tuple(member_weights(groups, sizes)),
        paired=paired,
        reduce=config.teacher.reduce,
    )
    run_teacher = combined(run_teacher, singles, sizes)
    if len(stacks) > 1:
        return run_teacher
    if not paired and sum(sizes) > 1:
        return run_teacher._replace(frozen=frozen[0])
    first = jax.eval_shape(lambda tree: tree_index(tree, 0), frozen[0])
    return run_teacher._replace(frozen=first)


def _members(
    config: ConfigDict, group: Members, workdir: Workdir, dataset: Dataset
) -> tuple[nn.Module, PyTree] | None:
    """The network of a group's members, and the shapes of their variables, [m, ...]."""
    section, what = config.teacher.get("input"), f"the teacher in {workdir}"
    if workdir.finished:
        result = workdir.read("result.json")
        view = teacher_input.fitting_view(section, result, dataset, what)
        with trust.stored(workdir):
            model = build.make_model(workdir.read("config.json")["student"], dataset.num_classes)
            return _stacked(model, len(result["seeds"]), group, workdir, dataset, view)
    if not group.config:
        return None
    trained, view = build.load_config(group.config), None
    if section is not None or not same_data_settings(trained, config):
        view = teacher_input.fitting_view(section, facts_of(trained), dataset, what)
    model = build.make_model(trained.student.to_dict(), dataset.num_classes)
    return _stacked(model, trained.seeds, group, workdir, dataset, view)


def _stacked(
    model: nn.Module,
    seeds: int,
    group: Members,
    workdir: Workdir,
    dataset: Dataset,
    view: InputView | None,
) -> tuple[nn.Module, PyTree]:
    models = peers(model) * seeds
    chosen = group.indices(len(models), workdir)
    check_alike(models, chosen, group, workdir)
    first, shape = chosen[0] % len(peers(model)), tuple(dataset.train.image.shape[1:])
    image = jax.ShapeDtypeStruct((1, *(view.shape_of(shape) if view else shape)), jnp.float32)

    def variables(image: jax.Array) -> PyTree:
        return variables_of(model, model.init(jax.random.key(0), image), first)

    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(chosen), *x.shape), x.dtype),
        jax.eval_shape(variables, image),
    )
    return teacher_input.viewed(models[chosen[0]], view), stacked
