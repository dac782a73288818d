"""One training session: from a setup to the trained state, resumed from the newest checkpoint."""

import io
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

from kd.devices import processes
from kd.devices.mesh import shapes_on
from kd.runs.checkpoint import Checkpoints
from kd.runs.environment import Spent, hardware
from kd.runs.progress import Progress
from kd.runs.record import Record
from kd.runs.workdir import Workdir
from kd.train.loop import train
from kd.train.profile import Profile
from kd.train.setup import Setup
from kd.types import DistillState


class Session(NamedTuple):
    """What a training session leaves behind."""

    state: DistillState
    figures: dict[str, Any]  # seconds, throughput and memory, for `result.json`


def train_run(setup: Setup, workdir: Workdir, place: str = "") -> Session:
    """Trains in a claimed run directory, from its newest checkpoint or from the start.

    Args:
      setup: of the run.
      workdir: its directory.
      place: of the run among those of a command, to be shown.

    Raises:
      RunError: a loss is not finite.
      kd.signals.Stopped: the run was asked to stop; the state is saved.
    """
    config, plan = setup.config, setup.plan
    profile = Profile(workdir.path / "profile", config.profile)
    with Spent() as spent, profile:
        keep, check = config.checkpoint.keep, workdir.check_lock
        checkpoints = Checkpoints(workdir.checkpoints, keep, check)
        if checkpoints.latest() is None:
            state = setup.init()
        else:
            # It is restored to these devices, whatever it came from.
            state = checkpoints.restore(shapes_on(setup.shapes, setup.state_sharding))
        first_step = int(state.step[0])
        writes = processes.is_writer()
        record = Record(workdir, first_step, config.tensorboard, writes)
        progress = Progress(
            workdir.path.name,
            plan.steps,
            first_step,
            None if writes else io.StringIO(),
            steps_per_epoch=plan.steps_per_epoch,
            place=place,
            seeds=config.seeds,
        )
        with _closing(record.close, progress.close, checkpoints.close, setup.close):
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
            checkpoints.prune()
    epochs = (plan.steps - first_step) / plan.steps_per_epoch
    examples = epochs * plan.examples_per_epoch * config.seeds
    figures = {"seconds": round(record.seconds, 3), **spent.figures(examples)}
    update = record.update_time.median
    if update is not None and hardware()["platform"] == "cpu":
        figures["update_processor_seconds"] = round(update / config.seeds, 6)
    return Session(state, figures)


@contextmanager
def _closing(*closers: Callable[[], None]) -> Generator[None]:
    """Context that closes everything at its end; after an error that error is what is raised."""
    try:
        yield
    except BaseException:
        for close in closers:
            with suppress(Exception):
                close()
        raise
    with ExitStack() as stack:
        for close in reversed(closers):
            stack.callback(close)
