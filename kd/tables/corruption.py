"""Accuracy of a run's networks on corrupted images, computed once and kept in the run's directory.

Imports jax only where it is computed.
"""

import numpy as np
from jaxtyping import Float, UInt8

from kd.errors import InputError
from kd.files.parsers import parse_npz
from kd.files.writing import replacing
from kd.tables.metric import StoredRun

FILE = "corrupted.npz"
"""In the run's directory: `right`, uint8 [k, n], on how many of the `versions` of each image each
network is right, and `weights`, the digest of the weights that this is of.
"""


def accuracy(run: StoredRun) -> list[float]:
    """The accuracy of each seed in %: the mean over the kinds and severities of
    `kd.robustness.corruptions`, on all test images.

    Args:
      run: the finished run.

    Raises:
      InputError: its images are not 8-bit pictures.
    """
    return [float(value) for value in per_example(run).mean(axis=1)]


def per_example(run: StoredRun) -> Float[np.ndarray, "s n"]:
    """The percentage of the corrupted versions of each image that each seed is right on; of several
    peers their mean. Errors are those of `accuracy`.
    """
    right, versions = _counts(run)
    peers = len(run.result.get("peers", [1]))
    percent = 100 * right.astype(np.float64) / versions
    return percent.reshape(-1, peers, percent.shape[1]).mean(axis=1)


def _counts(run: StoredRun) -> tuple[UInt8[np.ndarray, "k n"], int]:
    """`right` and `versions` of FILE, or computed."""
    path, weights = run.workdir.path / FILE, run.result.get("weights")
    try:
        with path.open("rb") as file:
            stored = parse_npz(file)
        if weights and str(stored["weights"]) == weights:
            return stored["right"], int(stored["versions"])
    except (OSError, ValueError, KeyError):
        pass  # none yet, or damaged: it is computed again
    right, versions = _computed(run)
    with replacing(path) as part, part.open("wb") as file:
        np.savez(file, right=right, versions=versions, weights=np.asarray(weights or ""))
    return right, versions


def _computed(run: StoredRun) -> tuple[UInt8[np.ndarray, "k n"], int]:
    """`right` and `versions` of FILE."""
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
    versions = [(kind, level) for kind in KINDS for level in range(1, SEVERITIES + 1)]
    right = np.sum(
        [
            logits(trained.variables, corrupt(image, kind, level)).argmax(-1) == label
            for kind, level in versions
        ],
        axis=0,
        dtype=np.uint8,
    )
    return right, len(versions)
