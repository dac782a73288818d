"""The objects that a run trains: built from its config, or supplied by a caller."""

import dataclasses
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from kd import build
from kd.config import ConfigDict
from kd.data.augment import make_augment
from kd.data.base import UNKNOWN, Dataset
from kd.data.mix import Mix
from kd.errors import InputError
from kd.objective import Weighted
from kd.runs.workdir import Workdir
from kd.train import sampling
from kd.train.label_needs import class_weights
from kd.train.plan import Plan
from kd.train.run_teacher import RunTeacher
from kd.train.teacher import make_teacher
from kd.types import Augment


@dataclasses.dataclass(frozen=True)
class Parts:
    """What is trained on what: the seam between a config and the training.

    `kd run` builds them from a config (`make_parts`), `kd.distill` from a caller's objects.
    Everything after this point is the same for both.
    """

    dataset: Dataset
    student: nn.Module
    objective: nn.Module  # view -> (loss, {term: value}), such as `kd.objective.Weighted`
    teacher: RunTeacher
    optimizer: optax.GradientTransformation
    augment: Augment
    sampling: str = sampling.SHUFFLED  # or "balanced"
    mix: Mix | None = None  # of the images of a batch; `augment` then takes what it pairs


def make_parts(config: ConfigDict, teachers: Sequence[Workdir], mesh: Mesh) -> Parts:
    """The parts of a run.

    Args:
      config: of the run, spelled out.
      teachers: directories of the finished runs of its teachers, one for each group.
      mesh: devices of the run.

    Raises:
      InputError: a part cannot be built, or the teacher does not fit the data.
    """
    dataset = build.make_data(config)
    plan = make_plan(config, dataset)
    teacher = make_teacher(config, teachers, dataset, mesh)
    return Parts(
        dataset=dataset,
        student=build.make_model(config.student.to_dict(), dataset.num_classes),
        objective=build.make_objective(
            config.objective.to_dict(), teacher.lifted_weights, plan.steps_per_epoch, config.epochs
        ),
        teacher=teacher,
        optimizer=build.make_tx(config, plan.steps_per_epoch),
        augment=augmentation(config, dataset),
        sampling=sampling_of(config),
        mix=mixing(config, dataset),
    )


def sampling_of(config: ConfigDict) -> str:
    """`config.data.sampling`; "shuffled" where the data set's loader takes that key itself."""
    return build.labels_of(config)["sampling"]


def for_labels_of(dataset: Dataset, objective: nn.Module) -> nn.Module:
    """The objective, as one that leaves out training images without a label where there are any,
    and whose class weights are numbers. Raises InputError for weights that the data do not fit.
    """
    objective = class_weights(objective, dataset)
    some_unknown = (dataset.train.label == UNKNOWN).any()
    return (
        objective.clone(unlabelled=True)
        if some_unknown and isinstance(objective, Weighted)
        else objective
    )


def make_plan(config: ConfigDict, dataset: Dataset) -> Plan:
    """The grid of dispatches of a run. Raises InputError for batches larger than the data set."""
    examples = len(dataset.train.label)
    if config.batch_size > examples:
        raise InputError(
            f"config.batch_size: expected 1 to {examples:,}, the number of training examples, got "
            f"{config.batch_size:,}."
        )
    return Plan(
        examples,
        config.batch_size,
        config.epochs,
        config.steps_per_call,
        config.drop_last,
        config.accumulate,
    )


def augmentation(config: ConfigDict, dataset: Dataset) -> Augment:
    """The augmentation and normalisation of training images, tried on the shape of one image; where
    images are mixed, of pairs.
    """
    image, mix = dataset.train.image, mixing(config, dataset)
    augment = make_augment(
        config.augment,
        dataset.mean,
        dataset.std,
        jax.ShapeDtypeStruct(image.shape[1:], image.dtype),
        config.second_view,
        config.teacher.cache_window,
    )
    return mix.augment(augment) if mix else augment


def mixing(config: ConfigDict, dataset: Dataset) -> Mix | None:
    """How images are mixed, tried on the shape of one; None where `config.mix` is empty."""
    if not config.mix.strip():
        return None
    return Mix(config.mix, jax.ShapeDtypeStruct(dataset.train.image.shape[1:], jnp.float32))
