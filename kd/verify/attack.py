"""Projected gradient descent on the margin of a network: images of a ball that it gets wrong.

Madry, Makelov, Schmidt, Tsipras, Vladu. Towards Deep Learning Models Resistant to Adversarial
Attacks. ICLR 2018. https://arxiv.org/abs/1706.06083; on the margin of logits instead of the cross
entropy, with steps that shrink.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from kd.verify.bounds import Balls

STEPS, RESTARTS = 40, 3

BATCH = 64
"""Images that are attacked at a time."""

type Logits = Callable[[Any], Any]
"""Logits [b, c] of raw images [b, ...], in JAX."""


class Attack:
    """The attack of one network, compiled at its first use."""

    def __init__(self, logits: Logits, shape: tuple[int, ...], seed: int = 0):
        self._shape, self._key = shape, jax.random.key(seed)
        self._run = jax.jit(partial(_descend, logits))

    def __call__(self, balls: Balls, target: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b n"]:
        """For each ball the image in it with the least margin of `target` that was found."""
        parts = []
        for first in range(0, len(balls), BATCH):
            index = np.minimum(np.arange(first, first + BATCH), len(balls) - 1)
            part = balls[index]
            reach = part.high - part.low
            if part.radius is not None:
                reach = np.broadcast_to(part.radius, reach.shape)
            flat = (part.image, part.low, part.high, reach)
            arrays = [jnp.asarray(x.reshape(-1, *self._shape), jnp.float32) for x in flat]
            is_box = jnp.asarray(part.radius is None)
            image = self._run(*arrays, jnp.asarray(target[index]), is_box, self._key)
            parts.append(np.asarray(image, np.float64).reshape(BATCH, -1))
        worst = np.concatenate(parts)[: len(balls)]
        return inside(balls, worst)


def inside(balls: Balls, image: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b n"]:
    """Images moved into their balls, where they are not by a rounding."""
    if balls.radius is not None:
        moved = (image - balls.image) / balls.radius
        length = np.sqrt((moved**2).sum(axis=1, keepdims=True))
        image = balls.image + (image - balls.image) / np.maximum(length * (1 + 1e-9), 1)
    return np.clip(image, balls.low, balls.high)


def _descend(
    logits: Logits, image: Any, low: Any, high: Any, reach: Any, target: Any, is_box: Any, key: Any
) -> Any:
    """The best images [b, ...] over all restarts and steps."""
    axes = tuple(range(1, image.ndim))

    def margin(x: Any) -> Any:
        z = logits(x).astype(jnp.float32)
        chosen = jax.nn.one_hot(target, z.shape[1], dtype=bool)
        return jnp.max(z, 1, where=chosen, initial=-jnp.inf) - jnp.max(
            z, 1, where=~chosen, initial=-jnp.inf
        )

    def project(x: Any) -> Any:
        moved = (x - image) / reach
        length = jnp.sqrt(jnp.sum(moved**2, axis=axes, keepdims=True))
        ball = image + (x - image) / jnp.maximum(length, 1)
        return jnp.clip(jnp.where(is_box, x, ball), low, high)

    def better(best: tuple[Any, Any], x: Any, value: Any) -> tuple[Any, Any]:
        improved = (value < best[1]).reshape(-1, *(1,) * len(axes))
        return jnp.where(improved, x, best[0]), jnp.minimum(best[1], value)

    def step(carry: tuple, t: Any) -> tuple[tuple, None]:
        x, best = carry
        value, back = jax.vjp(margin, x)
        (gradient,) = back(jnp.ones_like(value))
        best = better(best, x, value)
        length = 0.25 * (1 - t / STEPS) + 0.01  # of the width of the box
        scaled = gradient * reach
        norm = jnp.sqrt(jnp.sum(scaled**2, axis=axes, keepdims=True))
        direction = jnp.where(is_box, jnp.sign(gradient), 2 * scaled / jnp.maximum(norm, 1e-12))
        return (project(x - length * reach * direction), best), None

    def restart(best: tuple[Any, Any], i: Any) -> tuple[tuple, None]:
        drawn = jax.random.uniform(jax.random.fold_in(key, i), image.shape)
        x = jnp.where(i == 0, image, project(low + drawn * (high - low)))
        (x, best), _ = jax.lax.scan(step, (x, best), jnp.arange(STEPS))
        return better(best, x, margin(x)), None

    best = (image, jnp.full(len(image), jnp.inf))
    (worst, _), _ = jax.lax.scan(restart, best, jnp.arange(RESTARTS))
    return worst
