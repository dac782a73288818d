"""Probabilistic knowledge transfer (PKT): the same examples are likely neighbours."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, einsum, flat, pair
from kd.types import View

EPS = 1e-7


def _neighbours(x: Float[Array, "b d"]) -> Float[Array, "b b"]:
    """(cosine + 1) / 2 between examples, each row summing to one."""
    x = x.astype(jnp.float32)
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    x = jnp.where(square > 0, x / (norm + EPS), 0.0)
    kernel = (einsum("id,jd->ij", x, x) + 1) / 2
    return kernel / jnp.sum(kernel, axis=1, keepdims=True)


def neighbour_kl(student: Float[Array, "b d"], teacher: Float[Array, "b e"]) -> Float[Array, ""]:
    """Mean over [b, b] of p_t log((p_t + 1e-7) / (p_s + 1e-7)).

    p[i, j] is the probability of j as a neighbour of i.

    Passalis, Tefas. Learning Deep Representations with Probabilistic Knowledge Transfer. ECCV 2018.
    https://arxiv.org/abs/1803.10837, the divergence of conditional probabilities with the cosine
    kernel; the mean and both 1e-7 as in the authors' code, where the paper has a sum.
    """
    p_s, p_t = _neighbours(student), _neighbours(teacher)
    return jnp.mean(p_t * (jnp.log(p_t + EPS) - jnp.log(p_s + EPS)))


class PKT(nn.Module):
    """`neighbour_kl` of one pair of features, over the global batch.

    Attributes:
      feature: pair of features.
    """

    feature: Name = "pooled"

    def __call__(self, view: View) -> Float[Array, ""]:
        return neighbour_kl(*map(flat, pair(view, self.feature)))
