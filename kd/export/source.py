"""The network that is exported: of one seed of a finished run, on the CPU, with the run's data."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from kd import build
from kd.config.teachers import ALL
from kd.data.augment import make_normalize
from kd.data.base import Dataset, Split
from kd.data.pictures import Pictures
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.metrics.scores import accuracy
from kd.predict import make_logits
from kd.runs.networks import check_size, load_networks, measured_data
from kd.runs.workdir import Workdir
from kd.step import make_eval
from kd.types import PyTree


class Source(NamedTuple):
    """A student to export.

    Attributes:
      workdir: of its run.
      config: of its run, with every key.
      result: content of its `result.json`.
      model: the network.
      variables: of one seed.
      seed: one of the run's `seeds`.
      chosen: why this network was chosen, in words.
      dataset: of its run; the run was evaluated on `test`.
      peer: index in a cohort of students; None where the student is one network.
      candidates: from how many networks it was chosen on validation images; 1 where these chose
        nothing.
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
    candidates: int = 1

    @property
    def quantized(self) -> bool:
        """Whether the student was trained with fake quantization, and so has scales."""
        return bool(self.config["student"].get("quantize"))


def open_run(workdir: Workdir, seed: int | None = None, peer: int | None = None) -> Source:
    """The student of a finished run.

    Args:
      workdir: of the run.
      seed: one of its seeds; None takes the best on held-out training images, where the run kept
        some, otherwise the first. The test set chooses nothing.
      peer: index in a cohort of students; None takes the best or the first in the same way.

    Raises:
      InputError: there is no run, it is not finished, it has no such seed or peer, or it was
        evaluated on other data.
    """
    config = workdir.read("config.json")
    if not workdir.finished:
        raise InputError(
            f"{workdir} is not finished: it has no result.json. The `kd run` that started it "
            "continues from its checkpoint."
        )
    cpu = jax.sharding.SingleDeviceSharding(jax.devices("cpu")[0])
    result = workdir.read("result.json")
    index, why, candidates = _choose(workdir, result, seed, peer)
    trained = load_networks(workdir, cpu, ALL._replace(members=str(index)))
    peers = len(result.get("peers", [1]))
    config = build.as_today(config)
    check_size(workdir)
    dataset = measured_data(workdir)
    return Source(
        workdir,
        config,
        result,
        trained.model,
        tree_index(trained.variables, 0),
        result["seeds"][index // peers],
        why,
        dataset,
        index % peers if peers > 1 else None,
        candidates,
    )


def _choose(
    workdir: Workdir, result: dict[str, Any], seed: int | None, peer: int | None = None
) -> tuple[int, str, int]:
    """Index of the chosen network, in the order of `kd.runs.networks.load_networks`, why, and
    `Source.candidates`.
    """
    seeds, k = result["seeds"], len(result.get("peers", [1]))
    if seed is not None and seed not in seeds:
        raise InputError(f"--seed {seed}: {workdir} has the seeds {', '.join(map(str, seeds))}.")
    if peer is not None and not 0 <= peer < k:
        has = f"the peers 0 to {k - 1}" if k > 1 else "one network for each seed"
        raise InputError(f"--peer {peer}: {workdir} has {has}.")
    candidates = [
        i for i in range(len(seeds) * k) if seed in (None, seeds[i // k]) and peer in (None, i % k)
    ]
    if len(candidates) == 1:
        return candidates[0], "the run's only one" if seed is peer is None else "asked for", 1
    stored = workdir.predictions()
    if "validation_logits" in stored:
        accuracies = accuracy(stored["validation_logits"], stored["validation_label"])
    elif result["split"] == "validation":
        accuracies = np.array(result["final"]["accuracy"])
    else:
        return (
            candidates[0],
            f"the first of {len(candidates)}, for the run kept no validation images to choose by",
            1,
        )
    best = max(candidates, key=lambda i: accuracies[i])
    return best, f"best of {len(candidates)} on validation images", len(candidates)


def pixels(split: Split, index: Sequence[int] | np.ndarray) -> np.ndarray:
    """Raw examples [b, ...] of a split at these indices, as they are stored."""
    if isinstance(split.image, Pictures):
        return split.image.centered(index)
    return split.image[np.asarray(index)]


def recorded(source: Source, key: str = "logits") -> Float[np.ndarray, "n c"] | None:
    """This network's logits on `dataset.test` as the run stored them; None where it stored none.
    The key `validation_logits` has those on `dataset.validation`.
    """
    if not (source.workdir.path / "predictions.npz").exists():
        return None
    stored = source.workdir.predictions()
    if key not in stored:
        return None
    peers = len(source.result.get("peers", [1]))
    index = source.result["seeds"].index(source.seed) * peers + (source.peer or 0)
    return stored[key][index]


def logits(source: Source, image: np.ndarray) -> np.ndarray:
    """The network's logits of raw examples [n, ...], as the run computes them: float32 [n, c]."""
    evaluate = make_eval(source.model, make_normalize(source.dataset.mean, source.dataset.std))
    cpu = jax.devices("cpu")[0]
    stacked = jax.tree.map(lambda x: x[None], source.variables)
    with jax.default_device(cpu):
        predict = make_logits(evaluate, source.config["eval_batch_size"])
        return predict(stacked, jax.device_put(image, cpu))[0]
