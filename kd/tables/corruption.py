"""Accuracy of a run's networks on corrupted images, computed once and kept in the run's directory.

Imports jax only where it is computed.
"""

import json

import numpy as np

from kd.errors import InputError
from kd.files.parsers import parse_json
from kd.files.writing import replacing
from kd.tables.metric import StoredRun

FILE = "corrupted.json"
"""Accuracies in the run's directory, with the digest of the weights that they are of."""


def accuracy(run: StoredRun) -> list[float]:
    """The accuracy of each seed in %: the mean over the kinds and severities of
    `kd.robustness.corruptions`, on all test images.

    Args:
      run: the finished run.

    Raises:
      InputError: its images are not 8-bit pictures.
    """
    path, weights = run.workdir.path / FILE, run.result.get("weights")
    try:
        stored = parse_json(path.read_bytes())
        if weights and stored["weights"] == weights:
            return run.per_seed([float(value) for value in stored["accuracy"]])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none yet, or damaged: it is computed again
    values = _computed(run)
    with replacing(path) as part:
        part.write_text(json.dumps({"weights": weights, "accuracy": values}))
    return run.per_seed(values)


def _computed(run: StoredRun) -> list[float]:
    """The accuracy of each network in %."""
    import jax.numpy as jnp

    from kd import predict
    from kd.robustness.corruptions import KINDS, SEVERITIES, corrupt
    from kd.runs.networks import load_networks, measured_data

    test = measured_data(run.workdir).test
    image = np.asarray(test.image)
    if image.dtype != np.uint8 or image.ndim != 4:
        raise InputError(
            f"{run.workdir}: corruptions are of 8-bit pictures [n, h, w, c], and its images are "
            f"{image.dtype} {list(image.shape)}."
        )
    trained, result = load_networks(run.workdir), run.result
    normalized = (result["mean"], result["std"], run.config.precision, 1000, "auto")
    logits = predict.evaluator(trained.model, *normalized)
    image, label = jnp.asarray(image), np.asarray(test.label)
    accuracies = [
        np.mean(logits(trained.variables, corrupt(image, kind, level)).argmax(-1) == label, axis=-1)
        for kind in KINDS
        for level in range(1, SEVERITIES + 1)
    ]
    return [100 * float(value) for value in np.mean(accuracies, axis=0)]
