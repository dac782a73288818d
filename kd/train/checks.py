"""Checks of a run before it begins: everything that can be refused without a trained teacher."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend import core
from jax.sharding import Sharding

from kd import build, optim, registry
from kd.config import ConfigDict
from kd.config.check import check_learning_rate
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import precision
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.export import requirements
from kd.layer_decay import depths
from kd.metrics import acceptance
from kd.models import cost
from kd.models.contract import check_outputs, name_of, warn_of_probabilities
from kd.step import make_eval
from kd.train import external, placement, sampling, warm_start
from kd.train.batches import check_batches, shape_errors
from kd.train.dependence import equations
from kd.train.label_needs import (
    check_classes,
    check_labels,
    check_mix,
    class_weights,
    needs_of,
)
from kd.train.parts import augmentation, make_plan, sampling_of
from kd.types import DistillState, PyTree, outputs_of
from kd.values import check_memory


def dry_run(
    config: ConfigDict, trains: bool = True, view: Callable[[nn.Module], nn.Module] | None = None
) -> None:
    """Builds everything that needs no teacher, to report errors early. Raises InputError.

    Without `trains`, as for an imported network, the learning rate may be 0; `view` makes the
    student one that takes the images of the data.
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
    if config.mix.strip():
        check_mix(config, objective, dataset, config.teacher.reduce)
    class_weights(objective, dataset)
    acceptance.limits(config.acceptance.to_dict(), dataset.num_classes, dataset.class_names)
    sampling.check(sampling_of(config), config, dataset, needs_of(objective))
    augmentation(config, dataset)
    student = build.make_model(config.student.to_dict(), dataset.num_classes)
    student = student if view is None else view(student)
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
    if config.optimizer.layer_decay:
        depths(list(variables["params"]))
    check_size(config, variables, state)
    check_outputs(outputs, image.shape[0], dataset.num_classes, config.student.name)
    warm_start.check(config, variables, image, dataset.num_classes, student)
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
