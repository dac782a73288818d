"""A network in an ONNX file, evaluated once on each image by ONNX Runtime.

    config.teacher = dict(onnx="teacher.onnx")

`kd.train.onnx_model` reads the file and runs it.
"""

from typing import Any

from kd.teachers import source_file
from kd.teachers.kind import Context, Kind
from kd.types import Teacher


def _make(
    context: Context,
    onnx: str = "",
    digest: str = "",
    layout: str = "",
    output: str = "",
    input: Any = None,
) -> Teacher:
    assert context.loaded is not None
    return context.loaded


KIND = Kind(
    "onnx",
    _make,
    "a network in an ONNX file",
    caches=True,
    spell=source_file.spelled("onnx"),
)
