"""Progressive self-distillation (PS-KD): targets from the student's last epoch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import require
from kd.objectives.ce import cross_entropy
from kd.types import View


class PSKD(nn.Module):
    """Cross entropy with the student's own predictions of the same images one epoch ago.

    An image without an earlier prediction has its label as the target.

    Kim, Ji, Yoon, Hwang. Self-Knowledge Distillation with Progressive Refinement of Targets. ICCV
    2021. https://arxiv.org/abs/2006.12000, Eq. 2 and 3. Cross entropy is linear in its target, so
    the paper's loss with the target (1 - a) y + a p is a sum of two terms: `ce.CE` of weight 1 - a
    and this one of weight a, where a grows by the epoch to 0.8: schedule `by_epoch` of `kd.optim`.

    The predictions that are kept, log p float32 [n, c], are those of training: in training mode and
    on the augmented view of that epoch, as in the authors' code. The paper's alternative, the last
    epoch's network as a teacher, needs no memory of the size of the training set, but one more
    forward pass in each step and the weights of a second network. The memory takes 20 MB for
    CIFAR-100 and 5 GB for ImageNet. It is part of the state, so a resumed run has it.
    """

    needs = ("tables.order", "batch.index")
    every_label = True

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        require(view, *self.needs)
        logits, index = view.student.logits.astype(jnp.float32), view.batch["index"]
        if logits.ndim != 2:
            raise InputError(
                "PS-KD keeps the predictions of one student; this run trains a cohort."
            )
        log_p = jax.nn.log_softmax(logits)
        shape = view.tables["order"].shape[0], logits.shape[-1]
        memory = self.variable("memory", "log_p", jnp.zeros, shape)
        past = memory.value[index]
        # No distribution over two classes or more has log probabilities that are all zero.
        has_past = jnp.any(past < 0, axis=-1)
        soft = -jnp.sum(jnp.exp(past) * log_p, axis=-1)
        if not self.is_initializing():
            memory.value = memory.value.at[index].set(jax.lax.stop_gradient(log_p))
        return jnp.where(has_past, soft, cross_entropy(logits, view.batch["label"]))
