"""Knowledge review (ReviewKD): fused maps of the student follow the teacher's stages."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import BatchNorm, Conv, Name, as_map, pair, pairs, pool, stage_names, total
from kd.objectives.dkd import warmup
from kd.ranges import Natural
from kd.types import View

spread = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def hierarchical_context(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h w d"]
) -> Float[Array, ""]:
    """Weighted mean of mean squared differences of two maps, full size and pooled to 4, 2, 1.

    The weights are 1, 1/2, 1/4, 1/8. Pooled sizes that are not smaller than the map's height are
    left out, and so are their weights.

    Chen, Liu, Zhao, Jia. Distilling Knowledge via Knowledge Review. CVPR 2021.
    https://arxiv.org/abs/2104.09044, section 3.3 (HCL); sizes and weights from the authors' code.
    """
    student, teacher = student.astype(jnp.float32), teacher.astype(jnp.float32)
    sizes = [n for n in (4, 2, 1) if n < student.shape[1]]
    weights = [0.5**i for i in range(len(sizes) + 1)]
    losses = [jnp.mean((student - teacher) ** 2)] + [
        jnp.mean(pool(student - teacher, (n, n)) ** 2) for n in sizes
    ]
    return total(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)


def resize_nearest(x: Float[Array, "b h w d"], size: Sequence[int]) -> Float[Array, "b h2 w2 d"]:
    """The map at another size: place i of n is place floor(i h / n)."""
    for axis, n in zip((1, 2), size, strict=True):
        x = jnp.take(x, np.arange(n) * x.shape[axis] // n, axis=axis)
    return x


class _Fusion(nn.Module):
    """Attention-based fusion of a stage with the deeper ones (section 3.3, ABF)."""

    middle: int
    width: int
    size: Sequence[int]

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w d"], deeper: Float[Array, "b h2 w2 m"] | None
    ) -> tuple[Array, Array]:
        x = Conv(self.middle, (1, 1), use_bias=False, kernel_init=spread, name="conv1")(x)
        x = BatchNorm(name="norm1")(x)
        if deeper is not None:
            deeper = resize_nearest(deeper, x.shape[1:3])
            both = jnp.concatenate([x, deeper], axis=-1)
            gate = nn.sigmoid(Conv(2, (1, 1), name="attention")(both))
            x = x * gate[..., :1] + deeper * gate[..., 1:]
        x = resize_nearest(x, self.size)
        y = Conv(self.width, (3, 3), use_bias=False, kernel_init=spread, name="conv2")(x)
        return BatchNorm(name="norm2")(y), x


class ReviewKD(nn.Module):
    """Sum of `hierarchical_context` over stages and the pooled feature.

    Its weight grows linearly over the first epochs. The student's maps are fused from the deepest
    to the shallowest. It gives its stages after the ReLU (before it on ImageNet: `features`), the
    teacher its stages before the ReLU. The width of the fused map is that of the student's deepest
    feature, at most 512. The stem takes no part, as in the public code.

    Attributes:
      features: pairs, the student's and the teacher's name, the shallowest first; None: `stage1`
        with `stage1_pre` and so on, for all stages of both networks, and `pooled` last.
      warmup_epochs: epoch (from 1) at which the weight reaches 1; 0 for none.
    """

    features: Sequence[Name] | None = None
    warmup_epochs: Natural = 20

    @nn.compact
    def __call__(self, view: View) -> Float[Array, ""]:
        feature_pairs = self._pairs(view)
        middle = min(512, feature_pairs[-1][0].shape[-1])
        deeper, losses = None, []
        for i, (student, teacher) in reversed(list(enumerate(feature_pairs, start=1))):
            fuse = _Fusion(middle, teacher.shape[-1], teacher.shape[1:3], name=f"fusion{i}")
            reviewed, deeper = fuse(student, deeper)
            losses.append(hierarchical_context(reviewed, teacher))
        return total(losses) * warmup(view, self.warmup_epochs)

    def _pairs(self, view: View) -> list[tuple[Array, Array]]:
        if self.features is not None:
            feature_pairs = pairs(view, self.features)
        else:
            pairs(view)  # raises an error that shows how to pair stages which differ in number
            stages = stage_names(view.student)
            feature_pairs = [pair(view, (name, f"{name}_pre")) for name in stages]
            feature_pairs.append(pair(view, "pooled"))
        if not feature_pairs:
            raise InputError("ReviewKD needs one pair of features or more.")
        return [(as_map(s), as_map(t)) for s, t in feature_pairs]
