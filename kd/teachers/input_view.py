"""What a teacher sees where its input is not the student's: size, channels, normalisation."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd.errors import InputError, unknown

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, ITU-R BT.601."""

KEYS = ("size", "mean", "std", "channels")
"""Keys of `config.teacher.input`."""

LARGEST = 4096
"""Largest height and width."""


@dataclasses.dataclass(frozen=True)
class InputView:
    """The student's normalised images [b, h, w, d] as the teacher's, [b, *size, channels].

    They are brought back to pixels, resized by linear interpolation (with antialiasing where they
    become smaller), turned into grey or from grey, and normalised as the teacher was trained. Rows
    and series keep their shape.

    Attributes:
      size: height and width of the teacher's images; () where they are not resized.
      channels: 1 or 3 where the data have the other number, else that of the data.
      mean: of the teacher's normalisation, one number for each channel.
      std: likewise.
      data_mean: of the student's.
      data_std: likewise.
    """

    size: tuple[int, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data_mean: tuple[float, ...]
    data_std: tuple[float, ...]

    def __call__(self, image: Float[Any, "b ..."]) -> Float[Array, "b ..."]:
        rank, depth = image.ndim, image.shape[-1]
        of = lambda values: jnp.asarray(values, jnp.float32).reshape((1,) * (rank - 1) + (-1,))
        pixels = image * of(self.data_std) + of(self.data_mean)
        if self.size and image.shape[1:3] != self.size:
            shape = (image.shape[0], *self.size, depth)
            pixels = jax.image.resize(pixels, shape, "linear", antialias=True)
        if depth == 3 and self.channels == 1:
            pixels = (pixels * of(LUMA)).sum(-1, keepdims=True)
        elif depth == 1 and self.channels > 1:
            pixels = jnp.broadcast_to(pixels, (*pixels.shape[:-1], self.channels))
        return ((pixels - of(self.mean)) / of(self.std)).astype(jnp.float32)

    def changes(self, shape: Sequence[int]) -> bool:
        """Whether it makes other images of those of the shape [h, w, d]."""
        same = (self.mean, self.std) == (self.data_mean, self.data_std)
        return not same or self.shape_of(shape) != tuple(shape)

    def shape_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the teacher's image, from that of the student's."""
        return (*(self.size or shape[:-1]), self.channels)

    def record(self) -> dict[str, Any]:
        """What `make` makes the same view of, as plain data."""
        size = {"size": list(self.size), "channels": self.channels} if self.size else {}
        return {**size, "mean": list(self.mean), "std": list(self.std)}


def make(
    section: Mapping[str, Any], shape: Sequence[int], mean: Sequence[float], std: Sequence[float]
) -> InputView:
    """The view of a section `config.teacher.input`; what it leaves out is as the data have it.

    Args:
      section: `size`, a number or (height, width); `mean` and `std`, one number for each channel,
        of pixels in the unit of the data's own; `channels`.
      shape: of an image of the data.
      mean: of the data.
      std: likewise.

    Raises:
      InputError: unknown keys, wrong values, or another size of data that are no images [h, w, d].
    """
    for key in section:
        if key not in KEYS:
            raise unknown("key of config.teacher.input", key, KEYS)
    depth = shape[-1]
    moments: dict[str, tuple[float, ...]] = {}
    for key, default in (("mean", tuple(mean)), ("std", tuple(std))):
        values = section.get(key)
        moments[key] = default if values is None else _numbers(key, values)
    lists = [section.get(key) for key in ("mean", "std")]
    lengths = [len(values) for values in lists if isinstance(values, tuple | list)]
    channels = section.get("channels")
    if channels is None:
        channels = max(lengths) if lengths else depth
    if not _is_count(channels) or (channels != depth and {channels, depth} != {1, 3}):
        raise InputError(
            f"config.teacher.input: the teacher has {channels!r} channels and the data have "
            f"{depth}. Only grey images become coloured, and coloured ones of 3 channels grey."
        )
    for key, values in moments.items():
        if len(values) == 1:
            values = values * channels
        if len(values) != channels:
            raise InputError(
                f"config.teacher.input.{key}: expected {channels} numbers, one for each channel of "
                f"the teacher's images, got {values}."
            )
        moments[key] = values
    size = _size(section, shape, channels)
    return InputView(size, channels, **moments, data_mean=tuple(mean), data_std=tuple(std))


def _size(section: Mapping[str, Any], shape: Sequence[int], channels: int) -> tuple[int, ...]:
    """Height and width of the teacher's images; () of examples that are no images."""
    is_image = len(shape) == 3
    if not is_image and (section.get("size") is not None or channels != shape[-1]):
        raise InputError(
            f"config.teacher.input: the data have examples {list(shape)}, and only images "
            "[h, w, d] can be resized. Leave size and channels out, and resample in your function."
        )
    size = section.get("size")
    size = tuple(shape[:2]) if size is None and is_image else () if size is None else size
    sides: Any = (size, size) if _is_count(size) else size
    is_pair = isinstance(sides, tuple | list) and len(sides) == 2 and all(map(_is_count, sides))
    if is_image and not is_pair:
        raise InputError(
            "config.teacher.input.size: expected a number of pixels or (height, width), each from "
            f"1 to {LARGEST}, got {size!r}."
        )
    return tuple(int(side) for side in sides)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST


def _numbers(key: str, values: Any) -> tuple[float, ...]:
    values = values if isinstance(values, tuple | list) else (values,)
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or (key == "std" and value <= 0):
            raise InputError(
                f"config.teacher.input.{key}: expected finite numbers"
                f"{' above 0' if key == 'std' else ''}, one for each channel, got {values!r}."
            )
    if not values:
        raise InputError(f"config.teacher.input.{key}: expected a number for each channel.")
    return tuple(float(value) for value in values)
