"""RandAugment's operations on one image, uint8 [h, w, d], with the arithmetic of Pillow.

They run in the compiled step, so Pillow cannot be called; tests compare every pixel with it. The
library of image operations in JAX, dm-pix 0.4.5, has no equalize, auto-contrast, sharpness or
posterize, and computes the others on floats: of the pixels of a test image 14 % differ from
Pillow's after its rotation, 91 % after its solarize, and all after its contrast and saturation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

type Pixels = UInt8[Array, "h w d"]

GREY = (125, 123, 114)
"""Red, green and blue of the square that covers a part of the image, as in the public code."""


def auto_contrast(image: Pixels) -> Pixels:
    """Stretches the values of each channel to 0 to 255."""
    x = image.astype(jnp.float32)
    low, high = (f(x, axis=(0, 1), keepdims=True) for f in (jnp.min, jnp.max))
    span = jnp.where(high > low, high - low, 1.0)
    # Pillow divides integers and truncates; (x - low) * 255 / span can be just below an integer.
    stretched = jnp.floor((x - low) * 255 / span + 1e-4)
    return jnp.where(high > low, stretched, x).astype(jnp.uint8)


def equalize(image: Pixels) -> Pixels:
    """Maps each channel so that all values become about equally frequent."""
    levels = jnp.arange(256)

    def channel(x: Array) -> Array:
        count = jnp.sum(x.reshape(-1, 1) == levels[None, :], axis=0)
        highest = jnp.max(jnp.where(count > 0, levels, 0))
        step = (x.size - count[highest]) // 255
        before = jnp.cumsum(count) - count
        table = (step // 2 + before) // jnp.maximum(step, 1)
        return jnp.where(step > 0, jnp.minimum(table, 255)[x], x)

    return jax.vmap(channel, -1, -1)(image).astype(jnp.uint8)


def brightness(image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """Blends black (amount 0) with the image (amount 1)."""
    return _blend(jnp.zeros(image.shape), image, amount)


def color(image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """Blends the grey image (amount 0) with the image (amount 1)."""
    return _blend(jnp.broadcast_to(_grey(image), image.shape), image, amount)


def contrast(image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """Blends the mean grey (amount 0) with the image (amount 1)."""
    mean = jnp.floor(jnp.mean(_grey(image)) + 0.5)
    return _blend(jnp.full(image.shape, mean), image, amount)


def sharpness(image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """Blends the smoothed image (amount 0) with the image (amount 1)."""
    x = image.astype(jnp.float32)
    h, w = x.shape[:2]
    around = [x[i : h - 2 + i, j : w - 2 + j] for i in range(3) for j in range(3)]
    smooth = jnp.floor((sum(around) + 4 * around[4]) / 13 + 0.5)
    return _blend(x.at[1:-1, 1:-1].set(smooth), image, amount)


def posterize(image: Pixels, bits: Float[Array, ""]) -> Pixels:
    """Keeps the highest bits of each value; `bits` is truncated to an integer."""
    left = 8 - bits.astype(jnp.uint8)
    return (image >> left) << left


def solarize(image: Pixels, threshold: Float[Array, ""]) -> Pixels:
    """Inverts values of at least `threshold`."""
    return jnp.where(image < threshold, image, 255 - image)


def rotate(image: Pixels, degrees: Float[Array, ""]) -> Pixels:
    """Rotates about the middle, counter-clockwise; black moves in."""
    angle = -jnp.deg2rad(degrees)
    (cos, sin), (h, w) = (jnp.cos(angle), jnp.sin(angle)), image.shape[:2]
    return _affine(
        image,
        (cos, sin, w / 2 - cos * w / 2 - sin * h / 2),
        (-sin, cos, h / 2 + sin * w / 2 - cos * h / 2),
    )


def shear_x(image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """Moves row y by y times `amount` pixels."""
    return _affine(image, (1.0, amount, 0.0), (0.0, 1.0, 0.0))


def shear_y(image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """Moves column x by x times `amount` pixels."""
    return _affine(image, (1.0, 0.0, 0.0), (amount, 1.0, 0.0))


def translate_x(image: Pixels, fraction: Float[Array, ""]) -> Pixels:
    """Moves the image by a fraction of its width; black moves in."""
    return _affine(image, (1.0, 0.0, fraction * image.shape[1]), (0.0, 1.0, 0.0))


def translate_y(image: Pixels, fraction: Float[Array, ""]) -> Pixels:
    """Moves the image by a fraction of its height; black moves in."""
    return _affine(image, (1.0, 0.0, 0.0), (0.0, 1.0, fraction * image.shape[0]))


OPERATIONS: tuple[tuple[Callable[..., Pixels], float, float], ...] = (
    (lambda image, _: image, 0.0, 1.0),
    (lambda image, _: auto_contrast(image), 0.0, 1.0),
    (lambda image, _: equalize(image), 0.0, 1.0),
    (brightness, 0.05, 0.95),
    (color, 0.05, 0.95),
    (contrast, 0.05, 0.95),
    (sharpness, 0.05, 0.95),
    (posterize, 4.0, 8.0),
    (solarize, 0.0, 256.0),
    (rotate, -30.0, 30.0),
    (shear_x, -0.3, 0.3),
    (shear_y, -0.3, 0.3),
    (translate_x, -0.3, 0.3),
    (translate_y, -0.3, 0.3),
)
"""(operation, least amount, greatest amount); one is drawn from these."""


def rand_augment(key: PRNGKeyArray, image: Pixels, count: int) -> Pixels:
    """Applies `count` of OPERATIONS, drawn with replacement, each with an amount drawn from its
    range.
    """
    apply = [operation for operation, _, _ in OPERATIONS]
    low, high = (jnp.asarray([entry[i] for entry in OPERATIONS]) for i in (1, 2))
    for place in range(count):
        k_which, k_amount = jax.random.split(jax.random.fold_in(key, place))
        which = jax.random.randint(k_which, (), 0, len(apply))
        fraction = jax.random.uniform(k_amount)
        amount = low[which] + fraction * (high[which] - low[which])
        image = jax.lax.switch(which, apply, image, amount)
    return image


def cover(key: PRNGKeyArray, image: Pixels, most: float) -> Pixels:
    """Covers a square at a random place with grey; its side is at most `most` times the width."""
    h, w, d = image.shape
    k_side, k_x, k_y = jax.random.split(key, 3)
    side = most * w * jax.random.uniform(k_side)
    within = jnp.ones((h, w), bool)
    for axis, (length, k) in enumerate(((h, k_y), (w, k_x))):
        low = jnp.maximum(0.0, length * jax.random.uniform(k) - side / 2)
        place = jnp.arange(length)
        inside = (place >= jnp.floor(low)) & (place <= jnp.floor(low + side))
        within &= jnp.expand_dims(inside, 1 - axis)
    grey = jnp.asarray(GREY if d == 3 else (round(sum(GREY) / 3),) * d, jnp.uint8)
    return jnp.where(within[:, :, None], grey[None, None, :], image)


def _grey(image: Pixels) -> Float[Array, "h w 1"]:
    """Luma of red, green and blue (ITU-R 601), an integer; for other channels their mean."""
    x = image.astype(jnp.int32)
    if x.shape[-1] != 3:
        return jnp.round(jnp.mean(x, axis=-1, keepdims=True))
    weights = jnp.asarray([19595, 38470, 7471])
    luma = (jnp.sum(x * weights[None, None, :], axis=-1, keepdims=True) + 32768) >> 16
    return luma.astype(jnp.float32)


def _blend(base: Array, image: Pixels, amount: Float[Array, ""]) -> Pixels:
    """base + amount (image - base), truncated to integers."""
    mixed = base + amount * (image.astype(jnp.float32) - base)
    return jnp.clip(mixed, 0, 255).astype(jnp.uint8)


def _affine(image: Pixels, of_x: tuple, of_y: tuple) -> Pixels:
    """Affine transformation with the nearest pixel: (x, y) gets the pixel of `image` in column
    a x + b y + c with (a, b, c) = `of_x`, and in the row of `of_y`; black outside.
    """
    h, w = image.shape[:2]
    x, y = jnp.arange(w)[None, :] + 0.5, jnp.arange(h)[:, None] + 0.5
    column, row = (jnp.floor(a * x + b * y + c) for a, b, c in (of_x, of_y))
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    row, column = (
        jnp.clip(place, 0, length - 1).astype(jnp.int32)
        for place, length in ((row, h), (column, w))
    )
    return jnp.where(inside[:, :, None], image[row, column], jnp.uint8(0))
