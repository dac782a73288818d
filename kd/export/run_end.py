"""`config.export`: int8 files of a run's networks, and their predictions, when the run ends."""

import hashlib
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
from kd.export import interpreter, tflite
from kd.export.source import Source, pixels
from kd.metrics import scores
from kd.models.peers import peers
from kd.runs.workdir import Workdir
from kd.types import PyTree


class Files(NamedTuple):
    """Exported files of a run.

    Attributes:
      contents: of each file, by name.
      logits: of the files, on the evaluated split.
      report: their entry in `result.json`.
    """

    contents: Mapping[str, bytes]
    logits: Float[np.ndarray, "s n c"]
    report: dict[str, Any]


def check(config: ConfigDict, dataset: Dataset, student: nn.Module) -> None:
    """Raises InputError where the network has no int8 file, by exporting its initial weights."""
    if len(peers(student)) > 1:
        raise InputError(
            "config.export: the student is several networks, and the run makes one file for each "
            "seed. Leave it out, and export one of them: `kd export RUN --format litert --int8 "
            "--peer I`."
        )
    image = jnp.zeros((1, *dataset.train.image.shape[1:]))
    init = lambda x: student.init(jax.random.key(0), x, train=False)
    source = _source(config, dataset, student, jax.jit(init)(image), config.seed)
    tflite.integers(source, tflite.FEWEST)


def evaluate(config: ConfigDict, dataset: Dataset, student: nn.Module, variables: PyTree) -> Files:
    """The files of all seeds and their logits by LiteRT's reference kernels.

    Args:
      config: of the run.
      dataset: of the run.
      student: the network.
      variables: stacked over the seeds.
    """
    variables = jax.device_get(variables)
    split = dataset.test
    image = pixels(split, np.arange(len(split.label)))
    contents, logits = {}, []
    for i in range(config.seeds):
        seed = config.seed + i
        source = _source(config, dataset, student, tree_index(variables, i), seed)
        content = tflite.integers(source).content
        outputs = interpreter.run(content, tflite.inputs(source, content, image))
        contents[f"seed{seed}.tflite"] = content
        logits.append(tflite.as_logits(content, outputs))
    stacked = np.stack(logits)
    report = {
        "format": config.export,
        "accuracy": scores.accuracy(stacked, split.label).tolist(),
        "bytes": [len(content) for content in contents.values()],
        "sha256": [hashlib.sha256(content).hexdigest() for content in contents.values()],
    }
    return Files(contents, stacked, report)


def _source(
    config: ConfigDict, dataset: Dataset, student: nn.Module, variables: PyTree, seed: int
) -> Source:
    """The source of a run that has no result yet."""
    return Source(
        Workdir(""), config.to_dict(), {}, student, variables, seed, "each is exported", dataset
    )
