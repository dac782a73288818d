"""What is exported: the network of one seed of a finished run, on the CPU, with the data that it
was trained and judged on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from kd import build
from kd.config import ConfigDict
from kd.config.teachers import ALL
from kd.data.augment import make_normalize
from kd.data.base import Dataset, Split
from kd.data.pictures import Pictures
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.metrics.scores import accuracy
from kd.predict import make_logits
from kd.runs.networks import load_networks, weights_hash
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.types import PyTree


class Source(NamedTuple):
    """A student that may be exported.

    Attributes:
      workdir: of its run.
      config: of its run, every key there.
      result: content of its `result.json`.
      model: the network.
      variables: of one seed.
      seed: of the run's `seeds`.
      chosen: why this network, in words.
      dataset: `test` is what the run was evaluated on.
      peer: of a cohort of students, which of them; None where the student is one network.
    """

    workdir: Workdir
    config: dict[str, Any]
    result: dict[str, Any]
    model: nn.Module
    variables: PyTree
    seed: int
    chosen: str
    dataset: Dataset
    peer: int | None = None

    @property
    def quantized(self) -> bool:
        """Whether the student was trained with fake quantization, so that its scales are part of
        it.
        """
        return bool(self.config["student"].get("quantize"))


def open_run(workdir: Workdir, seed: int | None = None, peer: int | None = None) -> Source:
    """The student of a finished run.

    Args:
      workdir: of the run.
      seed: one of its seeds; None takes the one that is best on held-out training images, where the
        run kept some, else the first. The test set chooses nothing.
      peer: of a cohort of students, one of them, from 0; None takes the best or the first in the
        same way.

    Raises:
      InputError: no run, one that is not finished, a seed or a peer that it does not have, or other
        data than it was evaluated on.
    """
    config = workdir.read("config.json")
    if not workdir.finished:
        raise InputError(
            f"{workdir} is not finished: it has no result.json. The `kd run` that began it goes on "
            "from its checkpoint."
        )
    place = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])
    result = workdir.read("result.json")
    at, why = _choose(workdir, result, seed, peer)
    trained = load_networks(workdir, place, ALL._replace(members=str(at)))
    peers = len(result.get("peers", [1]))
    config = build.as_today(config)
    dataset = build.make_data(ConfigDict(config))
    if weights_hash(dataset.test) != result["evaluated"]:
        raise InputError(
            f"{workdir} was evaluated on other {result['split']} examples than config.data gives "
            "here. Restore the data, or train again."
        )
    return Source(
        workdir,
        config,
        result,
        trained.model,
        tree_index(trained.variables, 0),
        result["seeds"][at // peers],
        why,
        dataset,
        at % peers if peers > 1 else None,
    )


def _choose(
    workdir: Workdir, result: dict[str, Any], seed: int | None, peer: int | None = None
) -> tuple[int, str]:
    """Which of the run's networks, counted as `kd.runs.networks.load_networks` does, and why."""
    seeds, k = result["seeds"], len(result.get("peers", [1]))
    if seed is not None and seed not in seeds:
        raise InputError(f"--seed {seed}: {workdir} has the seeds {', '.join(map(str, seeds))}.")
    if peer is not None and not 0 <= peer < k:
        has = f"the peers 0 to {k - 1}" if k > 1 else "one network for each seed"
        raise InputError(f"--peer {peer}: {workdir} has {has}.")
    each = [
        i for i in range(len(seeds) * k) if seed in (None, seeds[i // k]) and peer in (None, i % k)
    ]
    if len(each) == 1:
        return each[0], "the run's only one" if seed is peer is None else "asked for"
    stored = workdir.predictions()
    if "validation_logits" in stored:
        share = accuracy(stored["validation_logits"], stored["validation_label"])
    elif result["split"] == "validation":
        share = np.array(result["final"]["accuracy"])
    else:
        return (
            each[0],
            f"the first of {len(each)}, for the run kept no validation images to choose by",
        )
    best = max(each, key=lambda i: share[i])
    return best, f"best of {len(each)} on validation images"


def pixels(split: Split, index: Sequence[int] | np.ndarray) -> np.ndarray:
    """Raw examples [b, ...] at these places of a split, as they are stored."""
    if isinstance(split.image, Pictures):
        return split.image.centered(index)
    return split.image[np.asarray(index)]


def recorded(source: Source) -> Float[np.ndarray, "n c"] | None:
    """Logits of `dataset.test` that the run stored of this network when it ended; None where it
    stored none.
    """
    if not (source.workdir.path / "predictions.npz").exists():
        return None
    stored = source.workdir.predictions()
    peers = len(source.result.get("peers", [1]))
    at = source.result["seeds"].index(source.seed) * peers + (source.peer or 0)
    return stored["logits"][at]


def logits(source: Source, image: np.ndarray) -> np.ndarray:
    """What the run itself would say of raw examples [n, ...]: float32 [n, c]."""
    evaluate = make_eval(source.model, make_normalize(source.dataset.mean, source.dataset.std))
    cpu = jax.devices("cpu")[0]
    stacked = jax.tree.map(lambda x: x[None], source.variables)
    with jax.default_device(cpu):
        asked = make_logits(evaluate, source.config["eval_batch_size"])
        return asked(stacked, jax.device_put(image, cpu))[0]
