"""Published PyTorch weights as a finished run: evaluated, recorded, and usable as a teacher."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from kd import build
from kd import config as configs
from kd.config.identity import config_hash
from kd.data.base import Dataset
from kd.devices import processes
from kd.errors import InputError, MissingData
from kd.files.directories import replacing
from kd.models import cost
from kd.names import trust
from kd.runs.checkpoint import Checkpoints, load_student
from kd.runs.networks import weights_hash
from kd.runs.teacher_input import viewed
from kd.runs.workdir import Workdir
from kd.teachers import input_view
from kd.teachers.input_view import InputView
from kd.train import placement
from kd.train.checks import dry_run
from kd.train.parts import make_parts
from kd.train.program import seed_keys
from kd.train.result import describe
from kd.train.setup import set_up
from kd.types import DistillState, PyTree
from kd.weights import convert

PIXELS = 2 * 10**7
"""Most numbers of the images that are evaluated at once."""


def import_run(
    checkpoint: Path | str,
    model: str | None,
    out: Path | str,
    data: Mapping[str, Any],
    entry: str | None = None,
    settings: Mapping[str, Any] | None = None,
    normalisation: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Any] | None:
    """Writes the run directory `out`, as if a run that is now finished had trained the network.

    If the data set is not prepared on this machine, the directory has only the weights, without an
    evaluation. The same call, or a run that names the directory as its teacher, evaluates it once
    the data set is prepared.

    Args:
      checkpoint: a file that `kd.weights.convert.read` reads, or a directory with `config.json` as
        Hugging Face and timm write it.
      model: `FAMILY.NAME`, or NAME where that is unique; None for a directory.
      out: the directory; it must not exist, or contain this import without its evaluation. It
        appears only once everything has succeeded.
      data: section `data` of a config: the data that the network was trained on. The network is
        evaluated on its test split, resized to the images that the weights are for.
      entry: of the file, which holds the weights; None takes the only one that fits the network.
      settings: of the network other than the number of classes.
      normalisation: `mean` and `std` of pixels in [0, 1], one number for each channel, that the
        network was trained with; None takes those of the directory, else of the data.

    Returns:
      The content of `result.json`, whose `imported` names the file and its sha256; None if the data
      set is not prepared.

    Raises:
      InputError: `out` exists; there is no such checkpoint, or it is of another network; the
        classes or the image size are not those of the data.
    """
    out = Path(out)
    if out.exists() and (Workdir(out).finished or not awaits_evaluation(Workdir(out))):
        raise InputError(f"{out} exists already. Give another --out, or remove it.")
    variables, origin = convert.import_checkpoint(checkpoint, model, entry, settings)
    origin |= {key: list(value) for key, value in (normalisation or {}).items()}
    config = build.spell_out(
        configs.complete(
            ConfigDict(
                dict(
                    data=dict(data),
                    student=dict(name=origin["model"], **origin.get("settings", {})),
                    objective=dict(ce=dict(name="ce.CE")),
                    optimizer=dict(name="sgd", learning_rate=0.0),
                )
            )
        )
    )
    if out.exists():
        workdir = Workdir(out)
        workdir.check_owner(config.to_dict(), build.as_today)
        workdir.claim(config.to_dict(), {"teacher": {}, "imported": origin})
        return _evaluated_if_possible(workdir)
    return _import_new(out, config, {"teacher": {}, "imported": origin}, variables)


def _import_new(
    out: Path, config: ConfigDict, origin: dict[str, Any], variables: PyTree
) -> dict[str, Any] | None:
    """Makes the run directory of imported weights; returns its result as `import_run` does."""
    # Renamed at the end: an interrupted import leaves no directory that looks like a run.
    with replacing(out) as building:
        workdir = Workdir(building)
        workdir.claim(config.to_dict(), origin)
        checkpoints = Checkpoints(workdir.checkpoints)
        checkpoints.save(_state(variables), 0)
        checkpoints.close()
        return _evaluated_if_possible(workdir)


def awaits_evaluation(workdir: Workdir) -> bool:
    """Whether the directory holds imported weights that have not been evaluated."""
    started = (workdir.path / "origin.json").exists() and not workdir.finished
    return started and "imported" in workdir.read("origin.json")


def evaluate(workdir: Workdir) -> dict[str, Any]:
    """Evaluates a run of imported weights: writes predictions and `result.json`, which it returns.

    Raises:
      MissingData: the data set is not prepared on this machine.
      InputError: its classes or the size of its images are not those of the network.
    """
    with trust.stored(workdir):
        return _evaluate(workdir)


def _evaluate(workdir: Workdir) -> dict[str, Any]:
    """`evaluate`, with the names of its stored config."""
    origin = workdir.read("origin.json")["imported"]
    stored = ConfigDict(workdir.read("config.json"))
    config = build.spell_out(configs.complete(stored))
    name, classes = config.data.name, build.make_data(config).num_classes
    if origin["num_classes"] != classes:
        raise InputError(
            f"{origin['checkpoint']}: the network has {origin['num_classes']} classes, data set "
            f"{name} has {classes}. Name the network's data set with --data."
        )
    dataset = build.make_data(config)
    _check_classes(origin, dataset)
    channels = dataset.train.image.shape[-1]
    expected = origin.get("channels", 3)  # not recorded by earlier versions
    if channels != expected:
        raise InputError(
            f"{origin['checkpoint']}: the network expects images of {expected} channels, those of "
            f"data set {name} have {channels}. Name the network's data set with --data."
        )
    view = _view(origin, dataset)
    shape = view.shape_of(dataset.train.image.shape[1:])
    seen = view if view.changes(dataset.train.image.shape[1:]) else None
    with config.unlocked():  # nothing is trained: a small data set will do
        config.batch_size = min(config.batch_size, len(dataset.train.label))
        largest = max(PIXELS // math.prod(shape), 1)
        config.eval_batch_size = min(config.eval_batch_size, largest)
    dry_run(config, trains=False, view=partial(viewed, view=seen))
    mesh = placement.make_mesh(config)
    parts = make_parts(config, (), mesh)
    network = parts.student
    parts = dataclasses.replace(parts, student=viewed(network, seen))
    setup = set_up(config, parts, mesh)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=setup.state_sharding),
        setup.shapes.student,
    )
    student = load_student(workdir.checkpoints, like)
    logits = setup.evaluation.logits(student)
    label = setup.evaluation.label
    record = {**origin, "view": _changed(view, dataset)} if seen else origin
    result = describe(setup, logits) | {"imported": record, "weights": weights_hash(student)}
    # Nothing is known about its training.
    result |= {"epochs": None, "steps": None, "seeds": [0]}
    if seen:  # the run is that of the network alone, and what it sees is part of its record
        forward = lambda v, x: network.apply(v, x, train=False)
        variables = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), like)
        image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        result |= {"shape": list(shape), "mean": list(view.mean), "std": list(view.std)}
        result["macs"] = cost.macs(forward, variables, image)
    result["config_hash"] = config_hash(stored.to_dict())

    def finish() -> None:
        workdir.write("predictions.npz", {"logits": logits, "label": label})
        workdir.write("result.json", result)

    processes.write(finish)
    return result


def _view(origin: Mapping[str, Any], dataset: Dataset) -> InputView:
    """What the network sees of the images of the data: their size and normalisation as its own."""
    section: dict[str, Any] = {}
    shape, pixels = dataset.train.image.shape[1:], dataset.train.image
    if "image" in origin and len(shape) == 3:
        section |= {"size": origin["image"], "channels": origin["channels"]}
    scaled = not isinstance(pixels, np.ndarray) or pixels.dtype == np.uint8
    if scaled:  # other data are in a unit of their own
        section |= {key: origin[key] for key in ("mean", "std") if key in origin}
    return input_view.make(section, shape, dataset.mean, dataset.std)


def _changed(view: InputView, dataset: Dataset) -> dict[str, Any]:
    """What a view makes of the images of the data, for the record."""
    record = view.record()
    if record.get("size") == list(dataset.train.image.shape[1:3]):
        del record["size"]
    return record


def _check_classes(origin: Mapping[str, Any], dataset: Dataset) -> None:
    """Raises InputError for a network whose classes are those of the data in another order."""
    plain = lambda names: [name.lower().replace("_", " ").strip() for name in names]
    theirs, ours = plain(origin.get("classes", ())), plain(dataset.class_names)
    if theirs != ours and len(set(ours)) == len(ours) and sorted(theirs) == sorted(ours):
        i = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
        raise InputError(
            f"{origin['checkpoint']}: the network has the classes of the data in another order: "
            f"class {i} is {theirs[i]!r} there and {ours[i]!r} here. Give the data in its order."
        )


def _evaluated_if_possible(workdir: Workdir) -> dict[str, Any] | None:
    try:
        return evaluate(workdir)
    except MissingData:
        return None


def _state(variables: PyTree) -> DistillState:
    """The state of a run of one seed, of which only the student is known."""
    stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], variables)
    rest = {k: v for k, v in stacked.items() if k != "params"}
    return DistillState(
        step=jnp.zeros((1,), jnp.int32),
        key=seed_keys(0, 1),
        params={"student": stacked["params"], "objective": {}},
        stats={"student": rest, "objective": {}},
        opt=(),
        teacher=(),
    )
