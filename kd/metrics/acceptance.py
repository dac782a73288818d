"""Limits of `config.acceptance` beside loss and agreement: scores of all classes and of each."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from kd.metrics import classes
from kd.metrics.contrasts import t_factors
from kd.metrics.intervals import Interval, accuracy
from kd.metrics.limits import at_least, at_most
from kd.metrics.reference import accuracy_loss
from kd.values import class_number

WORDS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1": "F1"}
"""Names of scores in sentences, where they differ from the keys."""

DRAWS = 1000
"""Bootstrap samples of an interval."""


class Limit(NamedTuple):
    """What is asked of a score.

    Attributes:
      score: of `kd.metrics.classes`.
      bound: the least value, or the largest loss against the teacher; a fraction.
      is_loss: whether it is a loss.
      of: the class; None: all classes together, or each, where the score is of each class.
    """

    score: str
    bound: float
    is_loss: bool
    of: int | None = None


class Judged(NamedTuple):
    """A limit, whether it is met, and whether other images and seeds would say the same."""

    text: str
    met: bool
    certain: bool


def limits(section: Mapping[str, Any], num_classes: int, names: Sequence[str]) -> list[Limit]:
    """The limits of a section `acceptance`, but for `max_drop` and `min_agreement`.

    Args:
      section: of the config.
      num_classes: of the data.
      names: of the classes, or ().

    Raises:
      InputError: a class that the data do not have.
    """
    wanted = []
    for key, bound in section.items():
        is_loss = key.endswith("_drop") and key != "max_drop"
        if not is_loss and (not key.startswith("min_") or key == "min_agreement"):
            continue
        score = key.removeprefix("max_").removesuffix("_drop").removeprefix("min_")
        if isinstance(bound, int | float):
            wanted.append(Limit(score, bound, is_loss))
            continue
        for name, value in bound.items():
            of = class_number(name, num_classes, names, f"config.acceptance.{key}")
            wanted.append(Limit(score, value, is_loss, of))
    return wanted


def asks_teacher(section: Mapping[str, Any]) -> bool:
    """Whether a section asks for anything that only a teacher can be compared with."""
    compared = section.get("max_drop", 1) < 1 or section.get("min_agreement", 0) > 0
    return compared or any(key.endswith("_drop") and key != "max_drop" for key in section)


def judge(
    section: Mapping[str, Any],
    logits: Float[np.ndarray, "s n c"],
    label: Int[np.ndarray, " n"],
    reference: Float[np.ndarray, "... n c"] | None,
    names: Sequence[str] = (),
) -> list[Judged]:
    """Every limit of a section, of means over the students; without a reference, no losses.

    Intervals are from a bootstrap over images and seeds, with Student's t for seeds. That of the
    accuracy is the one of `kd.metrics.contrasts`; those of other scores, which are no means over
    images, count twice what differs by seed and image, and are a little wider. A class that
    is never predicted has the precision 0; classes without images are left out where each class is
    asked about, and not met where they are named.

    Args:
      section: `acceptance` of a config.
      logits: of the students.
      label: of the images.
      reference: the teacher's logits [n, c], or those of each student's teacher [s, n, c].
      names: of the classes, or ().

    Raises:
      InputError: see `limits`.
    """
    c = logits.shape[-1]
    wanted = [x for x in limits(section, c, names) if reference is not None or not x.is_loss]
    if not wanted:
        return []
    answers = [*logits.argmax(-1)]
    paired = reference is not None and reference.ndim == 3
    if reference is not None:
        answers += [*reference.argmax(-1)] if paired else [reference.argmax(-1)]
    # Images of one label and equal answers are one kind; a draw says how many of each there are.
    kinds, count = np.unique(np.stack([label, *answers]), axis=1, return_counts=True)

    def of_sample(count: np.ndarray, weights: np.ndarray) -> list[tuple[float, int | None]]:
        cells = [np.bincount(kinds[0] * c + row, count, c * c) for row in kinds[1:]]
        matrix = np.reshape(cells, (-1, c, c))
        students, teachers = matrix[: len(logits)], matrix[len(logits) :]
        return [_value(x, students, teachers, weights, paired) for x in wanted]

    s, generator = len(logits), np.random.default_rng(1)  # other numbers than those of `t_factors`
    equal = np.full(s, 1 / s)
    values = of_sample(count, equal)
    estimate = np.array([value for value, _ in values])
    # Deviations [draws, limits] that are due to the images and to the seeds.
    draws = np.tile(estimate, (DRAWS, 1))
    factors = t_factors(s, DRAWS)
    for i in range(DRAWS):
        images = generator.multinomial(count.sum(), count / count.sum())
        draws[i] += np.array([value for value, _ in of_sample(images, equal)]) - estimate
        if s > 1:
            students = generator.multinomial(s, equal) / s
            other = np.array([value for value, _ in of_sample(count, students)])
            draws[i] += factors[i] * (other - estimate)
    judged = []
    for limit, (value, worst), drawn in zip(wanted, values, draws.T, strict=True):
        defined = drawn[~np.isnan(drawn)]
        low, high = np.percentile(defined, [2.5, 97.5]).tolist() if len(defined) else (np.nan,) * 2
        if limit.score == "accuracy":  # a mean over images, whose interval is that of reports
            _, low, high = _accuracy(logits, label, reference if limit.is_loss else None)
        holds = at_most if limit.is_loss else at_least
        met = holds(value, limit.bound)
        certain = holds(low, limit.bound) == holds(high, limit.bound) == met
        judged.append(Judged(_text(limit, value, worst, names), bool(met), bool(certain)))
    return judged


def _accuracy(logits: np.ndarray, label: np.ndarray, reference: np.ndarray | None) -> Interval:
    """The accuracy, or its loss against a reference, with its interval."""
    if reference is not None:
        return accuracy_loss(logits, reference, label)
    return accuracy((logits.argmax(-1) == label).astype(float))


def _value(
    limit: Limit, students: np.ndarray, teachers: np.ndarray, weights: np.ndarray, paired: bool
) -> tuple[float, int | None]:
    """The score, or its loss, and the class that it is of where each class is asked about."""
    value = _mean(limit.score, students, weights)
    if limit.is_loss:
        of_teachers = weights if paired else np.ones(1)
        value = _mean(limit.score, teachers, of_teachers) - value
    if limit.score in classes.OVERALL:
        return float(value), None
    if limit.of is not None:
        return float(value[limit.of]), None
    if np.isnan(value).all():
        return np.nan, None
    worst = int(np.nanargmax(value) if limit.is_loss else np.nanargmin(value))
    return float(value[worst]), worst


def _mean(score: str, matrix: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of networks, [] or [c]; NaN for classes without images."""
    if score in classes.OVERALL:
        return np.asarray(weights @ classes.OVERALL[score](matrix))
    values = getattr(classes.class_scores(matrix), score)
    has_images = matrix.sum(-1) > 0
    return weights @ np.where(has_images, np.nan_to_num(values), np.nan)


def _text(limit: Limit, value: float, worst: int | None, names: Sequence[str]) -> str:
    name = lambda k: names[k] if names else f"class {k}"
    score = WORDS.get(limit.score, limit.score)
    what = f"loss of {score}" if limit.is_loss else score
    if limit.of is not None:
        what += f" of {name(limit.of)}"
    of = ""
    if worst is not None:
        what, of = f"{'largest' if limit.is_loss else 'lowest'} {what}", f" ({name(worst)})"
    if np.isnan(value):
        return f"{what} not defined (no such image)"
    if limit.is_loss:
        return f"{what} {100 * value:z.2f}{of} of at most {100 * limit.bound:z.2f} points"
    return f"{what} {100 * value:z.2f} %{of} of at least {100 * limit.bound:z.2f} %"
