"""The types that networks, teachers, objectives and the step exchange.

Axes have the same letters everywhere: b batch, c classes, m members of an ensemble, k peers or
negatives, s seeds, h w d height, width and channels of features, n training images.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int

from kd.errors import InputError, unknown

type PyTree = Any
"""A nested structure of arrays."""

type Leaf = Any
"""An array in a dataclass that is a pytree. Transformations replace it by shapes, shardings or
axes, so its fields cannot be type-checked as arrays; arguments of functions are.
"""

type Batch = dict[str, Any]
"""A minibatch, a dict of arrays:

- `image` [b, h, w, c] or series [b, t, c]: raw before augmentation, then normalised float32;
- `label` int [b];
- `index` int [b]: the place of each example in the training set;
- `epoch` int [], from 0;
- `key` []: a random key of this update, for a teacher that draws members; added by the step;
- `views` int [b]: which of its image's two augmented views a row is, 0 or 1; only with two views.
- `partner_label` int [b], `share` float [b]: of mixed images, the label of the other image and the
  share of the own one; only with `config.mix`.
"""


@struct.dataclass
class Outputs:
    """The outputs of a network on a batch.

    Outputs of several networks (an ensemble that is not reduced, a cohort) are stacked: every array
    has one more leading axis, [m, b, ...] or [k, b, ...].

    Attributes:
      logits: float [b, c]; None of a teacher that has features alone.
      features: activations by the name of their stage (`stem`, `stage1`, ..., `pooled`), [b, h, w,
        d] or [b, d], and outputs of further heads, each under a name of its own.
      peers: k, if these are the stacked outputs of a cohort of k students; 0 for one network. Three
        axes alone do not make a cohort.
    """

    logits: Leaf  # float [..., b, c]
    features: dict[str, Leaf] = struct.field(default_factory=dict)
    peers: int = struct.field(pytree_node=False, default=0)

    def feature(self, name: str) -> Array:
        """The activation called `name`. Raises InputError, which lists the existing ones."""
        if name not in self.features:
            raise unknown("feature", name, self.features)
        return self.features[name]

    def listed(self) -> str:
        """Features with their shapes without the batch, for messages; three or more numbered ones
        of one shape together.
        """
        runs: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        for name, feature in self.features.items():
            runs.setdefault((name.rstrip("0123456789"), feature.shape[1:]), []).append(name)
        few = lambda names: [f"{names[0]} to {names[-1]}"] if len(names) > 2 else names
        by_number = lambda names: sorted(names, key=lambda name: (len(name), name))
        listed = [
            f"{name} {list(shape)}"
            for (_, shape), names in runs.items()
            for name in few(by_number(names))
        ]
        return ", ".join(listed) or "none"

    def at(self, temperature: float | Float[Array, ""]) -> Float[Array, "... b c"]:
        """The logits to soften at `temperature`: for one network the same at every temperature."""
        del temperature
        return self.logits


def outputs_of(returned: Any, network: Any = None) -> Outputs:
    """What a network returned, as `Outputs`: an array is its logits, a cohort says its peers.

    Args:
      returned: by the network; shapes in place of arrays will do.
      network: a module with a method `peers` is a cohort, see `kd.models.peers`.

    Raises:
      InputError: neither an array nor `Outputs`.
    """
    if not isinstance(returned, Outputs):
        if not (hasattr(returned, "shape") and hasattr(returned, "dtype")):
            name = type(getattr(network, "adapted", network)).__name__
            raise InputError(
                f"the network {name} returns {type(returned).__name__}; expected logits [b, c] or "
                "kd.types.Outputs(logits, features)."
            )
        returned = Outputs(returned)
    if not hasattr(network, "peers"):
        return returned
    return dataclasses.replace(returned, peers=len(network.peers()))


def target_of(returned: Any) -> Any:
    """What a teacher returned, without gradient; an array is its logits."""
    is_array = hasattr(returned, "shape") and hasattr(returned, "dtype")
    return jax.lax.stop_gradient(Outputs(returned) if is_array else returned)


@struct.dataclass
class Mixture:
    """The outputs of an ensemble that predicts the weighted mean of its members' probabilities.

    The mean of softened probabilities depends on the temperature, so the objective passes it in:
    softmax(at(T) / T) is exactly sum_m w_m softmax(z_m / T), the soft target of Hinton et al.
    (2015, https://arxiv.org/abs/1503.02531, section 3).

    Attributes:
      members: logits of the members, float [m, b, c].
      weights: float [m], or [m, b] if they differ by example; their sum over m is one.
      features: always empty; see `feature`.
    """

    members: Leaf  # float [m, b, c]
    weights: Leaf  # float [m] or [m, b]
    features: dict[str, Leaf] = struct.field(default_factory=dict)

    @property
    def logits(self) -> Float[Array, "b c"]:
        """Log of the mean probability, [b, c]."""
        return self.at(1.0)

    def at(self, temperature: float | Float[Array, ""]) -> Float[Array, "b c"]:
        """T log sum_m w_m softmax(z_m / T), [b, c]."""
        log_p = jax.nn.log_softmax(self.members.astype(jnp.float32) / temperature)
        weights = self.weights if self.weights.ndim == 2 else self.weights[:, None]
        return temperature * jax.nn.logsumexp(log_p, axis=0, b=weights[..., None])

    def feature(self, name: str) -> Array:
        """Raises InputError: features of different networks have no common axes to average over."""
        raise unknown("feature of an averaged ensemble (use teacher.reduce = 'each')", name, ())


@struct.dataclass
class View:
    """Everything that an objective may look at.

    Attributes:
      student: outputs of the student on the batch, in training mode; of a cohort stacked, [k, b,
        ...].
      teacher: outputs of the teacher on the same batch, without gradient: `Outputs` of one network
        or of an average of logits, `Mixture` of an average of probabilities; with
        `teacher.reduce = "each"` stacked `Outputs` [m, b, ...], or a tuple of them, one for each
        architecture (see `kd.objective`). None if there is no teacher.
      batch: the minibatch after augmentation, as both networks saw it.
      tables: facts about the training set: `order` int [n], `start` and `count` int [c] of its
        classes (`kd.data.base.class_tables`), `level`, `low` and `high` of its images
        (`kd.data.base.image_tables`), `updates` int [], those of an epoch.
      step: update counter, int [], from 0.
      teacher_variables: the teacher's weights, without gradient, for methods that reuse its
        classifier or BatchNorm.
      student_fn: the student as a function, `student_fn(image, train=False) -> Outputs`, see
        `kd.functions`; with a gradient, and without a trace in the student's statistics.
      teacher_fn: the teacher as a function, `teacher_fn(image)`, without gradient; None where its
        outputs were stored or there is none.
      labels: of all examples of the update, int [n], where the batch is a part of it
        (`config.accumulate`), as a mean over labelled examples has to know; None where it is all.
    """

    student: Outputs
    teacher: Outputs | Mixture | tuple[Outputs, ...] | None
    batch: Batch
    tables: dict[str, Leaf]
    step: Leaf
    teacher_variables: PyTree = None
    student_fn: Any = None
    teacher_fn: Any = None
    labels: Leaf = None

    def target(self, temperature: float | Float[Array, ""]) -> Float[Array, "... b c"]:
        """The teacher's logits to soften at `temperature`, [b, c], or [m, b, c] of stacked members.

        Raises:
          InputError: there is no teacher, or several that are not averaged have no one target.
        """
        if self.teacher is None:
            raise InputError(
                "this objective needs a teacher and the run has none. Name one in config.teacher, "
                "or remove the term from config.objective."
            )
        if isinstance(self.teacher, Outputs) and self.teacher.logits is None:
            raise InputError(
                "this objective needs the teacher's logits, and this teacher has features alone. "
                "Name a teacher with logits in config.teacher, or take a term that compares "
                "features, such as embedding.Embedding."
            )
        if isinstance(self.teacher, tuple):
            raise InputError(
                "members that are not averaged have no single target: wrap the objective in "
                "kd.objective.PerTeacher, or for several architectures in kd.objective.PerGroup."
            )
        return self.teacher.at(temperature)

    def members(self) -> Mixture:
        """The members of the teacher's ensemble, with their weights.

        Raises:
          InputError: the teacher is no ensemble that averages probabilities.
        """
        if isinstance(self.teacher, Mixture):
            return self.teacher
        raise InputError(
            "this objective needs all members of an ensemble at once: give config.teacher several "
            "members and leave teacher.reduce at 'probs'."
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
    """A teacher as three pure functions.

    Attributes:
      apply: `apply(frozen, state, batch) -> outputs`, or None for no teacher. `frozen` are the
        weights that never change: an argument of the compiled step, never donated, never saved.
        `state` are those that do, such as an EMA of the student.
      init: `init(student) -> state`, from the student's variables.
      update: `update(state, student) -> state`, called after each update of the student. The state
        is kept in `DistillState.teacher`.
      stored: whether outputs are looked up, and so of no other images than the batch's.
    """

    apply: Callable[[PyTree, PyTree, Batch], Outputs | Mixture | tuple[Outputs, ...] | None]
    init: Callable[[PyTree], PyTree] = _no_state
    update: Callable[[PyTree, PyTree], PyTree] = _unchanged
    stored: bool = False


@struct.dataclass
class DistillState:
    """Everything that training changes, and so everything that a checkpoint holds.

    The states of several seeds are one `DistillState` whose arrays have a leading axis [s].

    Attributes:
      step: number of updates so far, int [].
      key: random key of the seed, []; it never changes, the step folds `step` into it.
      params: what the optimizer updates, `{"student": ..., "objective": ...}`.
      stats: what changes without a gradient (BatchNorm statistics, memory banks),
        `{"student": {collection: ...}, "objective": {collection: ...}}`.
      opt: state of the optimizer.
      teacher: state of the teacher, see `Teacher`.
    """

    step: Leaf  # int []
    key: Leaf  # key []
    params: dict[str, PyTree]
    stats: dict[str, PyTree]
    opt: optax.OptState
    teacher: PyTree

    @property
    def student(self) -> PyTree:
        """Variables of the student, as `student.apply` takes them: `{"params": ..., ...}`."""
        return {"params": self.params["student"], **self.stats["student"]}


type Augment = Callable[[Any, Batch], Batch]
"""`augment(key, batch) -> batch`: augments and normalises `image`; see `kd.data.augment`."""


def no_augmentation(key: Any, batch: Batch) -> Batch:
    """Returns the batch unchanged: its images are normalised already."""
    del key
    return batch
