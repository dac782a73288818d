"""A network of a finished run, with several sets of variables, as a function of raw images."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Shaped

from kd.data.augment import make_normalize
from kd.devices.vectorize import tree_index
from kd.features import stage_names
from kd.runs.networks import Trained
from kd.step import make_eval
from kd.types import Outputs, PyTree


class Network(NamedTuple):
    """A student or a teacher.

    Attributes:
      apply: outputs from variables and raw images, compiled.
      apply_logits: logits alone, compiled.
      members: variables of each seed or member.
      macs: multiply-accumulates of one member on one image.
    """

    apply: Callable[[PyTree, Any], Outputs]
    apply_logits: Callable[[PyTree, Any], Any]
    members: list[PyTree]
    macs: int

    def logits(self, image: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "m n c"]:
        """Logits of every member, in batches of at most 256 images."""
        starts = range(0, len(image), 256)
        return np.stack(
            [
                np.concatenate(
                    [np.asarray(self.apply_logits(v, image[i : i + 256])) for i in starts]
                )
                for v in self.members
            ]
        )

    def stages(self, member: PyTree, image: Shaped[np.ndarray, "n ..."]) -> dict[str, np.ndarray]:
        """Activations of the stages from the input on, and the logits; each [n, ...]."""
        names: list[str] = []
        parts = []
        for i in range(0, len(image), 64):
            outputs = self.apply(member, image[i : i + 64])
            names = _stages(outputs)
            parts.append(jax.device_get({**outputs.features, "logits": outputs.logits}))
        return {name: np.concatenate([p[name] for p in parts]) for name in [*names, "logits"]}


def _stages(outputs: Outputs) -> list[str]:
    """`stem`, `stage1`, ..., and `pooled` unless that is the last stage itself, as in an MLP."""
    features, names = outputs.features, stage_names(outputs)
    pooled = features.get("pooled")
    last = features[names[-1]] if names else None
    if pooled is not None and (last is None or last.ndim != pooled.ndim):
        names = [*names, "pooled"]
    return ["stem", *names] if "stem" in features else names


def _staged(outputs: Outputs) -> Outputs:
    """The outputs with the features of the stages alone: a transformer has many more."""
    return Outputs(outputs.logits, {name: outputs.features[name] for name in _stages(outputs)})


def load_network(trained: Trained) -> Network:
    """The network of a finished run."""
    result = trained.result
    evaluate = make_eval(trained.model, make_normalize(result["mean"], result["std"]))
    apply = jax.jit(lambda v, image: _staged(evaluate(v, {"image": image})))
    apply_logits = jax.jit(lambda v, image: evaluate(v, {"image": image}).logits)
    members = [tree_index(trained.variables, i) for i in range(len(trained.members))]
    return Network(apply, apply_logits, members, result["macs"])
