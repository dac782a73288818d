"""Networks in ONNX files as functions of NumPy arrays, run by ONNX Runtime on the processor.

A file is data: no library of operators is loaded, and what it keeps in other files must lie in its
directory. What ONNX Runtime cannot run is refused before anything is trained.
"""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from kd import extras
from kd.config import ConfigDict
from kd.data.base import Dataset
from kd.errors import InputError, unknown
from kd.runs import teacher_input
from kd.teachers import input_view
from kd.train.onnx_graph import FLOATS, first_line, output_of, read, shown, type_of

LAYOUTS = ("NHWC", "NCHW")
"""Values of `config.teacher.layout`: where the channels of the file's input are."""

CHUNK = 256
"""Images at a time, of a file that takes any number."""


@dataclasses.dataclass(frozen=True, eq=False)
class OnnxModel:
    """A network, ready to run.

    Attributes:
      session: of ONNX Runtime.
      path: of the file.
      name: of its input.
      output: the name of its logits.
      dtype: of its input.
      batch: of its input; 0 for any.
      first: whether channels come first.
      view: what it sees of the student's images, normalised; None for the same.
      pixels: whether it takes uint8 pixels.
      external: sha256 of each file beside it that holds its weights.
    """

    session: Any
    path: str
    name: str
    output: str
    dtype: np.dtype
    batch: int
    first: bool
    view: input_view.InputView | None
    pixels: bool
    external: dict[str, str]

    def __call__(self, image: Float[np.ndarray, "b ..."]) -> Float[np.ndarray, "b c"]:
        """Logits of normalised images, as the student sees them."""
        image = np.asarray(image, np.float32)
        seen = image if self.view is None else np.asarray(self.view(image))
        if self.pixels:
            seen = np.clip(np.round(seen * 255), 0, 255)
        if self.first:
            seen = np.moveaxis(seen, -1, 1)
        seen = np.ascontiguousarray(seen, self.dtype)
        size = self.batch or CHUNK
        parts = [self._run(seen[i : i + size]) for i in range(0, len(seen), size)]
        return np.concatenate(parts)

    def _run(self, image: np.ndarray) -> np.ndarray:
        n = len(image)
        if self.batch > n:
            image = np.concatenate([image, image[-1:].repeat(self.batch - n, 0)])
        try:
            (logits,) = self.session.run([self.output], {self.name: image})
        except Exception as error:  # its own classes, which are no public names
            raise InputError(
                f"config.teacher.onnx: ONNX Runtime fails in {self.path} on images "
                f"{list(image.shape)}: {first_line(error)}"
            ) from error
        if getattr(logits, "shape", (0,))[0] != len(image):
            raise InputError(
                f"config.teacher.onnx: {self.path} returns {np.shape(logits)} for {len(image)} "
                "images; expected a row of logits for each."
            )
        return logits[:n]


def load(config: ConfigDict, dataset: Dataset) -> OnnxModel:
    """The network of `config.teacher.onnx`.

    Raises:
      InputError: ONNX Runtime is missing, the file is damaged or has an operation that it lacks, or
        its input or output does not fit the data.
    """
    section, path = config.teacher, Path(config.teacher.onnx)
    _require()
    model, external = read(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise InputError(
            f"config.teacher.onnx: {path} has {len(inputs)} inputs ({names}); expected one, the "
            "images."
        )
    dtype, dims = type_of(inputs[0])
    if dtype != "UINT8" and dtype not in FLOATS:
        raise InputError(
            f"config.teacher.onnx: the input {inputs[0].name!r} of {path} takes {dtype}; expected "
            f"images, one of {', '.join(FLOATS)} or UINT8."
        )
    view, first = _input(config, dataset, dims, dtype == "UINT8")
    output = output_of(model, section, dataset.num_classes)
    return OnnxModel(
        session=_session(path),
        path=str(path),
        name=inputs[0].name,
        output=output,
        dtype=np.dtype(np.uint8 if dtype == "UINT8" else FLOATS[dtype]),
        batch=dims[0] if isinstance(dims[0], int) else 0,
        first=first,
        view=view,
        pixels=dtype == "UINT8",
        external=external,
    )


def _require() -> None:
    names = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if names:
        raise InputError(
            f"config.teacher.onnx needs {' and '.join(names)}, not installed here. Install the "
            f"extra 'onnx': {extras.command('onnx')}"
        )


def _session(path: Path) -> Any:
    """ONNX Runtime's, on the processor; no library of operators is registered."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, which are no public names
        raise InputError(
            f"config.teacher.onnx: ONNX Runtime {onnxruntime.__version__} cannot run {path}: "
            f"{first_line(error)}"
        ) from error


def _input(
    config: ConfigDict, dataset: Dataset, dims: Sequence[int | str], pixels: bool
) -> tuple[input_view.InputView | None, bool]:
    """The view of the images that the file takes, and whether its channels come first.

    What `config.teacher.input` leaves out of size and channels is as the file says, where it does.
    """
    section, shape = config.teacher, tuple(dataset.train.image.shape[1:])
    what = f"config.teacher.onnx: {section.onnx}"
    if section.layout not in ("", *LAYOUTS):
        raise unknown("value of config.teacher.layout", str(section.layout), LAYOUTS)
    keys = teacher_input.section_of(section.input)
    if dims and len(dims) != len(shape) + 1:
        raise InputError(
            f"{what} takes {shown(dims)} and the examples of the data are {list(shape)}: expected "
            f"a batch of them, {shown(['b', *shape])}."
        )
    axes = list(dims[1:]) or [""] * len(shape)
    if pixels:
        if keys and (keys.get("mean") is not None or keys.get("std") is not None):
            raise InputError(
                f"config.teacher.input: {section.onnx} takes pixels, uint8, and normalises them "
                "itself. Leave mean and std out."
            )
        keys = {**(keys or {}), "mean": 0.0, "std": 1.0}
    if keys is not None and len(shape) == 3 and "size" not in keys:
        keys = {**_size_of(axes, section.layout, what), **keys}
    view = None
    if keys is not None:
        view = input_view.make(keys, shape, dataset.mean, dataset.std)
    *sides, channels = view.shape_of(shape) if view else shape
    fits = {
        "NHWC": _matches(axes, [*sides, channels]),
        "NCHW": _matches(axes, [channels, *sides]),
    }
    if section.layout and fits[section.layout]:
        return view, section.layout == "NCHW" and bool(sides)
    if not any(fits.values()) or section.layout:
        last = [*sides, channels]
        expected = [channels, *sides] if section.layout == "NCHW" else last
        raise InputError(
            f"{what} takes images {shown(dims)} and is given {shown(['b', *expected])}. Say what "
            "it takes: config.teacher.input = dict(size=..., mean=..., std=...) resizes and "
            "normalises the images for it."
        )
    if all(fits.values()) and sides:
        raise _ambiguous(what, axes)
    return view, not fits["NHWC"]


def _ambiguous(what: str, axes: Sequence[int | str]) -> InputError:
    return InputError(
        f"{what} takes images {shown(['b', *axes])}, which does not say where the channels are. "
        "Say it: config.teacher.layout = 'NCHW' (as PyTorch exports) or 'NHWC'."
    )


def _size_of(axes: Sequence[int | str], layout: str, what: str) -> dict[str, Any]:
    """Size and channels of the images that a file takes, where it says so."""
    layouts = [layout] if layout else LAYOUTS
    choices = []
    for name in layouts:
        *sides, channels = axes if name == "NHWC" else [*axes[1:], axes[0]]
        if channels in (1, 3) and all(isinstance(side, int) for side in sides):
            choices.append({"size": tuple(sides), "channels": channels})
    if len(choices) == 2:
        raise _ambiguous(what, axes)
    return choices[0] if choices else {}


def _matches(axes: Sequence[int | str], shape: Sequence[int]) -> bool:
    return all(a in ("", b) for a, b in zip(axes, shape, strict=True))
