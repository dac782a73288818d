"""Evaluation of a run: logits on its evaluated splits, and metrics against the teacher's."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh, Sharding

from kd.config import ConfigDict
from kd.convolutions.lowering import compiled_by
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import precision
from kd.devices.mesh import replicated, to_devices
from kd.metrics import scores
from kd.metrics.reference import per_student
from kd.predict import evaluator, make_logits
from kd.step import make_eval
from kd.teachers.reduction import reference_logits
from kd.train import placement
from kd.train.choices import Choices
from kd.train.run_teacher import RunTeacher
from kd.train.streaming import Evaluated
from kd.types import DistillState, PyTree


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Evaluates a run's networks on the split `test`, which may be held-out training images.

    Attributes:
      logits: `logits(variables, split="test") -> [s, n, c]`.
      label: of the split, [n].
      reference: the teacher's logits, [n, c] or [m, n, c]; None without trained networks.
      student_variables: see `kd.teachers.kind.Kind`.
      member_logits: of the teacher's members on the split, [m, n, c], where no run has stored them.
    """

    logits: Callable[..., np.ndarray]
    label: np.ndarray
    reference: np.ndarray | None
    student_variables: Callable[[PyTree], PyTree] | None
    member_logits: np.ndarray | None = None

    def __call__(self, state: DistillState) -> dict[str, list[float]]:
        """Metrics of all students, see `scores`."""
        return self.scores(self.logits(state.student), self.teacher_logits(state))

    def teacher_logits(self, state: DistillState) -> np.ndarray | None:
        """Logits [s, n, c] of variables in the teachers' states; None where there are none."""
        if self.student_variables is None:
            return None
        return self.logits(self.student_variables(state.teacher))

    def scores(
        self, logits: np.ndarray, teacher_logits: np.ndarray | None = None
    ) -> dict[str, list[float]]:
        """Metrics of logits [s, n, c]: a list over seeds, or over all peers of cohorts.

        With logits of the teachers' states, these are the reference, and have metrics
        `teacher_accuracy` and `teacher_nll`.
        """
        if teacher_logits is not None:
            metrics = scores.evaluate(teacher_logits, self.label, None)
            of_teacher = {f"teacher_{name}": values for name, values in metrics.items()}
            return scores.evaluate(logits, self.label, teacher_logits) | of_teacher
        reference = self.reference
        if reference is not None:
            reference = per_student(reference, len(logits))
        return scores.evaluate(logits, self.label, reference)


def make_evaluation(
    config: ConfigDict,
    dataset: Dataset,
    student: nn.Module,
    teacher: RunTeacher,
    choices: Choices,
    mesh: Mesh,
) -> Evaluation:
    """Puts the evaluated images on the devices and computes the teacher's logits on them.

    `choices` say how to go over the seeds, and by whose convolutions.
    """
    place = replicated(mesh)
    splits = {"test": dataset.test, "validation": dataset.validation}
    images = {name: _put(split.image, place) for name, split in splits.items() if split}
    spread = placement.spread_students(config, mesh)
    logits = _logits(student, dataset, config, choices, choices.how, mesh, spread)
    members = _members(teacher, dataset, config, images["test"], mesh, choices)
    reference = None
    if members is not None:
        weights = teacher.member_weights
        reference = reference_logits(members, weights, teacher.reduce, teacher.paired)
    return Evaluation(
        lambda variables, split="test": logits(variables, images[split]),
        dataset.test.label,
        reference,
        teacher.student_variables,
        members if teacher.external else None,
    )


def _logits(
    model: nn.Module,
    dataset: Dataset,
    config: ConfigDict,
    choices: Choices,
    how: str,
    mesh: Mesh,
    spread: Callable | None,
) -> Callable[..., np.ndarray]:
    """`logits(variables, images) -> [s, n, c]`, see `kd.predict.make_logits`."""
    mean, std, policy = dataset.mean, dataset.std, config.precision
    size, place = config.eval_batch_size, replicated(mesh)
    if spread is None:
        logits = evaluator(model, mean, std, policy, size, how, place)
    else:
        evaluate = precision.evaluation(make_eval(model, make_normalize(mean, std)), policy)
        logits = make_logits(evaluate, size, how, place, spread)
    return compiled_by(choices.convolutions, logits)


def _put(image: np.ndarray | Pictures, place: Sharding) -> jax.Array | Evaluated:
    """A split's images on the devices, or an object that decodes images from files when needed."""
    if isinstance(image, Pictures):
        return Evaluated(image, place)
    return to_devices(image, place)


def _members(
    teacher: RunTeacher,
    dataset: Dataset,
    config: ConfigDict,
    images: jax.Array | Evaluated,
    mesh: Mesh,
    choices: Choices,
) -> np.ndarray | None:
    """Logits of the teacher's members on images, [m, n, c]; None where it has none."""
    if not teacher.stacks:
        return teacher.evaluated
    members = []
    for stack in teacher.stacks:
        spread = stack.spread if mesh.size > 1 else None
        evaluate = _logits(stack.model, dataset, config, choices, stack.how, mesh, spread)
        members.append(evaluate(stack.variables, images))
    return np.concatenate(members)
