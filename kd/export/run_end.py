"""What a run makes of its networks at its end, where `config.export` asks for it: their int8 files,
and what these predict.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kd.config import ConfigDict
from kd.data.base import Dataset
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.export import interpreter, litert
from kd.export.source import Source, pixels
from kd.metrics import scores
from kd.models.peers import peers
from kd.runs.workdir import Workdir
from kd.types import PyTree


class Files(NamedTuple):
    """The files by name, their logits [s, n, c] on the evaluated split, and what `result.json` says
    of them.
    """

    contents: Mapping[str, bytes]
    logits: Float[np.ndarray, "s n c"]
    report: dict[str, Any]


def check(config: ConfigDict, dataset: Dataset, student: nn.Module) -> None:
    """Raises InputError where the network has no int8 file, by making that of one that has learnt
    nothing.
    """
    if len(peers(student)) > 1:
        raise InputError(
            "config.export: the student is several networks, and the run makes one file for each "
            "seed. Leave it out, and export the one that you want: kd export RUN --int8 --peer I."
        )
    image = jnp.zeros((1, *dataset.train.image.shape[1:]))
    init = lambda x: student.init(jax.random.key(0), x, train=False)
    source = _source(config, dataset, student, jax.jit(init)(image), config.seed)
    litert.integers(source, litert.FEWEST)


def evaluate(config: ConfigDict, dataset: Dataset, student: nn.Module, variables: PyTree) -> Files:
    """The files of all seeds, from variables stacked over them, asked by LiteRT's reference
    kernels.
    """
    variables = jax.device_get(variables)
    split = dataset.test
    image = pixels(split, np.arange(len(split.label)))
    contents, logits = {}, []
    for i in range(config.seeds):
        seed = config.seed + i
        source = _source(config, dataset, student, tree_index(variables, i), seed)
        content = litert.integers(source).content
        outputs = interpreter.run(content, litert.inputs(source, content, image))
        contents[f"seed{seed}.tflite"] = content
        logits.append(litert.as_logits(content, outputs))
    found = np.stack(logits)
    report = {
        "format": config.export,
        "accuracy": scores.accuracy(found, split.label).tolist(),
        "bytes": [len(content) for content in contents.values()],
    }
    return Files(contents, found, report)


def _source(
    config: ConfigDict, dataset: Dataset, student: nn.Module, variables: PyTree, seed: int
) -> Source:
    """What the modules of an export take, of a run that has no result yet."""
    return Source(
        Workdir(""), config.to_dict(), {}, student, variables, seed, "each is exported", dataset
    )
