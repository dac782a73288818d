"""Mixtures of two training images, named in `config.mix`: functions of a random key and two images.

Adding one is adding a function here, or in a module of one's own; `kd.data.mix` describes what it
is given and must return.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from kd.errors import InputError
from kd.ranges import Positive, check_arguments

type Image = Float[Array, "... d"]
"""One example as the networks see it: image [h, w, d], series [t, d] or row [d], float32."""

type Mixed = tuple[Image, Float[Array, ""]]
"""A mixed image, and the share of the first image in it, 0 to 1, which its label gets."""


def _share(key: PRNGKeyArray, alpha: float) -> Float[Array, ""]:
    """A number of Beta(alpha, alpha); uniform for alpha = 1, which compiles much faster."""
    if alpha == 1:
        return jax.random.uniform(key)
    return jax.random.beta(key, alpha, alpha, dtype=jnp.float32)


@check_arguments
def mixup(key: PRNGKeyArray, image: Image, partner: Image, alpha: Positive = 0.2) -> Mixed:
    """share image + (1 - share) partner, share ~ Beta(alpha, alpha).

    Zhang, Cisse, Dauphin, Lopez-Paz. mixup: Beyond Empirical Risk Minimization. ICLR 2018.
    https://arxiv.org/abs/1710.09412, section 2 (0.1 to 0.4 on ImageNet). DeiT takes 0.8, FunMatch
    1.0, which is uniform.

    Args:
      key: random key.
      image: one example.
      partner: another.
      alpha: of the Beta distribution: near 0 one of the two images, large about half of each.
    """
    share = _share(key, alpha)
    return share * image + (1 - share) * partner, share


@check_arguments
def cutmix(key: PRNGKeyArray, image: Image, partner: Image, alpha: Positive = 1.0) -> Mixed:
    """The image with a box of the partner in it; the share is the part of the area that is left.

    Yun et al. CutMix. ICCV 2019. https://arxiv.org/abs/1905.04899, section 3.1 and algorithm A1: a
    box of the shape of the image and of 1 - Beta(alpha, alpha) of its area, around a place drawn
    from all, cut off at the border; the share is counted after that. In a series, a stretch of
    time.

    Args:
      key: random key.
      image: one example, [h, w, d] or [t, d].
      partner: another.
      alpha: of the Beta distribution; 1, uniform, in the paper.

    Raises:
      InputError: rows of numbers, which have no places.
    """
    axes = image.ndim - 1
    if not axes:
        raise InputError(
            f"cutmix needs images [h, w, d] or series [t, d], not {list(image.shape)}: rows of "
            "numbers have no neighbouring places. Take mixup."
        )
    k_share, k_place = jax.random.split(key)
    side = (1 - _share(k_share, alpha)) ** (1 / axes)
    inside = jnp.ones((1,) * image.ndim, bool)
    for axis, length in enumerate(image.shape[:-1]):
        half = (length * side).astype(jnp.int32) // 2
        middle = jax.random.randint(jax.random.fold_in(k_place, axis), (), 0, length)
        place = jnp.arange(length)
        within = (place >= middle - half) & (place < middle + half)
        inside = inside & jnp.expand_dims(within, [a for a in range(image.ndim) if a != axis])
    places = jnp.broadcast_to(inside, (*image.shape[:-1], 1))
    return jnp.where(inside, partner, image), 1 - jnp.mean(places.astype(jnp.float32))
