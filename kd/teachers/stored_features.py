"""Features of the training images in a file, such as the embeddings of a foundation model.

    config.teacher = dict(features="embeddings.npz")

`kd.train.features_file` has the arrays of the file. There are no logits: terms such as
`embedding.Embedding` compare the feature `pooled`.
"""

import jax.numpy as jnp

from kd.teachers import source_file
from kd.teachers.kind import Context, Kind
from kd.types import Batch, Outputs, PyTree, Teacher


def stored() -> Teacher:
    """A teacher that looks its features up. `frozen["teacher"]` are those of the n training images,
    [n, d].
    """

    def apply(features: PyTree, state: PyTree, batch: Batch) -> Outputs:
        del state
        return Outputs(None, {"pooled": features[batch["index"]].astype(jnp.float32)})

    return Teacher(apply, stored=True)


def _make(context: Context, features: str = "", digest: str = "") -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind("features", _make, "features in a file", spell=source_file.spelled("features"))
