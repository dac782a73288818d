"""The student as StableHLO text for one example, from the device's input to the logits."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from kd.convolutions import lowering
from kd.data.augment import make_normalize
from kd.export import fake_quant
from kd.export.source import Source
from kd.quantize.student import Quantized, ranges
from kd.step import make_eval
from kd.types import Outputs


class Lowered(NamedTuple):
    """A program for `kd.export.converter`: StableHLO of one example.

    Attributes:
      text: the program.
      scales: whether the text carries the scales of integers, as that of a student trained with
        fake quantization does: it converts to an int8 network, and nothing is left to calibrate.
    """

    text: str
    scales: bool = False


class Front(NamedTuple):
    """How raw examples become the input of a network whose arithmetic is int8.

    Attributes:
      pixels: whether raw examples are uint8. The device's input is then `pixel - 128`, the byte
        with its highest bit flipped.
      normalised: whether the graph's input is normalised already, so that its scale and zero point
        hold the normalisation.
      range: least and largest value of the graph's input; None for raw floats, whose range is
        measured.
    """

    pixels: bool
    normalised: bool
    range: tuple[float, float] | None


def front(source: Source) -> Front:
    """The front for this run's data.

    One mean and standard deviation for all channels is an affine map, as a scale and a zero point
    are: it costs nothing. Several are a 1 x 1 depthwise convolution in front of the network.
    """
    mean, std = np.array(source.dataset.mean), np.array(source.dataset.std)
    equal_channels = len(set(zip(mean, std, strict=True))) == 1
    if source.dataset.train.image.dtype != np.uint8:
        return Front(False, bool(equal_channels and mean[0] == 0 and std[0] == 1), None)
    if equal_channels and 0 <= mean[0] <= 1:
        low, high = -mean[0] / std[0], (1 - mean[0]) / std[0]
        return Front(True, True, (float(low), float(high)))
    return Front(True, False, (0.0, 1.0))


def encode(source: Source, image: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
    """Raw examples as inputs of the float32 file: pixels as int8, floats unchanged."""
    if front(source).pixels:
        return (image ^ 0x80).view(np.int8)
    return image.astype(np.float32)


def graph_input(source: Source, image: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
    """Raw examples as floating-point inputs of the program that `for_integers` returns."""
    entry = front(source)
    if not entry.pixels:
        return image.astype(np.float32)
    assert entry.range is not None
    low, high = entry.range
    return (low + image * ((high - low) / 255)).astype(np.float32)


def for_raw(source: Source) -> Callable[[Array], Array]:
    """Logits [b, c] of raw examples [b, ...], pixels 0 to 255 or floats as they are stored."""
    normalize = make_normalize(source.dataset.mean, source.dataset.std)
    evaluate = make_eval(source.model, normalize)
    return lambda image: evaluate(source.variables, {"image": image}).logits


def for_floats(source: Source) -> Lowered:
    """The program in floating point, of inputs from `encode`: microcontrollers cast int8, not
    uint8.
    """
    image = source.dataset.train.image
    mean, std = (np.array(v, np.float32) for v in (source.dataset.mean, source.dataset.std))
    if not front(source).pixels:
        return for_integers(source)  # it takes raw floats, too
    per_channel = (1,) * (len(image.shape) - 1) + (-1,)
    center, spread = (v.reshape(per_channel) for v in (128 / 255 - mean, std))

    def network(x: Array) -> Array:
        scaled = x.astype(jnp.float32) * np.float32(1 / 255)
        return _network(source, (scaled + center) / spread)

    return _lowered(network, image.shape[1:], jnp.int8)


def for_integers(source: Source) -> Lowered:
    """The program whose arithmetic will be int8: of normalised pixels, or with the normalisation in
    front; see `Front`.

    A student that was trained on eight bits brings its scales. The scale of pixels is exact.
    """
    shape, entry = source.dataset.train.image.shape[1:], front(source)
    mean, std = source.dataset.mean, source.dataset.std
    normalise = partial(_normalise, mean=mean, std=std)
    if not source.quantized:
        network = lambda x: _network(source, x if entry.normalised else normalise(x))
        return _lowered(network, shape, jnp.float32)
    input_range = entry.range
    if not (input_range or entry.normalised):  # raw floats: undo the normalisation of its range
        ends = np.outer(ranges(source.variables)[0], std) + np.array(mean)
        input_range = float(ends.min()), float(ends.max())
    network = fake_quant.annotated(
        cast(Quantized, source.model),
        source.variables,
        jax.ShapeDtypeStruct((1, *shape), jnp.float32),
        None if entry.normalised else normalise,
        input_range,
    )
    return _lowered(network, shape, jnp.float32, fake_quant.CHECKS)


def _network(source: Source, x: Array) -> Array:
    with nn.intercept_methods(_as_image):
        outputs = cast(Outputs, source.model.apply(source.variables, x, train=False))
    return outputs.logits.reshape((1, -1))


def _as_image(method: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    """Makes convolutions of series [1, t, c] return [1, t, 1, c]; layers that act on channels alone
    compute the same on both.

    Otherwise the converter puts each convolution between two reshapes, which keep BatchNorm from
    being folded into it.
    """
    module = context.module
    if not isinstance(module, nn.Conv) or np.size(module.kernel_size) != 1 or not args:
        return method(*args, **kwargs)
    x, weights = args[0], module.variables["params"]
    first = lambda value: value if isinstance(value, int) else (value or (1,))[0]
    if not isinstance(module.padding, str) or module.padding not in ("SAME", "VALID"):
        return method(x.reshape((1, x.shape[1], -1)), **kwargs)
    y = jax.lax.conv_general_dilated(
        x.reshape((1, x.shape[1], 1, -1)),
        weights["kernel"][:, None],
        (first(module.strides), 1),
        module.padding,
        rhs_dilation=(first(module.kernel_dilation), 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=module.feature_group_count,
    )
    return y + weights["bias"].reshape((1, 1, 1, -1)) if module.use_bias else y


def _normalise(
    x: Float[Array, "1 ..."], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "1 ..."]:
    """(x - mean) / std as a 1 x 1 depthwise convolution: every int8 runtime has one, but not a
    product.
    """
    shape, channels = x.shape, x.shape[-1]
    image = x.reshape((1, shape[1], -1, channels))
    factor = 1 / np.array(std, np.float32)
    scaled = jax.lax.conv_general_dilated(
        image,
        jnp.asarray(factor.reshape((1, 1, 1, channels))),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
    offset = np.array(mean, np.float32) * factor
    return (scaled - offset.reshape((1, 1, 1, channels))).reshape(shape)


def _lowered(
    network: Callable[[Array], Array],
    shape: Sequence[int],
    dtype: DTypeLike,
    scales: Sequence[Any] = (),
) -> Lowered:
    """The program of a network; `scales` are safety checks to disable for operations that carry
    scales.
    """
    # Batch 1: a symbolic batch makes the converter emit a dozen operations around it.
    example = jax.ShapeDtypeStruct((1, *shape), dtype)
    with portable():
        export = jax.export.export(jax.jit(network), platforms=["cpu"], disabled_checks=scales)
        return Lowered(export(example).mlir_module(), bool(scales))


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Makes exported programs equal on every machine: no paths of this one, and XLA's operations
    for convolutions, whichever library computes them here.
    """
    name = "jax_traceback_in_locations_limit"
    before = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        with lowering.using("xla"):
            yield
    finally:
        jax.config.update(name, before)
