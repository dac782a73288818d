"""What a finished training writes: predictions, figures, exported files, and `result.json`."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd.config.identity import config_hash
from kd.convolutions import lowering
from kd.devices import processor
from kd.errors import RunError
from kd.files.writing import refusals, replacing
from kd.metrics import classes
from kd.models import cost
from kd.models.peers import peers, variables_of
from kd.runs import data_counts
from kd.runs.environment import hardware, versions
from kd.runs.lineage import WEIGHTS
from kd.runs.networks import weights_hash
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.train.setup import Setup
from kd.types import DistillState

VARYING = (
    "seconds",
    "compile_seconds",
    "examples_per_second",
    "update_processor_seconds",
    "peak_memory_bytes",
    "finished",
)
"""Keys of `result.json` in which a resumed run differs from an uninterrupted one."""


def origin(setup: Setup) -> dict[str, Any]:
    """Content of `origin.json`: hashes of the teacher, the data and the warm start of a run.

    A resumed run must have the same. Paths are left out: a teacher may have been moved.
    """
    without_paths = lambda entry: {
        k: v for k, v in entry.items() if k not in ("run", "source", WEIGHTS)
    }
    teacher = without_paths(setup.parts.teacher.origin or {})
    if "groups" in teacher:
        teacher["groups"] = [without_paths(group) for group in teacher["groups"]]
    dataset = setup.parts.dataset
    data = weights_hash({"train": dataset.train, "test": dataset.test})
    start = {"init": setup.start.origin["weights"]} if setup.start.origin else {}
    return {"teacher": teacher, "data": data, **start}


def predictions(setup: Setup, state: DistillState) -> dict[str, np.ndarray]:
    """Content of `predictions.npz`: logits [s, n, c] and labels of the evaluated images.

    `teacher_logits` are those of a teacher that follows its students, `member_logits` [m, n, c]
    those of the members of a teacher that is no run, `validation_logits` those on the validation
    split, where there is one.
    """
    evaluation = setup.evaluation
    arrays = {"logits": evaluation.logits(state.student), "label": evaluation.label}
    if (means := evaluation.teacher_logits(state)) is not None:
        arrays["teacher_logits"] = means
    if evaluation.member_logits is not None:
        arrays["member_logits"] = evaluation.member_logits
    if (k := len(peers(setup.parts.student))) > 1:
        arrays["peers"] = np.asarray(k)
    if validation := setup.parts.dataset.validation:
        arrays["validation_logits"] = evaluation.logits(state.student, "validation")
        arrays["validation_label"] = validation.label
    return arrays


def write(
    setup: Setup,
    workdir: Workdir,
    state: DistillState,
    arrays: dict[str, np.ndarray],
    result: dict[str, Any],
    figures: dict[str, Any],
) -> None:
    """Writes the files of a finished run; `result.json` last, for it marks the run as finished.

    Args:
      setup: of the run.
      workdir: its directory.
      state: trained.
      arrays: from `predictions`.
      result: from `describe`.
      figures: of the session, from `kd.train.session.train_run`.
    """
    best = {f"best_{setup.split}": _best(workdir, setup.split)}
    if setup.config.export:
        from kd.export import run_end

        files = run_end.evaluate(
            setup.config, setup.parts.dataset, setup.parts.student, state.student
        )
        with refusals(workdir.path / "exported"):
            (workdir.path / "exported").mkdir(exist_ok=True)
        for name, content in files.contents.items():
            with replacing(workdir.path / "exported" / name) as part:
                part.write_bytes(content)
        arrays = {**arrays, "exported_logits": files.logits}
        result = {**result, "exported": files.report}
    workdir.write("predictions.npz", arrays)
    finished = {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
    workdir.write("result.json", result | best | figures | finished)


def describe(setup: Setup, logits: np.ndarray, means: np.ndarray | None = None) -> dict[str, Any]:
    """Content of `result.json` but for the session's figures and the best evaluation.

    Args:
      setup: of the run.
      logits: of the students on the evaluated split, [s, n, c].
      means: of teachers that follow their students, [s, n, c].

    Raises:
      RunError: logits are not finite, as after a last update that was too large.
    """
    _require_finite(logits)
    config, dataset = setup.config, setup.parts.dataset
    shape = dataset.train.image.shape[1:]
    costs = _costs(setup, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    return {
        "split": setup.split,
        "examples": len(dataset.test.label),
        **data_counts.counts(dataset),
        "evaluated": weights_hash(dataset.test),
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        "epochs": config.epochs,
        "steps": setup.plan.steps,
        "final": setup.evaluation.scores(logits, means),
        "classes": classes.as_lists(logits, dataset.test.label),
        **costs[0],
        **({"peers": costs} if len(costs) > 1 else {}),
        "num_classes": dataset.num_classes,
        "class_names": list(dataset.class_names),
        "shape": list(shape),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "teacher": setup.parts.teacher.origin,
        "init": setup.start.origin,
        "seeds_how": setup.seeds_how,
        "convolutions": lowering.describe(setup.convolutions),
        "config_hash": config_hash(config.to_dict()),
        "jax_version": jax.__version__,
        "versions": versions(),
        "git_commit": setup.commit,
        "hardware": hardware(),
        "processor": processor.model(),
    }


def _best(workdir: Workdir, split: str) -> dict[str, list]:
    """Each seed's best accuracy over the evaluations, and its epoch from 1.

    It is shown where a paper selected by it, and never used to choose.
    """
    rows = [row for row in read_rows(workdir) if row["kind"] == split]
    curves = np.array([row["accuracy"] for row in rows])  # [evaluations, s]
    first = curves.argmax(axis=0)
    return {"accuracy": curves.max(axis=0).tolist(), "epoch": [rows[i]["epoch"] + 1 for i in first]}


def _costs(setup: Setup, image: jax.ShapeDtypeStruct) -> list[dict[str, int]]:
    """Parameters, bytes and multiply-accumulates of a network; of each peer of a cohort."""
    student = setup.parts.student
    variables = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), setup.shapes.student
    )
    costs = []
    for i, network in enumerate(peers(student)):
        peer = jax.eval_shape(partial(variables_of, student, peer=i), variables)
        forward = lambda v, x, network=network: network.apply(v, x, train=False)
        costs.append(
            {
                "parameters": cost.parameters(peer),
                "bytes": cost.nbytes(peer),
                "macs": cost.macs(forward, peer, image),
            }
        )
    return costs


def _require_finite(logits: np.ndarray) -> None:
    """Raises RunError if a trained network has logits that are not finite."""
    bad = ~np.isfinite(logits).all(axis=-1)
    for network in np.flatnonzero(bad.any(axis=1)):
        raise RunError(
            f"the logits of trained network {network} are not finite for "
            f"{np.sum(bad[network]):,} of {bad.shape[1]:,} images: its last update was too large. "
            "Lower the learning rate or clip the gradient (config.optimizer.clip_norm)."
        )
