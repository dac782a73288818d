"""Multi-level logit distillation (MLKD): logits agree for images, their pairs and classes."""

from collections.abc import Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.features import einsum, require
from kd.objectives.kd import distill_kl, standardize_both
from kd.ranges import Length, NonNegative, Temperature
from kd.types import View


def batch_relation(student: Float[Array, "b c"], teacher: Float[Array, "b c"]) -> Float[Array, ""]:
    """|S S' - T T'|_F^2 / b of two probability matrices.

    Jin, Wang, Lin. Multi-Level Logit Distillation. CVPR 2023.
    https://openaccess.thecvf.com/content/CVPR2023/html/Jin_Multi-Level_Logit_Distillation_CVPR_2023_paper.html,
    section 3 (batch level).
    """
    gram = lambda p: einsum("ic,jc->ij", p, p)
    return jnp.sum((gram(teacher) - gram(student)) ** 2) / student.shape[0]


def class_relation(student: Float[Array, "b c"], teacher: Float[Array, "b c"]) -> Float[Array, ""]:
    """|S' S - T' T|_F^2 / c of two probability matrices. Section 3 (class level)."""
    return batch_relation(student.T, teacher.T)


class MLKD(nn.Module):
    """`distill_kl`, `batch_relation` and `class_relation` over temperatures and views of an image.

    The batch holds a weak and a strong view of each image as separate rows, with their labels.
    `batch["views"]`, int [b], is 0 for a weak and 1 for a strong view (`config.second_view`).
    Student and teacher see both in one forward pass. (The public code runs the networks on one view
    after the other, so that BatchNorm sees each view separately.)

    The weights are those that the public code amounts to: what it multiplies by a mask after the
    mean is halved, since half of the mask is true, and the relations of strong views are computed
    and dropped. One thing is not copied: its strong term uses the weak logits at two of the
    temperatures.

    Attributes:
      temperatures: of all three levels; the paper has five, of which 4 is the base.
      instance: weights of `distill_kl` for the weak and the strong view.
      relation: weights of the two relations for the weak and the strong view.
      standardize: `distill_kl` of standardized logits (Sun et al. 2024).
    """

    temperatures: Annotated[Sequence[Temperature], Length(1)] = (2.0, 3.0, 4.0, 5.0, 6.0)
    instance: Annotated[Sequence[NonNegative], Length(2, 2)] = (0.5, 1.0)
    relation: Annotated[Sequence[NonNegative], Length(2, 2)] = (0.5, 0.0)
    standardize: bool = False

    needs = ("batch.views",)

    def __call__(self, view: View) -> Float[Array, ""]:
        require(view, *self.needs)
        loss = jnp.zeros(())
        for temperature in self.temperatures:
            student, teacher = view.student.logits, view.target(temperature)
            soften = lambda z, t=temperature: jax.nn.softmax(z.astype(jnp.float32) / t)
            p_s, p_t = soften(student), soften(teacher)
            if self.standardize:
                student, teacher = standardize_both(student, teacher)
            kl = distill_kl(student, teacher, temperature)
            for i, (instance, relation) in enumerate(
                zip(self.instance, self.relation, strict=True)
            ):
                kept = (view.batch["views"] == i).astype(jnp.float32)
                count = jnp.maximum(jnp.sum(kept), 1.0)
                loss += instance * jnp.sum(kept * kl) / count
                if relation:
                    s, t = p_s * kept[:, None], p_t * kept[:, None]
                    share = kept.size / count  # of rows that are this view
                    loss += relation * (share * batch_relation(s, t) + class_relation(s, t))
        return loss
