"""Metrics of tables, from the stored predictions of a run: errors as counts, of some classes, of
the ensemble, after a bias.

A table names one as it would be called: `errors`, `accuracy(of=3)`, `errors(bias=(7, 8),
chosen_on="test")`. NumPy alone.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd.errors import InputError, unknown
from kd.metrics.scores import mean_probs

UNITS = {
    "errors": ("errors", 1),
    "error_rate": ("%", 2),
    "accuracy": ("%", 2),
    "bias": ("shift of the logit", 2),
    "nll": ("nats", 4),
    "agreement": ("%", 2),
    "kl": ("nats", 4),
    "teacher_accuracy": ("%", 2),
    "exported_bytes": ("bytes", 0),
}
"""Unit and usual digits of each metric."""

OF_RESULT = ("nll", "agreement", "kl", "teacher_accuracy", "exported_bytes")
"""Metrics that are not of the stored predictions alone, see `kd.tables.results`; they take no
keywords. `teacher_accuracy` is that of what taught: of several members their mean probability, of a
mean teacher each seed's. `exported_bytes`: of the networks' files.
"""

KEYWORDS = {
    "of": None,
    "bias": None,
    "chosen_on": "validation",
    "ensemble": False,
    "peer": None,
    "together": False,
    "exported": False,
}
"""What a metric may be asked for.

`of`: the examples of these classes alone. `bias`: after a number was added to the logits of these
classes, the same for all examples, chosen for the fewest errors on `chosen_on`, "validation" or
"test". `ensemble`: of the seeds' mean probability. Where students were trained as cohorts each seed
has the mean of its peers; `peer`: that of this one alone, from 0; `together`: that of their mean
probability. `exported`: of the networks' files, which a run with `config.export` makes and asks.
"""


class Metric(NamedTuple):
    """A metric taken apart; `of` and `bias` are classes, () where not given."""

    name: str
    of: tuple[int, ...] = ()
    bias: tuple[int, ...] = ()
    chosen_on: str = "validation"
    ensemble: bool = False
    peer: int | None = None
    together: bool = False
    exported: bool = False

    @property
    def peeks(self) -> bool:
        """Whether something was chosen on the test set."""
        return bool(self.bias) and self.chosen_on == "test"

    @property
    def needs_validation(self) -> bool:
        return bool(self.bias) and self.chosen_on == "validation"

    @property
    def needs_export(self) -> bool:
        """Whether it is of the networks' files."""
        return self.exported or self.name == "exported_bytes"


def parse(text: str) -> Metric:
    """A metric from its text. Raises InputError."""
    try:
        node = ast.parse(text, mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        assert isinstance(call.func, ast.Name) and not call.args
        given = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AssertionError, TypeError):
        raise InputError(
            f"metric {text!r}: expected a name, or keywords as in 'errors(of=3, bias=3)'."
        ) from None
    name = call.func.id
    if name not in UNITS:
        raise unknown("metric", name, UNITS)
    if name in OF_RESULT and given:
        raise InputError(f"metric {text!r}: {name} takes no keywords.")
    for key in given:
        if key not in KEYWORDS:
            raise unknown(f"keyword of metric {name}", key, KEYWORDS)
    metric = Metric(
        name,
        _classes(given.get("of"), text),
        _classes(given.get("bias"), text),
        given.get("chosen_on", "validation"),
        bool(given.get("ensemble", False)),
        given.get("peer"),
        bool(given.get("together", False)),
        bool(given.get("exported", False)),
    )
    if metric.peer is not None and (type(metric.peer) is not int or metric.peer < 0):
        raise InputError(f"metric {text!r}: a peer is a number from 0, not {metric.peer!r}.")
    if metric.exported and metric.bias:
        raise InputError(f"metric {text!r}: a bias is of the network, not of its file.")
    if metric.chosen_on not in ("validation", "test"):
        raise unknown("value of chosen_on", str(metric.chosen_on), ("validation", "test"))
    if name == "bias" and not metric.bias:
        raise InputError(f"metric {text!r}: say whose, as in 'bias(bias=3)'.")
    return metric


def _classes(value: Any, text: str) -> tuple[int, ...]:
    classes = () if value is None else value if isinstance(value, tuple) else (value,)
    if not all(type(k) is int and k >= 0 for k in classes):
        raise InputError(f"metric {text!r}: classes are numbers from 0, not {value!r}.")
    return classes


def evaluate(metric: Metric, predictions: Mapping[str, np.ndarray]) -> list[float]:
    """The metric of each seed, of cohorts the mean of a seed's peers or one peer's; or of the
    ensemble alone.

    Args:
      metric: from `parse`.
      predictions: content of a run's `predictions.npz`.

    Raises:
      InputError: classes or a peer that there are not, or no validation predictions to choose from.
    """
    joined = metric.ensemble or metric.together
    k = 1 if joined else int(predictions.get("peers", 1))
    values = _of_each(metric, predictions)
    if metric.peer is None:
        return per_seed(values, k)
    if metric.peer >= k:
        raise InputError(
            f"there is no peer {metric.peer}: the run has {k} network{'s' * (k > 1)} for each seed."
        )
    return values[metric.peer :: k]


def per_seed(values: Sequence[float], peers: int) -> list[float]:
    """The mean of the peers of each seed."""
    means = np.reshape(values, (-1, peers)).mean(axis=1)
    return [float(v) for v in means]


def _of_each(metric: Metric, predictions: Mapping[str, np.ndarray]) -> list[float]:
    """The metric of each network."""
    logits, label = _of_split(predictions, "", metric)
    if metric.exported:
        logits = _of_files(predictions, metric)
    for k in (*metric.of, *metric.bias):
        if k >= logits.shape[-1]:
            raise InputError(
                f"there is no class {k}: the data have classes 0 to {logits.shape[-1] - 1}."
            )
    if metric.bias:
        prefix = "validation_" if metric.needs_validation else ""
        chosen_on = _of_split(predictions, prefix, metric)
        shifts = [best_bias(z, chosen_on[1], metric.bias) for z in chosen_on[0]]
        if metric.name == "bias":
            return shifts
        logits = np.array(logits, np.float64)
        logits[..., list(metric.bias)] += np.asarray(shifts)[:, None, None]
    wrong = logits.argmax(-1) != label
    if metric.of:
        wrong = wrong[:, np.isin(label, metric.of)]
    if metric.name == "errors":
        return [float(n) for n in wrong.sum(axis=-1)]
    rate = 100 * wrong.mean(axis=-1)
    return [float(r) for r in (rate if metric.name == "error_rate" else 100 - rate)]


def _of_split(
    predictions: Mapping[str, np.ndarray], prefix: str, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    if f"{prefix}logits" not in predictions:
        raise InputError(
            "a bias chosen on validation needs validation predictions, and the run kept none: set "
            "config.validation."
        )
    logits, label = predictions[f"{prefix}logits"], predictions[f"{prefix}label"]
    if metric.ensemble:
        return mean_probs(logits)[None], label
    if metric.together:
        k = int(predictions.get("peers", 1))
        cohorts = [mean_probs(logits[i : i + k]) for i in range(0, len(logits), k)]
        return np.stack(cohorts), label
    return logits, label


def _of_files(predictions: Mapping[str, np.ndarray], metric: Metric) -> np.ndarray:
    if "exported_logits" not in predictions:
        raise InputError("the run asked no exported files: set config.export.")
    logits = predictions["exported_logits"]
    return mean_probs(logits)[None] if metric.ensemble else logits


def best_bias(
    logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"], classes: Sequence[int]
) -> float:
    """The number that, added to the logits of `classes`, makes the fewest errors; exact, by trying
    every interval.

    An example is predicted inside `classes` once the number passes d, its largest logit outside
    less its largest inside. So the errors change at the n values d alone; of the best intervals
    between two of them, the middle of the widest is taken.
    """
    z = np.asarray(logits, np.float64)
    inside = np.isin(np.arange(z.shape[1]), list(classes))
    if inside.all():
        raise InputError("a bias on all classes alike changes nothing: name some.")
    z_in, z_out = (np.where(mask, z, -np.inf) for mask in (inside, ~inside))
    right_in, right_out = z_in.argmax(1) == label, z_out.argmax(1) == label
    d = z_out.max(1) - z_in.max(1)
    order = np.argsort(d)
    gains = right_in[order].astype(int) - right_out[order]
    right = right_out.sum() + np.concatenate([[0], np.cumsum(gains)])  # [n + 1]
    edges = np.concatenate([[d.min() - 1], d[order], [d.max() + 1]])
    width = np.diff(edges)
    best = right[width > 0].max()
    widest = np.argmax(np.where(right == best, width, -1))
    return float(edges[widest] + width[widest] / 2)
