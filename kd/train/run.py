"""From a config to a finished run: its teacher first, then the setup, the loop and the results."""

import io
import os
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Sharding

from kd import build
from kd import config as configs
from kd.config import ConfigDict
from kd.config.teachers import groups_of
from kd.devices import processes
from kd.errors import InputError
from kd.models.peers import peers
from kd.runs import lineage
from kd.runs.checkpoint import Checkpoints
from kd.runs.environment import Spent
from kd.runs.lineage import WEIGHTS
from kd.runs.networks import weights_hash, workdir_of, workdirs_of_teachers
from kd.runs.progress import Progress
from kd.runs.record import Record, read_rows
from kd.runs.summary import Runs
from kd.runs.workdir import Workdir
from kd.train import cache
from kd.train.loop import train
from kd.train.members import check_teachers
from kd.train.profile import Profile
from kd.train.result import describe
from kd.train.setup import Setup, check_parts, set_up
from kd.types import DistillState


def run(
    config: ConfigDict,
    workdir: Workdir,
    root: os.PathLike | str = "runs",
    above: tuple[str, ...] = (),
) -> Workdir:
    """Trains what the config describes, in `workdir`; first the teacher and the run that it starts
    from, where they are not there.

    A finished run is left as it is, an interrupted one goes on.

    Args:
      config: from `kd.config.load`.
      workdir: the run's directory.
      root: where runs without a directory of their own lie.
      above: directories of the runs that wait for this one.

    Raises:
      InputError: nothing has been written.
      RunError: a loss that is not finite.
      kd.train.loop.Stopped: SIGTERM came and the state is saved.
    """
    if str(workdir) in above:
        raise InputError(f"{workdir} would be its own teacher, or start from itself.")
    config = _on_devices(build.spell_out(config))
    workdir.check_owner(config.to_dict(), build.as_today)
    if not workdir.finished:
        cache.check(config)
        check_parts(config)  # what is wrong is told before a teacher is trained
        check_teachers(config, root)
    taught, first = teachers_of(config, root), first_of(config, root)
    for source in taught if workdir.finished else (*taught, *first):
        _require(source)
    below = root, (*above, str(workdir))
    teachers = [ensure(source, *below) for source in taught]
    if workdir.finished:
        started = next((source.workdir for source in first), None)
        lineage.check(workdir, dict(enumerate(teachers)), started)
    if not workdir.finished:
        setup = set_up(config, teachers, *(ensure(source, *below) for source in first))
        with ExitStack() as held:
            # Refused to one of several processes it is refused to all: none waits for those that
            # ended.
            processes.write(lambda: held.enter_context(workdir.lock()))
            _train(setup, workdir)
    return workdir


def _on_devices(config: ConfigDict) -> ConfigDict:
    """Of several processes, all devices take part: a config that names one means data-parallel on
    all of them.
    """
    devices = config.devices
    if jax.process_count() > 1 and devices.teacher * devices.data * devices.seeds == 1:
        devices.data = jax.device_count()
    return config


class Source(NamedTuple):
    """A finished run that another builds on."""

    where: str  # of the config that names it
    config: str  # that makes it, or ""
    workdir: Workdir


def teachers_of(config: ConfigDict, root: os.PathLike | str) -> tuple[Source, ...]:
    """The runs of the config's teachers, one for each group."""
    groups, there = groups_of(config.teacher), workdirs_of_teachers(config, root)
    return tuple(
        Source(group.where, group.config, workdir)
        for group, workdir in zip(groups, there, strict=True)
    )


def first_of(config: ConfigDict, root: os.PathLike | str) -> tuple[Source, ...]:
    """The run that the config's students start from, or none."""
    there = workdir_of(config.init, root)
    return () if there is None else (Source("config.init", config.init.config, there),)


def _require(source: Source) -> None:
    """Raises InputError where the run is not there and nothing says how to make it."""
    from kd.train import imported  # which stands on this module

    where, config, there = source
    if not (config or there.finished or imported.waits(there)):
        raise InputError(
            f"{where}.run: {there} is no finished run, and {where}.config does not say how to make "
            "it."
        )


def ensure(source: Source, root: os.PathLike | str, above: tuple[str, ...] = ()) -> Workdir:
    """The run, finished: trained now where it is missing, or evaluated where it was imported and
    waited for its data.
    """
    there = source.workdir
    if source.config:
        return run(configs.load(source.config), there, root, above)
    if not there.finished:
        from kd.train import imported

        imported.evaluate(there)
    return there


def _train(setup: Setup, workdir: Workdir) -> None:
    config, plan = setup.config, setup.plan
    origin = _origin(setup)
    processes.write(lambda: workdir.claim(config.to_dict(), origin))
    profile = Profile(workdir.path / "profile", config.profile)
    with Spent() as spent, profile:
        checkpoints = Checkpoints(workdir.checkpoints, config.checkpoint.keep)
        if checkpoints.latest() is None:
            state = setup.init()
        else:
            state = checkpoints.restore(_placed(setup.shapes, setup.place))
        at = int(state.step[0])
        writes = processes.is_writer()
        record = Record(workdir, at, config.tensorboard, writes)
        told = None if writes else io.StringIO()
        progress = Progress(workdir.path.name, plan.steps, at, told)
        try:
            state = train(
                state,
                plan,
                profile.watch(setup.updates),
                setup.order,
                setup.inputs,
                setup.evaluation,
                record,
                checkpoints,
                progress,
                split=setup.split,
                eval_every=config.eval_every,
                save_seconds=config.checkpoint.seconds,
            )
        finally:
            record.close()
            progress.close()
            checkpoints.close()
            setup.close()
    epochs = (plan.steps - at) / plan.steps_per_epoch
    examples = epochs * plan.examples_per_epoch * config.seeds
    evaluation = setup.evaluation
    logits, means = evaluation.logits(state.student), evaluation.teacher_logits(state)
    predictions = {"logits": logits, "label": evaluation.label}
    if means is not None:
        predictions["teacher_logits"] = means
    if (k := len(peers(setup.student))) > 1:
        predictions["peers"] = np.asarray(k)
    if validation := setup.dataset.validation:
        own = evaluation.logits(state.student, "validation")
        predictions["validation_logits"] = own
        predictions["validation_label"] = validation.label
    figures = {"seconds": round(record.seconds, 3), **spent.figures(examples)}
    result = describe(setup, logits, means)
    result["weights"] = weights_hash(state.student)

    def finish() -> None:
        best = {f"best_{setup.split}": _best(workdir, setup.split)}
        if config.export:
            from kd.export import run_end

            files = run_end.evaluate(config, setup.dataset, setup.student, state.student)
            (workdir.path / "exported").mkdir(exist_ok=True)
            for name, content in files.contents.items():
                (workdir.path / "exported" / name).write_bytes(content)
            predictions["exported_logits"] = files.logits
            result["exported"] = files.report
        workdir.write("predictions.npz", predictions)
        workdir.write("result.json", result | best | figures)

    processes.write(finish)


def _origin(setup: Setup) -> dict[str, Any]:
    """What a run must go on from: contents, wherever they lie."""
    contents = lambda of: {k: v for k, v in of.items() if k not in ("run", WEIGHTS)}
    teacher = contents(setup.taught.origin or {})
    if "groups" in teacher:
        teacher["groups"] = [contents(group) for group in teacher["groups"]]
    splits = {"train": setup.dataset.train, "test": setup.dataset.test}
    first = {"init": setup.start.origin["weights"]} if setup.start.origin else {}
    return {"teacher": teacher, "data": weights_hash(splits), **first}


def _placed(shapes: DistillState, place: Sharding) -> DistillState:
    """Shapes with a sharding: where a checkpoint is restored to, whatever devices it was saved
    from.
    """
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)


def _best(workdir: Workdir, split: str) -> dict[str, list]:
    """Each seed's best accuracy over the evaluations, and its epoch from 1: shown, never used to
    choose.
    """
    rows = [row for row in read_rows(workdir) if row["kind"] == split]
    curves = np.array([row["accuracy"] for row in rows])  # [evaluations, s]
    first = curves.argmax(axis=0)
    return {"accuracy": curves.max(axis=0).tolist(), "epoch": [rows[i]["epoch"] + 1 for i in first]}


def run_all(config: ConfigDict, workdir: Workdir, root: os.PathLike | str) -> Runs:
    """Trains what is missing of this run, of those that it builds on and of those in
    `config.compare`.
    """

    others = {
        label: (configs.load(reference), Workdir(configs.default_workdir(reference, root)))
        for label, reference in config.compare.items()
    }
    own = run(config, workdir, root)
    for other, there in others.values():
        run(other, there, root)
    teachers, first = workdirs_of_teachers(config, root), workdir_of(config.init, root)
    labelled = {label: there for label, (_, there) in others.items()}
    return Runs(own, teachers, first, labelled)
