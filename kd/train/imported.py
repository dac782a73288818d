"""Published PyTorch weights as a finished run: evaluated, recorded, and usable as a teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kd import build
from kd import config as configs
from kd.config.identity import config_hash
from kd.devices import processes
from kd.errors import InputError, MissingData
from kd.files.directories import replacing
from kd.names import trust
from kd.runs.checkpoint import Checkpoints, load_student
from kd.runs.networks import weights_hash
from kd.runs.workdir import Workdir
from kd.train.checks import dry_run
from kd.train.program import seed_keys
from kd.train.result import describe
from kd.train.setup import prepare
from kd.types import DistillState, PyTree
from kd.weights import convert


def import_run(
    checkpoint: Path | str,
    model: str,
    out: Path | str,
    data: Mapping[str, Any],
    entry: str | None = None,
) -> dict[str, Any] | None:
    """Writes the run directory `out`, as if a run that is now finished had trained the network.

    If the data set is not prepared on this machine, the directory has only the weights, without an
    evaluation. The same call, or a run that names the directory as its teacher, evaluates it once
    the data set is prepared.

    Args:
      checkpoint: a file that `kd.weights.convert.read` reads.
      model: `FAMILY.NAME`, or NAME where that is unique.
      out: the directory; it must not exist, or contain this import without its evaluation. It
        appears only once everything has succeeded.
      data: section `data` of a config: the data that the network was trained on. The network is
        evaluated on its test split, with its normalisation.
      entry: of the file, which holds the weights; None takes the only one that fits the network.

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
    variables, origin = convert.import_checkpoint(checkpoint, model, entry)
    config = build.spell_out(
        configs.complete(
            ConfigDict(
                dict(
                    data=dict(data),
                    student=dict(name=convert.full_name(model)),
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
    with config.unlocked():  # nothing is trained: a small data set will do
        config.batch_size = min(config.batch_size, len(build.make_data(config).train.label))
    dry_run(config, trains=False)
    channels = build.make_data(config).train.image.shape[-1]
    expected = origin.get("channels", 3)  # not recorded by earlier versions
    if channels != expected:
        raise InputError(
            f"{origin['checkpoint']}: the network expects images of {expected} channels, those of "
            f"data set {name} have {channels}. Name the network's data set with --data."
        )
    setup = prepare(config)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=setup.state_sharding),
        setup.shapes.student,
    )
    student = load_student(workdir.checkpoints, like)
    logits = setup.evaluation.logits(student)
    label = setup.evaluation.label
    result = describe(setup, logits) | {"imported": origin, "weights": weights_hash(student)}
    # Nothing is known about its training.
    result |= {"epochs": None, "steps": None, "seeds": [0]}
    result["config_hash"] = config_hash(stored.to_dict())

    def finish() -> None:
        workdir.write("predictions.npz", {"logits": logits, "label": label})
        workdir.write("result.json", result)

    processes.write(finish)
    return result


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
