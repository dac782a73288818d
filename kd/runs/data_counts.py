"""How many training images a run has, and how many of them have a label."""

from collections.abc import Mapping
from typing import Any

from kd.build import as_today, make_data
from kd.config import ConfigDict
from kd.data.base import UNKNOWN, Dataset
from kd.errors import InputError
from kd.names import trust
from kd.runs.networks import weights_hash
from kd.runs.workdir import Workdir


def counts(dataset: Dataset) -> dict[str, int]:
    """Entries of `result.json` on the training images of a data set, after what is held out."""
    label = dataset.train.label
    known = int((label != UNKNOWN).sum())
    return {"training_examples": len(label), "labelled_examples": known}


def of_finished(workdir: Workdir) -> dict[str, int]:
    """`counts` of a finished run whose `result.json` has none, from the data on this machine; {}
    if those are not the data that the run was trained and evaluated on.
    """
    try:
        with trust.stored(workdir):
            dataset = make_data(ConfigDict(as_today(workdir.read("config.json"))))
        digest = weights_hash({"train": dataset.train, "test": dataset.test})
        return counts(dataset) if workdir.read("origin.json").get("data") == digest else {}
    except InputError:
        return {}


def of_published(config: ConfigDict, facts: Mapping[str, Any]) -> dict[str, int]:
    """`counts` of a published run whose facts have none; {} if the data of its config are not on
    this machine, or have another number of evaluated images than was published.

    Args:
      config: of the run, of the same identity.
      facts: what was published.
    """
    try:
        dataset = make_data(config)
    except InputError:
        return {}
    return counts(dataset) if facts.get("examples") == len(dataset.test.label) else {}
