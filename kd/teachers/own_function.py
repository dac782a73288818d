"""A function or a Flax module of a user's own, as it stands in a module of theirs.

    config.teacher = dict(apply="my_teacher.logits")
    config.teacher = dict(apply="my_teacher.Net", variables="net.msgpack")
    config.teacher.input = dict(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

`kd.train.own_function` evaluates it, `kd.teachers.input_view` makes its input.
"""

from typing import Any

from kd.teachers import source_file
from kd.teachers.kind import Context, Kind
from kd.types import Teacher


def _make(
    context: Context,
    apply: str = "",
    variables: str = "",
    digest: str = "",
    input: Any = None,
) -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind(
    "function",
    _make,
    "a function of the user's own",
    caches=True,
    spell=source_file.spelled("variables"),
)
