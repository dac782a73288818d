"""What a student learns from several teachers at once: how the outputs of the members of an
ensemble become one target.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.types import Mixture, Outputs

REDUCE = ("probs", "logits", "each", "random", "confidence")
"""The mean of the members' probabilities, or of their logits; each of them on its own; one of them,
drawn for each update; the mean of their probabilities with weights of each example's own.
"""


def mean_logits(logits: Float[Array, "m b c"], weights: Float[Array, " m"]) -> Float[Array, "b c"]:
    """sum_m w_m z_m, in float32."""
    return jnp.einsum("m,mbc->bc", weights, logits.astype(jnp.float32), precision="highest")


def confidence(logits: Float[Array, "m b c"], label: Int[Array, " b"]) -> Float[Array, "m b"]:
    """(1 - softmax_m(-log softmax(z_m)_y)) / (m - 1): the nearer a member is to the label, the more
    it counts for that example.

    Zhang, Chen, Wang. Confidence-Aware Multi-Teacher Knowledge Distillation. ICASSP 2022.
    https://arxiv.org/abs/2201.00007, the weights of the predictions, as the public code has them.
    The weights are of sum one. The code then divides the sum of the members' losses by m once more,
    which here is a matter of the term's weight; its loss on features is not part of this.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    at = jnp.broadcast_to(label, logits.shape[:-1])[..., None]
    distance = -jnp.take_along_axis(log_p, at, axis=-1)[..., 0]
    return (1 - jax.nn.softmax(distance, axis=0)) / (logits.shape[0] - 1)


def reduce_members(
    reduce: str,
    logits: Float[Array, "m b c"],
    weights: Float[Array, " m"],
    label: Int[Array, " b"] | None,
) -> Outputs | Mixture:
    """The target of one of the reductions that look at all members: `probs`, `logits` or
    `confidence`, which needs the labels.
    """
    if reduce == "logits":
        return Outputs(mean_logits(logits, weights))
    if reduce == "confidence":
        assert label is not None
        return Mixture(logits, confidence(logits, label))
    return Mixture(logits, weights)
