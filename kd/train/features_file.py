"""The file of `config.teacher.features`: a teacher's features of the training images.

    numpy.savez("embeddings.npz", train=train)

`train` are features [n, d] of the data set's n training images in their order; `index`,
`fingerprint` and `label` say which image each row is of, as in `kd.train.logits_file`. Arrays of
the test images may stand beside them, and are not read.
"""

import numpy as np
from jaxtyping import Float

from kd.config import ConfigDict
from kd.data.base import Dataset
from kd.errors import InputError
from kd.train import logits_file


def read(config: ConfigDict, dataset: Dataset) -> Float[np.ndarray, "n d"]:
    """The features of the training images of a run, in their order.

    Args:
      config: of the run.
      dataset: of the run.

    Raises:
      InputError: the file is damaged, or its arrays are not those of the data.
    """
    path = config.teacher.features
    arrays = logits_file.arrays_of(path, "features")
    features = arrays["train"]
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind not in "fiu":
        raise InputError(
            f"config.teacher.features: {path}, train is {features.dtype} {list(features.shape)}; "
            "expected numbers [n, d], a vector for each training image."
        )
    if features.dtype != np.float16:
        with np.errstate(over="ignore"):  # infinite then, and refused below
            features = features.astype(np.float32)
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        raise InputError(
            f"config.teacher.features: {path}, train has {len(bad):,} entries that are NaN, "
            f"infinite or beyond float32, the first in row {bad[0][0]}."
        )
    numbered, total = logits_file.numbered_data(config, dataset)
    places = np.asarray(numbered.train.image)
    rows = logits_file.rows_of(arrays, "train", dataset.train, places, total, path, "features")
    return features[rows]
