"""How stored logits are kept small: whole, as float16, or the largest few with the exact
normaliser.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

type Stored = dict[str, Array]
"""`logits` [..., c]; or of the k largest: `classes` uint16 [..., k], `log_p` float16 [..., k], and,
float32 [...], `rest`, the log of the probability of all other classes together, and `total`, the
log-sum-exp of all logits.
"""

WHOLE = ("float32", "float16")


def encode(logits: Float[Array, "... c"], precision: str) -> Stored:
    """Logits as they are stored.

    Args:
      logits: of any leading axes.
      precision: float32, float16, or topK such as top16: K logits, relative to the log-sum-exp,
        which is computed before anything is rounded.
    """
    if precision in WHOLE:
        return {"logits": logits.astype(precision)}
    logits = logits.astype(jnp.float32)
    k = min(int(precision[3:]), logits.shape[-1])
    total = jax.nn.logsumexp(logits, axis=-1)
    log_p, classes = jax.lax.top_k(logits - total[..., None], k)
    others = jnp.put_along_axis(
        logits - total[..., None], classes, -jnp.inf, axis=-1, inplace=False
    )
    return {
        "classes": classes.astype(jnp.uint16),
        "log_p": log_p.astype(jnp.float16),
        "rest": jax.nn.logsumexp(others, axis=-1),
        "total": total,
    }


def decode(stored: Stored, num_classes: int) -> Float[Array, "... c"]:
    """Logits, float32. What the k largest leave of the probability is the same for all other
    classes.
    """
    if "logits" in stored:
        return stored["logits"].astype(jnp.float32)
    classes, log_p = stored["classes"].astype(jnp.int32), stored["log_p"]
    others = max(num_classes - classes.shape[-1], 1)
    each = (stored["rest"] - jnp.log(float(others)))[..., None]
    filled = jnp.broadcast_to(each, (*each.shape[:-1], num_classes))
    known = log_p.astype(jnp.float32)
    whole = jnp.put_along_axis(filled, classes, known, axis=-1, inplace=False)
    return whole + stored["total"][..., None]
