"""Evaluates metrics on the stored predictions of a run. NumPy only."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from kd.errors import InputError
from kd.metrics.scores import mean_probs
from kd.tables.contrast import Scores
from kd.tables.metric import Network, PerNetwork, mean_of_peers
from kd.tables.metric_call import MetricCall

type Predictions = Mapping[str, np.ndarray]


def evaluate(call: MetricCall, predictions: Predictions) -> list[float]:
    """The metric of each seed, or of the ensemble of all seeds.

    Args:
      call: a `PerNetwork` metric and its keywords.
      predictions: content of a run's `predictions.npz`.

    Raises:
      InputError: the run has no such class, peer, exported file or validation prediction; or the
        metric fails.
    """
    peers = 1 if call.ensemble or call.together else int(predictions.get("peers", 1))
    values = [_value(call, network) for network in _networks(call, predictions)]
    if call.peer is None:
        return mean_of_peers(values, peers)
    if call.peer >= peers:
        raise InputError(f"no peer {call.peer}: the run has {peers} network(s) per seed.")
    return values[call.peer :: peers]


def evaluate_scores(call: MetricCall, predictions: Predictions) -> Scores | None:
    """The metric of each seed on each example; None if it is no mean over examples.

    Args and errors are those of `evaluate`.
    """
    per_example = call.metric.scores if isinstance(call.metric, PerNetwork) else None
    if per_example is None:
        return None
    networks = _networks(call, predictions)
    peers = 1 if call.ensemble or call.together else int(predictions.get("peers", 1))
    values = np.stack([per_example(network) for network in networks])  # [s * peers, n]
    if call.peer is None:
        values = values.reshape(-1, peers, values.shape[1]).mean(axis=1)
    else:
        values = values[call.peer :: peers]
    return Scores(values, networks[0].label)


def _value(call: MetricCall, network: Network) -> float:
    try:
        return float(call.metric(network))
    except Exception as error:  # a user's metric may raise anything
        raise InputError(
            f"the metric {call.name} fails: {type(error).__name__}: {error}."
        ) from error


def _networks(call: MetricCall, predictions: Predictions) -> list[Network]:
    """What the metric is evaluated on: each network, each cohort, or the ensemble."""
    logits, label = _split(call, predictions, "")
    if call.exported:
        logits = _exported(call, predictions)
    classes = logits.shape[-1]
    for k in (*call.of, *call.bias):
        if k >= classes:
            raise InputError(f"no class {k}: the data have classes 0 to {classes - 1}.")
    biases = [0.0] * len(logits)
    if call.bias:
        prefix = "validation_" if call.uses_validation else ""
        chosen_on, its_label = _split(call, predictions, prefix)
        biases = [best_bias(z, its_label, call.bias) for z in chosen_on]
        logits = np.array(logits, np.float64)
        logits[..., list(call.bias)] += np.asarray(biases)[:, None, None]
    by_class = getattr(call.metric, "by_class", False)
    if call.of and not by_class:
        chosen = np.isin(label, call.of)
        logits, label = logits[:, chosen], label[chosen]
    of = call.of if by_class else ()
    return [Network(z, label, bias, of) for z, bias in zip(logits, biases, strict=True)]


def _split(
    call: MetricCall, predictions: Predictions, prefix: str
) -> tuple[np.ndarray, np.ndarray]:
    """Logits [s, n, c] and labels [n]; `prefix` is "" or "validation_"."""
    if f"{prefix}logits" not in predictions:
        raise InputError(
            "a bias chosen on validation needs validation predictions, and the run stored none: "
            "set config.validation."
        )
    logits, label = predictions[f"{prefix}logits"], predictions[f"{prefix}label"]
    if call.ensemble:
        return mean_probs(logits)[None], label
    if call.together:
        k = int(predictions.get("peers", 1))
        cohorts = [mean_probs(logits[i : i + k]) for i in range(0, len(logits), k)]
        return np.stack(cohorts), label
    return logits, label


def _exported(call: MetricCall, predictions: Predictions) -> np.ndarray:
    """Logits of the exported files, [s, n, c]."""
    if "exported_logits" not in predictions:
        raise InputError("the run has no exported files: set config.export.")
    logits = predictions["exported_logits"]
    return mean_probs(logits)[None] if call.ensemble else logits


def best_bias(
    logits: Float[np.ndarray, "n c"], label: Int[np.ndarray, " n"], classes: Sequence[int]
) -> float:
    """The number that, added to the logits of `classes`, gives the fewest errors. Exact.

    An example is predicted inside `classes` if the number exceeds d, its largest logit outside
    minus its largest inside. So the number of errors changes only at the n values of d. Of the
    intervals between them with the fewest errors, the middle of the widest is returned.
    """
    z = np.asarray(logits, np.float64)
    inside = np.isin(np.arange(z.shape[1]), list(classes))
    if inside.all():
        raise InputError("a bias on all classes changes no prediction: leave some out.")
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
