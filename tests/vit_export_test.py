"""Vision transformers on their way to a device, and refusals by name and layer."""

import importlib.util

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.data.base import Dataset, Split
from kd.errors import InputError, RunError
from kd.models import cost
from kd.models.vit import ViT, vit_micro
from kd.quantize.student import Quantized
from kd.runs.workdir import Workdir
from kd.types import Outputs
from kd.verify.extraction import extract

pytestmark = pytest.mark.usefixtures("unoptimized_module")
SMALL = dict(num_classes=10, patch=4, width=16, depth=1, heads=2)
needs_tflite = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="needs the extra tflite"
)


def drawn(model, shape):
    """Weights of the size that initial ones have."""
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    scale = lambda x: (1 / max(1, np.prod(x.shape[:-1]))) ** 0.5
    return jax.tree.map(lambda x: (scale(x) * draw.normal(size=x.shape)).astype(np.float32), shapes)


def source_of(model, shape=(8, 8, 1)):
    """A source without a run: the network with drawn weights, and 120 images of noise."""
    from kd.export.source import Source

    image = np.random.default_rng(0).integers(0, 256, (120, *shape), np.uint8)
    split = Split(image, np.arange(120, dtype=np.int32) % 10)
    channels = shape[-1]
    dataset = Dataset(split, split, 10, (0.5,) * channels, (0.25,) * channels)
    config = {"eval_batch_size": 120, "student": {}}
    return Source(Workdir("none"), config, {}, model, drawn(model, shape), 0, "", dataset)


def agreement(a, b):
    return np.mean(a.argmax(-1) == b.argmax(-1))


@needs_tflite
@pytest.mark.slow
def test_a_transformer_is_int8_throughout_and_runs_on_tflm(tmp_path):
    from kd.export import graph, interpreter, kernels, micro, micro_layers, tflite
    from kd.export.source import logits

    source = source_of(vit_micro(width=16, depth=1, heads=2))
    image = source.dataset.test.image
    target = logits(source, image)
    file = tflite.floats(source)
    inputs = tflite.inputs(source, file.content, image)
    outputs = interpreter.run(file.content, inputs)
    assert np.abs(outputs - target).max() < 1e-5 * max(1, np.abs(target).max())

    file = tflite.integers(source, 120)  # refuses an operation in floating point
    operations = graph.operations(file.named)
    assert {"BATCH_MATMUL", "SOFTMAX", "LOGISTIC"} <= {op.name for op in operations}
    assert all("FLOAT" not in kind for op in operations for kind in op.types)
    inputs = tflite.inputs(source, file.content, image)
    reference = interpreter.run(file.content, inputs, interpreter.REFERENCE)
    outputs, arena = micro.run(file.content, inputs)
    assert np.abs(outputs.astype(int) - reference).max() <= 8
    assert agreement(outputs, reference) > 0.9
    assert micro_layers.needed(file)
    layers = micro_layers.compare(file, inputs[:2])
    assert len(layers) == len(operations)
    assert {layer.operation for layer in layers if layer.lsb} <= {"FULLY_CONNECTED"}
    assert max(layer.lsb for layer in layers) <= 1
    assert 0 < arena.head < 4000
    assert agreement(tflite.as_logits(file.content, reference), target) > 0.9
    with pytest.raises(InputError, match=r"block1.*: bakenn has no kernel for MEAN"):
        kernels.generate(file, tmp_path)


@needs_tflite
@pytest.mark.campaign
@pytest.mark.parametrize(("activation", "layer"), [("gelu_tanh", "block1"), ("gelu", "block1")])
def test_other_forms_of_gelu_are_refused_by_name_and_layer(activation, layer):
    from kd.export import micro, tflite

    source = source_of(ViT(**SMALL, activation=activation))
    with pytest.raises((InputError, RunError), match=rf"(GELU|COMPOSITE|composite).*{layer}"):
        file = tflite.floats(source)
        image = source.dataset.test.image[:1]
        micro.run(file.content, tflite.inputs(source, file.content, image), file.named)


def test_training_on_eight_bits_and_bounds_refuse_it_by_operation_and_layer():
    net, image = vit_micro(width=8, depth=1, heads=2), jnp.zeros((1, 8, 8, 1))
    with pytest.raises(InputError, match=r"square \(as in LayerNorm\) .* in .*block1/norm1"):
        jax.eval_shape(Quantized(net).init, jax.random.key(0), image)
    variables = drawn(net, (8, 8, 1))
    logits = lambda variables, image: net.apply(variables, image).logits
    with pytest.raises(InputError, match=r"square \(as in LayerNorm\) .* in .*block1/norm1"):
        extract(logits, variables, (8, 8, 1))


LAYERS = {
    "softmax": (nn.softmax, "(exp|stop_gradient) .as in softmax."),
    "gelu": (lambda x: nn.gelu(x, approximate=False), "(erfc|neg) .as in GELU."),
    "quick_gelu": (lambda x: x * nn.sigmoid(1.702 * x), r"logistic .as in the sigmoid"),
    "attention": (lambda x: (x[:, :, None] @ x[:, None])[:, 0], "dot_general .as in attention"),
    "gate": (lambda x: x * nn.relu(x), "mul .as in norms, gates"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_operations_of_transformers_are_named(name):
    function, words = LAYERS[name]

    class Net(nn.Module):
        @nn.compact
        def __call__(self, image, train=False):
            x = nn.Dense(6)(image)
            with jax.named_scope("middle"):
                x = function(x)
            return Outputs(nn.Dense(2)(x))

    net, image = Net(), jnp.zeros((1, 4))
    variables = drawn(net, (4,))
    with pytest.raises(InputError, match=f"{words}.* in .*middle"):
        extract(lambda v, x: net.apply(v, x).logits, variables, (4,))
    if name != "gate":  # a product of two activations has an integer form
        with pytest.raises(InputError, match=f"{words}.* in .*middle"):
            jax.eval_shape(Quantized(net).init, jax.random.key(0), image)


def test_a_mean_that_is_subtracted_is_repeated_for_each_value():
    """Axes of size 1 of sums are repeated, as jax does it."""
    centre = lambda p, x: (x - x.mean(-1, keepdims=True)) @ p
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = extract(centre, jnp.asarray(weights), (4,))
    x = np.arange(4.0).reshape(1, 4) ** 2
    np.testing.assert_allclose(graph.logits(x), (x - x.mean()) @ weights, atol=1e-5)


def test_macs_are_those_of_every_product_by_hand():
    """16 tokens, 32 wide, two blocks of two heads, hidden width 64."""
    net = vit_micro(patch=2, width=32, depth=2, heads=2)
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    patch, attention, hidden = 16 * 4 * 32, 2 * 16 * 16 * 32, 2 * 16 * 32 * 64
    block = 4 * 16 * 32 * 32 + attention + hidden
    initial = lambda image: net.init(jax.random.key(0), image)
    assert cost.macs(initial, image) == patch + 2 * block + 32 * 10
