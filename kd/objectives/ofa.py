"""One for all (OFA): exits at each stage of the student learn the teacher's logits."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from kd.errors import InputError
from kd.features import BatchNorm, as_map, stage_names, total
from kd.ranges import Range, Temperature, Width
from kd.types import View

kaiming = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def enhanced_cross_entropy(
    student: Float[Array, "b c"],
    teacher: Float[Array, "b c"],
    label: Int[Array, " b"],
    exponent: float,
    temperature: float = 1.0,
) -> Float[Array, " b"]:
    """-sum_c ((p_t + y)^exponent - y)_c log p_s,c with y = onehot(label), p = softmax(z / T).

    Hao et al. One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
    Distillation. NeurIPS 2023. https://arxiv.org/abs/2310.19444, L_OFA with the modulating
    parameter `exponent`. An exponent of 1 is plain distillation. There is no factor T^2.
    """
    log_p = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    p_t = jax.nn.softmax(teacher.astype(jnp.float32) / temperature)
    true = jax.nn.one_hot(label, student.shape[-1])
    return -jnp.sum(((p_t + true) ** exponent - true) * log_p, axis=-1)


class _Exit(nn.Module):
    """Separable convolutions, each halving the map, then mean over places and a classifier."""

    halvings: int
    width: int
    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b c"]:
        if not self.halvings:
            x = nn.Conv(self.width, (1, 1), kernel_init=kaiming)(x)
        for i in range(self.halvings):
            d = x.shape[-1]
            final = i == self.halvings - 1
            for strides, out in ((2, d), (1, self.width if final else 2 * d)):
                x = nn.Conv(
                    d,
                    (3, 3),
                    strides=strides,
                    padding=1,
                    feature_group_count=d,
                    use_bias=False,
                    kernel_init=kaiming,
                )(x)
                x = nn.Conv(out, (1, 1), use_bias=False, kernel_init=kaiming)(x)
                x = nn.relu(BatchNorm()(x))
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.truncated_normal(0.02))(
            jnp.mean(x, axis=(1, 2))
        )


class OFA(nn.Module):
    """Sum of `enhanced_cross_entropy` of the student's logits and of an exit at each stage.

    Only the logits of the teacher are used, so any two architectures can be paired.

    Attributes:
      features: maps of the student, the shallowest first; None: all its stages.
      exponent: see `enhanced_cross_entropy`.
      temperature: T.
      width: of the last layer of each exit (the authors use the larger of the two networks' pooled
        widths).
    """

    features: Sequence[str] | None = None
    exponent: Annotated[float, Range(0, 16)] = 1.0
    temperature: Temperature = 1.0
    width: Width = 256

    needs = ("batch.label",)

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        target, label = view.target(self.temperature), view.batch["label"]
        logits = [view.student.logits]
        names = self.features or stage_names(view.student)
        for i, name in enumerate(names):
            x = view.student.feature(name).astype(jnp.float32)
            if x.ndim < 3:
                raise InputError(
                    f"OFA's exits are for maps [b, h, w, d]; {name!r} of the student is a vector, "
                    f"{x.shape}."
                )
            exit = _Exit(len(names) - 1 - i, self.width, target.shape[-1], name=f"exit_{name}")
            logits.append(exit(as_map(x)))
        return total(
            enhanced_cross_entropy(z, target, label, self.exponent, self.temperature)
            for z in logits
        )
