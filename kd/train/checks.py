"""Checks of a run before it begins: everything that can be refused without a trained teacher."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.sharding import Sharding

from kd import build, optim, registry
from kd.config import ConfigDict
from kd.config.check import check_learning_rate
from kd.data.augment import make_normalize
from kd.data.base import UNKNOWN, Dataset
from kd.data.pictures import Pictures
from kd.devices import precision
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.export import requirements
from kd.models import cost
from kd.models.contract import check_outputs, name_of, warn_of_probabilities
from kd.objective import PerGroup, PerTeacher, Weighted
from kd.step import make_eval
from kd.teachers import reduction
from kd.train import external, placement, warm_start
from kd.train.batches import check_batches, shape_errors
from kd.train.dependence import equations
from kd.train.parts import augmentation, make_plan
from kd.types import DistillState, PyTree, outputs_of
from kd.values import check_memory

CLASS_TABLES = ("tables.order", "tables.start", "tables.count")
"""Needs of an objective that draws images by their class."""


def dry_run(config: ConfigDict, trains: bool = True) -> None:
    """Builds everything that needs no teacher, to report errors early. Raises InputError.

    Without `trains`, as for an imported network, the learning rate may be 0.
    """
    if trains:
        check_learning_rate(config)
    dataset = build.make_data(config)
    plan = make_plan(config, dataset)
    placement.make_mesh(config)
    if isinstance(dataset.train.image, Pictures):
        placement.check_streamed(config)
    check_views(config)
    external.check(config, dataset)
    check_length(config)
    check_batches(config, plan)
    check_clipping(config)
    objective = build.make_objective(
        config.objective.to_dict(), (), plan.steps_per_epoch, config.epochs
    )
    check_labels(objective, dataset, config.teacher.reduce)
    check_classes(objective, dataset)
    augmentation(config, dataset)
    student = build.make_model(config.student.to_dict(), dataset.num_classes)
    precision.network(student, config.precision)
    optimizer = build.make_tx(config, plan.steps_per_epoch)
    image = jax.ShapeDtypeStruct((2, *dataset.train.image.shape[1:]), jnp.float32)
    with shape_errors(
        f"config.student {config.student.to_dict()} cannot be built for images "
        f"{list(image.shape[1:])}"
    ):
        init = lambda x: student.init_with_output(jax.random.key(0), x, train=False)
        returned, variables = jax.eval_shape(init, image)
        outputs = outputs_of(returned, student)
        state = jax.eval_shape(optimizer.init, variables["params"])
    check_size(config, variables, state)
    check_outputs(outputs, image.shape[0], dataset.num_classes, config.student.name)
    warm_start.check(config, variables, image, dataset.num_classes)
    if config.export:
        requirements.require("tflite", f"config.export = {config.export!r}")
        from kd.export import run_end

        run_end.check(config, dataset, student)


def check_size(config: ConfigDict, variables: PyTree, state: PyTree) -> None:
    """Raises InputError if the students and their optimizers' states exceed this machine's memory.

    Args:
      config: of the run.
      variables: of one student, shapes.
      state: of its optimizer, shapes.
    """
    check_memory(
        f"config.student, config.seeds: {config.seeds:,} of {config.student.name} with "
        f"{cost.parameters(variables):,} parameters, and their optimizers,",
        config.seeds * (cost.nbytes(variables) + cost.nbytes(state)),
        "Take a smaller network or fewer seeds.",
    )


def check_views(config: ConfigDict) -> None:
    """Raises InputError if a term needs two views of each image and the config has one, or vice
    versa.
    """
    needed = build.needs(config)
    two = [term for term, need in needed.items() if "batch.views" in need]
    once = [term for term, need in needed.items() if "batch.index" in need]
    if two and not config.second_view:
        raise InputError(
            f"config.objective.{two[0]} compares two views of each image: say in "
            "config.second_view how the second is augmented, such as "
            "'crop(4)|flip|rand_augment(2)'."
        )
    if config.second_view and not two:
        raise InputError(
            f"config.second_view = {config.second_view!r}: no term of config.objective looks at a "
            "second view. Leave it out."
        )
    if two and once:
        raise InputError(
            f"config.objective.{once[0]} remembers each image by its index, which must be in a "
            f"batch once, and {two[0]} shows each twice. Leave one of the two out."
        )


def check_labels(objective: nn.Module, dataset: Dataset, reduce: str) -> None:
    """Raises InputError if images of train have no label and a part of the run needs all labels.

    A term says so by its attributes `needs` (tables of classes) or `every_label`; `reduce` is of
    the teacher's members.
    """
    count = int((dataset.train.label == UNKNOWN).sum())
    if not count:
        return
    remedy = (
        f"and {count:,} of the {len(dataset.train.label):,} training images have none. Take it "
        "out, or keep the labelled images alone: config.data.unlabelled = 'drop'."
    )
    for term, module in _terms(objective):
        by_class = any(need in CLASS_TABLES for need in getattr(module, "needs", ()))
        if by_class or getattr(module, "every_label", False):
            name = type(module).__name__
            raise InputError(
                f"config.objective.{term}: {name} needs the label of every image, {remedy}"
            )
    if reduction.find(reduce).needs_labels:
        raise InputError(
            f"config.teacher.reduce = {reduce!r} needs the label of every image, {remedy}"
        )


def check_classes(objective: nn.Module, dataset: Dataset) -> None:
    """Raises InputError if too few classes have training images for an objective.

    It says how many it needs by its attribute `least_classes`. Classes that exist count only where
    an image of the training set has them.
    """
    known = dataset.train.label[dataset.train.label != UNKNOWN]
    present = len(np.unique(known))
    for term, module in _terms(objective):
        least = getattr(module, "least_classes", 0)
        if present < least:
            raise InputError(
                f"config.objective.{term}: {type(module).__name__} draws images by their class and "
                f"needs {least} classes or more, and the {len(known):,} training images are of "
                f"{present} (of {dataset.num_classes} that exist). Train on images of more "
                "classes, such as by config.train_classes, or take the term out."
            )


def _terms(objective: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The terms of an objective by name, taken out of their lifts to several teachers."""
    terms = objective.terms if isinstance(objective, Weighted) else {"": objective}
    for name, term in terms.items():
        lifts = term.objectives if isinstance(term, PerGroup) else (term,)
        for lift in lifts:
            yield name, lift.objective if isinstance(lift, PerTeacher) else lift


def check_clipping(config: ConfigDict) -> None:
    """Raises InputError if an objective needs clipped gradients (`clip_norm`) and none are."""
    for term, section in config.objective.items():
        norm = getattr(registry.find("kd.objectives", section.name), "clip_norm", None)
        if norm and not config.optimizer.clip_norm:
            raise InputError(
                f"config.objective.{term}: the gradients of {section.name} can be so large that a "
                f"run ends in NaN. Clip them: config.optimizer.clip_norm = {norm}."
            )


def check_length(config: ConfigDict) -> None:
    """Raises InputError if a run is shorter than the `least_epochs` of an objective, or than the
    schedule of its weight.
    """
    for term, section in config.objective.to_dict().items():
        key = f"config.objective.{term}.weight"
        optim.make_schedule(section["weight"], 1, config.epochs, key=key)
        maker = registry.find("kd.objectives", section["name"])
        objective = registry.make(maker, build.settings_of(section, "weight"), f"objective.{term}")
        least = getattr(objective, "least_epochs", 0)
        if config.epochs < least:
            raise InputError(
                f"config.objective.{term}: {section['name']} changes over the epochs and is done "
                f"after {least}, and config.epochs is {config.epochs}. Train longer, or shorten "
                f"it: {build.settings_of(section, 'weight')}."
            )


def warned(
    state: DistillState,
    student: nn.Module,
    dataset: Dataset,
    image: jax.Array,
    size: int,
    place: Sharding,
) -> DistillState:
    """The first state, after a warning if the student returns probabilities on the first batch.

    A network whose program has no operation that makes probabilities is not evaluated.

    Args:
      state: of the students of all seeds, [s, ...].
      student: the network.
      dataset: for its mean and deviation.
      image: raw, [n, ...].
      size: of the first batch.
      place: of the logits, so that each process can read them.
    """
    evaluate = make_eval(student, make_normalize(dataset.mean, dataset.std))
    first = lambda image: {"image": image[:size]}
    logits = jax.jit(
        lambda variables, image: evaluate(tree_index(variables, 0), first(image)).logits,
        out_shardings=place,
    )
    program = logits.trace(state.student, image).jaxpr
    if any(_normalizes(equation) for equation in equations(program)):
        values = logits(state.student, image)
        warn_of_probabilities(jax.device_get(values), name_of(student))
    return state


def _normalizes(equation: Any) -> bool:
    """Whether an operation occurs in what makes probabilities: exp, or a division by a variable."""
    if equation.primitive.name == "div":
        return not isinstance(equation.invars[1], core.Literal)
    return equation.primitive.name in ("exp", "exp2", "logistic", "integer_pow", "pow")
