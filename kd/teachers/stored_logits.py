"""Logits of the training images in a file, whoever computed them: an API, another library.

    config.teacher = dict(logits="logits.npz")

`kd.train.logits_file` has the arrays of the file.
"""

from kd.teachers import source_file
from kd.teachers.kind import Context, Kind
from kd.types import Teacher


def _make(context: Context, logits: str = "", digest: str = "") -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind(
    "logits", _make, "logits in a file", has_members=True, spell=source_file.spelled("logits")
)
