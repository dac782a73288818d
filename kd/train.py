"""From a config to a finished run: its teacher first, then the setup, the loop and the results."""

import io
import os
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from kd import config as configs
from kd import cost, distributed, parts
from kd.checkpoint import Checkpoints
from kd.config import ConfigDict
from kd.errors import InputError
from kd.identity import fingerprint as config_hash
from kd.loop import train
from kd.machine import Spent, git_commit, hardware
from kd.profile import Profile
from kd.record import Progress, Record, read_rows
from kd.setup import Setup, check_parts, set_up
from kd.trained import fingerprint, workdir_of
from kd.types import DistillState
from kd.workdir import Workdir


def run(
    config: ConfigDict,
    workdir: Workdir,
    root: os.PathLike | str = "runs",
    above: tuple[str, ...] = (),
) -> Workdir:
    """Trains what the config describes, in `workdir`; first the teacher and the run that it starts from, where they are not there.

    A finished run is left as it is, an interrupted one goes on.

    Args:
      config: from `kd.config.load`.
      workdir: the run's directory.
      root: where runs without a directory of their own lie.
      above: directories of the runs that wait for this one.

    Raises:
      InputError: nothing has been written.
      RunError: a loss that is not finite.
      kd.loop.Stopped: SIGTERM came and the state is saved.
    """
    if str(workdir) in above:
        raise InputError(f"{workdir} would be its own teacher, or start from itself.")
    config = _on_devices(parts.spell_out(config))
    workdir.check_owner(config.to_dict(), parts.as_today)
    if not workdir.finished:
        check_parts(config)  # what is wrong is told before a teacher is trained
    for key in ("teacher",) if workdir.finished else ("teacher", "init"):
        _require(config, key, root)
    below = root, (*above, str(workdir))
    teacher = ensure(config.teacher, *below)
    if not workdir.finished:
        setup = set_up(config, teacher, ensure(config.init, *below))
        with workdir.lock() if distributed.is_writer() else nullcontext():
            _train(setup, workdir)
    return workdir


def _on_devices(config: ConfigDict) -> ConfigDict:
    """Of several processes, all devices take part: a config that names one means data-parallel on all of them."""
    devices = config.devices
    if jax.process_count() > 1 and devices.teacher * devices.data * devices.seeds == 1:
        devices.data = jax.device_count()
    return config


def _require(config: ConfigDict, key: str, root: os.PathLike | str) -> None:
    """Raises InputError where the run that section `key` names is not there and nothing says how to make it."""
    from kd import imported  # which stands on this module

    there = workdir_of(config[key], root)
    if there is None or config[key].config or there.finished:
        return
    if not imported.waits(there):
        raise InputError(
            f"config.{key}.run: {there} is no finished run, and config.{key}.config does not say how to make it."
        )


def ensure(
    section: ConfigDict, root: os.PathLike | str, above: tuple[str, ...] = ()
) -> Workdir | None:
    """The finished run that `config.teacher` or `config.init` names, trained now where it is missing; None where it names none."""
    there = workdir_of(section, root)
    if there is not None and section.config:
        return run(configs.load(section.config), there, root, above)
    if there is not None and not there.finished:
        from kd import imported

        imported.evaluate(there)
    return there


def _train(setup: Setup, workdir: Workdir) -> None:
    config, plan = setup.config, setup.plan
    origin = _origin(setup)
    distributed.write(lambda: workdir.claim(config.to_dict(), origin))
    profile = Profile(workdir.path / "profile", config.profile)
    with Spent() as spent, profile:
        checkpoints = Checkpoints(workdir.checkpoints, config.checkpoint.keep)
        if checkpoints.latest() is None:
            state = setup.init()
        else:
            state = checkpoints.restore(_placed(setup.shapes, setup.place))
        at = int(state.step[0])
        writes = distributed.is_writer()
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
                lambda state: setup.scores(setup.logits(state.student)),
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
    logits = setup.logits(state.student)
    predictions = {"logits": logits, "label": setup.dataset.test.label}
    if validation := setup.dataset.validation:
        predictions["validation_logits"] = setup.logits(state.student, "validation")
        predictions["validation_label"] = validation.label
    figures = {"seconds": round(record.seconds, 3), **spent.figures(examples)}
    result = describe(setup, logits)

    def finish() -> None:
        best = {f"best_{setup.split}": _best(workdir, setup.split)}
        workdir.write("predictions.npz", predictions)
        workdir.write("result.json", result | best | figures)

    distributed.write(finish)


def _origin(setup: Setup) -> dict[str, Any]:
    """What a run must go on from: contents, wherever they lie."""
    teacher = dict(setup.taught.origin or {})
    teacher.pop("run", None)
    splits = {"train": setup.dataset.train, "test": setup.dataset.test}
    first = {"init": setup.start.origin["weights"]} if setup.start.origin else {}
    return {"teacher": teacher, "data": fingerprint(splits), **first}


def _placed(shapes: DistillState, place: Sharding) -> DistillState:
    """Shapes with a sharding: where a checkpoint is restored to, whatever devices it was saved from."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes
    )


VARYING = ("seconds", "compile_seconds", "examples_per_second", "peak_memory_bytes")
"""Keys of `result.json` in which a resumed run differs from an uninterrupted one."""


def describe(setup: Setup, logits: np.ndarray) -> dict[str, Any]:
    """Content of `result.json` but for the times and the best evaluation, from logits [s, n, c] of the evaluated split."""
    config, dataset = setup.config, setup.dataset
    one = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), setup.shapes.student
    )
    shape = dataset.train.image.shape[1:]
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return {
        "split": setup.split,
        "examples": len(dataset.test.label),
        "evaluated": fingerprint(dataset.test),
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        "epochs": config.epochs,
        "steps": setup.plan.steps,
        "final": setup.scores(logits),
        "parameters": cost.parameters(one),
        "bytes": cost.nbytes(one),
        "macs": cost.macs(
            lambda v, x: setup.student.apply(v, x, train=False), one, image
        ),
        "num_classes": dataset.num_classes,
        "class_names": list(dataset.class_names),
        "shape": list(shape),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "teacher": setup.taught.origin,
        "init": setup.start.origin,
        "seeds_how": setup.how,
        "config_hash": config_hash(config.to_dict()),
        "jax_version": jax.__version__,
        "git_commit": git_commit(),
        "hardware": hardware(),
    }


def _best(workdir: Workdir, split: str) -> dict[str, list]:
    """Each seed's best accuracy over the evaluations, and its epoch from 1: shown, never used to choose."""
    rows = [row for row in read_rows(workdir) if row["kind"] == split]
    curves = np.array([row["accuracy"] for row in rows])  # [evaluations, s]
    first = curves.argmax(axis=0)
    return {
        "accuracy": curves.max(axis=0).tolist(),
        "epoch": [rows[i]["epoch"] + 1 for i in first],
    }
