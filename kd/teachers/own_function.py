"""A function or a Flax module of a user's own, as it stands in a module of theirs.

    config.teacher = dict(apply="my_teacher.logits")
    config.teacher = dict(apply="my_teacher.Net", variables="net.msgpack")

`kd.train.functions` evaluates it.
"""

from kd.teachers import source_file
from kd.teachers.kind import Context, Kind
from kd.types import Teacher


def _make(context: Context, apply: str = "", variables: str = "", digest: str = "") -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind(
    "function",
    _make,
    "a function of the user's own",
    spell=source_file.spelled("variables"),
)
