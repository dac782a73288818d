"""A loss that kd does not have."""

import flax.linen as nn
import jax

import kd


class Brier(nn.Module):
    """Squared distance between the probabilities of student and teacher, one number per example."""

    temperature: float = 1.0

    def __call__(self, view: kd.View) -> jax.Array:
        """[b]. `view` also has the labels, the features, and the batch itself."""
        t = self.temperature
        student = nn.softmax(view.student.logits / t)
        teacher = nn.softmax(view.target(t) / t)  # of an ensemble: its mean
        return ((student - teacher) ** 2).sum(-1)
