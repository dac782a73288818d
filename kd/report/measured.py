"""What running a run's networks on its test images says: representations, robustness, capacity,
latency.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from kd.build import make_data, spell_out
from kd.config import ConfigDict, complete
from kd.config.teachers import ALL, Members
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError, MissingData
from kd.report.capacity import Capacity, capacity
from kd.report.corruptions import KINDS, SEVERITIES, corrupt
from kd.report.network import Net, load_net
from kd.report.similarity import centred_gram, cka
from kd.report.stored import Stored
from kd.runs.environment import hardware
from kd.runs.networks import load_networks, weights_hash
from kd.runs.workdir import Workdir

BUDGET = 1e12
"""Multiply-accumulates that a report spends on a CPU: about half a minute of two cores. An
accelerator gets a hundred times that.
"""

FEATURE_BYTES = 2**27
"""Of all stages of one network on the images that are looked at together."""


def load_data(stored: Stored) -> Dataset:
    """The data set that the run was evaluated on.

    Raises:
      InputError: it is not on this machine, or not the one of the run any more.
    """
    config = spell_out(complete(ConfigDict(stored.config)))
    try:
        dataset = make_data(config)
    except MissingData as error:
        raise MissingData(f"{error} `--stored` reports what the run has stored alone.") from None
    if weights_hash(dataset.test) != stored.result.get("evaluated"):
        raise InputError(
            f"{stored.workdir} was evaluated on other images than data set {config.data.name} has "
            "on this machine now. `--stored` reports what the run has stored alone."
        )
    return dataset


def measure(stored: Stored, dataset: Dataset, images: int | None) -> dict[str, Any]:
    """All parts of this module, as plain data. Means over seeds and members unless said otherwise.

    Args:
      stored: the run.
      dataset: its data, from `load_data`.
      images: how many test images to look at, evenly spread; None: as many as BUDGET allows, at
        least 100.

    Raises:
      InputError: the teacher's weights are not those that the student learned from.
    """
    # Of cohorts the first peers, for others may be of another architecture.
    peers = len(stored.result.get("peers", [1]))
    first = [i * peers for i in range(len(stored.result["seeds"]))]
    nets = {"student": load_net(load_networks(stored.workdir, group=_only(first)))}
    if len(stored.teachers) == 1:  # what is compared below is of one architecture
        nets["teacher"] = _teacher(stored)
    cost = sum(len(net.members) * net.macs for net in nets.values())
    budget = BUDGET * (1 if jax.default_backend() == "cpu" else 100)
    looks = 1 + len(KINDS) * SEVERITIES
    n = len(dataset.test.label)
    corrupted = _spread(n, images or max(100, int(0.8 * budget / looks / cost)))
    few = images or min(max(100, int(0.2 * budget / cost)), 1000)
    seen = _spread(n, min(few, _bearable(nets, dataset)))
    found = {
        "hardware": hardware(),
        "latency_ms": _latency(nets, _images(dataset, [0])),
        "images": len(seen),
    }
    whole = {name: _looked_at(net, _images(dataset, seen)) for name, net in nets.items()}
    found["capacity"] = {name: stages for name, (stages, _) in whole.items()}
    if "teacher" in whole:
        found["cka"] = _similarity(whole["student"][1], whole["teacher"][1])
    picture = _images(dataset, corrupted)
    # What is no image of 8-bit pixels has no severity of its own.
    if picture.dtype == np.uint8 and picture.ndim == 4:
        label = dataset.test.label[corrupted]
        found["robustness"] = _robustness(nets, picture, label, stored.together)
    return found


def _teacher(stored: Stored) -> Net:
    origin = stored.result["teacher"]
    trained = load_networks(Workdir(origin["run"]), group=_only(origin["members"]))
    if weights_hash(trained.variables) != origin["weights"]:
        raise InputError(
            f"the weights in {origin['run']} are not those that {stored.workdir} learned from. "
            "`--stored` reports what the run has stored alone."
        )
    return load_net(trained)


def _only(members: Sequence[int]) -> Members:
    return ALL._replace(members=",".join(map(str, members)))


def _spread(n: int, count: int) -> np.ndarray:
    """So many places of n, evenly spread: test sets may be sorted by class."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))


def _images(dataset: Dataset, places: Sequence[int] | np.ndarray) -> np.ndarray:
    image = dataset.test.image
    if isinstance(image, Pictures):
        return image.centered(places)
    return image[np.asarray(places)]


def _bearable(nets: dict[str, Net], dataset: Dataset) -> int:
    """Images whose stages fit into FEATURE_BYTES."""
    image = _images(dataset, [0])
    sizes = [
        sum(x.size * 4 for x in jax.tree.leaves(jax.eval_shape(net.apply, net.members[0], image)))
        for net in nets.values()
    ]
    return max(4, FEATURE_BYTES // max(sizes))


def _latency(nets: dict[str, Net], image: np.ndarray) -> dict[str, float]:
    """Milliseconds for one image with one member of each: medians of 50 calls, the networks in
    turn.
    """
    image = jax.device_put(image)
    calls = {name: partial(net.logits_of, net.members[0], image) for name, net in nets.items()}
    jax.block_until_ready([call() for call in calls.values()])
    times: dict[str, list[float]] = {name: [] for name in nets}
    for _ in range(50):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: 1000 * statistics.median(own) for name, own in times.items()}


type Grams = dict[str, np.ndarray]
"""Of each stage, the mean over members of its `centred_gram`."""


def _looked_at(net: Net, image: np.ndarray) -> tuple[list[dict[str, Any]], Grams]:
    used: dict[str, list[Capacity]] = {}
    grams: Grams = {}
    for member in net.members:
        stages = net.stages(member, image)
        for name, x in stages.items():
            if name != "logits":
                used.setdefault(name, []).append(capacity(x))
            grams[name] = grams.get(name, 0) + centred_gram(x) / len(net.members)
    rows = [
        {
            "stage": name,
            "units": own[0].units,
            "dead": float(np.mean([c.dead for c in own])),
            "rank": float(np.mean([c.rank for c in own])),
        }
        for name, own in used.items()
    ]
    return rows, grams


def _similarity(student: Grams, teacher: Grams) -> dict[str, Any]:
    """CKA of each stage of the student with each of the teacher, the mean over all pairs of their
    networks.
    """
    values = [[cka(own, other) for other in teacher.values()] for own in student.values()]
    known = [[None if np.isnan(v) else v for v in line] for line in values]
    return {"student": list(student), "teacher": list(teacher), "values": known}


def _robustness(
    nets: dict[str, Net],
    image: np.ndarray,
    label: np.ndarray,
    together: Callable[[np.ndarray], np.ndarray],
) -> dict[str, Any]:
    """Accuracy on corrupted images: of the student the mean over seeds, of the teacher that of its
    members `together`.
    """

    def score(picture: np.ndarray) -> dict[str, float]:
        found = {}
        for name, net in nets.items():
            logits = net.logits(picture)
            if name == "teacher":
                logits = together(logits)
            found[name] = float(np.mean(logits.argmax(-1) == label))
        return found

    kinds: dict[str, Any] = {}
    for kind, corruption in KINDS.items():
        scores = [
            score(np.asarray(corrupt(jax.device_put(image), kind, severity)))
            for severity in range(1, SEVERITIES + 1)
        ]
        kinds[kind] = {
            "amount": corruption.unit,
            "amounts": list(corruption.amounts),
            **{name: [s[name] for s in scores] for name in nets},
        }
    mean = {name: float(np.mean([kind[name] for kind in kinds.values()])) for name in nets}
    return {"images": len(label), "clean": score(image), "mean": mean, "kinds": kinds}
