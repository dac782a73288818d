"""How cached logits are stored: float32, float16, or the k largest with the exact normaliser."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

type Stored = dict[str, Array]
"""`logits` [..., c]. Or of the k largest: `classes` [..., k], uint16 or, of more than 65,536
classes, uint32; `log_p` float16 [..., k]; and, float32 [...], `rest`, the log of the probability of
all other classes together, and `total`, the log-sum-exp of all logits.
"""

ALL_LOGITS = ("float32", "float16")
"""Precisions that store every logit."""


def encode(logits: Float[Array, "... c"], precision: str) -> Stored:
    """Logits as they are stored.

    Args:
      logits: with any leading axes.
      precision: float32, float16, or topK such as top16: K logits, relative to the log-sum-exp,
        which is computed before anything is rounded.
    """
    if precision in ALL_LOGITS:
        return {"logits": logits.astype(precision)}
    logits = logits.astype(jnp.float32)
    k = min(int(precision[3:]), logits.shape[-1])
    total = jax.nn.logsumexp(logits, axis=-1)
    log_p, classes = jax.lax.top_k(logits - total[..., None], k)
    others = jnp.put_along_axis(
        logits - total[..., None], classes, -jnp.inf, axis=-1, inplace=False
    )
    return {
        "classes": classes.astype(jnp.uint16 if logits.shape[-1] <= 2**16 else jnp.uint32),
        "log_p": log_p.astype(jnp.float16),
        "rest": jax.nn.logsumexp(others, axis=-1),
        "total": total,
    }


def decode(stored: Stored, num_classes: int) -> Float[Array, "... c"]:
    """Logits, float32. The probability that the k largest leave is spread evenly over the rest."""
    if "logits" in stored:
        return stored["logits"].astype(jnp.float32)
    classes, log_p = stored["classes"].astype(jnp.int32), stored["log_p"]
    others = max(num_classes - classes.shape[-1], 1)
    each = (stored["rest"] - jnp.log(float(others)))[..., None]
    filled = jnp.broadcast_to(each, (*each.shape[:-1], num_classes))
    largest = log_p.astype(jnp.float32)
    all_log_p = jnp.put_along_axis(filled, classes, largest, axis=-1, inplace=False)
    return all_log_p + stored["total"][..., None]
