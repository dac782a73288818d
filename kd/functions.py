"""Student and teacher as functions, for objectives that look at other images than the batch's."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.types import Batch, Leaf, Outputs, PyTree, Teacher, outputs_of, target_of


@struct.dataclass
class StudentFunction:
    """The student with its current variables, `view.student_fn`: a pytree, with a gradient.

    A call changes nothing: BatchNorm statistics are read and, in training mode, computed of the
    images that it gets, but never updated.

    Attributes:
      model: the network's `apply`, and `peers` where it is a cohort.
      variables: of the student, params and all other collections.
      key: random key of the update, for dropout; every call drops the same units.
    """

    model: Any = struct.field(pytree_node=False)
    variables: PyTree
    key: Leaf

    def __call__(self, image: Float[Array, "b ..."], train: bool = False) -> Outputs:
        """Outputs of normalised images.

        Args:
          image: as `view.batch["image"]`; any number of examples.
          train: training mode, with dropout and the statistics of these images; otherwise
            evaluation mode, the network as it is deployed.
        """
        if not train:
            return outputs_of(self.model.apply(self.variables, image, train=False), self.model)
        mutable = [name for name in self.variables if name != "params"]
        returned, _ = self.model.apply(
            self.variables, image, train=True, rngs={"dropout": self.key}, mutable=mutable
        )
        return outputs_of(returned, self.model)


class Identified:
    """A module as static data of a pytree: compared by identity, for its fields may have no hash.

    Attributes:
      apply: of the module.
      peers: of the module, where it is a cohort.
    """

    def __init__(self, model: Any):
        self.apply = model.apply
        if hasattr(model, "peers"):
            self.peers = model.peers


@struct.dataclass
class TeacherFunction:
    """The teacher, `view.teacher_fn`: without gradient.

    Attributes:
      teacher: its `apply`, see `kd.types.Teacher`.
      frozen: its weights.
      state: its state.
      batch: that the step gave it, of which a call replaces the images.
    """

    teacher: Callable[..., Any] = struct.field(pytree_node=False)
    frozen: PyTree
    state: PyTree
    batch: Batch

    def __call__(self, image: Float[Array, "b ..."]) -> Any:
        """Outputs of normalised images in the order of the batch, as `view.teacher` has them."""
        frozen, state = jax.lax.stop_gradient((self.frozen, self.state))
        return target_of(self.teacher(frozen, state, {**self.batch, "image": image}))


def answers(teacher: Teacher, frozen: PyTree, state: PyTree, batch: Batch) -> Any:
    """A teacher's outputs on a batch, without gradient.

    Of mixed images (`config.mix`) it sees no labels: no image has one class.

    Raises:
      InputError: it reads the labels of mixed images, or its outputs are stored, and so of others.
    """
    if "share" not in batch:
        return target_of(teacher.apply(frozen, state, batch))
    try:
        outputs = target_of(teacher.apply(frozen, state, _shown(batch)))
    except KeyError as error:
        if error.args != ("label",):
            raise
        raise InputError(
            "config.mix shows mixed images, which have no one class, and config.teacher reads "
            "their labels. Leave one of the two out."
        ) from None
    if teacher.stored and outputs is not None:
        raise InputError(
            "config.mix shows mixed images, and the teacher's outputs are stored, of images as "
            "they are. Leave config.mix out, or take a teacher that is evaluated in the step: "
            "config.teacher.run, or a JAX function as config.teacher.apply."
        )
    return outputs


def _shown(batch: Batch) -> Batch:
    """What a teacher sees of a batch: of mixed images no labels."""
    hidden = ("label", "partner_label") if "share" in batch else ()
    return {name: value for name, value in batch.items() if name not in hidden}


def of_student(model: Any) -> Callable[[PyTree, Any], StudentFunction]:
    """`make(variables, key)`: the functions of a student, all with one identity."""
    static = Identified(model)
    return lambda variables, key: StudentFunction(static, variables, key)


def of_teacher(teacher: Teacher) -> Callable[[PyTree, PyTree, Batch], TeacherFunction | None]:
    """`make(frozen, state, batch)`: the functions of a teacher; None where outputs are stored."""
    if teacher.stored:
        return lambda frozen, state, batch: None
    make = TeacherFunction
    return lambda frozen, state, batch: make(teacher.apply, frozen, state, _shown(batch))
