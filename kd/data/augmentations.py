"""Augmentations: functions of a random key and one raw example, named in `config.augment`.

Adding one is adding a function here, or in a module of one's own; `kd.data.augment` describes what
it is given and must return.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from kd.data import pixels
from kd.errors import InputError
from kd.ranges import Count, Fraction, Means, NonNegative, Range, check_arguments

type Image = Shaped[Array, "... d"]
"""One raw example: image [h, w, d] or series [t, d], uint8 or float32."""


@check_arguments
def crop(key: PRNGKeyArray, image: Image, padding: Annotated[int, Range(0, 1024)] = 4) -> Image:
    """Random shift by up to `padding` places along every axis but the channels; zeros move in.

    This equals padding with zeros and cutting out the old size at a random place. `crop(2)` is the
    jitter of MNIST in Hinton, Vinyals, Dean (2015, https://arxiv.org/abs/1503.02531, section 3);
    `crop(4)` is usual on CIFAR.
    """
    axes = image.ndim - 1
    start = jax.random.randint(key, (axes,), 0, 2 * padding + 1)
    padded = jnp.pad(image, [(padding, padding)] * axes + [(0, 0)])
    return jax.lax.dynamic_slice(padded, [*start, 0], image.shape)


@check_arguments
def flip(key: PRNGKeyArray, image: Image, probability: Fraction = 0.5) -> Image:
    """Swaps left and right with this probability. Images only."""
    if image.ndim != 3:
        raise InputError(f"flip needs images [h, w, c], not {list(image.shape)}.")
    return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)


@check_arguments
def cutout(
    key: PRNGKeyArray,
    image: Image,
    size: Count = 8,
    fill: Means = (0.0,),
) -> Image:
    """Fills a square around a random place, cut off at the border; in a series, a stretch of time.

    DeVries, Taylor. Improved Regularization of Convolutional Neural Networks with Cutout. 2017.
    https://arxiv.org/abs/1708.04552, section 3. There the square becomes zero after normalisation:
    for that, give the mean of the raw pixels as `fill`.

    Args:
      key: random key.
      image: one example.
      size: side of the square.
      fill: one number, or one per channel, in the unit of the raw pixels.
    """
    inside = jnp.ones((1,) * image.ndim, bool)
    for axis, length in enumerate(image.shape[:-1]):
        middle = jax.random.randint(jax.random.fold_in(key, axis), (), 0, length)
        low = middle - size // 2
        place = jnp.arange(length)
        within = (place >= low) & (place < low + size)
        others = [a for a in range(image.ndim) if a != axis]
        inside = inside & jnp.expand_dims(within, others)
    value = np.round(fill) if image.dtype == jnp.uint8 else np.asarray(fill)
    colour = jnp.broadcast_to(jnp.asarray(value, image.dtype), image.shape[-1:])
    colour = colour.reshape((1,) * (image.ndim - 1) + image.shape[-1:])
    return jnp.where(inside, colour, image)


@check_arguments
def rand_augment(
    key: PRNGKeyArray,
    image: Image,
    count: Annotated[int, Range(0, 64)] = 2,
    covered: Fraction = 0.5,
) -> Image:
    """Applies `count` random operations to the pixels of an image, then covers a grey square.

    Cubuk, Zoph, Shlens, Le. RandAugment. NeurIPS 2020. https://arxiv.org/abs/1909.13719, with an
    amount drawn for each operation instead of one magnitude, and the square, as in Sohn et al.
    FixMatch. NeurIPS 2020. https://arxiv.org/abs/2001.07685, appendix: the strong view of MLKD. The
    operations are those of Pillow (`kd.data.pixels`).

    Args:
      key: random key.
      image: uint8 [h, w, c].
      count: number of operations.
      covered: largest side of the square, as a fraction of the width; 0: no square.
    """
    if image.ndim != 3 or image.dtype != jnp.uint8:
        raise InputError(
            f"rand_augment needs images of uint8 [h, w, c], not {image.dtype} {list(image.shape)}."
        )
    k_operations, k_square = jax.random.split(key)
    image = pixels.rand_augment(k_operations, image, count)
    return pixels.cover(k_square, image, covered) if covered else image


@check_arguments
def noise(key: PRNGKeyArray, image: Image, std: NonNegative = 0.05) -> Image:
    """Adds Gaussian noise to each value of a floating-point example; `std` is in its unit.

    With `scale`, the jittering and scaling of Um et al. Data Augmentation of Wearable Sensor Data
    for Parkinson's Disease Monitoring using Convolutional Neural Networks. ICMI 2017.
    https://arxiv.org/abs/1706.00527
    """
    _require_floats("noise", image)
    return image + std * jax.random.normal(key, image.shape, image.dtype)


@check_arguments
def scale(key: PRNGKeyArray, image: Image, std: NonNegative = 0.1) -> Image:
    """Multiplies each channel of a floating-point example by a factor drawn from N(1, std^2)."""
    _require_floats("scale", image)
    shape = (1,) * (image.ndim - 1) + image.shape[-1:]
    return image * (1 + std * jax.random.normal(key, shape, image.dtype))


@check_arguments
def erase(
    key: PRNGKeyArray,
    image: Image,
    probability: Fraction = 0.25,
    smallest: Annotated[float, Range(0, 1, above=0)] = 0.02,
    largest: Annotated[float, Range(0, 1, above=0)] = 1 / 3,
) -> Image:
    """Fills a rectangle of the normalised image with noise, N(0, 1) for each value.

    Zhong, Zheng, Kang, Li, Yang. Random Erasing Data Augmentation. AAAI 2020.
    https://arxiv.org/abs/1708.04896, algorithm 1, with noise for each pixel as timm's mode `pixel`,
    which DeiT takes. Ten rectangles are drawn, of which the first that fits is taken; the logarithm
    of height / width is uniform between those of 0.3 and 1 / 0.3. It is applied after
    normalisation, and so stands last.

    Args:
      key: random key.
      image: normalised, float32 [h, w, c].
      probability: of erasing.
      smallest: least area, as a fraction of the image's.
      largest: largest area, likewise.
    """
    if image.ndim != 3:
        raise InputError(f"erase needs images [h, w, c], not {list(image.shape)}.")
    if smallest > largest:
        raise InputError(f"erase: smallest = {smallest} is above largest = {largest}.")
    k_chosen, k_area, k_ratio, k_place, k_noise = jax.random.split(key, 5)
    h, w, _ = image.shape
    area = h * w * jax.random.uniform(k_area, (10,), minval=smallest, maxval=largest)
    ratio = jnp.exp(jax.random.uniform(k_ratio, (10,), minval=np.log(0.3), maxval=-np.log(0.3)))
    heights, widths = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
    fits = (heights < h) & (widths < w)
    first = jnp.argmax(fits)
    height, width = heights[first].astype(jnp.int32), widths[first].astype(jnp.int32)
    k_top, k_left = jax.random.split(k_place)
    top = jax.random.randint(k_top, (), 0, h - height + 1)
    left = jax.random.randint(k_left, (), 0, w - width + 1)
    row, column = jnp.arange(h)[:, None, None], jnp.arange(w)[None, :, None]
    inside = (row >= top) & (row < top + height)
    inside = inside & ((column >= left) & (column < left + width))
    chosen = jax.random.bernoulli(k_chosen, probability) & jnp.any(fits)
    noise = jax.random.normal(k_noise, image.shape, image.dtype)
    return jnp.where(inside & chosen, noise, image)


AFTER = (erase,)
"""Operations on the normalised image, which stand after all others."""


def _require_floats(operation: str, image: Image) -> None:
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(f"{operation} needs floating-point examples, not {image.dtype}.")
