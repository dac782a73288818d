"""Published PyTorch weights as a finished run: evaluated, recorded, and usable as a teacher."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kd import build
from kd import config as configs
from kd.devices import processes
from kd.errors import InputError, MissingData
from kd.runs.checkpoint import Checkpoints, load_student
from kd.runs.workdir import Workdir
from kd.train.checks import dry_run
from kd.train.program import seed_keys
from kd.train.result import describe
from kd.train.setup import prepare
from kd.types import DistillState, PyTree
from kd.weights import convert


def import_run(
    checkpoint: Path | str, model: str, out: Path | str, data: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Writes the run directory `out`, as if the network had been trained by a run that is now
    finished.

    Where the data set is not prepared on this machine it holds the weights alone: `evaluate`, which
    the same call and a run that names it as its teacher come to, finishes it once the data are
    there.

    Args:
      checkpoint: a file that `kd.weights.convert.read` takes.
      model: `FAMILY.NAME`, or NAME where that is unique.
      out: the directory; it must not exist yet, or hold this import without its evaluation. It is
        made only if all went well.
      data: section `data` of a config: what the network was trained for. It is evaluated on the
        test split, and taken to have been trained with this set's normalisation.

    Returns:
      The content of `result.json`; `imported` says which file, with its sha256. None where the data
      set is not there.

    Raises:
      InputError: `out` is there; no such checkpoint, or of another network; classes or image size
        that are not the data's.
    """
    out = Path(out)
    if out.exists() and (Workdir(out).finished or not waits(Workdir(out))):
        raise InputError(f"{out} exists already. Give another --out, or remove it.")
    variables, origin = convert.import_checkpoint(checkpoint, model)
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
    out.parent.mkdir(parents=True, exist_ok=True)
    # Renamed at the end: whatever stops this, no directory passes for a run that is not one.
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        building.chmod(0o755)
        workdir = Workdir(building)
        workdir.claim(config.to_dict(), {"teacher": {}, "imported": origin})
        checkpoints = Checkpoints(workdir.checkpoints)
        checkpoints.save(_state(variables), 0)
        checkpoints.close()
        result = _evaluated_if_possible(workdir)
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return result


def waits(workdir: Workdir) -> bool:
    """Whether the directory holds imported weights that have not been evaluated."""
    there = (workdir.path / "origin.json").exists() and not workdir.finished
    return there and "imported" in workdir.read("origin.json")


def evaluate(workdir: Workdir) -> dict[str, Any]:
    """Finishes the run of imported weights: their predictions and `result.json`, which it returns.

    Raises:
      MissingData: the data set is not prepared on this machine.
      InputError: its classes or the size of its images are not the network's.
    """
    origin = workdir.read("origin.json")["imported"]
    stored = ConfigDict(workdir.read("config.json"))
    config = build.spell_out(configs.complete(stored))
    name, classes = config.data.name, build.make_data(config).num_classes
    if origin["num_classes"] != classes:
        raise InputError(
            f"{origin['checkpoint']}: the network knows {origin['num_classes']} classes, data set "
            f"{name} has {classes}. Give its own with --data."
        )
    dry_run(config)
    channels = build.make_data(config).train.image.shape[-1]
    if channels != 3:  # what the importer builds its networks for
        raise InputError(
            f"{origin['checkpoint']}: the network looks at images of 3 channels, those of data set "
            f"{name} have {channels}. Give its own with --data."
        )
    setup = prepare(config)
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=setup.state_sharding),
        setup.shapes.student,
    )
    logits = setup.evaluation.logits(load_student(workdir.checkpoints, like))
    label = setup.evaluation.label
    result = describe(setup, logits) | {"imported": origin}
    # Of its training nothing is known.
    result |= {"epochs": None, "steps": None, "seeds": [0]}

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
