"""Every operation that is written as ONNX, run by ONNX Runtime against jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.errors import InputError

for _module in ("onnx", "onnxruntime"):
    pytest.importorskip(_module, reason="needs the extra onnx: uv sync --extra onnx")

from kd.export import converter, graph, lower  # noqa: E402
from kd.export.onnx import runtime, translation  # noqa: E402

MAP = (1, 7, 5, 4)  # odd sizes: "SAME" pads unequally


def weights(*shape):
    """The same for each shape."""
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def conv(x, w, strides=(1, 1), padding="SAME", groups=1, dilation=(1, 1)):
    return jax.lax.conv_general_dilated(
        x,
        w,
        strides,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def pooled(x, init, function, strides=(1, 2, 2, 1), padding="SAME"):
    return jax.lax.reduce_window(x, init, function, (1, 3, 2, 1), strides, padding)


def averaged(x, padding="VALID"):
    total = pooled(x, 0.0, jax.lax.add, padding=padding)
    return total / pooled(jnp.ones_like(x), 0.0, jax.lax.add, padding=padding)


W3, W1, DEPTH = weights(3, 3, 4, 6), weights(1, 1, 4, 6), weights(3, 3, 1, 8)
GROUPED, DENSE, WIDE = weights(3, 3, 2, 6), weights(140, 6), weights(4, 9)
SCALE, BIG, SQUARE = weights(4), weights(1, 7, 5, 4), weights(7, 7)

PROGRAMS = {
    "conv": lambda x: conv(x, W3) + weights(6),
    "conv_strided": lambda x: jax.nn.relu(conv(x, W3, (2, 2))),
    "conv_valid": lambda x: conv(x, W3, (2, 1), "VALID"),
    "conv_dilated": lambda x: conv(x, W3, dilation=(2, 2)),
    "conv_grouped": lambda x: conv(x, GROUPED, groups=2),
    "conv_padded": lambda x: conv(x, W3, (2, 2), ((1, 1), (1, 1))),
    "depthwise": lambda x: jax.nn.relu6(conv(x, DEPTH, (2, 2), groups=4)),
    "series": lambda x: conv(x[:, :, :1], weights(3, 1, 4, 6)),
    "pointwise_in_order": lambda x: conv(conv(x, W1), weights(1, 1, 6, 3)) * 0.5,
    "dense": lambda x: jax.nn.relu(x.reshape(1, -1) @ DENSE + weights(6)),
    "dense_of_rank_4": lambda x: jnp.tanh(x @ WIDE),
    "dense_after_conv": lambda x: conv(x, W3).reshape(1, -1) @ weights(210, 3),
    "attention": lambda x: jax.lax.batch_matmul(x[:, :, 0], x[:, :, 1].swapaxes(1, 2)) @ SQUARE,
    "max_pool": lambda x: pooled(x, -jnp.inf, jax.lax.max),
    "max_pool_of_conv": lambda x: pooled(conv(x, W3), -jnp.inf, jax.lax.max),
    "average_pool": averaged,
    "average_pool_padded": lambda x: averaged(x, "SAME"),
    "mean": lambda x: conv(x, W1).mean((1, 2)),
    "mean_kept": lambda x: conv(x, W1) * conv(x, W1).mean((1, 2), keepdims=True),
    "mean_of_rows": lambda x: conv(x, W1).mean(1),
    "mean_of_channels": lambda x: conv(x, W1).mean(-1),
    "sum": lambda x: conv(x, W1).sum((1, 2)),
    "largest": lambda x: x.max((1, 2)) - x.min(-1).max(-1, keepdims=True),
    "product": lambda x: jnp.prod(x, axis=(1, 2)),
    "norm": lambda x: (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1),
    "residual": lambda x: jax.nn.relu(conv(x, W1) + conv(x, W1)),
    "scaled_map": lambda x: conv(x, weights(1, 1, 4, 4)) * SCALE - BIG,
    "of_two_layouts": lambda x: conv(x, weights(1, 1, 4, 4)) + x * x,
    "gated": lambda x: conv(x, W1) * jax.nn.sigmoid(conv(x, W1).mean((1, 2)) @ weights(6, 6)),
    "elements": lambda x: jnp.exp(-jnp.abs(x)) / jnp.sqrt(jnp.log(x * x + 2)) + jnp.sin(jnp.cos(x)),
    "steps": lambda x: jnp.floor(x) + jnp.ceil(x * 3) + jnp.round(x * 5) + (-x),
    "limits": lambda x: jnp.minimum(jnp.maximum(x, -0.5), SCALE) + jnp.clip(x, -1, 1),
    "unit": lambda x: jnp.clip(conv(x, W1), 0, 1),
    "power": lambda x: jnp.power(jnp.abs(x) + 0.5, SCALE) + jnp.square(x - x.mean((1, 2))),
    "squared_difference": lambda x: jnp.square(conv(x, W1) - conv(x, weights(1, 1, 4, 6))),
    "silu": lambda x: jax.nn.silu(conv(x, W1)),
    "gelu": lambda x: jax.nn.gelu(conv(x, W1)),
    "relu": lambda x: jax.nn.relu(x) + jax.nn.relu6(x),
    "elu": lambda x: jax.nn.elu(conv(x, W1)),
    "leaky": lambda x: jax.nn.leaky_relu(conv(x, W1), 0.2),
    "hard_swish": lambda x: jax.nn.hard_swish(conv(x, W1)),
    "prelu": lambda x: jnp.where(conv(x, W1) > 0, conv(x, W1), weights(6) * conv(x, W1)),
    "softmax": lambda x: jax.nn.softmax(conv(x, W1)),
    "log_softmax": lambda x: jax.nn.log_softmax(x.reshape(1, -1)),
    "compared": lambda x: jnp.where(
        x > 0, x, jnp.where(x <= -1, x * 2, jnp.where(x < SCALE, 1.0, x))
    ),
    "equal": lambda x: jnp.where(jnp.floor(x) == 0, x, jnp.where(jnp.ceil(x) != 1, 2.0, x)),
    "at_least": lambda x: jnp.where(x >= 0.5, x, -x),
    "shuffle": lambda x: conv(x, W1).reshape(1, 7, 5, 2, 3).swapaxes(3, 4).reshape(1, 7, 5, 6),
    "concatenation": lambda x: jnp.concatenate([conv(x, W1), x, conv(x, W1)], -1),
    "rows_in_turn": lambda x: jnp.concatenate([conv(x, W1), conv(x, W1)], 1),
    "pad": lambda x: jnp.pad(conv(x, W1), ((0, 0), (1, 2), (0, 1), (2, 0))),
    "pad_with": lambda x: jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)), constant_values=-2.5),
    "halves": lambda x: sum(
        s * f for s, f in zip(jnp.split(conv(x, W1), 2, -1), (2, 3), strict=True)
    ),
    "parts": lambda x: conv(x, W1)[:, 1:6:2, ::2, 1:] * 2,
    "one_of": lambda x: conv(x, W1)[:, 3, :, 2],
    "transpose": lambda x: conv(x, W1).transpose(0, 3, 1, 2) + 1,
    "broadcast": lambda x: jnp.broadcast_to(x.mean((1, 2), keepdims=True), (1, 3, 3, 4)),
    "expand": lambda x: x.max((1, 2))[:, None, :] + x[:, :, 0],
}


@pytest.fixture(autouse=True)
def broadcasting():
    """Users' networks broadcast as NumPy does, which the tests' setting of jax refuses."""
    with jax.numpy_rank_promotion("allow"):
        yield


def translated(program, shape=MAP):
    """The operations of LiteRT's file of a program, and its ONNX model."""
    export = jax.export.export(jax.jit(program), platforms=["cpu"])
    content = converter.convert(
        lower.Lowered(export(jax.ShapeDtypeStruct(shape, jnp.float32)).mlir_module())
    )
    model = translation.translate(content, content, translation.Entry(False), "net", {}).content
    return [op.name for op in graph.operations(content)], model


SLOW = pytest.mark.slow
QUICK = ("conv_strided", "depthwise", "mean_kept", "concatenation", "parts", "dense_after_conv")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=SLOW) for n in PROGRAMS]
)
def test_an_operation_computes_what_jax_does_for_a_batch_of_any_size(name):
    program = PROGRAMS[name]
    _, model = translated(program)
    session = runtime.Session(model)
    image = np.random.default_rng(2).normal(size=(7, *MAP[1:])).astype(np.float32)
    target = np.concatenate([jax.jit(program)(x[None]) for x in image])
    for some in (image[:1], image):
        np.testing.assert_allclose(session(some), target[: len(some)], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_every_rule_was_tried():
    """But those that only the inputs of pixels and of integers need."""
    tried = {name for program in PROGRAMS.values() for name in translated(program)[0]}
    assert translation.RULES.keys() - tried == {"CAST", "QUANTIZE", "DEQUANTIZE"}


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda x: jnp.einsum("bic,ij->bjc", x[:, :, 0], SQUARE), "several rows an example"),
        (lambda x: jnp.cumsum(x, 1), "CUMSUM has no ONNX form here"),
    ],
)
def test_what_has_no_form_is_refused_by_name_and_layer(program, message):
    with pytest.raises(InputError, match=message):
        translated(program)
