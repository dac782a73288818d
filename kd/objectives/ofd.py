"""Overhauled feature distillation (OFD): distance before the ReLU, with a margin."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError, unknown
from kd.features import BatchNorm, Name, maps, require, same_size, total
from kd.types import View


def negative_mean(scale: Float[Array, " d"], bias: Float[Array, " d"]) -> Float[Array, " d"]:
    """E[x | x < 0] of x normal with mean `bias` and standard deviation |scale|, one per channel.

    Where x < 0 has a probability under 0.001 it is -3 |scale|.

    Heo et al. 2019, the margin of a channel from the scale and bias of the BatchNorm before the
    ReLU; the floor as in the authors' code.
    """
    scale, bias = jnp.abs(scale.astype(jnp.float32)), bias.astype(jnp.float32)
    z = bias / jnp.maximum(scale, 1e-30)
    below = jax.scipy.stats.norm.cdf(-z)
    mean = bias - scale * jnp.exp(jax.scipy.stats.norm.logpdf(z) - jax.scipy.stats.norm.logcdf(-z))
    return jnp.where(below > 0.001, mean, -3 * scale)


def partial_distance(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h w d"], margin: Float[Array, " d"]
) -> Float[Array, " b"]:
    """Sum of (s - t')^2, t' = max(t, margin), except where both s <= t' and t <= 0, [b].

    What the teacher silences only has to stay silent.

    Heo et al. A Comprehensive Overhaul of Feature Distillation. ICCV 2019.
    https://arxiv.org/abs/1904.01866, the margin ReLU and the partial L2 distance.

    Args:
      student: map before the ReLU.
      teacher: map before the ReLU.
      margin: one negative number per channel.
    """
    student, teacher = student.astype(jnp.float32), teacher.astype(jnp.float32)
    target = jnp.maximum(teacher, margin.astype(jnp.float32)[None, None, None, :])
    counts = (student > target) | (teacher > 0)
    return jnp.sum(jnp.where(counts, (student - target) ** 2, 0.0), axis=(1, 2, 3))


class OFD(nn.Module):
    """Weighted sum of `partial_distance` over stages; stage i of n has the weight 2^(i - n).

    The student's map passes a 1 x 1 convolution with BatchNorm. The larger map is pooled to the
    size of the smaller. The public codes divide by 1000: here that is part of the term's weight.

    Attributes:
      features: pairs of maps before the ReLU; None: `stage1_pre`, ... of both networks.
      batch_norms: for each feature, the path in the teacher's params of the BatchNorm before the
        ReLU, such as `stage1/norm`, from which its margins come. None: margins are the means of the
        negative activations over all batches so far, which the paper offers too and which needs no
        BatchNorm.
    """

    features: Sequence[Name] | None = None
    batch_norms: Sequence[str] | None = None

    needs = ("teacher_variables",)  # where batch_norms are named

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        pairs = maps(view, self.features, suffix="_pre")
        norms = self.batch_norms or [None] * len(pairs)
        if len(norms) != len(pairs):
            raise InputError(
                f"OFD needs a BatchNorm of the teacher for each feature: {len(pairs)} features, "
                f"{len(norms)} in `batch_norms`."
            )
        losses = []
        for i, ((student, teacher), path) in enumerate(zip(pairs, norms, strict=True), start=1):
            student, teacher = same_size(student, teacher)
            width = teacher.shape[-1]
            x = nn.Conv(
                width,
                (1, 1),
                use_bias=False,
                kernel_init=nn.initializers.variance_scaling(2, "fan_out", "normal"),
                name=f"connector{i}",
            )(student)
            x = BatchNorm(name=f"norm{i}")(x)
            if path is None:
                margin = self._running_margin(f"negative{i}", teacher)
            else:
                require(view, *self.needs)
                norm = _at(view.teacher_variables["params"], path)
                margin = negative_mean(norm["scale"], norm["bias"])
            losses.append(2.0 ** (i - len(pairs)) * partial_distance(x, teacher, margin))
        return total(losses)

    def _running_margin(self, name: str, teacher: Float[Array, "b h w d"]) -> Float[Array, " d"]:
        """Mean of each channel's negative activations over all batches so far, [d], or 0."""
        zeros = lambda: jnp.zeros((2, teacher.shape[-1]))
        memory = self.variable("memory", name, zeros)
        negative = teacher < 0
        sums = memory.value + jnp.stack(
            [
                jnp.mean(jnp.where(negative, teacher, 0.0), axis=(0, 1, 2)),
                jnp.mean(negative.astype(jnp.float32), axis=(0, 1, 2)),
            ]
        )
        if not self.is_initializing():
            memory.value = sums
        return sums[0] / jnp.where(sums[1] > 0, sums[1], 1.0)


def _at(params: Any, path: str) -> Any:
    """The entry of a tree of params at `a/b/c`."""
    for key in path.split("/"):
        if key not in params:
            raise unknown(f"part of the teacher on the way to {path!r}", key, params)
        params = params[key]
    return params
