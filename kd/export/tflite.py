"""LiteRT files (`.tflite`) of a student, in float32 and in int8."""

from typing import NamedTuple

import numpy as np

from kd.data.base import stratified
from kd.errors import InputError, RunError
from kd.export import converter, graph, lower, quantize
from kd.export.source import Source, pixels

CALIBRATION = 1000
"""Training images that int8 ranges are measured on by default."""

FEWEST = 100
"""Least number of them: ranges of fewer images are a matter of luck."""


class TFLite(NamedTuple):
    """A LiteRT file.

    Attributes:
      content: the file.
      named: the same file with the names of its layers.
      calibrated: how many images its ranges were measured on; 0 for none.
    """

    content: bytes
    named: bytes
    calibrated: int = 0


def convert(source: Source, int8: bool, calibration: int | None) -> TFLite:
    """The float32 or the int8 file; see `floats` and `integers`.

    Raises:
      InputError: `calibration` images are given for a student that was trained on eight bits.
    """
    if calibration is not None and source.quantized:
        raise InputError(
            f"--calibration {calibration}: the student of {source.workdir} was trained on eight "
            "bits and brings its ranges. Leave it out."
        )
    if not int8:
        return floats(source)
    return integers(source, CALIBRATION if calibration is None else calibration)


def floats(source: Source) -> TFLite:
    """The float32 file: int8 pixels (or raw floats) in, logits out.

    Raises:
      InputError: LiteRT lacks an operation, or the student was trained on eight bits.
    """
    if source.quantized:
        raise InputError(
            f"the student of {source.workdir} was trained on eight bits, and its file is an int8 "
            "file: add --int8."
        )
    content = converter.convert(lower.for_floats(source))
    return TFLite(graph.finish(content), content)


def integers(source: Source, count: int = CALIBRATION) -> TFLite:
    """The int8 file: int8 pixels in, int8 logits out.

    Args:
      source: the student.
      count: training images to measure ranges on, a fixed stratified choice. A student that was
        trained on eight bits brings its scales and needs none.

    Raises:
      InputError: an operation has no int8 form, or there are too few images.
    """
    lowered = lower.for_integers(source)
    content = converter.convert(lowered)
    front, image = lower.front(source), ()
    if not lowered.scales:
        image = calibration_images(source, count)
        content = quantize.quantize(content, lower.graph_input(source, image), front.range)
    graph.check_integers(content)
    if front.pixels:
        _check_pixels(source, content)
    return TFLite(graph.finish(content), content, len(image))


def calibration_images(source: Source, count: int) -> np.ndarray:
    """Raw training images [count, ...], or all where there are fewer. Raises InputError for fewer
    than `FEWEST`.
    """
    label = source.dataset.train.label
    if min(count, len(label)) < FEWEST:
        raise InputError(
            f"int8 needs at least {FEWEST} images to measure ranges on: --calibration is {count}, "
            f"and the training set of {source.workdir} has {len(label)}."
        )
    if count >= len(label):
        return pixels(source.dataset.train, np.arange(len(label)))
    chosen = np.flatnonzero(stratified(label + 1, count, seed=0))  # -1, unknown, is a stratum too
    return pixels(source.dataset.train, chosen)


def inputs(source: Source, content: bytes, image: np.ndarray) -> np.ndarray:
    """Raw examples [n, ...] in the form that this file takes."""
    tensor = graph.ends(content)[0]
    if lower.front(source).pixels or tensor.dtype != "INT8":
        return lower.encode(source, image)
    return np.clip(np.rint(image / tensor.scale) + tensor.zero, -128, 127).astype(np.int8)


def as_logits(content: bytes, outputs: np.ndarray) -> np.ndarray:
    """The float32 logits that the file's outputs [n, c] stand for."""
    tensor = graph.ends(content)[1]
    if tensor.dtype != "INT8":
        return outputs
    return (tensor.scale * (outputs.astype(np.float32) - tensor.zero)).astype(np.float32)


def _check_pixels(source: Source, content: bytes) -> None:
    """Raises RunError unless the file's scale and zero point map each pixel p to p - 128."""
    tensor, pixel = graph.ends(content)[0], np.arange(256)
    low, high = lower.front(source).range or (0.0, 0.0)
    value = low + pixel * ((high - low) / 255)
    if np.abs(value / tensor.scale + tensor.zero - (pixel - 128)).max() > 0.51:
        raise RunError(
            f"the input's scale {tensor.scale:zg} and zero point {tensor.zero} do not map each "
            "pixel p to p - 128."
        )
