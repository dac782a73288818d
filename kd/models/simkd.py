"""A student that is deployed with a projector and the teacher's classifier in place of its own."""

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import final_map, pool
from kd.models import initializers, layers
from kd.models.norm import BatchNorm
from kd.models.wrapped import make, without
from kd.types import Outputs


class SimKD(nn.Module):
    """The student's last map through a bottleneck to the teacher's width, its mean, the teacher's
    classifier.

    Chen, Mei, Zhang, Wang, Feng, Chen. Knowledge Distillation with the Reused Teacher Classifier.
    CVPR 2022. https://arxiv.org/abs/2203.14001, section 3.2 and Fig. 2. The bottleneck is 1 x 1, 3
    x 3, 1 x 1, each with BatchNorm and ReLU. A map larger than the teacher's is pooled to its size
    first, as in the public code.

    The student's own classifier is left out, and with it its parameters. What a student has between
    its last stage and its mean (the last 1 x 1 convolution of MobileNetV2 and ShuffleNetV2) is not
    used, but is counted.

    Attributes:
      student: section of a network, such as `{"name": "wrn.wrn_16_2"}`, with its settings.
      teacher: the same of the teacher, whose last map and classifier give shapes.
      num_classes: c.
      factor: by which the bottleneck is narrower than the teacher's map.
      dtype: of the student and the bottleneck; parameters, statistics, `pooled` and logits stay
        float32.

    Features: the student's, `projected` [b, h, w, d] after the bottleneck, and `pooled`, its mean,
    which the classifier reads. The classifier, kernel [d, c] and bias [c], is in collection
    `inherited`: the teacher's, never trained.
    """

    student: Mapping[str, Any]
    teacher: Mapping[str, Any]
    num_classes: int
    factor: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        if self.factor < 1:
            raise InputError(f"student.factor: expected 1 or more, got {self.factor}.")
        section = json.dumps(dict(self.teacher), sort_keys=True)
        height, width, channels = _shape(section, self.num_classes, image.shape[1:])
        told = {} if self.dtype == jnp.float32 else {"dtype": self.dtype}
        own = {**self.student, **told}
        body = make(own, self.num_classes, "student", name="student")
        with nn.intercept_methods(without(body, "head")):
            outputs = body(image, train)
        x = final_map(outputs)
        size = min(x.shape[1], height), min(x.shape[2], width)
        x = pool(x.astype(jnp.float32), size)
        narrow = channels // self.factor
        conv = partial(layers.conv, kernel_init=initializers.default_kernel, dtype=self.dtype)
        norm = partial(BatchNorm, dtype=self.dtype)
        for i, (d, kernel) in enumerate(((narrow, 1), (narrow, 3), (channels, 1))):
            x = conv(d, kernel, name=f"conv{i}")(x)
            x = nn.relu(norm(name=f"bn{i}")(x, train))
        features = {**outputs.features, "projected": x, "pooled": layers.pool(x)}
        head = _Inherited(self.num_classes, name="head")
        return Outputs(head(features["pooled"]), features)


class _Inherited(nn.Module):
    """A linear layer whose weights are the teacher's of the same name."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        shape = (x.shape[-1], self.num_classes)
        kernel = self.variable("inherited", "kernel", jnp.zeros, shape)
        bias = self.variable("inherited", "bias", jnp.zeros, shape[1:])
        return x @ kernel.value + bias.value[None, :]


@lru_cache
def _shape(section: str, num_classes: int, image: tuple[int, ...]) -> tuple[int, ...]:
    """Height, width and channels of the map that the teacher's classifier reads the mean of."""
    net = make(json.loads(section), num_classes, "teacher", parent=None)

    def look(x: Array) -> tuple[Array, Array]:
        outputs = net.init_with_output(jax.random.key(0), x)[0]
        return final_map(outputs), outputs.feature("pooled")

    example = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    last, pooled = jax.eval_shape(look, example)
    if last.shape[-1] != pooled.shape[-1]:
        raise InputError(
            f"the classifier of teacher {section} reads {pooled.shape[-1]} channels, its last "
            f"stage has {last.shape[-1]}: it shows no map of which the classifier reads the mean. "
            "Take a ResNet, a WRN or a VGG as the teacher."
        )
    return last.shape[1:]
