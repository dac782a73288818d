"""What is exported: the network of one seed of a finished run, on the CPU, with the data that it was trained and judged on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from kd import parts
from kd.config import ConfigDict
from kd.data.augment import make_normalize
from kd.data.base import Dataset, Split
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.metrics import accuracy
from kd.program import make_logits
from kd.step import make_eval
from kd.trained import fingerprint, load_trained
from kd.transform import pick
from kd.types import PyTree
from kd.workdir import Workdir


class Source(NamedTuple):
    """A student that may be exported.

    Attributes:
      workdir: of its run.
      config: of its run, every key there.
      result: content of its `result.json`.
      model: the network.
      variables: of one seed.
      seed: of the run's `seeds`.
      chosen: why this seed, in words.
      dataset: `test` is what the run was evaluated on.
    """

    workdir: Workdir
    config: dict[str, Any]
    result: dict[str, Any]
    model: nn.Module
    variables: PyTree
    seed: int
    chosen: str
    dataset: Dataset

    @property
    def quantized(self) -> bool:
        """Whether the student was trained with fake quantization, so that its scales are part of it."""
        return bool(self.config["student"].get("quantize"))


def open_run(workdir: Workdir, seed: int | None = None) -> Source:
    """The student of a finished run.

    Args:
      workdir: of the run.
      seed: one of its seeds; None takes the one that is best on held-out training images, where the run kept some, else the
        first. The test set chooses nothing.

    Raises:
      InputError: no run, one that is not finished, a seed that it does not have, or other data than it was evaluated on.
    """
    config = workdir.read("config.json")
    if not workdir.finished:
        raise InputError(
            f"{workdir} is not finished: it has no result.json. The `kd run` that began it goes on from its checkpoint."
        )
    place = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])
    trained = load_trained(workdir, place)
    seeds = trained.result["seeds"]
    at, why = _choose(workdir, trained.result, seed)
    config = parts.as_today(config)
    dataset = parts.make_data(ConfigDict(config))
    if fingerprint(dataset.test) != trained.result["evaluated"]:
        raise InputError(
            f"{workdir} was evaluated on other {trained.result['split']} examples than config.data gives here. "
            "Restore the data, or train again."
        )
    variables = pick(trained.variables, at)
    return Source(
        workdir,
        config,
        trained.result,
        trained.model,
        variables,
        seeds[at],
        why,
        dataset,
    )


def _choose(
    workdir: Workdir, result: dict[str, Any], seed: int | None
) -> tuple[int, str]:
    seeds = result["seeds"]
    if seed is not None:
        if seed not in seeds:
            raise InputError(
                f"--seed {seed}: {workdir} has the seeds {', '.join(map(str, seeds))}."
            )
        return seeds.index(seed), "asked for"
    if len(seeds) == 1:
        return 0, "the run's only one"
    stored = workdir.predictions()
    if "validation_logits" in stored:
        share = accuracy(stored["validation_logits"], stored["validation_label"])
    elif result["split"] == "validation":
        share = np.array(result["final"]["accuracy"])
    else:
        return (
            0,
            f"the first of {len(seeds)}, for the run kept no validation images to choose by",
        )
    return int(np.argmax(share)), f"best of {len(seeds)} on validation images"


def pixels(split: Split, index: Sequence[int] | np.ndarray) -> np.ndarray:
    """Raw examples [b, ...] at these places of a split, as they are stored."""
    if isinstance(split.image, Pictures):
        return split.image.centered(index)
    return split.image[np.asarray(index)]


def logits(source: Source, image: np.ndarray) -> np.ndarray:
    """What the run itself would say of raw examples [n, ...]: float32 [n, c]."""
    evaluate = make_eval(
        source.model, make_normalize(source.dataset.mean, source.dataset.std)
    )
    cpu = jax.devices("cpu")[0]
    stacked = jax.tree.map(lambda x: x[None], source.variables)
    with jax.default_device(cpu):
        asked = make_logits(evaluate, source.config["eval_batch_size"])
        return asked(stacked, jax.device_put(image, cpu))[0]
