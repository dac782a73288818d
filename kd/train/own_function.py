"""Teachers that are functions images -> logits: traced into the step, or evaluated once."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kd import registry, teachers
from kd.config import ConfigDict
from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.models.adapted import FunctionNetwork, adapt
from kd.runs import teacher_input
from kd.teachers import input_view
from kd.train import convolving, logits_file, placement
from kd.train.run_teacher import RunTeacher, Stack
from kd.types import Outputs, PyTree
from kd.weights import variables as weights_file

PROBED = 8
"""Images on which a function is tried: at once, and in two parts of other sizes."""

SINGLE = "single"
"""A collection with one number, for networks without variables: what is stacked has an array."""


def named(config: ConfigDict, dataset: Dataset) -> tuple[nn.Module, PyTree] | Callable:
    """What `config.teacher.apply` names: a module with the variables of the file, or a function.

    Raises:
      InputError: no such thing; a module without a file, or a file of another module.
    """
    section = config.teacher
    if "." not in section.apply:
        raise InputError(
            f"config.teacher.apply = {section.apply!r}: expected the dotted path of a function "
            "images -> logits, such as 'my_teacher.logits'."
        )
    value: Any = registry.find("kd.teachers", section.apply, kind="teacher function")
    if inspect.isclass(value):
        sizes = {"num_classes": dataset.num_classes}
        taken = {k: v for k, v in sizes.items() if k in (registry.keywords_of(value) or ())}
        value = registry.make(value, taken, f"teacher {section.apply}")
    shape = tuple(dataset.train.image.shape[1:])
    view, keys = None, teacher_input.section_of(section.input)
    if keys is not None:
        view = input_view.make(keys, shape, dataset.mean, dataset.std)
    if not isinstance(value, nn.Module):
        if section.variables:
            raise InputError(
                f"config.teacher.variables = {section.variables!r} is for a Flax linen module, and "
                f"{section.apply} is a {type(value).__name__}. Load them in your function, and "
                "leave variables out."
            )
        return value if view is None else _viewed(value, view)
    if not section.variables:
        raise InputError(
            f"config.teacher.apply: {section.apply} is a Flax module without variables. Name their "
            "file in config.teacher.variables."
        )
    path = Path(section.variables)
    tree, model = weights_file.read(path), adapt(value, f"the teacher {section.apply}")
    model = teacher_input.viewed(model, view)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    except Exception as error:  # a user's own module may raise anything
        raise _failure(section.apply, list(image.shape), error) from error
    weights_file.check(tree, shapes, path)
    return model, jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), tree, shapes)


def _viewed(function: Callable, view: input_view.InputView) -> Callable:
    """A function of the teacher's images as one of the student's, arrays of NumPy for NumPy's."""

    def viewed(image: Any) -> Any:
        seen = view(image)
        return function(np.asarray(seen) if isinstance(image, np.ndarray) else seen)

    return viewed


def check(teacher: Any, dataset: Dataset, what: str) -> None:
    """Raises InputError unless a teacher gives finite logits [b, c] that are those of each image
    alone: it is tried on a batch, and on two parts of the batch.

    Args:
      teacher: a function, or a pair (module, variables).
      dataset: of the run.
      what: its name in messages.
    """
    seen = _first_images(dataset)
    function, place = callable_of(teacher), f"{what} on {len(seen)} images"
    if is_traceable(teacher, dataset, what):
        function = lambda x, f=function: f(jnp.asarray(x))
    at_once = logits(function, seen, dataset, what)
    logits_file.members(at_once, dataset.num_classes, place)
    middle = len(seen) // 3
    if not middle:
        return
    parts = [logits(function, part, dataset, what) for part in (seen[:middle], seen[middle:])]
    difference = np.abs(np.concatenate(parts) - at_once).max()
    if difference > 1e-2 * max(1.0, np.abs(at_once).max()):
        raise InputError(
            f"{place} gives other logits than on {middle} and {len(seen) - middle} of them (by up "
            f"to {difference:z.3g}): what it says of an image depends on its batch, or is random. "
            "Evaluate it as in prediction: no dropout, BatchNorm by its running averages."
        )


def probe(function: Callable, dataset: Dataset, what: str) -> Float[np.ndarray, "n c"]:
    """Logits of the first images by a function of NumPy arrays. Raises InputError."""
    return logits(function, _first_images(dataset), dataset, what)


def _first_images(dataset: Dataset) -> Float[np.ndarray, "n ..."]:
    image, count = dataset.train.image, min(PROBED, len(dataset.train.label))
    centered = isinstance(image, Pictures)
    return _normalized(dataset, image.centered(range(count)) if centered else image[:count])


def is_traceable(teacher: Any, dataset: Dataset, what: str) -> bool:
    """Whether jax can trace a teacher. Raises InputError where it then returns no logits [b, c]."""
    shape = tuple(dataset.train.image.shape[1:])
    try:
        out = jax.eval_shape(callable_of(teacher), jax.ShapeDtypeStruct((2, *shape), jnp.float32))
    except Exception as error:
        if isinstance(teacher, tuple):
            raise _failure(what, [2, *shape], error) from error
        return False  # it is no jax function: a tracer is no NumPy array or torch tensor
    out = out.logits if isinstance(out, Outputs) else out
    if getattr(out, "shape", None) != (2, dataset.num_classes):
        raise InputError(
            f"{what} returns {getattr(out, 'shape', type(out).__name__)} for 2 images; expected "
            f"logits [2, {dataset.num_classes}]."
        )
    return True


def of_network(
    model: nn.Module, variables: PyTree, dataset: Dataset, config: ConfigDict
) -> RunTeacher:
    """The teacher that is one network, traced into the step. Its precision is its own."""
    stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], variables)
    shape, mesh = dataset.train.image.shape[1:], placement.make_mesh(config)
    how = convolving.over_members(config, mesh, model, stacked, shape)
    stacks = (Stack(model, stacked, how),)
    return RunTeacher(teachers.frozen(model), variables, stacks, (1.0,))


def of_function(function: Callable, dataset: Dataset, config: ConfigDict) -> RunTeacher:
    """The teacher that is a function which jax can trace."""
    # As a new function: what is called may be an object that has no hash.
    network = FunctionNetwork(lambda image: function(image))
    return of_network(network, {SINGLE: {"number": jnp.zeros(())}}, dataset, config)


def evaluate(
    function: Callable, dataset: Dataset, what: str, split: str = "train", batch_size: int = 1000
) -> Float[np.ndarray, "n c"]:
    """Logits of the images of a split by a function of NumPy arrays. Raises InputError."""
    image = np.asarray(getattr(dataset, split).image)
    firsts = range(0, len(image), batch_size)
    parts = (_normalized(dataset, image[first : first + batch_size]) for first in firsts)
    return np.concatenate([logits(function, part, dataset, what) for part in parts])


def callable_of(teacher: Any) -> Callable:
    """A function images -> logits, of a function or a pair (module, variables)."""
    if not isinstance(teacher, tuple):
        return teacher
    model, variables = teacher
    return lambda image: model.apply(variables, image, train=False)


def _normalized(dataset: Dataset, image: np.ndarray) -> np.ndarray:
    normalize = make_normalize(dataset.mean, dataset.std)
    return np.asarray(normalize(jax.random.key(0), {"image": jnp.asarray(image)})["image"])


def logits(
    function: Callable, image: np.ndarray, dataset: Dataset, what: str
) -> Float[np.ndarray, "n c"]:
    """Logits of normalised images by a function of arrays. Raises InputError for anything else."""
    c = dataset.num_classes
    try:
        out = function(image)
    except InputError:
        raise
    except Exception as error:  # a caller's own function may raise anything
        raise _failure(what, list(image.shape), error, c) from error
    try:
        values = np.asarray(out.logits if isinstance(out, Outputs) else out, np.float32)
    except Exception as error:  # as may what it returns
        raise InputError(
            f"{what} returns {type(out).__name__}, which is no array of numbers, for {len(image)} "
            f"images; expected logits [{len(image)}, {c}]."
        ) from error
    if values.shape != (len(image), c):
        raise InputError(
            f"{what} returns {list(values.shape)} for {len(image)} images; expected logits "
            f"[{len(image)}, {c}]."
        )
    return values


def _failure(what: str, shape: list[int], error: Exception, classes: int = 0) -> InputError:
    first = next(iter(str(error).strip().splitlines()), "")
    logits = f"[b, {classes}]" if classes else "[b, c]"
    return InputError(
        f"{what} fails on images as a NumPy array {shape} (float32), and jax cannot trace it: "
        f"{type(error).__name__}: {first}. Expected a function of such an array, or of a jax "
        f"array, that returns logits {logits} as an array. Convert in it what another library "
        "needs, such as torch.from_numpy(images) and logits.detach().numpy()."
    )
