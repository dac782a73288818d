"""Reductions: how the outputs of an ensemble's members become one target.

A reduction is one entry of `REDUCTIONS`, or one `Reduction` (or just its `target`) in a module of a
user's own, named by its dotted path as in `config.teacher.reduce = "mine.median"`:

    def target(logits, weights, label):
        return Outputs(jnp.median(logits, axis=0))

    median = Reduction("the median of their logits", target, lambda z, w: np.median(z, axis=0))

Tables read the entries too, so this file imports no jax before a target is computed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from kd import registry
from kd.errors import unknown
from kd.metrics.scores import mean_probs

type Target = Callable[[Any, Any, Any], Any]
"""`target(logits [m, b, c], weights [m], label [b] or None) -> Outputs or Mixture`."""


@dataclasses.dataclass(frozen=True)
class Reduction:
    """A way to learn from several members.

    Attributes:
      words: completes "every student learned from ..." in the closing table.
      target: the target of a batch, in JAX. None where `lifts` or `draws` says how it comes about.
      reference: what metrics compare students with, in NumPy: `reference(logits [m, n, c],
        weights) -> logits [n, c]`. The mean of the probabilities where there is no single target.
      lifts: whether the objective is computed for each member and then averaged.
      draws: whether one member is drawn for each update and evaluated alone.
      computes_weights: whether it weights the members of each example itself, so that the config
        may not, and one member is not enough.
      needs_labels: whether it needs the label of every image.
    """

    words: str
    target: Target | None = None
    reference: Callable[[np.ndarray, Sequence[float]], np.ndarray] = mean_probs
    lifts: bool = False
    draws: bool = False
    computes_weights: bool = False
    needs_labels: bool = False

    def __call__(self, logits: Any, weights: Any, label: Any = None) -> Any:
        """The target."""
        assert self.target is not None
        return self.target(logits, weights, label)


def mean_logits(logits: Float[Any, "m b c"], weights: Float[Any, " m"]) -> Float[Any, "b c"]:
    """sum_m w_m z_m, in float32."""
    import jax.numpy as jnp

    return jnp.einsum("m,mbc->bc", weights, logits.astype(jnp.float32), precision="highest")


def confidence(logits: Float[Any, "m b c"], label: Int[Any, " b"]) -> Float[Any, "m b"]:
    """Weights of sum one that are larger for members closer to the label.

    (1 - softmax_m(-log softmax(z_m)_y)) / (m - 1), for each example.

    Zhang, Chen, Wang. Confidence-Aware Multi-Teacher Knowledge Distillation. ICASSP 2022.
    https://arxiv.org/abs/2201.00007, the weights of the predictions, as in the public code. The
    code then divides the sum of the members' losses by m once more, which here is a matter of the
    term's weight; its loss on features is not part of this.
    """
    import jax
    import jax.numpy as jnp

    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    index = jnp.broadcast_to(label, logits.shape[:-1])[..., None]
    distance = -jnp.take_along_axis(log_p, index, axis=-1)[..., 0]
    return (1 - jax.nn.softmax(distance, axis=0)) / (logits.shape[0] - 1)


def _mixture(logits: Any, weights: Any, label: Any) -> Any:
    from kd.types import Mixture

    return Mixture(logits, weights)


def _mean_logits(logits: Any, weights: Any, label: Any) -> Any:
    from kd.types import Outputs

    return Outputs(mean_logits(logits, weights))


def _confident_mixture(logits: Any, weights: Any, label: Any) -> Any:
    from kd.types import Mixture

    assert label is not None
    return Mixture(logits, confidence(logits, label))


REDUCTIONS: dict[str, Reduction] = {
    "probs": Reduction("the mean of their probabilities", _mixture),
    "logits": Reduction(
        "the mean of their logits",
        _mean_logits,
        lambda logits, weights: np.average(logits, axis=0, weights=weights),
    ),
    "each": Reduction("each of them", lifts=True),
    "random": Reduction("one of them at a time, drawn anew for each update", draws=True),
    "confidence": Reduction(
        "the mean of their probabilities, each example's nearest to the label counting most",
        _confident_mixture,
        computes_weights=True,
        needs_labels=True,
    ),
}
"""Values of `config.teacher.reduce`."""


def find(reduce: str | Reduction) -> Reduction:
    """The reduction called `reduce`, of `REDUCTIONS` or by dotted path. Raises InputError."""
    if isinstance(reduce, Reduction):
        return reduce
    if reduce in REDUCTIONS:
        return REDUCTIONS[reduce]
    if "." not in reduce:
        raise unknown("value of config.teacher.reduce", reduce, REDUCTIONS)
    value = registry.find("kd.teachers", reduce, kind="reduction")
    return value if isinstance(value, Reduction) else Reduction(f"the reduction {reduce}", value)


def reference_logits(
    members: Float[np.ndarray, "m n c"],
    weights: Sequence[float],
    reduce: str | Reduction = "probs",
    paired: bool = False,
) -> Float[np.ndarray, "... n c"]:
    """Logits that students are compared with: [n, c], or the members' where paired, [m, n, c].

    Args:
      members: logits of all members.
      weights: of the members, of sum one.
      reduce: see `find`.
      paired: whether student i learned from member i alone.
    """
    return members if paired else find(reduce).reference(members, weights)
