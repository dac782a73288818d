"""The student as StableHLO text for one example, from the input that the device will see to the logits."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from kd.data.augment import make_normalize
from kd.export.source import Source
from kd.step import make_eval
from kd.types import Outputs


class Lowered(NamedTuple):
    """A program for `kd.export.converter`.

    `text` is StableHLO of one example, batch 1: a symbolic batch makes the converter emit a dozen operations around it.
    `scales` says whether the text carries trained scales, so that what is converted is an int8 network already, and nothing
    is left to calibrate.
    """

    text: str
    scales: bool = False


class Integers(NamedTuple):
    """What an int8 network is given: `round(raw / scale) + zero`, cut off to int8, and the range that its input has.

    For uint8 pixels that is `pixel - 128`, exactly: the normalisation costs nothing.

    Attributes:
      range: least and largest value of the graph's floating-point input.
      pixels: whether raw examples are uint8; else they are floats, and the input's own scale and zero point hold.
      normalised: whether the graph's input is normalised already, so that the normalisation lies in its scale and zero point.
    """

    range: tuple[float, float] | None
    pixels: bool
    normalised: bool


def raw(source: Source) -> Callable[[Array], Array]:
    """Logits [b, c] of raw examples [b, ...], pixels 0 to 255 or floats as they are stored."""
    normalize = make_normalize(source.dataset.mean, source.dataset.std)
    evaluate = make_eval(source.model, normalize)
    return lambda image: evaluate(source.variables, {"image": image}).logits


def integers(source: Source) -> Integers:
    """How raw examples of this run's data become int8.

    One mean and deviation for all channels is an affine map, which is what a scale and a zero point are. Several are a
    convolution of one tap a channel, in front of the network.
    """
    mean, std = np.array(source.dataset.mean), np.array(source.dataset.std)
    if source.dataset.train.image.dtype != np.uint8:
        plain = not mean.any() and bool((std == 1).all())
        return Integers(None, pixels=False, normalised=plain)
    if len(set(zip(mean, std, strict=True))) == 1 and 0 <= mean[0] <= 1:
        low, high = -mean[0] / std[0], (1 - mean[0]) / std[0]
        return Integers((float(low), float(high)), pixels=True, normalised=True)
    return Integers((0.0, 1.0), pixels=True, normalised=False)


def graph_input(source: Source, image: np.ndarray) -> Float[np.ndarray, "..."]:
    """Raw examples as the floating-point input of the program that `for_integers` gives."""
    how = integers(source)
    x = image.astype(np.float32)
    if how.pixels:
        x = x * np.float32(1 / 255)
    if how.normalised and how.pixels:
        mean, std = np.float32(source.dataset.mean), np.float32(source.dataset.std)
        x = (x - mean) / std
    return x


def for_raw(source: Source) -> Lowered:
    """The floating-point network of raw examples."""
    return Lowered(_text(raw(source), _example(source)))


def for_integers(source: Source) -> Lowered:
    """The network whose input and arithmetic will be int8: of normalised pixels, or with the normalisation in front."""
    how = integers(source)

    def network(x: Array) -> Array:
        if not how.normalised:
            x = _per_channel(x, source.dataset.mean, source.dataset.std)
        outputs = source.model.apply(source.variables, x, train=False)
        return cast(Outputs, outputs).logits

    shape = source.dataset.train.image.shape[1:]
    return Lowered(_text(network, jax.ShapeDtypeStruct((1, *shape), jnp.float32)))


def _per_channel(
    x: Float[Array, "1 ..."], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "1 ..."]:
    """(x - mean) / std as a depthwise convolution of 1 x 1, which every int8 runtime has, unlike a product of its own."""
    shape, channels = x.shape, x.shape[-1]
    image = x.reshape((1, -1, shape[-2] if x.ndim == 4 else 1, channels))
    factor = 1 / jnp.asarray(std, jnp.float32)
    scaled = jax.lax.conv_general_dilated(
        image,
        factor.reshape((1, 1, 1, channels)),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
    moved = scaled - (jnp.asarray(mean, jnp.float32) * factor).reshape(
        (1, 1, 1, channels)
    )
    return moved.reshape(shape)


def _example(source: Source) -> jax.ShapeDtypeStruct:
    image = source.dataset.train.image
    return jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype)


def _text(
    network: Callable[[Shaped[Array, "1 ..."]], Array], example: jax.ShapeDtypeStruct
) -> str:
    with no_places():
        exported = jax.export.export(jax.jit(network), platforms=["cpu"])(example)
    return exported.mlir_module()


@contextlib.contextmanager
def no_places() -> Iterator[None]:
    """Keeps the paths of this machine's files out of exported programs, so that they are the same everywhere."""
    name = "jax_traceback_in_locations_limit"
    before = jax.config.values[name]
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
