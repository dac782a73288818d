"""Corruptions of images, five kinds in five severities, as pure functions.

Images are float32 in [0, 1], [n, h, w, c]. The kinds and their amounts are those of CIFAR-10-C:
Hendrycks, Dietterich. Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations. ICLR 2019. https://arxiv.org/abs/1903.12261. The noise is drawn here and differs from
that of its files, so accuracies are near those on CIFAR-10-C but not equal.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

type Images = Float[Array, "n h w c"]
type Amount = Float[Array, ""]

SEVERITIES = 5
REACH = 4
"""Pixels to each side that a blur averages: four standard deviations of the strongest one."""


def noise(image: Images, deviation: Amount) -> Images:
    """Adds Gaussian noise of this standard deviation, the same draw at every severity."""
    drawn = jax.random.normal(jax.random.key(0), (image.size,)).reshape(image.shape)
    return image + deviation * drawn


def blur(image: Images, deviation: Amount) -> Images:
    """Convolves with a Gaussian of this standard deviation in pixels; borders repeat the edge."""
    offset = jnp.arange(-REACH, REACH + 1)
    kernel = jnp.exp(-((offset / deviation) ** 2) / 2)
    kernel = kernel / kernel.sum()
    for axis in (1, 2):
        widths = [(0, 0)] * 4
        widths[axis] = (REACH, REACH)
        padded = jnp.pad(image, widths, mode="edge")
        length = image.shape[axis]
        image = jnp.zeros_like(image)
        for i in range(2 * REACH + 1):
            part = jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
            image = image + kernel[i] * part
    return image


def contrast(image: Images, factor: Amount) -> Images:
    """Multiplies the distance of each channel from its mean over the image by the factor."""
    mean = image.mean(axis=(1, 2), keepdims=True)
    return mean + factor * (image - mean)


def brightness(image: Images, shift: Amount) -> Images:
    """Adds the shift to the value of HSV, the largest channel; hue and saturation stay."""
    value = image.max(axis=-1, keepdims=True)
    raised = jnp.minimum(value + shift, 1.0)
    black = value <= 0
    return jnp.where(black, raised, image * raised / jnp.where(black, 1.0, value))


def pixelate(image: Images, scale: Amount) -> Images:
    """Reduces each side to floor(scale * side) pixels, at least one; each is the mean of the pixels
    whose centres it covers.
    """
    for axis in (1, 2):
        same = _same_cell(image.shape[axis], scale)
        moved = jnp.moveaxis(image, axis, -1)
        mixed = jnp.einsum("...q,pq->...p", moved, same, precision="highest")
        image = jnp.moveaxis(mixed, -1, axis)
    return image


def _same_cell(length: int, scale: Amount) -> Float[Array, "p q"]:
    """Weight of pixel q in the mean shown at pixel p, along one side."""
    cells = jnp.maximum(jnp.floor(scale * length + 1e-4), 1).astype(jnp.int32)
    cell = (2 * jnp.arange(length) + 1) * cells // (2 * length)
    same = (cell[:, None] == cell[None, :]).astype(jnp.float32)
    return same / same.sum(axis=1, keepdims=True)


class Corruption(NamedTuple):
    """A kind of corruption: its function, the amount at each severity, and what the amount is."""

    function: Callable[[Images, Amount], Images]
    amounts: tuple[float, ...]
    unit: str


KINDS = {
    "noise": Corruption(noise, (0.04, 0.06, 0.08, 0.09, 0.10), "standard deviation"),
    "blur": Corruption(blur, (0.4, 0.6, 0.7, 0.8, 1.0), "standard deviation, pixels"),
    "contrast": Corruption(contrast, (0.75, 0.5, 0.4, 0.3, 0.15), "fraction that is left"),
    "brightness": Corruption(brightness, (0.05, 0.1, 0.15, 0.2, 0.3), "added"),
    "pixelation": Corruption(pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), "fraction of the side"),
}


def corrupt(image: UInt8[Array, "n h w c"], kind: str, severity: int) -> UInt8[Array, "n h w c"]:
    """Applies a kind of corruption in a severity of 1 to 5, and rounds to 8 bits as a camera
    does.
    """
    corruption = KINDS[kind]
    return _apply(corruption.function, image, jnp.float32(corruption.amounts[severity - 1]))


@jax.jit(static_argnums=0)
def _apply(
    function: Callable, image: UInt8[Array, "n h w c"], amount: Amount
) -> UInt8[Array, "n h w c"]:
    corrupted = function(image.astype(jnp.float32) / 255, amount)
    return jnp.round(255 * jnp.clip(corrupted, 0, 1)).astype(jnp.uint8)
