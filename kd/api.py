"""The public API: runs of configs, stored runs, and distillation of plain objects."""

import dataclasses
import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import optax
from etils import epath

from kd import build, signals
from kd import config as configs
from kd.config import ConfigDict
from kd.devices import compilation
from kd.errors import InputError
from kd.models.adapted import adapt
from kd.names import trust as trusted
from kd.predict import Networks
from kd.runs import summary
from kd.runs.networks import (
    load_networks,
    with_notice,
    workdir_of,
    workdirs_of_teachers,
)
from kd.runs.workdir import Workdir
from kd.train import objects, placement
from kd.train.memory import train_in_memory
from kd.train.parts import Parts, augmentation, mixing
from kd.train.places import command
from kd.train.run import run_all
from kd.train.sampling import SHUFFLED
from kd.train.setup import Setup, set_up
from kd.types import DistillState

OPTIONS = (
    "precision",
    "steps_per_call",
    "drop_last",
    "accumulate",
    "mix",
    "eval_batch_size",
    "seeds_how",
    "loop",
    "compilation_cache",
)
"""Further keys of a config that `distill` takes, with the config's meaning and defaults."""

NESTED = ("convolutions", "sampling")
"""And `config.devices.convolutions` and `config.data.sampling`, by their last names."""


class Run:
    """A finished run: its config, results and networks, read when they are first used.

    Attributes:
      path: the run directory.
    """

    def __init__(self, path: epath.PathLike, trust: str | Sequence[str] = ()):
        self.path, self._trust = epath.Path(path), trust
        self._workdir = Workdir(path)
        if not self._workdir.finished:
            self._workdir.read("config.json")  # raises for what is no run directory
            raise InputError(
                f"{path} is not finished: it has no result.json. Start the run again, it resumes."
            )

    def __repr__(self) -> str:
        accuracy = 100 * np.asarray(self.result["final"]["accuracy"])
        examples = self.result["examples"]
        return f"Run({str(self.path)!r}: {accuracy.mean():z.2f} % of {examples:,} images)"

    @cached_property
    def config(self) -> ConfigDict:
        """The config, every default spelled out."""
        return ConfigDict(self._workdir.read("config.json"))

    @cached_property
    def result(self) -> dict[str, Any]:
        """Content of `result.json`: metrics of every seed, costs, hashes, hardware."""
        return self._workdir.read("result.json")

    @cached_property
    def predictions(self) -> dict[str, np.ndarray]:
        """`logits` [s, n, c] and `label` [n] of the evaluated images, as stored."""
        return self._workdir.predictions()

    @cached_property
    def networks(self) -> Networks:
        """The trained networks, one for each seed. Raises InputError for peers that differ."""
        with trusted.allow(self._trust):
            trained = load_networks(self._workdir)
        result = self.result
        return Networks(
            trained.model,
            trained.variables,
            tuple(result["shape"]),
            result["num_classes"],
            tuple(result["mean"]),
            tuple(result["std"]),
            tuple(result["class_names"]),
            result["seeds_how"],
            self.config.precision,
        )

    def logits(self, images: Any) -> np.ndarray:
        """Logits [s, n, c] of the run's networks on raw images [n, ...]; see `Networks.logits`."""
        return self.networks.logits(images, self.config.eval_batch_size)

    def table(self, runs: os.PathLike | str | None = None) -> str:
        """The closing table of `kd run`, as text; it says where the data are gone or have changed.

        Args:
          runs: directory of the runs that the config refers to; default: where this run is.
        """
        root = self.path.parent if runs is None else runs
        config = ConfigDict(build.as_today(configs.complete(self.config).to_dict()))
        compared = {
            label: Workdir(configs.default_workdir(reference, root))
            for label, reference in config.compare.items()
        }
        teachers, start = workdirs_of_teachers(config, root), workdir_of(config.init, root)
        with trusted.allow(self._trust, root), trusted.stored(self.path):
            finished = summary.Runs(self._workdir, teachers, start, compared)
            return with_notice(summary.table(config, finished), self._workdir)


def run(
    config: str | ConfigDict,
    workdir: epath.PathLike | None = None,
    runs: os.PathLike | str = "runs",
    trust: str | Sequence[str] = (),
    **overrides: Any,
) -> Run:
    """Trains what a config describes, as the command `kd run` does, and returns the finished run.

    A finished run is only read, an interrupted one is resumed.

        run = kd.run("configs/digits.py", seeds=2)
        run = kd.run("configs/digits.py", **{"optimizer.learning_rate": 0.01})

    Args:
      config: `FILE.py[:key=value,...]`, or a ConfigDict as such a file returns it.
      workdir: the run directory. Default: named after config and overrides, below `runs`; a
        ConfigDict has no name and needs one.
      runs: directory of runs whose config names no directory.
      trust: packages of which the configs of other runs, such as a teacher's, may name things;
        those that this config names are trusted. See `kd.names.trust`.
      overrides: keys of the config and their values, as `--config.key=value` of the command.

    Raises:
      InputError: the run cannot start; nothing has been written.
      RunError: a loss is not finite, or the disk is full.
      KeyboardInterrupt: Ctrl-C was pressed; the state is saved, and the same call resumes.
    """
    if isinstance(config, str):
        loaded = configs.load(config)
    elif workdir is None:
        raise InputError(
            "workdir: a ConfigDict has no file to name the run after. Give a directory."
        )
    else:
        loaded = configs.complete(config)
    arguments = [f"--config.{key}={value}" for key, value in overrides.items()]
    if workdir is None:
        workdir = configs.default_workdir(str(config), runs)
        workdir = configs.named_after(epath.Path(workdir), overrides) if overrides else workdir
    with trusted.allow(trust, runs) as packages, signals.interruptible():
        spelled = build.overridden(loaded, arguments)
        compilation.configure_cache(spelled.compilation_cache)
        text = command(config, arguments) if isinstance(config, str) else ""
        run_all(spelled, Workdir(workdir), runs, command=text)
        return Run(workdir, sorted(packages))


def load(path: epath.PathLike, trust: str | Sequence[str] = ()) -> Run:
    """A finished run by its directory. Raises InputError if there is none.

    Args:
      path: its directory.
      trust: packages of which its config may name things, such as a network of yours, which are
        then imported. Without it only kd's own are.
    """
    return Run(path, trust)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Distilled(Networks):
    """The students of `distill`: `kd.Networks` with what their training recorded.

    Attributes:
      history: a row for each dispatch and evaluation, as in `metrics.jsonl` of a run.
      scores: metrics of the final students on the test images, a list over seeds of each.
    """

    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    scores: dict[str, list[float]] = dataclasses.field(default_factory=dict)


def distill(
    *,
    teacher: Any,
    student: Any,
    data: Any,
    test: Any = None,
    objective: Any = None,
    optimizer: optax.GradientTransformation | None = None,
    epochs: int = 10,
    batch_size: int = 64,
    seeds: int = 1,
    seed: int = 0,
    augment: str = "",
    reduce: str = "probs",
    eval_every: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Distilled:
    """Trains students of a teacher, all from plain objects, in memory.

    The compiled step is that of `kd run`, with equal bits. For checkpoints, resuming, reports and
    exports write a config and use `kd.run`.

        student = kd.distill(teacher=run, student=kd.models.MLP(10, (16,)), data=(images, labels))

    Args:
      teacher: a `kd.Run`, its directory, `kd.Networks`, a pair (linen module, variables), a
        function images -> logits, an array of logits of the training images [n, c] or [m, n, c],
        a `kd.Teacher` such as `kd.teachers.ema(student)`, or None; see
        `kd.train.objects.make_teacher`.
      student: a linen module that returns logits [b, c] or `kd.Outputs`.
      data: (images [n, ...], labels [n]): uint8 pixels [n, h, w] or [n, h, w, c], normalised by
        their mean and deviation (by the teacher's if it is a run), or floats, taken as they are.
      test: likewise, evaluated; default: the training images that have a label.
      objective: {term: (weight, module)}, a weight being a number or a schedule of the step; or a
        module `view -> (loss, {term: value})`. Default: 0.1 cross entropy and 0.9 KD at T = 4.
      optimizer: default `optax.adamw(1e-3)`.
      epochs, batch_size, seeds, seed: lengths and sizes; `seeds` students are trained at once.
      augment: such as "crop(2)|flip", see `kd.data.augment`.
      reduce: how several members become one target: probs, logits, each, random or confidence.
      eval_every: epochs between evaluations; default: only after the last.
      progress: whether progress is printed to standard error.
      options: further keys of a config: accumulate (parts that a batch is computed in, to save
        memory), sampling ("balanced": each class equally often), mix ("mixup(0.2)", see
        `kd.data.mix`), precision, steps_per_call, drop_last, compilation_cache, ...

    Returns:
      The students' networks, stacked over seeds, with `history` and `scores`.

    Raises:
      InputError: objects that do not fit together.
      RunError: a loss is not finite.
    """
    for key in options.keys() - {*OPTIONS, *NESTED}:
        known = (*OPTIONS, *NESTED)
        raise TypeError(f"distill() got an unexpected argument {key!r}; options: {known}")
    sampling = options.pop("sampling", SHUFFLED)
    if "convolutions" in options:
        options["devices"] = {"convolutions": options.pop("convolutions")}
    settings = dict(seed=seed, seeds=seeds, batch_size=batch_size, epochs=epochs, augment=augment)
    options["eval_every"] = epochs if eval_every is None else eval_every
    config = configs.complete(ConfigDict(settings | options))
    compilation.configure_cache(config.compilation_cache)
    teacher = load(teacher) if isinstance(teacher, str | os.PathLike) else teacher
    dataset = objects.make_dataset(data, test, objects.networks_of(teacher))
    source = objects.make_teacher(teacher, dataset, config, reduce)
    parts = Parts(
        dataset=dataset,
        student=adapt(student, "student"),
        objective=objects.make_objective(objective, source, has_teacher=teacher is not None),
        teacher=source,
        optimizer=optimizer or optax.adamw(1e-3),
        augment=augmentation(config, dataset),
        sampling=sampling,
        mix=mixing(config, dataset),
    )
    with signals.interruptible():
        setup = set_up(config, parts, placement.make_mesh(config))
        return _students(setup, *train_in_memory(setup, progress))


def _students(setup: Setup, state: DistillState, history: list[dict[str, Any]]) -> Distilled:
    """The trained students of a setup."""
    dataset = setup.parts.dataset
    last = [row for row in history if row["kind"] == setup.split][-1]
    return Distilled(
        setup.parts.student,
        state.student,
        tuple(dataset.train.image.shape[1:]),
        dataset.num_classes,
        tuple(dataset.mean),
        tuple(dataset.std),
        tuple(dataset.class_names),
        setup.seeds_how,
        setup.config.precision,
        history,
        {k: v for k, v in last.items() if k not in ("kind", "step", "epoch", "seconds")},
    )
