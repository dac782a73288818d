"""Networks of finished runs, for other runs to build on: locating, loading and checking them."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from kd.build import as_today, make_data, make_model
from kd.config import ConfigDict, default_workdir
from kd.config.identity import config_hash
from kd.config.teachers import ALL, Members, groups_of
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import mesh
from kd.errors import InputError, MissingData
from kd.files.escaping import plain
from kd.models.peers import peers
from kd.models.peers import stacked as stack_peers
from kd.names import trust
from kd.runs.checkpoint import load_student
from kd.runs.workdir import Workdir
from kd.types import PyTree


class Trained(NamedTuple):
    """Networks of a finished run, all of one architecture.

    Attributes:
      model: their architecture.
      variables: stacked, [m, ...].
      result: content of the run's `result.json`.
      members: their indices among the run's networks.
    """

    model: nn.Module
    variables: PyTree
    result: dict[str, Any]
    members: list[int]


def load_networks(workdir: Workdir, place: Sharding | None = None, group: Members = ALL) -> Trained:
    """Loads the networks of a finished run that a group selects.

    A run has one network for each seed. Where the students were cohorts of k peers, it has k for
    each seed: the peers of the first seed, then those of the second, ...

    Args:
      workdir: the run's directory.
      place: where to put the variables; None: on the first device.
      group: which networks.

    Raises:
      InputError: the run is not finished or not a run, has no such members, or they have different
        architectures.
    """
    config = workdir.read("config.json")
    result = workdir.read("result.json")
    image = jax.ShapeDtypeStruct((1, *result["shape"]), jnp.float32)
    with trust.stored(workdir):  # a network may name other networks when it is initialised
        model = make_model(config["student"], result["num_classes"])
        shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), image)
    place = place or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(result["seeds"]), *x.shape), x.dtype, sharding=place),
        shapes,
    )
    variables = load_weights(workdir, stacked)
    models = peers(model) * len(result["seeds"])
    chosen = group.indices(len(models), workdir)
    check_alike(models, chosen, group, workdir)
    return Trained(models[chosen[0]], stack_peers(model, variables, chosen), result, chosen)


def check_alike(
    models: Sequence[nn.Module], chosen: Sequence[int], group: Members, workdir: Workdir
) -> None:
    """Raises InputError if the chosen networks of a run have different architectures."""
    if any(models[i] != models[chosen[0]] for i in chosen):
        alike: dict[int, list[int]] = {}
        for i, network in enumerate(models):
            alike.setdefault(models.index(network), []).append(i)
        choices = " or ".join(str(tuple(indices)) for indices in alike.values())
        raise InputError(
            f"{group.where}.members = {group.members!r}: {workdir} has networks of several "
            f"architectures. Those of one are {choices}."
        )


def load_weights(workdir: Workdir, like: PyTree) -> PyTree:
    """The students' variables of a finished run, which are those that its `result.json` is about.

    Everything that builds on a finished run loads it by this function.

    Args:
      workdir: of the run.
      like: see `kd.runs.checkpoint.load_student`.

    Raises:
      InputError: the run is damaged, not finished, or of another network.
    """
    result = workdir.read("result.json")
    stored, recorded = workdir.read("config.json"), result.get("weights")  # old results have none
    if result.checked and not _is_config(stored, result["config_hash"]):
        raise InputError(
            f"{workdir}/config.json is not the config that result.json was measured with: one of "
            f"the two is damaged or was exchanged. Bring it back, or remove {workdir}, to train "
            "anew."
        )
    variables = load_student(workdir.checkpoints, like)
    if recorded is not None and weights_hash(variables) != recorded:
        raise InputError(
            f"{workdir.checkpoints}: the weights are not those that {workdir}/result.json was "
            "measured with: one of the two is damaged or was exchanged. Bring it back, or remove "
            f"{workdir}, to train anew."
        )
    return variables


def _is_config(stored: Mapping[str, Any], recorded: str) -> bool:
    """Whether a stored config has the recorded hash, as it is or with later keys added."""
    try:
        return config_hash(stored) == recorded or config_hash(as_today(stored)) == recorded
    except Exception:  # whatever a damaged config makes builders do, it is another one
        return False


def measured_data(workdir: Workdir) -> Dataset:
    """The data set that a finished run was measured on, with the normalisation of its networks.
    Everything that needs it asks here.

    Raises:
      MissingData: it is not on this machine.
      InputError: it has other evaluated examples than it had then, or cannot be read.
    """
    result, config = workdir.read("result.json"), ConfigDict(as_today(workdir.read("config.json")))
    with trust.stored(workdir):
        dataset = make_data(config)
    if weights_hash(dataset.test) != result.get("evaluated"):
        raise InputError(
            f"{workdir} was evaluated on other images than data set {config.data.name} has on this "
            "machine now. Restore the data, or train again."
        )
    view = (result.get("imported") or {}).get("view")
    return dataset._replace(mean=tuple(view["mean"]), std=tuple(view["std"])) if view else dataset


def check_size(workdir: Workdir) -> None:
    """Raises InputError for an imported network that sees its data in another size."""
    size = ((workdir.read("result.json").get("imported") or {}).get("view") or {}).get("size")
    if size:
        raise InputError(
            f"{workdir}: the imported network sees the images of its data resized to {size[0]} x "
            f"{size[1]}, and this needs data of that size. As a teacher it works on others: "
            "config.teacher.input = dict()."
        )


def notice_of_data(workdir: Workdir) -> str:
    """A line where the data that a finished run was measured on are gone or have changed since; ""
    where they are as they were.
    """
    try:
        measured_data(workdir)
    except InputError as error:
        gone = isinstance(error, MissingData) or "there is no" in str(error)
        what = "are gone" if gone else "have changed, or cannot be read"
        return (
            f"The table is of stored results: the data that they were measured on {what}: {error}"
        )
    return ""


def with_notice(table: str, workdir: Workdir) -> str:
    """A table of a finished run, and below it `notice_of_data` where there is one."""
    notice = notice_of_data(workdir)
    return f"{table}\n\n{plain(notice)}" if notice else table


def check_fit(result: Mapping[str, Any], dataset: Dataset, what: str, viewed: bool = False) -> None:
    """Raises InputError if a run that another builds on is of other data than `dataset`.

    Args:
      result: content of its `result.json`, or `facts_of` its config before it is trained.
      dataset: of the run that builds on it.
      what: the run in words.
      viewed: whether its networks see the images that `config.teacher.input` makes. Of another
        shape, evaluated images are not compared.
    """
    ours = {
        "num_classes": dataset.num_classes,
        "shape": list(dataset.train.image.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    was = "will be" if result.get("planned") else "was"
    resized = viewed and result["shape"] != ours["shape"]
    if viewed:
        ours = {"num_classes": dataset.num_classes}
    for key, value in ours.items():
        if result[key] != value:
            raise InputError(
                f"{what} {was} trained with {key} {result[key]}, the data here have {value}."
                f"{_remedy(key, result)}"
            )
    if not resized and result["evaluated"] != weights_hash(dataset.test):
        raise InputError(
            f"{what} {was} evaluated on other examples ({result['split']}) than this run will be: "
            "these may be among its training examples. Give both the same data and the same "
            "config.holdout."
        )


def facts_of(config: ConfigDict) -> dict[str, Any]:
    """What `check_fit` reads of a `result.json`, of a run that is not trained yet.

    Args:
      config: of that run, spelled out.
    """
    dataset = make_data(config)
    return {
        "num_classes": dataset.num_classes,
        "shape": list(dataset.train.image.shape[1:]),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "evaluated": weights_hash(dataset.test),
        "split": "validation" if config.holdout else "test",
        "planned": True,
    }


def _remedy(key: str, result: Mapping[str, Any]) -> str:
    """How the data of a student become those of its teacher, where they can."""
    if key in ("mean", "std"):
        texts = [f"config.data.{k} = {tuple(result[k])!r}" for k in ("mean", "std")]
        return (
            f" On a part of the teacher's data, normalise as it does: {' and '.join(texts)} "
            "(`arrays`, `folder`, `tfds`; a data set of your own sets them in its Dataset)."
        )
    if key == "num_classes":
        return (
            " If the data here have examples of some classes only, say how many there are: "
            f"config.data.classes = {result[key]} (`arrays`)."
        )
    return " Give both examples of one shape."


def weights_hash(tree: PyTree) -> str:
    """The first sixteen hexadecimal digits of the sha256 of all arrays and their names.

    Of variables, and of the arrays of a data set.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        digest.update(jax.tree_util.keystr(path).encode())
        array = leaf.identity if isinstance(leaf, Pictures) else mesh.to_host(leaf)
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def workdirs_of_teachers(config: ConfigDict, root: os.PathLike | str) -> tuple[Workdir, ...]:
    """Directories of the teachers' runs, finished or not, one for each group."""
    return tuple(
        Workdir(group.run or default_workdir(group.config, root))
        for group in groups_of(config.teacher)
    )


def workdir_of(section: ConfigDict, root: os.PathLike | str) -> Workdir | None:
    """Directory of the run that `config.init` names, finished or not; None if it names none."""
    if not (section.run or section.config):
        return None
    return Workdir(section.run or default_workdir(section.config, root))
