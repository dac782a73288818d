"""The student as StableHLO text for one example, from the input that the device will see to the
logits.
"""

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

from kd.data.augment import make_normalize
from kd.export import fake_quant
from kd.export.source import Source
from kd.quantize.student import Quantized, ranges
from kd.step import make_eval
from kd.types import Outputs


class Lowered(NamedTuple):
    """A program for `kd.export.converter`: StableHLO of one example.

    `scales` says whether the text carries the scales of integers, as that of a student trained with
    fake quantization does: then what is converted is an int8 network already, and nothing is left
    to calibrate.
    """

    text: str
    scales: bool = False


class Front(NamedTuple):
    """What stands between raw examples and a network whose arithmetic is int8.

    Attributes:
      pixels: whether raw examples are uint8. The device is given `pixel - 128`, which is the byte
        with its highest bit turned.
      normalised: whether the graph's input is normalised already, so that the normalisation lies in
        its scale and zero point.
      range: least and largest value of the graph's input; None where the data decide, for raw
        floats.
    """

    pixels: bool
    normalised: bool
    range: tuple[float, float] | None


def front(source: Source) -> Front:
    """The front for this run's data.

    One mean and deviation for all channels is an affine map, which is what a scale and a zero point
    are: it costs nothing. Several are a convolution of one tap a channel, in front of the network.
    """
    mean, std = np.array(source.dataset.mean), np.array(source.dataset.std)
    alike = len(set(zip(mean, std, strict=True))) == 1
    if source.dataset.train.image.dtype != np.uint8:
        return Front(False, bool(alike and mean[0] == 0 and std[0] == 1), None)
    if alike and 0 <= mean[0] <= 1:
        low, high = -mean[0] / std[0], (1 - mean[0]) / std[0]
        return Front(True, True, (float(low), float(high)))
    return Front(True, False, (0.0, 1.0))


def encode(source: Source, image: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "n ..."]:
    """Raw examples as the device is given them by the file of floats: int8 pixels, and floats as
    they are.
    """
    if front(source).pixels:
        return (image ^ 0x80).view(np.int8)
    return image.astype(np.float32)


def graph_input(source: Source, image: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
    """Raw examples as the floating-point input of what `for_integers` gives."""
    found = front(source)
    if not found.pixels:
        return image.astype(np.float32)
    assert found.range is not None
    low, high = found.range
    return (low + image * ((high - low) / 255)).astype(np.float32)


def for_raw(source: Source) -> Callable[[Array], Array]:
    """Logits [b, c] of raw examples [b, ...], pixels 0 to 255 or floats as they are stored."""
    normalize = make_normalize(source.dataset.mean, source.dataset.std)
    evaluate = make_eval(source.model, normalize)
    return lambda image: evaluate(source.variables, {"image": image}).logits


def for_floats(source: Source) -> Lowered:
    """The network whose arithmetic is floating point, of what `encode` gives: microcontrollers cast
    int8, not uint8.
    """
    image = source.dataset.train.image
    mean, std = (np.array(v, np.float32) for v in (source.dataset.mean, source.dataset.std))
    if not front(source).pixels:
        return for_integers(source)  # which takes floats as they are, too
    per_channel = (1,) * (len(image.shape) - 1) + (-1,)
    center, spread = (v.reshape(per_channel) for v in (128 / 255 - mean, std))

    def network(x: Array) -> Array:
        scaled = x.astype(jnp.float32) * np.float32(1 / 255)
        return _network(source, (scaled + center) / spread)

    return _lowered(network, image.shape[1:], jnp.int8)


def for_integers(source: Source) -> Lowered:
    """The network whose arithmetic is to be int8: of normalised pixels, or with the normalisation
    in front; see `Front`.

    A student that was trained on eight bits brings its scales. That of pixels is known: it is exact
    for each.
    """
    shape, found = source.dataset.train.image.shape[1:], front(source)
    mean, std = source.dataset.mean, source.dataset.std
    before = partial(_normalise, mean=mean, std=std)
    if not source.quantized:
        network = lambda x: _network(source, x if found.normalised else before(x))
        return _lowered(network, shape, jnp.float32)
    seen = found.range
    if not (seen or found.normalised):  # of raw floats, what gave the network's range
        ends = np.outer(ranges(source.variables)[0], std) + np.array(mean)
        seen = float(ends.min()), float(ends.max())
    network = fake_quant.annotated(
        cast(Quantized, source.model),
        source.variables,
        jax.ShapeDtypeStruct((1, *shape), jnp.float32),
        None if found.normalised else before,
        seen,
    )
    return _lowered(network, shape, jnp.float32, fake_quant.CHECKS)


def _network(source: Source, x: Array) -> Array:
    with nn.intercept_methods(_as_image):
        outputs = cast(Outputs, source.model.apply(source.variables, x, train=False))
    return outputs.logits.reshape((1, -1))


def _as_image(method: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    """Has convolutions of series [1, t, c] give [1, t, 1, c], on which all that looks at channels
    alone goes on the same.

    Else the converter puts each between two reshapes, which keep BatchNorm from being folded into
    it.
    """
    module = context.module
    if not isinstance(module, nn.Conv) or np.size(module.kernel_size) != 1 or not args:
        return method(*args, **kwargs)
    x, weights = args[0], module.variables["params"]
    alone = lambda value: value if isinstance(value, int) else (value or (1,))[0]
    if not isinstance(module.padding, str) or module.padding not in ("SAME", "VALID"):
        return method(x.reshape((1, x.shape[1], -1)), **kwargs)
    y = jax.lax.conv_general_dilated(
        x.reshape((1, x.shape[1], 1, -1)),
        weights["kernel"][:, None],
        (alone(module.strides), 1),
        module.padding,
        rhs_dilation=(alone(module.kernel_dilation), 1),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=module.feature_group_count,
    )
    return y + weights["bias"].reshape((1, 1, 1, -1)) if module.use_bias else y


def _normalise(
    x: Float[Array, "1 ..."], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "1 ..."]:
    """(x - mean) / std as a depthwise convolution of 1 x 1, which every int8 runtime has, unlike a
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
    """The program of a network; `scales` are the operations that carry its scales, where it has
    any.
    """
    # Batch 1: a symbolic one makes the converter emit a dozen operations around it.
    example = jax.ShapeDtypeStruct((1, *shape), dtype)
    with no_places():
        export = jax.export.export(jax.jit(network), platforms=["cpu"], disabled_checks=scales)
        return Lowered(export(example).mlir_module(), bool(scales))


@contextlib.contextmanager
def no_places() -> Iterator[None]:
    """Keeps the paths of this machine's files out of exported programs, so that they are the same
    everywhere.
    """
    name = "jax_traceback_in_locations_limit"
    before = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
