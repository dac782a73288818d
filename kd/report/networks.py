"""The networks of a run and its test images, for sections that run them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from kd.config.teachers import ALL, Members
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError, MissingData
from kd.report.capacity import Capacity, capacity
from kd.report.network import Network, load_network
from kd.report.run import Run
from kd.report.similarity import centred_gram
from kd.runs.networks import check_size, load_networks, measured_data, weights_hash
from kd.runs.teacher_input import as_student_sees
from kd.runs.workdir import Workdir

BUDGET = 1e12
"""Multiply-accumulates that a report spends on a CPU: about half a minute of two cores. An
accelerator gets a hundred times that.
"""

FEATURE_BYTES = 2**27
"""Most bytes for all stages of one network at a time."""

type Grams = dict[str, np.ndarray]
"""For each stage, the mean over members of its `centred_gram`."""


class Representations(NamedTuple):
    """Stages of the networks on some test images.

    Attributes:
      images: how many images.
      capacity: for each network and stage, `kd.report.capacity` of each member.
      grams: for each network, for likeness.
    """

    images: int
    capacity: dict[str, dict[str, list[Capacity]]]
    grams: dict[str, Grams]


class Networks:
    """The student of a run, its teacher, and the data set that the run was evaluated on.

    Attributes:
      dataset: the data set.
      networks: `student`, and `teacher` where the teacher is of one architecture.
      images: how many test images the user wants to run them on; None leaves it to the budget.
    """

    def __init__(
        self, dataset: Dataset, networks: Mapping[str, Network], images: int | None = None
    ):
        self.dataset, self.networks, self.images = dataset, dict(networks), images

    def count(self, part: float, passes: int = 1, most: int | None = None) -> int:
        """How many images a section may run.

        Args:
          part: of the budget, in [0, 1].
          passes: how often it runs each image.
          most: limit of a number that the budget allows.
        """
        if self.images:
            return self.images
        cost = sum(len(net.members) * net.macs for net in self.networks.values())
        budget = BUDGET * (1 if jax.default_backend() == "cpu" else 100)
        allowed = max(100, int(part * budget / passes / cost))
        return allowed if most is None else min(allowed, most)

    def spread(self, count: int) -> np.ndarray:
        """At most `count` indices of test images, evenly spread: test sets may be sorted."""
        n = len(self.dataset.test.label)
        return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))

    def raw(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """Raw test images at these indices."""
        image = self.dataset.test.image
        if isinstance(image, Pictures):
            return image.centered(index)
        return image[np.asarray(index)]

    @functools.cached_property
    def representations(self) -> Representations:
        """Stages of all networks on images that fit into the budget and into memory."""
        index = self.spread(min(self.count(0.2, most=1000), self._most_images()))
        image = self.raw(index)
        used: dict[str, dict[str, list[Capacity]]] = {}
        grams: dict[str, Grams] = {}
        for name, network in self.networks.items():
            used[name], grams[name] = {}, {}
            for member in network.members:
                for stage, x in network.stages(member, image).items():
                    if stage != "logits":
                        used[name].setdefault(stage, []).append(capacity(x))
                    part = centred_gram(x) / len(network.members)
                    grams[name][stage] = grams[name].get(stage, 0) + part
        return Representations(len(index), used, grams)

    def _most_images(self) -> int:
        """Images whose stages fit into FEATURE_BYTES."""
        image = self.raw([0])
        shapes = [
            jax.eval_shape(net.apply, net.members[0], image) for net in self.networks.values()
        ]
        sizes = [sum(x.size * 4 for x in jax.tree.leaves(outputs)) for outputs in shapes]
        return max(4, FEATURE_BYTES // max(sizes))


def load(run: Run, images: int | None = None) -> Networks:
    """Loads the networks of a run and its data set.

    Raises:
      InputError: the data set is not on this machine, or it or the teacher's weights are no longer
        those of the run.
    """
    dataset = load_data(run)
    # In cohorts the first peers, for others may be of another architecture.
    peers = len(run.result.get("peers", [1]))
    first = [i * peers for i in range(len(run.result["seeds"]))]
    networks = {"student": load_network(load_networks(run.workdir, group=_members(first)))}
    if len(run.teachers) == 1:  # sections compare with one architecture
        networks["teacher"] = _teacher(run)
    return Networks(dataset, networks, images)


def load_data(run: Run) -> Dataset:
    """The data set that the run was evaluated on. Raises InputError where it is missing or
    changed.
    """
    stored = "`--stored` reports stored predictions only."
    try:
        check_size(run.workdir)
        return measured_data(run.workdir)
    except MissingData as error:
        raise MissingData(f"{error} {stored}") from None
    except InputError as error:
        raise InputError(f"{error} {stored}") from None


def _teacher(run: Run) -> Network:
    origin: dict[str, Any] = run.result["teacher"]
    trained = load_networks(Workdir(origin["run"]), group=_members(origin["members"]))
    if weights_hash(trained.variables) != origin["weights"]:
        raise InputError(
            f"the weights in {origin['run']} are not those that {run.workdir} learned from. "
            "`--stored` reports stored predictions only."
        )
    return load_network(as_student_sees(trained, run.result, origin.get("input")))


def _members(members: Sequence[int]) -> Members:
    return ALL._replace(members=",".join(map(str, members)))
