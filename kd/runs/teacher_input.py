"""Networks of finished runs that see other images than their student: `config.teacher.input`."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from kd.data.augment import make_normalize
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.models.adapted import Adapted
from kd.runs.networks import Trained, check_fit
from kd.teachers import input_view
from kd.teachers.input_view import InputView
from kd.types import PyTree

LOOKED_AT = 16
"""Images whose values are looked at."""

LEAST_RANGE, MOST = 0.02, 100.0
"""Values of normalised images spread over more, and are smaller."""


def section_of(section: Any) -> Mapping[str, Any] | None:
    """The section `config.teacher.input` as a dict; None without one. Raises InputError."""
    if section is None:
        return None
    section = section.to_dict() if hasattr(section, "to_dict") else section
    if not isinstance(section, Mapping):
        raise InputError(
            f"config.teacher.input: expected a dict such as dict(size=224), got {section!r}."
        )
    return section


def fitting_view(
    section: Any, result: Mapping[str, Any], dataset: Dataset, what: str
) -> InputView | None:
    """What the networks of a finished run see of a student's images; None where it is the same.

    What `config.teacher.input` leaves out is as the run was trained.

    Args:
      section: `config.teacher.input`, None without one.
      result: content of the run's `result.json`.
      dataset: of the student.
      what: the run in words.

    Raises:
      InputError: the run does not fit the data, see `kd.runs.networks.check_fit`, or it does not
        with this input.
    """
    section, shape = section_of(section), tuple(dataset.train.image.shape[1:])
    if section is None:
        try:
            check_fit(result, dataset, what)
        except InputError as error:
            ours = {"shape": list(shape), "mean": list(dataset.mean), "std": list(dataset.std)}
            if all(result[key] == value for key, value in ours.items()):
                raise
            raise InputError(
                f"{error} Or let the teacher see images as it was trained: config.teacher.input = "
                "dict() resizes and normalises them for it."
            ) from None
        return None
    theirs = tuple(result["shape"])
    if len(theirs) != len(shape):
        raise InputError(
            f"config.teacher.input: {what} takes examples {list(theirs)}, and the data have "
            f"{list(shape)}. Only images become images of another size."
        )
    trained: dict[str, Any] = {"mean": tuple(result["mean"]), "std": tuple(result["std"])}
    if len(theirs) == 3:
        trained |= {"size": theirs[:2], "channels": theirs[2]}
    view = input_view.make({**trained, **section}, shape, dataset.mean, dataset.std)
    if view.channels != theirs[-1]:
        raise InputError(
            f"config.teacher.input: {what} takes images of {theirs[-1]} channels, and mean, std or "
            f"channels here are of {view.channels}. Leave them out: its own are known."
        )
    check_fit(result, dataset, what, viewed=True)
    return view if view.changes(shape) else None


def viewed(model: nn.Module, view: InputView | None) -> nn.Module:
    """The network as one of the student's images."""
    if view is None:
        return model
    adapted = model if isinstance(model, Adapted) else Adapted(model, "train")
    return adapted.clone(view=view)


def as_student_sees(
    trained: Trained, result: Mapping[str, Any], recorded: Mapping[str, Any] | None
) -> Trained:
    """Networks of a teacher as networks of the images of a student.

    Args:
      trained: from `kd.runs.networks.load_networks`.
      result: content of the student's `result.json`.
      recorded: `input` of the group in its entry `teacher`, None without one.
    """
    if not recorded:
        return trained
    view = input_view.make(recorded, result["shape"], result["mean"], result["std"])
    ours = {key: result[key] for key in ("shape", "mean", "std")}
    return trained._replace(model=viewed(trained.model, view), result={**trained.result, **ours})


def remark(view: InputView, dataset: Dataset) -> str:
    """A sentence where the first images come out in another unit than normalised images have, as
    where one of two data sets has pixels to 255 as floats; "" where they do not.
    """
    image = dataset.train.image
    count = range(min(LOOKED_AT, image.shape[0]))
    first = image.centered(count) if isinstance(image, Pictures) else image[: len(count)]
    normalize = make_normalize(dataset.mean, dataset.std)
    seen = view(normalize(jax.random.key(0), {"image": jnp.asarray(first)})["image"])
    low, high = float(seen.min()), float(seen.max())
    if high - low > LEAST_RANGE and max(abs(low), abs(high)) < MOST:
        return ""
    return (
        f"it sees values from {low:z.3g} to {high:z.3g}, which are no normalised images. "
        "config.teacher.input.mean and std are in the unit of the student's data: of uint8 images "
        "scaled to [0, 1], of others as they are."
    )


def check(
    model: nn.Module, variables: PyTree, shape: Sequence[int], view: InputView, what: str
) -> None:
    """Raises InputError for networks that fail on the images of a view.

    Args:
      model: from `viewed`.
      variables: of one network, shapes.
      shape: of the student's image.
      view: of the network.
      what: the network in words.
    """
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, image)
    except Exception as error:  # a user's own network may raise anything
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"config.teacher.input: {what} fails on images {list(view.shape_of(shape))}: {first}"
        ) from error
