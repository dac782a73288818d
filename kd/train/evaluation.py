"""How a run is judged: logits on the images that are kept for that, and metrics of them beside the
teacher's.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, Sharding

from kd.config import ConfigDict
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import mesh as sharding
from kd.devices import precision
from kd.metrics import reference
from kd.metrics import scores as metrics
from kd.predict import make_logits
from kd.step import make_eval
from kd.train import placement
from kd.train.streaming import Evaluated
from kd.train.teacher import Taught
from kd.types import Augment, DistillState, PyTree


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Judges the networks of a run on its evaluated images, which are the split `test` here even
    where training images are held out.
    """

    logits: Callable[..., np.ndarray]  # variables, name of a split -> [s, n, c]
    label: np.ndarray  # [n]
    target: np.ndarray | None  # the teacher's logits, see `_target`
    own: Callable[[PyTree], PyTree] | None  # see `kd.train.teacher.Taught`

    def __call__(self, state: DistillState) -> dict[str, list[float]]:
        """Metrics of all students, see `scores`."""
        return self.scores(self.logits(state.student), self.mean_logits(state))

    def mean_logits(self, state: DistillState) -> np.ndarray | None:
        """Logits [s, n, c] of teachers that follow their students; None where there are none."""
        return None if self.own is None else self.logits(self.own(state.teacher))

    def scores(self, logits: np.ndarray, means: np.ndarray | None = None) -> dict[str, list[float]]:
        """Metrics of logits [s, n, c], a list over seeds of each; over all peers where there are
        some.

        Logits of teachers that follow their students have an accuracy and nll of their own,
        `teacher_accuracy`, `teacher_nll`.
        """
        if means is not None:
            own = metrics.evaluate(means, self.label, None)
            teacher = {f"teacher_{name}": values for name, values in own.items()}
            return metrics.evaluate(logits, self.label, means) | teacher
        target = self.target
        if target is not None:
            target = reference.beside(target, len(logits))
        return metrics.evaluate(logits, self.label, target)


def make_evaluation(
    config: ConfigDict, dataset: Dataset, student: nn.Module, taught: Taught, how: str, mesh: Mesh
) -> Evaluation:
    """Puts the images on the devices and asks the teacher about those that are evaluated; `how` is
    the way over the seeds.
    """
    place = sharding.replicated(mesh)
    normalize = make_normalize(dataset.mean, dataset.std)
    splits = {"test": dataset.test, "validation": dataset.validation}
    images = {name: _put(split.image, place) for name, split in splits.items() if split}
    evaluate = precision.evaluation(make_eval(student, normalize), config.precision)
    spread = placement.spread_students(config, mesh)
    logits = make_logits(evaluate, config.eval_batch_size, how, place, spread)
    return Evaluation(
        lambda variables, split="test": logits(variables, images[split]),
        dataset.test.label,
        _target(taught, normalize, config, images["test"], place),
        taught.own,
    )


def _put(image: np.ndarray | Pictures, place: Sharding) -> jax.Array | Evaluated:
    """A split's images on the devices, or what decodes pictures as they are asked for."""
    if isinstance(image, Pictures):
        return Evaluated(image, place)
    return sharding.to_devices(image, place)


def _target(
    taught: Taught,
    normalize: Augment,
    config: ConfigDict,
    test: jax.Array | Evaluated,
    place: Sharding,
) -> np.ndarray | None:
    """The teacher's logits on the evaluated split, see `kd.metrics.reference.of_members`."""
    if not taught.groups:
        return None
    found = []
    for group in taught.groups:
        evaluate = make_eval(group.model, normalize)
        evaluate = precision.evaluation(evaluate, config.precision)
        size = config.eval_batch_size
        logits = make_logits(evaluate, size, group.how, place, group.spread)
        found.append(logits(group.variables, test))
    return reference.of_members(np.concatenate(found), taught.shares, config.teacher)
