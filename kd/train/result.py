"""Content of `result.json`: what a run learned, what its network costs, and on what it was done."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd.config.identity import config_hash
from kd.models import cost
from kd.models.peers import peers, variables_of
from kd.runs.environment import hardware
from kd.runs.networks import weights_hash
from kd.train.setup import Setup

VARYING = ("seconds", "compile_seconds", "examples_per_second", "peak_memory_bytes")
"""Keys of `result.json` in which a resumed run differs from an uninterrupted one."""


def describe(setup: Setup, logits: np.ndarray, means: np.ndarray | None = None) -> dict[str, Any]:
    """Content of `result.json` but for the times and the best evaluation, from logits [s, n, c] of
    the evaluated split.

    `means` are those of teachers that follow their students.
    """
    config, dataset = setup.config, setup.dataset
    shape = dataset.train.image.shape[1:]
    costs = _costs(setup, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    return {
        "split": setup.split,
        "examples": len(dataset.test.label),
        "evaluated": weights_hash(dataset.test),
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        "epochs": config.epochs,
        "steps": setup.plan.steps,
        "final": setup.evaluation.scores(logits, means),
        **costs[0],
        **({"peers": costs} if len(costs) > 1 else {}),
        "num_classes": dataset.num_classes,
        "class_names": list(dataset.class_names),
        "shape": list(shape),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "teacher": setup.taught.origin,
        "init": setup.start.origin,
        "seeds_how": setup.how,
        "config_hash": config_hash(config.to_dict()),
        "jax_version": jax.__version__,
        "git_commit": setup.commit,
        "hardware": hardware(),
    }


def _costs(setup: Setup, image: jax.ShapeDtypeStruct) -> list[dict[str, int]]:
    """What one network costs; of each peer, where the student is several."""
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), setup.shapes.student)
    costs = []
    for i, net in enumerate(peers(setup.student)):
        own = jax.eval_shape(partial(variables_of, setup.student, peer=i), one)
        forward = lambda v, x, net=net: net.apply(v, x, train=False)
        costs.append(
            {
                "parameters": cost.parameters(own),
                "bytes": cost.nbytes(own),
                "macs": cost.macs(forward, own, image),
            }
        )
    return costs
