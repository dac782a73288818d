"""Published PyTorch weights as a finished run: evaluated, recorded, and usable as a teacher."""

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kd import config as configs
from kd import importer, parts
from kd.checkpoint import Checkpoints
from kd.errors import InputError
from kd.setup import set_up
from kd.train import describe
from kd.workdir import Workdir


def import_run(
    checkpoint: Path | str,
    model: str,
    out: Path | str,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes the run directory `out`, as if the network had been trained by a run that is now finished.

    Args:
      checkpoint: a file that `kd.importer.read` takes.
      model: `FAMILY.NAME`, or NAME where that is unique.
      out: the directory; it must not exist yet, and exists afterwards only if all went well.
      data: section `data` of a config: what the network was trained for. It is evaluated on the test split, and taken to have
        been trained with this set's normalisation.

    Returns:
      The content of `result.json`; `imported` says which file, with its sha256.

    Raises:
      InputError: `out` is there; no such checkpoint, or of another network; classes or image size that are not the data's.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} exists already. Give another --out, or remove it.")
    variables, origin = importer.import_checkpoint(checkpoint, model)
    model = importer.full_name(model)
    config = parts.spell_out(
        configs.complete(
            ConfigDict(
                dict(
                    data=dict(data),
                    student=dict(name=model),
                    objective=dict(ce=dict(name="ce.CE")),
                    optimizer=dict(name="sgd", learning_rate=0.0),
                )
            )
        )
    )
    classes = parts.make_data(config).num_classes
    if origin["num_classes"] != classes:
        raise InputError(
            f"{checkpoint}: the network knows {origin['num_classes']} classes, data set {data['name']} has {classes}. Give its own with --data."
        )
    setup = set_up(config, None)
    state = setup.init()
    stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], variables)
    params = {**state.params, "student": stacked["params"]}
    rest = {k: v for k, v in stacked.items() if k != "params"}
    stats = {**state.stats, "student": rest}
    state = dataclasses.replace(state, params=params, stats=stats)

    out.parent.mkdir(parents=True, exist_ok=True)
    # Renamed at the end: whatever stops this, no directory passes for a run that is not one.
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        building.chmod(0o755)
        workdir = Workdir(building)
        workdir.claim(config.to_dict(), {"teacher": {}, "imported": origin})
        checkpoints = Checkpoints(workdir.checkpoints)
        checkpoints.save(state, 0)
        checkpoints.close()
        logits = setup.logits(state.student)
        label = setup.dataset.test.label
        workdir.write("predictions.npz", {"logits": logits, "label": label})
        result = describe(setup, logits) | {"imported": origin}
        # Of its training nothing is known.
        result |= {"epochs": None, "steps": None, "seeds": [0]}
        workdir.write("result.json", result)
        building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return result
