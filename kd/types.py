"""The vocabulary of `kd`: what models, teachers, objectives and the step hand to one another.

Axes, the same letters everywhere: b batch, c classes, m teachers, k peers or negatives, h w d
features, n training images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from kd.errors import InputError, unknown

type PyTree = Any

type Leaf = Any
"""An array, where a dataclass is a pytree: transformations put shapes, shardings and axes in its
place, so that its fields cannot be checked as arrays. Functions can, and are.
"""

type Batch = dict[str, Any]
"""A minibatch. `image` [b, ...], `label` int [b], `index` int [b] (place in the training set),
`epoch` int [], from 0, and `key` [] of this update, for a teacher that draws.

Where each image is shown twice, `views` int [b] says which of the two a row is, 0 or 1.
"""


@struct.dataclass
class Outputs:
    """What one model says about a batch.

    `features` maps the name of a stage (`stem`, `stage1`, ..., `pooled`) to its activation, [b, h,
    w, d] or [b, d]. What further heads a model has stands there too, under a name of its own.
    Models returned stacked (an ensemble that is not reduced, a cohort of students) have one more
    leading axis on every array.
    """

    logits: Leaf  # float [..., b, c]
    features: dict[str, Leaf] = struct.field(default_factory=dict)

    def feature(self, name: str) -> Array:
        """The activation called `name`. Raises InputError that lists the existing ones."""
        if name not in self.features:
            raise unknown("feature", name, self.features)
        return self.features[name]

    def at(self, temperature: float) -> Float[Array, "... b c"]:
        """The logits to soften at `temperature`. For one model they are the same at every
        temperature.
        """
        del temperature
        return self.logits


@struct.dataclass
class Mixture:
    """An ensemble whose prediction is the weighted mean of its members' probabilities, each
    example's own or the same for all.

    The mean of softened probabilities depends on the temperature, so the objective asks for it:
    softmax(at(T) / T) is exactly sum_m w_m softmax(z_m / T), the soft target of Hinton et al.
    (2015, https://arxiv.org/abs/1503.02531, section 3).
    """

    members: Leaf  # float [m, b, c]
    weights: Leaf  # float [m] or [m, b], of sum one over m
    features: dict[str, Leaf] = struct.field(default_factory=dict)

    @property
    def logits(self) -> Float[Array, "b c"]:
        """Log of the mean probability, [b, c]."""
        return self.at(1.0)

    def at(self, temperature: float) -> Float[Array, "b c"]:
        """T log sum_m w_m softmax(z_m / T), [b, c]."""
        log_p = jax.nn.log_softmax(self.members.astype(jnp.float32) / temperature)
        weights = self.weights if self.weights.ndim == 2 else self.weights[:, None]
        return temperature * jax.nn.logsumexp(log_p, axis=0, b=weights[..., None])

    def feature(self, name: str) -> Array:
        """Features of different networks have no common axes, so a mean of them means nothing."""
        raise unknown("feature of an averaged ensemble (use teacher.reduce = 'each')", name, ())


@struct.dataclass
class View:
    """Everything that an objective may look at, and nothing else.

    Attributes:
      student: outputs of the student on the batch, in training mode.
      teacher: outputs of the teacher on the same batch, without gradient; None where there is no
        teacher. Teachers that count on their own are stacked, [m, b, ...], those of several
        architectures a tuple of such: see `kd.objective`.
      batch: the minibatch after augmentation, as both networks saw it.
      tables: facts of the whole training set, such as `order`, `start` and `count` of its classes.
      step: update counter, int [], from 0.
      teacher_variables: the teacher's weights, for methods that reuse its classifier or BatchNorm;
        without gradient.
    """

    student: Outputs
    teacher: Outputs | Mixture | tuple[Outputs, ...] | None
    batch: Batch
    tables: dict[str, Leaf]
    step: Leaf
    teacher_variables: PyTree = None

    def target(self, temperature: float) -> Float[Array, "... b c"]:
        """The teacher's logits to soften at `temperature`. Raises InputError where there is no
        teacher.
        """
        if self.teacher is None:
            raise InputError(
                "this objective learns from a teacher and the run has none. "
                "Name one in config.teacher, or take the term out of config.objective."
            )
        if isinstance(self.teacher, tuple):
            raise InputError(
                "teachers of several architectures side by side have no one target: lift the "
                "objective with kd.objective.PerGroup."
            )
        return self.teacher.at(temperature)

    def members(self) -> Mixture:
        """The members of the ensemble that teaches. Raises InputError where their mean is not what
        the objective is given.
        """
        if isinstance(self.teacher, Mixture):
            return self.teacher
        raise InputError(
            "this objective learns from each member of an ensemble at once: give config.teacher "
            "several members and leave teacher.reduce at 'probs'."
        )

    @property
    def epoch(self) -> Int[Array, ""]:
        """Epoch of this batch, int [], from 0."""
        return jnp.asarray(self.batch.get("epoch", 0))


def _no_state(student: PyTree) -> PyTree:
    del student
    return ()


def _unchanged(state: PyTree, student: PyTree) -> PyTree:
    del student
    return state


class Teacher(NamedTuple):
    """Three pure functions.

    `apply(frozen, state, batch)` gives the target outputs, or None. `frozen` are weights that never
    change: an argument of the compiled step, never donated, never saved. `state` are weights that
    do (an EMA of the student): `init(student)` makes them, `update(state, student)` follows each
    update of the student; they live in `DistillState`.
    """

    apply: Callable[[PyTree, PyTree, Batch], Outputs | Mixture | tuple[Outputs, ...] | None]
    init: Callable[[PyTree], PyTree] = _no_state
    update: Callable[[PyTree, PyTree], PyTree] = _unchanged


@struct.dataclass
class DistillState:
    """All that training changes, and so all that a checkpoint holds.

    `params` and `stats` have two entries, `student` and `objective`: what the optimizer sees, and
    what changes without a gradient (BatchNorm statistics, memory banks). The states of several
    seeds are one, each array with a leading axis [s].
    """

    step: Leaf  # int []
    key: Leaf  # key []
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    opt: optax.OptState
    teacher: PyTree

    @property
    def student(self) -> PyTree:
        """Variables of the student, as `student.apply` takes them."""
        return {"params": self.params["student"], **self.stats["student"]}


type Augment = Callable[[Any, Batch], Batch]


def as_given(key: Any, batch: Batch) -> Batch:
    """The batch: no augmentation."""
    del key
    return batch
