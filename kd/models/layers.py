"""What the convolutional networks share: PyTorch's padding, the classifier, and the check of what
they are given.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Shaped

from kd.errors import InputError
from kd.models import initializers

# Any rank and type, so that `check_image` can tell what is wrong with it.
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

    JAX's "SAME" pads a stride of 2 on the right and below alone, which is another function.
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
    """Mean over the map, float32."""
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def head(
    num_classes: int,
    fan_in: int,
    kernel_init: Initializer = initializers.default_kernel,
    bias_init: Initializer | None = None,
) -> nn.Dense:
    """The classifier: float32, called `head` in every network."""
    bias_init = initializers.default_bias(fan_in) if bias_init is None else bias_init
    return nn.Dense(num_classes, kernel_init=kernel_init, bias_init=bias_init, name="head")


def check_image(net: nn.Module, image: Image, stem: str, smallest: int) -> None:
    """Raises InputError unless `image` is something that `net` can look at.

    Args:
      net: the network, within its `__call__`.
      image: float [b, h, w, c].
      stem: name of the first convolution, whose weights say how many channels there must be.
      smallest: height and width that leave a last map of 2 x 2. On a single pixel, 3 x 3 kernels
        would see padding in eight places of nine.
    """
    who = type(net).__name__
    if image.ndim != 4:
        raise InputError(
            f"{who} takes images [batch, height, width, channels], not an array of shape "
            f"{image.shape}. mlp.MLP takes inputs of any shape."
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(
            f"{who} takes normalised floating images, not {image.dtype}: divide by 255, take off "
            "the mean, divide by the deviation."
        )
    height, width, channels = image.shape[1:]
    if min(height, width) < smallest:
        raise InputError(
            f"{who} needs images of at least {smallest} x {smallest}, these are {height} x "
            f"{width}: its strides would leave a map of less than 2 x 2. Take a network with fewer "
            "strides, or larger images."
        )
    weights = net.variables.get("params", {}).get(stem)
    if weights is not None and weights["kernel"].shape[2] != channels:
        raise InputError(
            f"the weights of this {who} are for images of {weights['kernel'].shape[2]} channels, "
            f"these have {channels}."
        )
