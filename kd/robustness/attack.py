"""Projected gradient ascent: images of a ball on which a network does badly.

Madry, Makelov, Schmidt, Tsipras, Vladu. Towards Deep Learning Models Resistant to Adversarial
Attacks. ICLR 2018. https://arxiv.org/abs/1706.06083.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from kd.robustness import ball
from kd.robustness.bounds import Interval
from kd.types import View

UNIFORM, NEAR = "uniform", "near"
"""Where an attack begins: anywhere in the ball, or near the image."""

NEARNESS = 0.001 * 255 / 8
"""Deviation of a start near the image, in radii."""


def ascend(
    loss: Callable[[Float[Array, "b ..."]], Float[Array, " b"]],
    start: Float[Array, "b ..."],
    box: Interval,
    step: Float[Array, "..."],
    steps: int,
) -> Float[Array, "b ..."]:
    """The images after `steps` steps of size `step` along the sign of the gradient of the loss.

    Args:
      loss: of images, one number each.
      start: images.
      box: to which each step is clipped.
      step: size of a step, per channel.
      steps: number of steps.
    """

    def update(_: Any, image: Array) -> Array:
        gradient = jax.grad(lambda x: jnp.sum(loss(x)))(image)
        return jnp.clip(image + step * jnp.sign(gradient), box.low, box.high)

    return jax.lax.fori_loop(0, steps, update, start)


def perturbed(
    view: View,
    loss: Callable[[Float[Array, "b c"]], Float[Array, " b"]],
    key: PRNGKeyArray,
    radius: float,
    step: float,
    steps: int,
    start: str = UNIFORM,
) -> Float[Array, "b ..."]:
    """Images of the balls that raise the student's loss, without gradient.

    The student is attacked in evaluation mode, so that the images of a batch do not matter to one
    another.

    Args:
      view: see `kd.robustness.ball.check`.
      loss: of the student's logits, one number per example; what it closes over has no gradient.
      key: where the attack begins.
      radius, step: of the ball and of a step, see `kd.robustness.ball.Radius`.
      steps: number of steps.
      start: `UNIFORM` or `NEAR`.
    """
    ball.check(view)
    student = jax.lax.stop_gradient(view.student_fn)
    image = jax.lax.stop_gradient(view.batch["image"]).astype(jnp.float32)
    box, reach = ball.box(view, radius), ball.size(view, radius)
    if start == UNIFORM:
        first = image + reach * jax.random.uniform(key, image.shape, minval=-1.0)
    else:
        first = image + NEARNESS * reach * jax.random.normal(key, image.shape)
    along = ball.size(view, step)
    ascended = ascend(lambda x: loss(student(x).logits), first, box, along, steps)
    return jax.lax.stop_gradient(ascended)


def against_labels(
    view: View, key: PRNGKeyArray, radius: float, step: float, steps: int
) -> Float[Array, "b ..."]:
    """`perturbed` images that raise the student's cross entropy with the labels."""
    label = view.batch["label"]
    loss = lambda logits: optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return perturbed(view, loss, key, radius, step, steps)
