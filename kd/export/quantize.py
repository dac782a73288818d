"""Post-training quantization to int8 by `ai_edge_quantizer`, with ranges measured here."""

import warnings

import numpy as np
from ai_edge_quantizer import quantizer, recipe
from jaxtyping import Float

from kd.errors import InputError
from kd.export import graph, interpreter, silence


def quantize(
    content: bytes, examples: Float[np.ndarray, "n ..."], input_range: tuple[float, float] | None
) -> bytes:
    """The int8 form of a floating-point file: weights per channel, activations per tensor, input
    and output too.

    The quantizer's calibration is a moving average of each example's range, which cuts off the
    largest logits; here ranges are the least and largest value over all examples.

    Args:
      content: the floating-point file.
      examples: inputs to measure ranges on.
      input_range: of the input; None measures it, too.

    Raises:
      InputError: the quantizer refuses the network; its message is quoted.
    """
    names = graph.activations(content)
    ranges = _ranges(content, examples, names)
    if input_range is not None:
        ranges[names[0]] = input_range
    statistics = {
        name: {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
        for name, (low, high) in ranges.items()
    }
    quantizing = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    # It opens an interpreter, which prints warnings and messages.
    with warnings.catch_warnings(), silence.capture():
        warnings.simplefilter("ignore")
        try:
            result = quantizing.quantize(
                statistics, enable_progress_bar=False, enable_progress_report=False
            )
        except (RuntimeError, ValueError, KeyError) as error:
            message = str(error).strip() or type(error).__name__
            raise InputError(
                "ai_edge_quantizer makes no int8 file of this network "
                f"({message.splitlines()[0][:200]}). Use another layer there, or leave --int8 out."
            ) from error
    return bytes(result.quantized_model)


def _ranges(
    content: bytes, examples: Float[np.ndarray, "n ..."], names: list[str]
) -> dict[str, tuple[float, float]]:
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for values in interpreter.tensors(content, examples, names):
        low = np.minimum(low, [value.min() for value in values])
        high = np.maximum(high, [value.max() for value in values])
    return dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
