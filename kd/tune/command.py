"""`kd tune`: tries settings on held-out images, and prints the trials and the final command."""

import contextlib
import dataclasses
import os
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence

from kd import config as configs
from kd import engines, extras
from kd.config import ConfigDict, shipped
from kd.config.teachers import Members, groups_of
from kd.engines import Work, each
from kd.errors import InputError
from kd.files.escaping import message
from kd.files.writing import refusals, replacing
from kd.runs import buckets
from kd.runs.workdir import Workdir
from kd.tables import jobs
from kd.tune import space, study
from kd.tune.space import Axis
from kd.tune.study import Outcome


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of `kd tune`; `kd.cli.tune` describes them."""

    config: str
    over: Sequence[str]
    trials: int = 20
    holdout: float | None = None
    name: str = "tune"
    runs: str = "runs"
    on: str = "local"
    each: str = ""
    address: str | None = None
    header: str | None = None
    jobs: int | None = None
    retries: int = engines.RETRIES
    shared: bool = False
    overrides: Sequence[str] = ()
    trust: Sequence[str] = ()


def act(options: Options) -> int:
    """Runs the command and returns its exit status: 1 if no trial came to an end.

    Raises InputError for what cannot be tried, before anything is.
    """
    axes = _check(options)
    settings = engines.Settings(
        root=options.runs,
        each=each.parse(options.each),
        jobs=options.jobs or 1,
        retries=options.retries,
        address=options.address,
        header=options.header,
        shared=options.shared,
    )
    engine = engines.load(options.on, settings)
    if extras.missing("tune"):
        raise InputError(
            "kd tune needs Optuna, which is not installed. Install the extra 'tune': "
            f"{extras.command('tune')}"
        )
    config = _check_values(options, axes)
    folder = configs.default_workdir(options.config, options.runs)
    folder = folder.parent / f"{folder.name}-{options.name}"
    workdir = lambda number: Workdir(folder / f"trial{number:03d}")
    work = lambda number, values: _work(options, workdir(number), values)
    engine.check([work(0, {axis.key: axis.ends[0] for axis in axes})])
    if not isinstance(engine, engines.Starts):
        raise InputError(f"--on {options.on}: this engine cannot wait for a trial.")
    with refusals(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(Workdir(folder).lock())  # one command proposes
        trials = study.open_study(os.fspath(folder / "study.journal"), axes, config.seed)
        search = study.Search(trials, axes, work, engine, settings, tell)
        try:
            search.run(options.trials)
        finally:
            known = study.outcomes(trials, axes, workdir)
            text = table(known, axes)
            with replacing(folder / "trials.md") as part:
                part.write_text(text)
    print(text)
    best = next((outcome for outcome in known if outcome.state == "done"), None)
    if best is None:
        tell("no trial came to an end")
        return 1
    print(f"The best on held-out images is trial {best.number}. Train it on all images, with:\n")
    print(f"    {final_command(options, best.values)}")
    return 0


def tell(line: str) -> None:
    """Prints a line about the progress, to stderr."""
    print(message(f"kd tune: {line}"), file=sys.stderr, flush=True)


def table(outcomes: Sequence[Outcome], axes: Sequence[Axis]) -> str:
    """The trials as Markdown, the best first: settings, mean and spread of the seeds, state."""
    heads = ["trial", *(axis.key for axis in axes), "held-out accuracy %", "seeds", "state"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    for outcome in outcomes:
        score = f"{outcome.mean:z.2f}" if outcome.scores else ""
        if len(outcome.scores) > 1:
            score += f" ± {statistics.stdev(outcome.scores):z.2f}"
        state = outcome.state + (f": {outcome.reason}" if outcome.reason else "")
        values = [outcome.values.get(axis.key, "") for axis in axes]
        cells = [str(outcome.number), *values, score, str(len(outcome.scores) or ""), state]
        lines.append(f"| {' | '.join(cell.replace('|', '\\|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def final_command(options: Options, values: Mapping[str, str]) -> str:
    """The command that trains with the best settings on all images: without a `holdout`, neither
    as a key nor as an argument of the config, which its teacher may have from there.
    """
    file, arguments = shipped.split(options.config)
    parts = [part for part in arguments.split(",") if part.partition("=")[0] != "holdout"]
    config = ":".join(filter(None, (file, ",".join(parts))))
    rest = [word for word in options.overrides if not word.startswith("--config.holdout=")]
    if configs.load(config).holdout:  # it is written in the file
        rest.append("--config.holdout=0")
    best = [f"--config.{key}={value}" for key, value in values.items()]
    runs = ["--runs", options.runs] if options.runs != "runs" else []
    return shlex.join(["kd", "run", "--config", config, *rest, *best, *runs])


def _check(options: Options) -> list[Axis]:
    """The axes. Raises InputError for options that cannot be used."""
    axes = space.parse(options.over)
    if not axes:
        raise InputError(f"--over is missing: what is to be tried, such as {space.EXAMPLES}.")
    for name in ("trials", "jobs"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise InputError(f"--{name}: expected 1 or more, got {number}.")
    if options.retries < 0:
        raise InputError(f"--retries: expected 0 or more, got {options.retries}.")
    if options.holdout is not None and not 0 < options.holdout < 1:
        raise InputError(
            f"--holdout: expected a part of the training images, more than 0 and less than 1, got "
            f"{options.holdout:zg}. Nothing is chosen by the test set."
        )
    if not options.name.replace("-", "").replace("_", "").isalnum():
        raise InputError(f"--name {options.name}: expected letters, digits, - and _.")
    if buckets.is_bucket(options.runs):
        raise InputError(
            f"--runs {options.runs}: the journal of the trials is a file that grows, which buckets "
            "do not have. Give a local or mounted directory."
        )
    return axes


def _check_values(options: Options, axes: Sequence[Axis]) -> ConfigDict:
    """The config of a trial. Raises InputError if a value is none that the config takes, or if the
    trials would be evaluated on the test set.
    """
    from kd.build import overridden

    loaded = configs.load(options.config)
    fixed = [*options.overrides, *_holdout(options)]
    config = overridden(loaded, fixed)
    if not config.holdout:
        raise InputError(
            f"kd tune chooses on held-out training images, and {options.config} holds none out. "
            "Give --holdout 0.1. Nothing is chosen by the test set."
        )
    words = [word.partition("=")[0] for word in options.overrides]
    for axis in axes:
        if f"--config.{axis.key}" in words:
            raise InputError(f"--over {axis.key}: --config.{axis.key} fixes it. Leave one out.")
        for value in axis.ends:
            overridden(loaded, [*fixed, f"--config.{axis.key}={value}"])
    for group in groups_of(config.teacher):
        if _holdout_of(group) < config.holdout:
            tell(
                f"{group.config or group.run}, the teacher, trains on the held-out images, too: "
                "what is chosen may suit it. Give it the same holdout for a choice that does not "
                "see them"
            )
    return config


def _holdout_of(teacher: Members) -> float:
    """The part of the training images that a teacher's run holds out. Raises InputError."""
    if teacher.config:
        return configs.load(teacher.config).holdout
    return Workdir(teacher.run).read("config.json").get("holdout", 0.0)


def _holdout(options: Options) -> list[str]:
    return [] if options.holdout is None else [f"--config.holdout={options.holdout!r}"]


def _work(options: Options, workdir: Workdir, values: Mapping[str, str]) -> Work:
    """The run of a trial."""
    command = [*jobs.COMMAND, "run", "--config", options.config, "--runs", options.runs]
    command += ["--workdir", str(workdir), "--stopped_status", str(engines.SAVED)]
    command += [f"--trust={package}" for package in options.trust]
    command += [*options.overrides, *_holdout(options)]
    command += [f"--config.{key}={value}" for key, value in values.items()]
    return Work(options.config, workdir, (), tuple(command))
