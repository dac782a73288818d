"""Neuron selectivity transfer (NST): channels activate in the same places."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import Name, einsum, maps, same_size, total, unit
from kd.types import View


def channel_mmd(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h2 w2 d2"]
) -> Float[Array, ""]:
    """Squared maximum mean discrepancy between the channels of two maps; mean over the batch.

    The kernel is (x . y)^2. Each channel is scaled to length 1 over its places; the larger map is
    pooled to the size of the smaller. Widths may differ.

    Huang, Wang. Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. 2017.
    https://arxiv.org/abs/1707.01219, the loss of MMD with the polynomial kernel (degree 2, offset
    0).
    """
    s, t = (unit(x, axis=(1, 2)) for x in same_size(student, teacher))
    kernel = lambda x, y: jnp.mean(einsum("bhwi,bhwj->bij", x, y) ** 2)
    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)


class NST(nn.Module):
    """Sum of `channel_mmd` over stages.

    Attributes:
      features: pairs of maps; None: all stages of both networks.
    """

    features: Sequence[Name] | None = None

    def __call__(self, view: View) -> Float[Array, ""]:
        return total(channel_mmd(s, t) for s, t in maps(view, self.features))
