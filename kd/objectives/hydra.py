"""Hydra: a head of the student for each member of its ensemble."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.objectives.kd import distill_kl
from kd.ranges import Temperature
from kd.types import View


class Hydra(nn.Module):
    """sum_m w_m T^2 KL(softmax(z_m / T) || softmax(head_m / T)): each head learns from one member.

    Tran et al. Hydra: Preserving Ensemble Diversity for Model Distillation. 2020.
    https://arxiv.org/abs/2001.04694, section 3.

    The student is `kd.models.hydra.Hydra`.

    Attributes:
      temperature: T.
    """

    temperature: Temperature = 1.0

    def __call__(self, view: View) -> Float[Array, " b"]:
        ensemble = view.members()
        if "heads" not in view.student.features:
            raise InputError(
                "this objective trains one head for each teacher, and this student has a single "
                "head. Wrap it: "
                "config.student = dict(name='hydra.Hydra', student=dict(name=...), heads=...)."
            )
        heads = jnp.moveaxis(view.student.features["heads"], 1, 0)
        if heads.shape[0] != ensemble.members.shape[0]:
            raise InputError(
                f"the student has {heads.shape[0]} heads and {ensemble.members.shape[0]} teachers: "
                "config.student.heads must be the number of members."
            )
        losses = distill_kl(heads, ensemble.members, self.temperature)
        weights = ensemble.weights
        return jnp.sum((weights if weights.ndim == 2 else weights[:, None]) * losses, 0)
