"""LiteRT files of a student: in floating point, and in int8."""

from typing import NamedTuple

import numpy as np

from kd.data.base import stratified
from kd.errors import InputError, RunError
from kd.export import converter, graph, lower, quantize
from kd.export.source import Source, pixels

CALIBRATION, FEWEST = 1000, 100
"""Training images that ranges are measured on unless told otherwise, and below how many they are a
matter of luck.
"""


class Made(NamedTuple):
    """A LiteRT file, the same before the names of layers were taken out of it, and how many images
    its ranges come from.
    """

    content: bytes
    named: bytes
    calibrated: int = 0


def floats(source: Source) -> Made:
    """The float32 file: int8 pixels (or raw floats) in, logits out.

    Raises:
      InputError: an operation that has no equal, or a student that was trained on eight bits.
    """
    if source.quantized:
        raise InputError(
            f"the student of {source.workdir} was trained on eight bits, and its file is an int8 "
            "file: add --int8."
        )
    content = converter.convert(lower.for_floats(source))
    return Made(graph.finish(content), content)


def integers(source: Source, count: int = CALIBRATION) -> Made:
    """The int8 file: int8 pixels in, int8 logits out.

    Args:
      source: the student.
      count: training images to measure ranges on, where the student does not bring its scales; a
        fixed stratified choice.

    Raises:
      InputError: an operation that has no int8 form, or too few images.
    """
    lowered = lower.for_integers(source)
    content = converter.convert(lowered)
    found, image = lower.front(source), ()
    if not lowered.scales:
        image = calibration_images(source, count)
        content = quantize.quantize(content, lower.graph_input(source, image), found.range)
    graph.check_integers(content)
    if found.pixels:
        _check_pixels(source, content)
    return Made(graph.finish(content), content, len(image))


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
    chosen = np.flatnonzero(stratified(label, count, seed=0))
    return pixels(source.dataset.train, chosen)


def inputs(source: Source, content: bytes, image: np.ndarray) -> np.ndarray:
    """Raw examples [n, ...] as this file takes them."""
    end = graph.ends(content)[0]
    if lower.front(source).pixels or end.dtype != "INT8":
        return lower.encode(source, image)
    return np.clip(np.rint(image / end.scale) + end.zero, -128, 127).astype(np.int8)


def as_logits(content: bytes, outputs: np.ndarray) -> np.ndarray:
    """What the file's outputs [n, c] stand for, float32."""
    end = graph.ends(content)[1]
    if end.dtype != "INT8":
        return outputs
    return (end.scale * (outputs.astype(np.float32) - end.zero)).astype(np.float32)


def _check_pixels(source: Source, content: bytes) -> None:
    """Raises RunError unless the file's scale and zero point make of each pixel p the integer p -
    128.
    """
    end, pixel = graph.ends(content)[0], np.arange(256)
    low, high = lower.front(source).range or (0.0, 0.0)
    value = low + pixel * ((high - low) / 255)
    if np.abs(value / end.scale + end.zero - (pixel - 128)).max() > 0.51:
        raise RunError(
            f"the input's scale {end.scale:g} and zero point {end.zero} do not make p - 128 of "
            "each pixel p."
        )
