"""The ball around each image of a batch, in which a student is to keep its answer."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import require
from kd.ranges import Range
from kd.robustness.bounds import Interval, between
from kd.types import View

Radius = Annotated[float, Range(above=0, most=255)]
"""Of an L-infinity ball: levels of 8-bit pixels, or standard deviations of raw floats."""

NEEDS = ("student_fn", "tables.level")
"""What an objective declares in its `needs` to look at the student around its images."""


def check(view: View) -> None:
    """Raises InputError where the view has no student to look at, or several."""
    require(view, *NEEDS)
    if view.student.peers:
        raise InputError(
            "this objective looks at one student around its images, and this one is a cohort. Take "
            "the term out, or train separate students with config.seeds."
        )


def size(view: View, radius: float | Array) -> Float[Array, "..."]:
    """A radius in the unit of normalised images, one number per channel that broadcasts."""
    image = view.batch["image"]
    per_channel = (1,) * (image.ndim - 1) + (-1,)
    return radius * jnp.asarray(view.tables["level"], jnp.float32).reshape(per_channel)


def box(view: View, radius: float | Array) -> Interval:
    """The ball of each image, [b, ...]: of pixels only what lies within 0 to 255.

    Args:
      view: see `check`.
      radius: in the unit of `Radius`; may be traced.
    """
    image = jax.lax.stop_gradient(view.batch["image"]).astype(jnp.float32)
    per_channel = (1,) * (image.ndim - 1) + (-1,)
    least, most = (
        jnp.asarray(view.tables[end], jnp.float32).reshape(per_channel) for end in ("low", "high")
    )
    reach = size(view, radius)
    low = jnp.maximum(image - reach, jnp.minimum(image, least))
    high = jnp.minimum(image + reach, jnp.maximum(image, most))
    return between(low, high)
