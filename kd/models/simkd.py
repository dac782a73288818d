"""A student with a projector and its teacher's classifier instead of its own classifier."""

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
from kd.features import final_map, pool, require_rectified
from kd.models import initializers, layers
from kd.models.norm import BatchNorm
from kd.models.wrapped import make, without
from kd.ranges import Classes, Width
from kd.types import Outputs, outputs_of


class SimKD(nn.Module):
    """The student's last map, projected to the teacher's width, then the teacher's classifier.

    Chen, Mei, Zhang, Wang, Feng, Chen. Knowledge Distillation with the Reused Teacher Classifier.
    CVPR 2022. https://arxiv.org/abs/2203.14001, section 3.2 and Fig. 2. The bottleneck is 1 x 1, 3
    x 3, 1 x 1, each with BatchNorm and ReLU. A map larger than the teacher's is pooled to its size
    first, as in the public code.

    The student's classifier is removed with its parameters. Layers between its last stage and its
    mean (the last 1 x 1 convolution of MobileNetV2 and ShuffleNetV2) are not used, but are counted.

    Attributes:
      student: section of a network, such as `{"name": "wrn.wrn_16_2"}`, with its settings.
      teacher: section of the teacher's network; it gives the shapes of the projector and
        classifier.
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
    num_classes: Classes
    factor: Width = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: layers.Image, train: bool = False) -> Outputs:
        section = json.dumps(dict(self.teacher), sort_keys=True)
        height, width, channels = _shape(section, self.num_classes, image.shape[1:])
        precision = {} if self.dtype == jnp.float32 else {"dtype": self.dtype}
        body = make({**self.student, **precision}, self.num_classes, "student", name="student")
        with nn.intercept_methods(without(body, "head")):
            outputs = outputs_of(body(image, train))
        x = final_map(outputs)
        size = min(x.shape[1], height), min(x.shape[2], width)
        x = pool(x.astype(jnp.float32), size)
        if not 1 <= self.factor <= channels:
            raise InputError(
                f"student.factor: expected 1 to {channels}, the channels of the teacher's map, got "
                f"{self.factor}."
            )
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

    num_classes: Classes

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        shape = (x.shape[-1], self.num_classes)
        kernel = self.variable("inherited", "kernel", jnp.zeros, shape)
        bias = self.variable("inherited", "bias", jnp.zeros, shape[1:])
        return x @ kernel.value + bias.value[None, :]


@lru_cache
def _shape(section: str, num_classes: int, image: tuple[int, ...]) -> tuple[int, ...]:
    """Height, width and channels of the map whose mean the teacher's classifier reads."""
    net = make(json.loads(section), num_classes, "teacher", parent=None)

    def last_features(x: Array) -> tuple[Array, Array]:
        outputs = outputs_of(net.init_with_output(jax.random.key(0), x)[0])
        require_rectified(outputs, "SimKD")
        return final_map(outputs), outputs.feature("pooled")

    example = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    last, pooled = jax.eval_shape(last_features, example)
    if last.shape[-1] != pooled.shape[-1]:
        raise InputError(
            f"the classifier of teacher {section} reads {pooled.shape[-1]} channels, but its "
            f"last stage has {last.shape[-1]}: SimKD needs the map whose mean the classifier "
            "reads. Use a ResNet, a WRN or a VGG as the teacher."
        )
    return last.shape[1:]
