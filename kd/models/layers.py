"""Layers that the convolutional networks share, and the check of their input."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from kd.errors import InputError
from kd.models import initializers

# Any rank and type, so that `check_image` can say what is wrong with it.
type Image = Shaped[Array | np.ndarray, "b ..."]


def conv(
    features: int,
    kernel: int,
    stride: int = 1,
    *,
    name: str,
    groups: int = 1,
    use_bias: bool = False,
    kernel_init: Initializer = initializers.kaiming_normal,
    dtype: DTypeLike = jnp.float32,
) -> nn.Conv:
    """A square convolution with `kernel // 2` zeros on every side.

    This is PyTorch's padding. With stride 2, JAX's "SAME" pads only on the right and below, which
    is a different function.
    """
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        feature_group_count=groups,
        use_bias=use_bias,
        kernel_init=kernel_init,
        dtype=dtype,
        name=name,
    )


def pool(x: Float[Array, "b h w d"]) -> Float[Array, "b d"]:
    """Mean over height and width, float32."""
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def head(
    num_classes: int,
    fan_in: int,
    kernel_init: Initializer = initializers.default_kernel,
    bias_init: Initializer | None = None,
) -> nn.Dense:
    """The linear classifier: float32, called `head` in every network."""
    bias_init = initializers.default_bias(fan_in) if bias_init is None else bias_init
    return nn.Dense(num_classes, kernel_init=kernel_init, bias_init=bias_init, name="head")


def check_image(net: nn.Module, image: Image, stem: str, smallest: int) -> None:
    """Raises InputError unless `net` can take `image`.

    Args:
      net: the network, within its `__call__`.
      image: float [b, h, w, c].
      stem: name of the first convolution, whose weights say how many channels there must be.
      smallest: least height and width for which the last map is 2 x 2. On a single pixel, 3 x 3
        kernels would see padding in eight places of nine.
    """
    name = type(net).__name__
    if image.ndim != 4:
        raise InputError(
            f"{name} takes images [batch, height, width, channels], not an array of shape "
            f"{image.shape}. mlp.MLP takes inputs of any shape."
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(
            f"{name} takes normalised floating images, not {image.dtype}: divide by 255, subtract "
            "the mean, divide by the standard deviation."
        )
    height, width, channels = image.shape[1:]
    if min(height, width) < smallest:
        raise InputError(
            f"{name} needs images of at least {smallest} x {smallest}, these are {height} x "
            f"{width}: its strides would leave a map of less than 2 x 2. Take a network with fewer "
            "strides, or larger images."
        )
    weights = net.variables.get("params", {}).get(stem)
    if weights is not None and weights["kernel"].shape[2] != channels:
        raise InputError(
            f"the weights of this {name} are for images of {weights['kernel'].shape[2]} channels, "
            f"these have {channels}."
        )
