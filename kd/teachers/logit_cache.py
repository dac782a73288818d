"""One trained network whose logits on the training set were computed before."""

import jax
import jax.numpy as jnp

from kd.teachers.codec import decode
from kd.types import Batch, Outputs, PyTree, Teacher


def cached(num_classes: int) -> Teacher:
    """A teacher that looks its logits up. It has no features.

    `frozen["teacher"]` are the logits on the n training images in each of the w epochs after which
    augmentation repeats: arrays [w, n, ...] as `kd.teachers.codec` stores them.
    """

    def apply(stored: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        epochs = jax.tree.leaves(stored)[0].shape[0]
        epoch = jnp.asarray(batch["epoch"]) % epochs
        entries = jax.tree.map(lambda x: x[epoch, batch["index"]], stored)
        return Outputs(decode(entries, num_classes))

    return Teacher(apply, stored=True)
