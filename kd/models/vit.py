"""Vision transformers: ViT, and DeiT with its distillation token.

Parameters, with i from 1 to `depth`; linear kernels are [in, out], all have biases:

    patch                          kernel [patch, patch, c, width] of a convolution
    class_token                    [1, 1, width], of pool = "token" and of DeiT
    distillation_token             [1, 1, width], of DeiT
    position                       [1, tokens, width]: class token, distillation token, patches by
                                   rows
    block{i}/norm1, norm2          scale, bias [width]
    block{i}/attention/query, key, value, out   kernel [width, width]
    block{i}/up, down              kernel [width, hidden], [hidden, width]
    norm                           scale, bias [width]
    pre_logits                     kernel [width, pre_logits], if any
    head, head_distillation        kernel [width, c]; the second of DeiT

Features: `tokens0` [b, t, width], the embedded tokens, and `tokens{i}` after block i, with the
class token first, then the distillation token; `query{i}`, `key{i}`, `value{i}` [b, t, heads,
width / heads] of block i; `stem` and `stage1`, `stage2`, ..., maps [b, h, w, width] of the patches
alone, of `tokens0` and after equal shares of the blocks; `final`, the map after the last norm;
`pooled` [b, width], what the head reads. `distillation_logits` [b, c] are those of DeiT's second
head.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.errors import InputError, unknown
from kd.models import initializers, layers
from kd.models.attention import check_heads, linear
from kd.models.patches import grid_of, resized
from kd.models.transformer import ACTIVATIONS, Block, norm
from kd.models.vit_names import HUGGING_FACE, TORCH_NAMES, image_of  # noqa: F401  (of `kd import`)
from kd.ranges import Classes, Depth, Natural, Positive, Probability, Side, Width
from kd.types import Outputs

STAGES = 4
"""The most stages that features are taken after, as in convolutional networks."""


class ViT(nn.Module):
    """Dosovitskiy et al. An Image is Worth 16x16 Words: Transformers for Image Recognition at
    Scale. ICLR 2021. https://arxiv.org/abs/2010.11929, section 3.1 and Eq. 1 to 4.

    With the settings' defaults it is what timm, torchvision and Hugging Face (with epsilon 1e-12)
    compute. Images of another size than the one its weights were made for get interpolated
    positions, with a warning, see `kd.models.patches.resized`.

    Attributes:
      num_classes: c.
      patch: side of a patch, in pixels; it divides the images' height and width.
      width: of the tokens.
      depth: number of blocks.
      heads: of each attention; they divide the width.
      mlp_ratio: hidden width of the blocks' two-layer networks, in widths.
      pool: what the head reads after the last norm: "token", the class token; "mean", the mean of
        the patches, without a class token (Beyer et al. Better plain ViT baselines for ImageNet-1k.
        2022. https://arxiv.org/abs/2205.01580).
      drop_path: stochastic depth: probability that the last block's branches are left out for an
        example in training, growing evenly from 0 at the first block's (Huang et al. Deep Networks
        with Stochastic Depth. ECCV 2016. https://arxiv.org/abs/1603.09382).
      activation: "gelu", "gelu_tanh", "quick_gelu" (x sigmoid(1.702 x)) or "relu".
      epsilon: of the norms: 1e-6 in timm and torchvision, 1e-12 in Hugging Face's ViT.
      qkv_bias: whether queries, keys and values have biases.
      pre_logits: width of a layer with tanh before the head; 0: none.
      fused: whether `jax.nn.dot_product_attention` computes attention, for accelerators; exports
        need it written out.
      dtype: of the blocks; parameters, `pooled` and logits stay float32.

    Parameters and features: see `kd.models.vit`.

    Raises:
      InputError: the patch does not divide the images, or the heads the width.
    """

    num_classes: Classes = 1000
    patch: Side = 16
    width: Width = 192
    depth: Depth = 12
    heads: Depth = 3
    mlp_ratio: Positive = 4.0
    pool: str = "token"
    drop_path: Probability = 0.0
    activation: str = "gelu"
    epsilon: Positive = 1e-6
    qkv_bias: bool = True
    pre_logits: Natural = 0
    fused: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        x, features = self._encoded(image, train)
        pooled = x[:, 0] if self.pool == "token" else jnp.mean(x, axis=1)
        if self.pre_logits:
            pooled = nn.tanh(linear(self.pre_logits, name="pre_logits")(pooled))
        features["pooled"] = pooled
        return Outputs(linear(self.num_classes, name="head")(pooled), features)

    def fitted(self, name: str, array: Array, image: tuple[int, ...]) -> Array:
        """An array of another such network, for images of another size than that one's.

        Args:
          name: of the parameter, such as "position", the only one that depends on the size.
          array: the other network's.
          image: shape [h, w, c] of this network's images.

        Raises:
          InputError: the positions are of no grid, see `kd.models.patches.resized`.
        """
        if name != "position":
            return array
        network = type(self).__name__
        return resized(array, len(self.tokens()), grid_of(network, image, self.patch), network)

    def tokens(self) -> tuple[str, ...]:
        """Names of the tokens that stand before the patches."""
        return ("class_token",) if self.pool == "token" else ()

    def _encoded(
        self, image: layers.Image, train: bool
    ) -> tuple[Float[Array, "b t d"], dict[str, Array]]:
        """The tokens after the last norm, in float32; and features."""
        layers.check_image(self, image, "patch", smallest=1)
        self._check()
        tokens = self.tokens()
        b, grid = len(image), grid_of(type(self).__name__, image.shape, self.patch)
        as_map = lambda x: x[:, len(tokens) :].reshape(b, *grid, self.width)
        x = self._embedded(image, tokens, grid)
        features = {"tokens0": x, "stem": as_map(x)}
        stages = min(STAGES, self.depth)
        ends = {self.depth * i // stages: f"stage{i}" for i in range(1, stages + 1)}
        for i in range(1, self.depth + 1):
            block = Block(
                self.heads,
                round(self.mlp_ratio * self.width),
                self.drop_path * (i - 1) / max(self.depth - 1, 1),
                self.activation,
                self.epsilon,
                self.qkv_bias,
                self.fused,
                self.dtype,
                name=f"block{i}",
            )
            x, heads = block(x, train)
            features |= {f"{name}{i}": value for name, value in heads._asdict().items()}
            features[f"tokens{i}"] = x
            if i in ends:
                features[ends[i]] = as_map(x)
        x = norm(self.epsilon, jnp.float32, "norm")(x)
        features["final"] = as_map(x)
        return x, features

    def _embedded(
        self, image: layers.Image, tokens: tuple[str, ...], grid: tuple[int, int]
    ) -> Float[Array, "b t d"]:
        """The images' patches as tokens, after those called `tokens`, with their positions."""
        patch = nn.Conv(
            self.width,
            (self.patch, self.patch),
            strides=self.patch,
            padding="VALID",
            kernel_init=initializers.default_kernel,
            bias_init=initializers.default_bias(self.patch**2 * image.shape[-1]),
            dtype=self.dtype,
            name="patch",
        )
        x = patch(jnp.asarray(image)).reshape(len(image), -1, self.width)
        for name in reversed(tokens):
            token = self.param(name, initializers.normal_002, (1, 1, self.width))
            token = jnp.broadcast_to(token.astype(x.dtype), (len(x), 1, self.width))
            x = jnp.concatenate([token, x], axis=1)
        if self.has_variable("params", "position"):
            table = jnp.asarray(self.get_variable("params", "position"))
        else:
            shape = (1, x.shape[1], self.width)
            table = self.param("position", initializers.normal_002, shape)
        table = resized(table, len(tokens), grid, type(self).__name__)
        return x + table.astype(x.dtype)

    def _check(self) -> None:
        """Raises InputError for settings that do not fit one another."""
        network = type(self).__name__
        check_heads(self.width, self.heads)
        if self.activation not in ACTIVATIONS:
            raise unknown(f"activation of {network}", self.activation, ACTIVATIONS)
        if self.pool not in ("token", "mean"):
            raise unknown(f"pool of {network}", self.pool, ("token", "mean"))
        if round(self.mlp_ratio * self.width) < 1:
            raise InputError(
                f"mlp_ratio = {self.mlp_ratio:zg} leaves no hidden unit of a width of {self.width}."
            )


class DeiT(ViT):
    """A ViT with a distillation token and a head for it.

    Touvron et al. Training data-efficient image transformers & distillation through attention. ICML
    2021. https://arxiv.org/abs/2012.12877, section 4 and Fig. 2. In training, `logits` are those of
    the class token's head, and the feature `distillation_logits` [b, c] those of the distillation
    token's, for the objective. In evaluation `logits` are the mean of the two, as in the public
    code (`deit_tiny_distilled_patch16_224`).

    Attributes: those of `ViT`; `pool` is "token" and `pre_logits` is 0.
    """

    second_head = "head_distillation"  # see `kd.models.wrapped.without`

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        if self.pool != "token" or self.pre_logits:
            raise InputError(
                "DeiT's heads read its class token and its distillation token: leave pool at "
                "'token' and pre_logits at 0, or take vit.ViT."
            )
        x, features = self._encoded(image, train)
        features["pooled"] = x[:, 0]
        logits = linear(self.num_classes, name="head")(x[:, 0])
        distilled = linear(self.num_classes, name=self.second_head)(x[:, 1])
        features["distillation_logits"] = distilled
        return Outputs(logits if train else (logits + distilled) / 2, features)

    def tokens(self) -> tuple[str, ...]:
        """Names of the tokens that stand before the patches."""
        return ("class_token", "distillation_token")


_tiny = {"patch": 16, "width": 192, "heads": 3}
_small = {"patch": 16, "width": 384, "heads": 6}

vit_tiny_16 = partial(ViT, **_tiny)
vit_small_16 = partial(ViT, **_small)
vit_base_16 = partial(ViT, patch=16, width=768, heads=12)
deit_tiny_16 = partial(DeiT, **_tiny)
deit_small_16 = partial(DeiT, **_small)

# For images of 28 x 28 and 32 x 32 and for microcontrollers: every operation has an int8 kernel.
vit_micro = partial(
    ViT,
    num_classes=10,
    patch=4,
    width=64,
    depth=4,
    heads=4,
    mlp_ratio=2.0,
    pool="mean",
    activation="quick_gelu",
)
