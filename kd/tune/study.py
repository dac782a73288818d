"""Trials that go on where they were: Optuna's study in a journal beside their runs.

Optuna is asked for settings and told what came of them; runs are computed by an engine.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kd import engines
from kd.engines import Ended, Starts, Task, Work
from kd.errors import InputError
from kd.runs import logs
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.tables.jobs import Stop
from kd.tune.space import Axis

POLL_SECONDS = 0.2
ROWS_SECONDS = 5.0
"""How often the curve of a running trial is read."""

STARTUP_TRIALS = 5
"""Trials that are finished before one is compared with their median and stopped early."""


class Outcome(NamedTuple):
    """What came of a trial.

    Attributes:
      number: of the trial, from 0.
      values: of the settings, as they are written on the command line, by key.
      state: `done`, `pruned`, `failed` or `unfinished`.
      scores: accuracy of each seed on held-out images; of a pruned trial, the last one.
      reason: why it failed.
    """

    number: int
    values: Mapping[str, str]
    state: str
    scores: tuple[float, ...] = ()
    reason: str = ""

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where there is no score."""
        return sum(self.scores) / len(self.scores) if self.scores else math.nan


def open_study(file: str, axes: Sequence[Axis], seed: int, startup: int = STARTUP_TRIALS) -> Any:
    """The study in a journal, made if there is none.

    Raises InputError if its trials have other keys.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():  # trials side by side are told apart by what may still change
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, constant_liar=True, n_startup_trials=startup
        )
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(file)),
        study_name="kd",
        direction="maximize",
        load_if_exists=True,
        sampler=sampler,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=1),
    )
    keys = {axis.key for axis in axes}
    for trial in study.trials:
        if trial.params and set(trial.params) != keys:
            raise InputError(
                f"{file} has trials over {', '.join(sorted(trial.params))}. Give the same --over, "
                "or another --name."
            )
    return study


class _Running(NamedTuple):
    trial: Any
    values: Mapping[str, str]
    work: Work
    task: Task


class Search:
    """Trials on an engine, several at a time.

    Args:
      study: of Optuna's.
      axes: what is tried.
      work: the run of a trial by its number and settings.
      engine: what computes it.
      settings: the number of trials at a time, and how often a run is started again.
      tell: called with each line to show.
    """

    def __init__(
        self,
        study: Any,
        axes: Sequence[Axis],
        work: Callable[[int, Mapping[str, str]], Work],
        engine: Starts,
        settings: engines.Settings,
        tell: Callable[[str], None],
    ):
        self._study, self._axes, self._work = study, axes, work
        self._engine, self._settings, self._tell = engine, settings, tell
        self._running: dict[int, _Running] = {}
        self._restarts: dict[int, int] = {}
        self._pruned: set[int] = set()
        self._reported: dict[int, int] = {}
        self._read = 0.0

    def run(self, trials: int) -> None:
        """Computes trials until there are as many.

        Raises KeyboardInterrupt after a signal; the runs have saved, and the same call goes on.
        """
        import optuna

        begun = [t for t in self._study.trials if t.state == optuna.trial.TrialState.RUNNING]
        left = trials - len([t for t in self._study.trials if t.state.is_finished()]) - len(begun)
        stop, passed_on = Stop(), 0
        with stop.counting():
            while self._running or ((begun or left > 0) and not stop.count):
                places = (self._settings.jobs or 1) - len(self._running)
                while places > 0 and (begun or left > 0) and not stop.count:
                    places -= 1
                    if begun:  # by a command that was stopped
                        stored = begun.pop(0)
                        trial = optuna.trial.Trial(self._study, stored._trial_id)
                    else:
                        trial, left = self._study.ask(), left - 1
                    self._start(trial)
                if stop.count > passed_on:
                    passed_on = stop.count
                    for item in self._running.values():
                        (item.task.stop if passed_on == 1 else item.task.kill)()
                self._prune()
                self._collect(bool(stop.count))
                time.sleep(POLL_SECONDS)
        self._engine.close()
        if stop.count:
            raise KeyboardInterrupt

    def _start(self, trial: Any) -> None:
        values = {axis.key: axis.propose(trial) for axis in self._axes}
        work = self._work(trial.number, values)
        text = ", ".join(f"{key}={value}" for key, value in values.items())
        self._tell(f"trial {trial.number}: {text}")
        self._running[trial.number] = _Running(trial, values, work, self._engine.start(work))

    def _prune(self) -> None:
        """Reports the newest evaluations, and stops trials whose curve is below the median."""
        if time.monotonic() - self._read < ROWS_SECONDS:
            return
        self._read = time.monotonic()
        for number, item in self._running.items():
            if number in self._pruned:
                continue
            for epoch, scores in curve(item.work.workdir):
                if epoch > self._reported.get(number, -1):
                    self._reported[number] = epoch
                    item.trial.report(sum(scores) / len(scores), epoch)
            if number in self._reported and item.trial.should_prune():
                self._pruned.add(number)
                item.task.stop()

    def _collect(self, stopping: bool) -> None:
        for number, item in list(self._running.items()):
            ended = item.task.poll()
            if ended is None:
                continue
            del self._running[number]
            if not (stopping and number not in self._pruned and ended.again):
                self._judge(number, item, ended)

    def _judge(self, number: int, item: _Running, ended: Ended) -> None:
        from optuna.trial import TrialState

        if ended.status == 0 and item.work.workdir.finished:
            scores = final(item.work.workdir)
            self._study.tell(number, sum(scores) / len(scores))
            self._tell(f"trial {number}: {sum(scores) / len(scores):z.2f} %")
        elif number in self._pruned:
            self._study.tell(number, state=TrialState.PRUNED)
            self._tell(f"trial {number}: stopped early, below the median of the others")
        elif ended.again and self._restarts.get(number, 0) < self._settings.retries:
            self._restarts[number] = self._restarts.get(number, 0) + 1
            task = self._engine.start(item.work)
            self._running[number] = item._replace(task=task)
        else:
            reason = ended.words or logs.error(item.work.workdir) or f"status {ended.status}"
            item.trial.set_user_attr("reason", reason)
            self._study.tell(number, state=TrialState.FAIL)
            self._tell(f"trial {number} FAILED: {reason}")


def outcomes(study: Any, axes: Sequence[Axis], workdir: Callable[[int], Workdir]) -> list[Outcome]:
    """The result of each trial, the best first."""
    from optuna.trial import TrialState

    states = {
        TrialState.COMPLETE: "done",
        TrialState.PRUNED: "pruned",
        TrialState.FAIL: "failed",
    }
    known = []
    for trial in study.trials:
        values = {a.key: a.text(trial.params[a.key]) for a in axes if a.key in trial.params}
        state, run, scores = states.get(trial.state, "unfinished"), workdir(trial.number), ()
        if state == "done" and run.finished:
            scores = final(run)
        elif state == "pruned":
            scores = (curve(run) or [(0, ())])[-1][1]
        reason = str(trial.user_attrs.get("reason", ""))
        known.append(Outcome(trial.number, values, state, scores, reason))
    order = ("done", "pruned", "unfinished", "failed")
    worst = lambda o: -o.mean if o.scores else math.inf
    return sorted(known, key=lambda o: (order.index(o.state), worst(o), o.number))


def curve(workdir: Workdir) -> list[tuple[int, tuple[float, ...]]]:
    """Epoch, and accuracy in per cent of each seed on held-out images, of each evaluation."""
    try:
        rows = [row for row in read_rows(workdir) if row["kind"] == "validation"]
    except (OSError, InputError):
        return []
    return [(row["epoch"], tuple(row["accuracy"])) for row in rows if "accuracy" in row]


def final(workdir: Workdir) -> tuple[float, ...]:
    """Accuracy of each seed on held-out images at the end of a finished run.

    Raises InputError if the run was evaluated on the test set.
    """
    result = workdir.read("result.json")
    if result["split"] != "validation":
        raise InputError(f"{workdir} was evaluated on the test set: nothing is chosen by it.")
    return tuple(result["final"]["accuracy"])
