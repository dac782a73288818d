"""State dicts of PyTorch as variables: layouts, names, and what is refused."""

import hashlib
import json

import jax
import ml_dtypes
import numpy as np
import pytest
from golden.models import torch_weights

from kd.errors import InputError
from kd.weights import convert, safetensors


def resnet8(prefix="", fc="fc", downsample="downsample", classes=100):
    """A state dict as RepDistiller's resnet8 has it."""
    shapes = {"conv1.weight": (16, 3, 3, 3)}
    norm = lambda name, d: (
        {f"{name}.{leaf}": (d,) for leaf in ("weight", "bias", "running_mean", "running_var")}
        | {f"{name}.num_batches_tracked": ()}
    )
    shapes |= norm("bn1", 16)
    for i, (last, d) in enumerate([(16, 16), (16, 32), (32, 64)], start=1):
        block = f"layer{i}.0"
        shapes |= {f"{block}.conv1.weight": (d, last, 3, 3), **norm(f"{block}.bn1", d)}
        shapes |= {f"{block}.conv2.weight": (d, d, 3, 3), **norm(f"{block}.bn2", d)}
        if last != d:
            shapes[f"{block}.{downsample}.0.weight"] = (d, last, 1, 1)
            shapes |= norm(f"{block}.{downsample}.1", d)
    shapes |= {f"{fc}.weight": (classes, 64), f"{fc}.bias": (classes,)}
    return {prefix + k: torch_weights.weight(k, shape) for k, shape in shapes.items()}


def write_safetensors(path, state):
    header, data = {}, b""
    for name, array in state.items():
        end = len(data) + array.nbytes
        kind = {"float32": "F32", "int64": "I64"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def refused(model, state) -> str:
    with pytest.raises(InputError) as caught:
        convert.from_torch(model, state)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_layouts():
    state = resnet8()
    variables = convert.from_torch("resnet8", state)
    params, stats = variables["params"], variables["batch_stats"]
    assert set(variables) == {"params", "batch_stats"}
    kernel = params["layer2_0"]["conv1"]["kernel"]  # [kh, kw, in, out]
    assert kernel.shape == (3, 3, 16, 32)
    assert kernel[2, 1, 5, 7] == state["layer2.0.conv1.weight"][7, 5, 2, 1]
    assert params["head"]["kernel"][3, 42] == state["fc.weight"][42, 3]
    np.testing.assert_array_equal(params["head"]["bias"], state["fc.bias"])
    downsample = stats["layer3_0"]["downsample_bn"]
    np.testing.assert_array_equal(downsample["var"], state["layer3.0.downsample.1.running_var"])
    np.testing.assert_array_equal(params["bn1"]["scale"], state["bn1.weight"], strict=True)


def equal(left, right):
    return jax.tree.all(jax.tree.map(np.array_equal, left, right))


@pytest.mark.parametrize(
    "state",
    [
        resnet8("module."),
        resnet8("module.module."),
        {k: v for k, v in resnet8().items() if not k.endswith("tracked")},
        dict(reversed(resnet8().items())),
        {k: v.astype(np.float64) for k, v in resnet8().items()},
    ],
    ids=["data parallel", "twice", "no counters", "another order", "float64"],
)
def test_the_same_weights_said_otherwise(state):
    expected = convert.from_torch("resnet_cifar.resnet8", resnet8())
    assert equal(convert.from_torch("resnet_cifar.resnet8", state), expected)


def test_either_naming_of_residual_networks():
    """RepDistiller says `fc` and `downsample` in one file, `linear` and `shortcut` in the other."""
    variables = convert.from_torch("resnet8", resnet8(fc="linear", downsample="shortcut"))
    assert variables["params"]["head"]["kernel"].shape == (64, 100)
    mixed = refused("resnet8", resnet8(fc="linear"))
    assert "2 missing: fc.weight, fc.bias" in mixed
    assert "2 not of this network: linear.weight, linear.bias" in mixed


def test_half_precision_becomes_float32():
    state = {k: v.astype(ml_dtypes.bfloat16) for k, v in resnet8().items()}
    kernel = convert.from_torch("resnet8", state)["params"]["head"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel.T, state["fc.weight"].astype(np.float32))


def test_the_number_of_classes_is_the_classifiers():
    params = convert.from_torch("resnet8", resnet8(classes=10))["params"]
    assert params["head"]["kernel"].shape == (64, 10)


def test_another_architecture_is_refused_with_its_first_differences():
    line = refused("resnet14", resnet8())
    assert "30 missing: layer1.1.conv1.weight, layer1.1.conv2.weight" in line
    assert line.endswith("and 27 more.")
    assert "not the weights of resnet_cifar.resnet14" in line
    line = refused("resnet8x4", resnet8())
    assert "conv1.weight is [16, 3, 3, 3] in place of [32, 3, 3, 3]" in line
    assert "missing: layer1.0.downsample.0.weight" in line
    line = refused("wrn_16_2", resnet8())
    assert "missing" in line
    assert "not of this network: bn1" in line or "not of this network: layer" in line


def test_extra_missing_and_misshapen_entries_are_refused():
    state = resnet8()
    assert "1 not of this network: ema" in refused("resnet8", {**state, "ema": state["fc.bias"]})
    del state["bn1.running_var"]
    assert "1 missing: bn1.running_var." in refused("resnet8", state)
    state = resnet8() | {"fc.bias": np.zeros((100, 1), np.float32)}
    assert "fc.bias is [100, 1] in place of [100]" in refused("resnet8", state)
    state = resnet8() | {"conv1.weight": resnet8()["conv1.weight"].transpose(2, 3, 1, 0)}
    assert "conv1.weight is [3, 3, 3, 16]" in refused("resnet8", state)
    assert "missing" in refused("resnet8", {})


def test_weights_that_are_not_finite_are_refused():
    state = resnet8()
    state["layer1.0.bn1.running_var"][3] = np.inf
    assert "layer1.0.bn1.running_var are not finite" in refused("resnet8", state)


def test_what_is_packed_is_what_was_imported():
    state = {k: v for k, v in resnet8().items() if not k.endswith("tracked")}
    back = convert.to_torch("resnet8", convert.from_torch("resnet8", state))
    assert back.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array, strict=True, err_msg=name)
    text = safetensors.encode(back, {"model": "resnet8"})
    assert safetensors.matches(text[:16])
    with pytest.raises(InputError, match="no PyTorch names for"):
        convert.to_torch("mlp.MLP", {"params": {}})


def test_names_of_models():
    assert convert.full_name("resnet50") == "resnet.resnet50"
    assert convert.full_name("ResNet50") == "resnet_cifar.ResNet50"
    assert convert.full_name("vgg.vgg8") == "vgg.vgg8"
    assert "Did you mean 'wrn.wrn_16_2'" in refused("wrn.wrn16_2", {})
    assert "unknown model" in refused("resnet9", {})
    assert "unknown model" in refused("no_such_module.net", {})
    assert "no PyTorch names for mlp.MLP" in refused("mlp.MLP", {})


def test_checkpoint_and_its_record(tmp_path):
    path = write_safetensors(tmp_path / "resnet8.safetensors", resnet8(classes=7))
    variables, record = convert.import_checkpoint(path, "resnet8")
    assert equal(variables, convert.from_torch("resnet8", resnet8(classes=7)))
    assert record == {
        "model": "resnet_cifar.resnet8",
        "num_classes": 7,
        "channels": 3,
        "checkpoint": "resnet8.safetensors",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "parameters": 83892 - 93 * 65,
    }
    json.dumps(record)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "_orig_mod.", "backbone.", "architecture.", "module._orig_mod."]
)
@pytest.mark.slow
def test_a_prefix_of_all_names_is_dropped(prefix):
    state = {prefix + name: array for name, array in resnet8().items()}
    assert convert.from_torch("resnet8", state)["params"]["head"]["kernel"].shape == (64, 100)
    assert "not of this network" in refused(
        "resnet8", {**state, "other": state[prefix + "fc.bias"]}
    )


TOKENS = '''
import flax.linen as nn
import jax.numpy as jnp

from kd.types import Outputs


class Tokens(nn.Module):
    """Every kind of array: of layers, of an embedding, and parameters that belong to no layer."""

    num_classes: int = 4
    width: int = 6

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.Conv(self.width, (2, 2), strides=2, padding="VALID", name="patch")(image)
        x = x.reshape(x.shape[0], -1, self.width)
        first = self.param("tokens", nn.initializers.normal(), (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (x.shape[0], 1, self.width)), x], 1)
        x = x + self.param("positions", nn.initializers.normal(), (1, 17, self.width))
        x = x + nn.Embed(3, self.width, name="kind")(jnp.zeros(x.shape[:2], int))
        x = nn.LayerNorm(name="norm")(x)
        parts = [nn.Dense(self.width, name=name)(x) for name in ("query", "key", "value")]
        x = nn.Conv(self.width, (3,), name="mix")(sum(parts))
        scale = self.param("gamma", nn.initializers.ones, (self.width,))
        return Outputs(nn.Dense(self.num_classes, name="classifier")(x[:, 0] * scale[None]))


def image_of(settings, shapes):
    kernel = shapes.get(("params", "patch", "kernel"), (2, 2, 3, 6))
    return (8, 8, kernel[2])


TORCH_NAMES = (
    (
        (r"^tokens$", "cls_token"),
        (r"^positions$", "pos_embed"),
        (r"^query$", "attn.in_proj_{leaf}[0 of 3]"),
        (r"^key$", "attn.in_proj_{leaf}[1 of 3]"),
        (r"^value$", "attn.in_proj_{leaf}[2 of 3]"),
    ),
)
'''


def tokens(classes=5, channels=2, width=6):
    shapes = {"patch.weight": (width, channels, 2, 2), "patch.bias": (width,)}
    shapes |= {"cls_token": (1, 1, width), "pos_embed": (1, 17, width), "kind.weight": (3, width)}
    shapes |= {"norm.weight": (width,), "norm.bias": (width,), "gamma": (width,)}
    shapes |= {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,)}
    shapes |= {"mix.weight": (width, width, 3), "mix.bias": (width,)}
    shapes |= {"classifier.weight": (classes, width), "classifier.bias": (classes,)}
    return {name: torch_weights.weight(name, shape) for name, shape in shapes.items()}


@pytest.fixture
def tokens_file(tmp_path, monkeypatch):
    (tmp_path / "tokens_network.py").write_text(TOKENS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "tokens_network.Tokens"


def test_only_kernels_are_transposed(tokens_file):
    """Embeddings, positions and tokens have one layout; query, key and value are one matrix."""
    state = tokens()
    params = convert.from_torch(tokens_file, state)["params"]
    for name in ("cls_token", "pos_embed", "kind.weight", "gamma"):
        path = {"cls_token": ("tokens",), "pos_embed": ("positions",)}.get(name)
        path = path or (("kind", "embedding") if name == "kind.weight" else (name,))
        ours = params[path[0]] if len(path) == 1 else params[path[0]][path[1]]
        np.testing.assert_array_equal(ours, state[name], strict=True, err_msg=name)
    kernel = params["patch"]["kernel"]
    assert kernel.shape == (2, 2, 2, 6) and kernel[1, 0, 1, 4] == state["patch.weight"][4, 1, 1, 0]
    kernel = params["mix"]["kernel"]  # [window, in, out]
    assert kernel[2, 1, 5] == state["mix.weight"][5, 1, 2]
    fused = state["attn.in_proj_weight"]
    for i, name in enumerate(("query", "key", "value")):
        assert params[name]["kernel"][1, 3] == fused[6 * i + 3, 1]
        bias = state["attn.in_proj_bias"][6 * i : 6 * i + 6]
        np.testing.assert_array_equal(params[name]["bias"], bias)
    assert params["classifier"]["kernel"].shape == (6, 5)  # the classes are those of the file
    back = convert.to_torch(tokens_file, {"params": params})
    assert back.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array, strict=True, err_msg=name)


def test_settings_and_what_does_not_fit_them(tokens_file):
    state = tokens(width=3)
    params = convert.from_torch(tokens_file, state, {"width": 3})["params"]
    assert params["query"]["kernel"].shape == (3, 3)
    assert "cls_token is [1, 1, 3] in place of [1, 1, 6]" in refused(tokens_file, state)
    state["attn.in_proj_bias"] = state["attn.in_proj_bias"][:-1]
    with pytest.raises(InputError, match=r"attn.in_proj_bias is \[8\] in place of \[9\]"):
        convert.from_torch(tokens_file, state, {"width": 3})
    del state["classifier.bias"], state["classifier.weight"]
    assert "2 missing: classifier.weight, classifier.bias" in refused(tokens_file, state)


def test_images_of_other_channels():
    state = resnet8() | {"conv1.weight": torch_weights.weight("conv1.weight", (16, 1, 3, 3))}
    assert convert.from_torch("resnet8", state)["params"]["conv1"]["kernel"].shape == (3, 3, 1, 16)


@pytest.mark.parametrize("shape", [(), (3,), (16, 1), (16, 3, 3), (16, 3, 3, 3, 3)])
@pytest.mark.parametrize("name", ["conv1.weight", "layer2.0.downsample.0.weight", "fc.weight"])
def test_a_kernel_of_another_rank_is_refused(name, shape):
    """And of another shape, where 16 and 1 are two axes of a dense layer."""
    assert name in refused("resnet8", resnet8() | {name: np.zeros(shape, np.float32)})
