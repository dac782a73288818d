"""Builds a run's teacher: loads and shards members of finished runs, or their cached logits."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd import teachers
from kd.build import make_model
from kd.config import ConfigDict
from kd.config.teachers import groups_of, member_weights
from kd.convolutions.lowering import compiled_by
from kd.data.base import Dataset
from kd.devices import precision, processes
from kd.devices.mesh import replicated, to_devices
from kd.devices.vectorize import map_stacked, tree_index
from kd.files import escaping
from kd.runs import teacher_input
from kd.runs.lineage import WEIGHTS, weights_of
from kd.runs.networks import load_networks, weights_hash
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.teachers import kind
from kd.teachers.input_view import InputView
from kd.train import cache, convolving, external
from kd.train.members import check_sizes, place_members
from kd.train.run_teacher import RunTeacher, Stack, by_group, combined
from kd.types import PyTree


def make_teacher(
    config: ConfigDict, workdirs: Sequence[Workdir], dataset: Dataset, mesh: Mesh
) -> RunTeacher:
    """The teacher that the config describes.

    Args:
      config: of the run.
      workdirs: the finished runs of the teacher's networks, one for each group.
      dataset: of the run.
      mesh: its devices.

    Raises:
      InputError: members that do not exist or do not divide among devices, pairs that do not match
        the seeds, other classes, inputs or normalisation than the data's, weights that do not fit,
        a file of logits that is not of the data.
    """
    teacher_kind = kind.find(config.teacher.name)
    student = make_model(config.student.to_dict(), dataset.num_classes)
    network = precision.network(student, config.precision)
    if workdirs:
        loaded = _load(config, workdirs, dataset, mesh)
    else:
        loaded = external.load(config, dataset, mesh)
    context = kind.Context(network, dataset.num_classes, loaded.teacher if loaded else None)
    teacher = teacher_kind(context, **teacher_kind.settings(config.teacher.to_dict()))
    run_teacher = loaded or RunTeacher(teacher, ())
    return run_teacher._replace(teacher=teacher, student_variables=teacher_kind.student_variables)


def _load(
    config: ConfigDict, workdirs: Sequence[Workdir], dataset: Dataset, mesh: Mesh
) -> RunTeacher:
    """The teacher of the networks of finished runs."""
    section, on_all = config.teacher, replicated(mesh)
    groups = groups_of(section)
    views = [_view(config, workdir, dataset) for workdir in workdirs]
    trained = [load_networks(w, on_all, group) for group, w in zip(groups, workdirs, strict=True)]
    sizes = [len(networks.members) for networks in trained]
    check_sizes(config, workdirs[0], sizes)
    weights = member_weights(groups, sizes)
    place, spread = place_members(config, groups, sizes, mesh)
    stacks, records = [], []
    for networks, workdir, view in zip(trained, workdirs, views, strict=True):
        records.append(
            {
                "run": str(workdir),
                "members": networks.members,
                "weights": weights_hash(networks.variables),
                WEIGHTS: weights_of(workdir),
                **({"input": view.record()} if view else {}),
            }
        )
        shape, model = dataset.train.image.shape[1:], networks.model
        if view:
            model = teacher_input.viewed(model, view)
            one = jax.eval_shape(lambda tree: tree_index(tree, 0), networks.variables)
            teacher_input.check(model, one, shape, view, f"the teacher in {workdir}")
        how = convolving.over_members(config, mesh, model, networks.variables, shape)
        variables = to_devices(networks.variables, place)
        stacks.append(Stack(model, variables, how, spread))
    if section.cache:
        frozen = _cached(config, stacks, records, dataset, place, mesh)
        singles = [teachers.cached(dataset.num_classes) for _ in stacks]
    else:
        frozen = [stack.variables for stack in stacks]
        singles = [
            teachers.frozen(precision.network(stack.model, config.precision)) for stack in stacks
        ]
    paired = section.members == "paired"
    run_teacher = RunTeacher(
        singles[0],
        tuple(frozen),
        tuple(stacks),
        tuple(weights),
        paired=paired,
        per_student=paired or cache.per_seed(config),
        origin=_origin(records, weights),
        reduce=section.reduce,
        external=any(views),
    )
    run_teacher = combined(run_teacher, singles, sizes)
    if len(stacks) > 1:
        return run_teacher
    if paired or sum(sizes) > 1:
        return run_teacher._replace(frozen=frozen[0])
    first = (slice(None), 0) if run_teacher.per_student else 0
    return run_teacher._replace(frozen=tree_index(frozen[0], first))


def _view(config: ConfigDict, workdir: Workdir, dataset: Dataset) -> InputView | None:
    """What the networks of a finished run see, where it is not what the student sees.

    Tells where it cannot be known that they were not trained on the student's evaluated images.
    """
    result, what = workdir.read("result.json"), f"the teacher in {workdir}"
    view = teacher_input.fitting_view(config.teacher.get("input"), result, dataset, what)
    if view is None or not processes.is_writer():
        return view
    lines = [f"{what}: {remark}"] if (remark := teacher_input.remark(view, dataset)) else []
    if not np.array_equal(workdir.predictions()["label"], dataset.test.label):
        lines.append(
            f"{what} was evaluated on other examples than this run. Images of two sizes cannot "
            "be compared: see to it that it was not trained on those that this run is evaluated on."
        )
    for line in lines:
        print(escaping.message(f"kd: {line}"), file=sys.stderr, flush=True)
    return view


def _origin(records: Sequence[dict[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    """The entry `teacher` of `result.json`, see `kd.config.teachers.recorded`.

    Weights (`shares`) are left out where all are equal.
    """
    if len(set(weights)) > 1:
        sizes = [len(record["members"]) for record in records]
        groups = zip(records, by_group(weights, sizes), strict=True)
        records = [{**record, "shares": list(w or ())} for record, w in groups]
    return records[0] if len(records) == 1 else {"groups": list(records)}


def _cached(
    config: ConfigDict,
    stacks: Sequence[Stack],
    records: Sequence[Mapping[str, Any]],
    dataset: Dataset,
    place: NamedSharding,
    mesh: Mesh,
) -> list[PyTree]:
    """Logits of each group's members on the training set, see `kd.train.cache`.

    Arrays [m, ...] on the devices of the members, or [s, m, ...] where augmentation differs between
    students. Where students are paired with members, [s, ...]: those of member i for student i.
    """
    caches = []
    data = weights_hash(dataset.train)
    image = jax.ShapeDtypeStruct((1, *dataset.train.image.shape[1:]), jnp.float32)
    convolutions = convolving.choose(config, mesh, any(s.convolves(image) for s in stacks))
    for stack, record, name in zip(stacks, records, cache.names(len(stacks)), strict=True):
        evaluate = precision.evaluation(make_eval(stack.model), config.precision)
        logits = lambda v, _, batch, evaluate=evaluate: evaluate(v, batch).logits
        apply = map_stacked(logits, stack.how, (0, None, None))
        apply = stack.spread(apply) if stack.spread else apply
        epoch_logits = cache.make_epoch_logits(
            apply, stack.variables, config, dataset, replicated(mesh)
        )
        epoch_logits = compiled_by(convolutions, epoch_logits)
        facts = cache.facts(config, record["weights"], data)
        if "input" in record:  # the normalisation of the data counts, too
            facts |= {"input": record["input"], "of": [*dataset.mean, *dataset.std]}
        run = Workdir(record["run"]).path
        caches.append(cache.load_or_compute(epoch_logits, config, facts, run, name))
    if cache.per_seed(config):
        if config.teacher.members == "paired":
            i = np.arange(config.seeds)
            caches = [jax.tree.map(lambda x: x[i, i], caches[0])]
        else:
            place = NamedSharding(mesh, P(None, *place.spec))
    return to_devices(caches, place)
