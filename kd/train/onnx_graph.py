"""What an ONNX file says of itself: its inputs, outputs, and the files of its weights."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd.config import ConfigDict
from kd.errors import InputError, unknown

FLOATS = {"FLOAT": np.float32, "FLOAT16": np.float16, "DOUBLE": np.float64}
"""Types of the input, and of the logits, by their ONNX names. The input may be UINT8, too."""


def read(path: Path) -> tuple[Any, dict[str, str]]:
    """The model in a file, without its weights in other files, and the sha256 of those.

    Raises:
      InputError: it is damaged, or its weights are not in its directory.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        if not model.graph.node:
            raise ValueError("it has no operation")
    except Exception as error:  # whatever damage makes a parser raise
        raise InputError(
            f"config.teacher.onnx: {path} is no ONNX file that can be read ({first_line(error)})."
        ) from error
    return model, _external(model, path)


def first_line(error: Exception) -> str:
    """An error on one line, with an end."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return text if text.endswith(".") else f"{text}."


def type_of(value: Any) -> tuple[str, list[int | str]]:
    """The type of an input or output, and its axes: numbers, or "" where any will do."""
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return str(kind or "nothing").removesuffix("_type"), []
    tensor = value.type.tensor_type
    name = onnx.TensorProto.DataType.Name(tensor.elem_type)
    if not tensor.HasField("shape"):
        return name, []
    return name, [d.dim_value if d.dim_value > 0 else "" for d in tensor.shape.dim]


def shown(dims: Sequence[int | str]) -> str:
    """Axes for a message, "?" where any will do."""
    return f"[{', '.join(str(d) if d else '?' for d in dims)}]" if dims else "of any shape"


def output_of(model: Any, section: ConfigDict, classes: int) -> str:
    """The name of the output that holds the logits."""
    outputs = {value.name: type_of(value) for value in model.graph.output}
    if section.output and section.output not in outputs:
        raise unknown("output of the ONNX file", section.output, outputs)
    if not section.output and len(outputs) != 1:
        listed = ", ".join(f"{name} {shown(dims)}" for name, (_, dims) in outputs.items())
        raise InputError(
            f"config.teacher.onnx: {section.onnx} has the outputs {listed or 'none'}. Name the "
            "logits in config.teacher.output."
        )
    name = section.output or next(iter(outputs))
    dtype, dims = outputs[name]
    wrong = dims and (len(dims) != 2 or dims[1] not in ("", classes))
    if dtype not in FLOATS or wrong:
        raise InputError(
            f"config.teacher.onnx: the output {name!r} of {section.onnx} is {dtype} "
            f"{shown(dims)}; expected logits, {shown(['b', classes])}, as floats."
        )
    return name


def _external(model: Any, path: Path) -> dict[str, str]:
    """The sha256 of each file beside the model that holds its weights.

    Raises:
      InputError: one is missing, or not in the directory of the model.
    """
    directory, known = path.absolute().parent, {}
    for tensor in _tensors(model.graph, *model.functions):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if place in known:
            continue
        file = directory / place
        inside = place and not Path(place).is_absolute() and ".." not in Path(place).parts
        if not inside or not file.resolve().is_relative_to(directory.resolve()):
            raise InputError(
                f"config.teacher.onnx: {path} keeps {tensor.name!r} in {place!r}, which is not in "
                f"its directory {directory}. Save it with its data beside it, or in one file."
            )
        try:
            with file.open("rb") as content:
                known[place] = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise InputError(
                f"config.teacher.onnx: {path} keeps {tensor.name!r} in {place!r}, which cannot be "
                f"read: {error.strerror or error}. Bring the file back, beside the model."
            ) from error
    return known


def _tensors(*graphs: Any) -> Iterator[Any]:
    """All constants of graphs and functions, and of the graphs inside them."""
    for graph in graphs:
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for attribute in (a for node in graph.node for a in node.attribute):
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            yield from _tensors(*((attribute.g,) if attribute.HasField("g") else ()))
            yield from _tensors(*attribute.graphs)
