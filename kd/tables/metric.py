"""What a metric of a table is: a function with a unit, of one network or of a finished run.

`kd.tables.metrics` has the metrics, one file each. NumPy only.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from kd.config import ConfigDict
from kd.errors import InputError
from kd.metrics import classes
from kd.runs.workdir import Workdir


class Network(NamedTuple):
    """Predictions of one network, or of an ensemble, as a `PerNetwork` metric gets them.

    Attributes:
      logits: on the examples that the metric is evaluated on, after a bias was added.
      label: classes of these examples.
      bias: what was added to the logits of the classes of `bias=...`; 0 without.
      of: the classes of `of=...`, for metrics that are `by_class`.
    """

    logits: Float[np.ndarray, "n c"]
    label: Int[np.ndarray, " n"]
    bias: float = 0.0
    of: tuple[int, ...] = ()

    @property
    def wrong(self) -> Bool[np.ndarray, " n"]:
        """True for each example whose predicted class is not its label."""
        return self.logits.argmax(-1) != self.label


@dataclasses.dataclass(frozen=True)
class StoredRun:
    """A finished run, as a `PerRun` metric gets it."""

    workdir: Workdir
    config: ConfigDict
    result: Mapping[str, Any]  # content of result.json

    def final(self, name: str, scale: float = 1) -> list[float]:
        """Scores of the last epoch in result.json, times `scale`: the mean of each seed's peers.

        Raises:
          InputError: the run has none of this name.
        """
        scores = self.result["final"]
        if name not in scores:
            raise InputError(
                f"{self.workdir} has no {name}: it is not defined for a run without a teacher."
            )
        return self.per_seed([scale * value for value in scores[name]])

    def exported(self) -> Mapping[str, Any]:
        """Entry `exported` of result.json, after the files were compared with it.

        Raises:
          InputError: the run exported none, or a file is damaged or missing.
        """
        if "exported" not in self.result:
            raise InputError(f"{self.workdir} has no exported files: set config.export.")
        entry = self.result["exported"]
        for seed, recorded in zip(self.result["seeds"], entry.get("sha256", ()), strict=False):
            path = self.workdir.path / "exported" / f"seed{seed}.tflite"
            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}.") from error
            if digest != recorded:
                raise InputError(
                    f"{path} is damaged: its sha256 is not that in result.json. Bring it back, or "
                    f"remove {self.workdir}."
                )
        return entry

    def per_seed(self, values: Sequence[float]) -> list[float]:
        """The mean over the peers of each seed, of one value per network."""
        return mean_of_peers(values, len(self.result.get("peers", [1])))


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number of a table.

    Attributes:
      compute: the function; subclasses say of what.
      unit: printed after the number, unless the experiment sets `unit`.
      digits: after the decimal point, unless the experiment sets `digits`.
      needs: config keys that the run must set, such as `export`.
      better: "higher" or "lower", which a contrast calls better; "" if neither is.
    """

    compute: Callable[[Any], Any]
    unit: str = ""
    digits: int = 2
    needs: tuple[str, ...] = ()
    better: str = ""

    def __call__(self, argument: Any) -> Any:
        return self.compute(argument)


@dataclasses.dataclass(frozen=True)
class PerNetwork(Metric):
    """A metric with one number for each network: a function of a `Network`.

    It takes the keywords of `kd.tables.metric_call`, such as the classes to evaluate on.

    Attributes:
      required: keywords that must be given.
      scores: of a metric that is a mean over examples, its value on each example, [n]; a contrast
        then resamples the examples too.
      by_class: whether `of=...` names the classes whose scores count, on all examples; otherwise
        only the examples of these classes are evaluated.
    """

    required: tuple[str, ...] = ()
    scores: Callable[[Network], Float[np.ndarray, " n"]] | None = None
    by_class: bool = False


@dataclasses.dataclass(frozen=True)
class PerRun(Metric):
    """A metric with one number for each seed: a function of a `StoredRun`.

    Attributes:
      keywords: of `kd.tables.metric_call` that the function takes, all of which must be given.
      scores: of a metric that is a mean over examples, its value of each seed on each example,
        [s, n], or None where this is not known; it takes the same arguments.
    """

    keywords: tuple[str, ...] = ()
    scores: Callable[..., Float[np.ndarray, "s n"] | None] | None = None


def mean_of_peers(values: Sequence[float], peers: int) -> list[float]:
    """The mean over the peers of each seed; values are ordered by seed, then by peer."""
    means = np.reshape(values, (-1, peers)).mean(axis=1)
    return [float(v) for v in means]


def score_of_classes(network: Network, name: str) -> float:
    """A score of `kd.metrics.classes`, in %: its mean over the classes of `of=...`, or over all.

    Raises:
      InputError: it is not defined for any of them, as there is no such example or prediction.
    """
    matrix = classes.confusion(network.logits, network.label)
    scores = getattr(classes.class_scores(matrix), name)
    mean = float(classes.mean_of_classes(scores[list(network.of)] if network.of else scores))
    if np.isnan(mean):
        raise InputError(
            f"{name} of {', '.join(map(str, network.of))} is not defined: no evaluated example, or "
            "no prediction, is of the class."
        )
    return 100 * mean
