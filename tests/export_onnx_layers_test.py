"""An int8 ONNX file is compared layer by layer, and one that is changed anywhere is refused."""

from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main

onnx = pytest.importorskip("onnx", reason="needs the extra onnx: uv sync --extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from export_onnx_test import drawn  # noqa: E402

from kd.export import tflite  # noqa: E402
from kd.export.onnx import layer_comparison, translation  # noqa: E402
from kd.models import cnn, mobilenet, shufflenet  # noqa: E402


def changed(content, end, change):
    """A model of which the first constant of that name was changed."""
    model = onnx.load_model_from_string(content)
    constant = next(c for c in model.graph.initializer if c.name.endswith(end))
    array = onnx.numpy_helper.to_array(constant).copy()
    constant.CopyFrom(onnx.numpy_helper.from_array(change(array), constant.name))
    return model.SerializeToString()


def integers(model, shape):
    """An int8 file of a network, its translation, and images for both."""
    source = drawn(model, shape, images=100)
    file = tflite.integers(source, 100)
    translated = translation.translate(
        file.content, file.named, translation.Entry(True), "network", {}
    )
    image = source.dataset.train.image[:16]
    return file, translated, tflite.inputs(source, file.content, image), image


@pytest.fixture(scope="module")
def small():
    return integers(cnn.CNN(10, (4, 6)), (8, 8, 1))


def first(array, by):
    """Another first number."""
    array.reshape(-1)[0] += np.asarray(by).astype(array.dtype)
    return array


CHANGES = {
    "input_scale": ("norm1_0/scale", lambda a: a * np.float32(1.02)),
    "input_zero": ("norm1_0/zero_point", lambda a: first(a, 1)),
    "output_scale": ("norm1_0/scale_2", lambda a: a * np.float32(1.02)),
    "output_zero": ("norm1_0/zero_point_2", lambda a: first(a, 1)),
    "weight": ("norm2_0/weight", lambda a: first(a, 1)),
    "weight_scale": ("norm2_0/weight_scale", lambda a: first(a, 1e-3)),
    "bias": ("norm2_0/bias", lambda a: first(a, 1)),
    "axes": ("norm2_0/weight", lambda a: a.transpose(0, 1, 3, 2)),
    "logits_scale": ("logits/scale", lambda a: a * np.float32(1.02)),
    "logits_zero": ("logits/zero_point", lambda a: first(a, 1)),
}


def test_an_unchanged_file_differs_by_litert_s_rounding_alone(small):
    file, translated, inputs, image = small
    layers = layer_comparison.compare(translated, file, inputs, image)
    assert [layer.operation for layer in layers][-3:] == ["MEAN", "FULLY_CONNECTED", "DEQUANTIZE"]
    assert layers[0].layer == "CNN/norm1_0"
    assert max(layer.lsb for layer in layers) <= 1
    assert max(layer.beyond_rounding for layer in layers) < 1e-4
    assert layer_comparison.missing(translated, file) == 0


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_is_changed_in_one_number_is_noticed(small, name):
    file, translated, inputs, image = small
    other = translated._replace(content=changed(translated.content, *CHANGES[name]))
    layers = layer_comparison.compare(other, file, inputs, image)
    beyond = max(layer.beyond_rounding for layer in layers)
    assert beyond > 0.01 or layer_comparison.missing(other, file) == 1
    if name not in ("weight", "bias", "weight_scale"):
        assert beyond > 0.2


def test_a_changed_file_is_refused_with_the_layer_and_leaves_nothing(finished, capsys, monkeypatch):
    real = translation.translate

    def wrong(*args):
        result = real(*args)
        shift = lambda zero: np.asarray(zero + np.int8(3))
        return result._replace(content=changed(result.content, "layer1/zero_point", shift))

    monkeypatch.setattr(translation, "translate", wrong)
    command = ["export", "runs/small", "--format", "onnx", "--int8", "--calibration", "100"]
    loose = ["agreement=0", "accuracy_drop=1", "onnx_agreement=0"]
    assert main([*command, *(word for gate in loose for word in ("--gate", gate))]) == 1
    told = capsys.readouterr().err
    assert "onnx_rounding" in told and "FAILED (FULLY_CONNECTED of MLP/layer1)" in told
    assert "onnx_constants 0, asked for <= 0: passed" in told
    assert not Path("runs/small/export").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mobilenet.MobileNetV2(10), (32, 32, 3)),
        (shufflenet.ShuffleV2(10), (32, 32, 3)),
        (cnn.CNN(10, (8, 16)), (28, 28, 1)),  # a mean of 49 values, no power of two
    ],
)
def test_layers_of_the_zoo_differ_by_litert_s_rounding_alone(unoptimized, model, shape):
    file, translated, inputs, image = integers(model, shape)
    layers = layer_comparison.compare(translated, file, inputs, image)
    assert max(layer.lsb for layer in layers) == 1
    assert max(layer.beyond_rounding for layer in layers) < 1e-3
    assert layer_comparison.missing(translated, file) == 0
