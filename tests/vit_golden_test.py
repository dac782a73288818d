"""Vision transformers against Hugging Face's, timm's and torchvision's own on random weights."""

import json
import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from golden.models import torch_weights

import kd.models
from kd.models.patches import resized
from kd.models.vit import DeiT, ViT

pytestmark = pytest.mark.usefixtures("unoptimized_module")

GOLDEN = Path(__file__).parent / "golden" / "transformers"
SMALL = dict(num_classes=7, patch=4, width=24, depth=2, heads=3, mlp_ratio=2.0)
HF = SMALL | {"mlp_ratio": 40 / 24, "epsilon": 1e-12}
NETWORKS = {
    "hf_vit": ViT(**HF),
    "hf_vit_quick": ViT(**HF, activation="quick_gelu", qkv_bias=False),
    "hf_deit": DeiT(**HF),
    "timm_vit": ViT(**SMALL),
    "timm_vit_mean": ViT(**SMALL, pool="mean"),
    "timm_deit": DeiT(**SMALL),
    "torchvision_vit": ViT(**SMALL),
    "torchvision_vit_pre_logits": ViT(**SMALL, pre_logits=16),
}
QUICK = ("hf_deit",)
PUBLISHED = {
    "timm.vit_tiny_patch16_224": "vit_tiny_16",
    "timm.vit_small_patch16_224": "vit_small_16",
    "timm.vit_base_patch16_224": "vit_base_16",
    "timm.deit_tiny_distilled_patch16_224": "deit_tiny_16",
    "timm.deit_small_distilled_patch16_224": "deit_small_16",
    "torchvision.vit_b_16": "vit_base_16",
    "hf.vit-base-patch16-224": "vit_base_16",
    "hf.deit-tiny-distilled-patch16-224": "deit_tiny_16",
}

LAYERS = {
    "conv_proj": "patch",
    "patch_embed.proj": "patch",
    "embeddings.patch_embeddings.projection": "patch",
    "attn.proj": "attention.out",
    "attention.o_proj": "attention.out",
    "self_attention.out_proj": "attention.out",
    "attention.q_proj": "attention.query",
    "attention.k_proj": "attention.key",
    "attention.v_proj": "attention.value",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "layernorm": "norm",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "encoder.ln": "norm",
    "mlp.fc1": "up",
    "mlp.fc2": "down",
    "mlp.0": "up",
    "mlp.3": "down",
    "classifier": "head",
    "cls_classifier": "head",
    "heads.head": "head",
    "heads.pre_logits": "pre_logits",
    "distillation_classifier": "head_distillation",
    "head_dist": "head_distillation",
}
TOKENS = {
    "cls_token": "class_token",
    "class_token": "class_token",
    "dist_token": "distillation_token",
    "distillation_token": "distillation_token",
    "pos_embed": "position",
    "pos_embedding": "position",
    "position_embeddings": "position",
}
FUSED = re.compile(r"attn\.qkv\.|self_attention\.in_proj_")


def arrays(state):
    """kd's variables from arrays by PyTorch's names: {path: array}, in kd's layouts."""
    flat = {}
    for name, array in state.items():
        name = re.sub(r"^(vit|deit)\.", "", name)
        block = re.match(r"(?:encoder\.)?(?:blocks|layers)\.(?:encoder_layer_)?(\d+)\.(.*)", name)
        prefix, rest = ((f"block{int(block[1]) + 1}",), block[2]) if block else ((), name)
        if FUSED.match(rest):
            leaf = rest[FUSED.match(rest).end() :]
            for part, rows in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                put(flat, (*prefix, "attention", part), leaf, rows)
            continue
        token = rest.rpartition(".")[2]
        if token in TOKENS:
            flat[TOKENS[token],] = array
            continue
        layer, _, leaf = rest.rpartition(".")
        put(flat, (*prefix, *LAYERS.get(layer, layer).split(".")), leaf, array)
    return flat


def put(flat, layer, leaf, array):
    if leaf == "weight":
        leaf = "scale" if layer[-1].startswith("norm") else "kernel"
    if array.ndim == 4:
        array = np.transpose(array, (2, 3, 1, 0))
    flat[(*layer, leaf)] = array.T if array.ndim == 2 else array


@cache
def compared(name):
    """Outputs, the gradient of the mean cross entropy, and what the public code computed."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        golden = dict(file)
    flat = arrays(torch_weights.state_dict(golden))
    params = traverse_util.unflatten_dict(flat)

    def loss(params):
        outputs = NETWORKS[name].apply({"params": params}, golden["x"])
        label = jnp.arange(len(golden["x"]))
        nll = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, label)
        return jnp.mean(nll), outputs

    gradient, outputs = jax.jit(jax.grad(loss, has_aux=True))(params)
    return outputs, traverse_util.flatten_dict(gradient), golden


def relative(ours, theirs):
    return np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NETWORKS]
)
def test_logits_and_gradients_are_those_of_the_public_code(name):
    outputs, gradient, golden = compared(name)
    assert relative(outputs.logits, golden["logits"]) < 2e-5
    if "distillation_logits" in golden:
        second = outputs.feature("distillation_logits")
        assert relative(second, golden["distillation_logits"]) < 2e-5
        assert relative(2 * outputs.logits - second, golden["cls_logits"]) < 2e-5
    prefix = "grad."
    expected = arrays({k[len(prefix) :]: v for k, v in golden.items() if k.startswith(prefix)})
    assert gradient.keys() == expected.keys()
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in expected.values()))
    for path, theirs in expected.items():
        # The gradient of the keys' biases is zero but for rounding: a softmax ignores them.
        difference = np.linalg.norm(np.asarray(gradient[path]) - theirs)
        assert difference < 1e-4 * max(np.linalg.norm(theirs), 1e-3 * norm), path


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_at_full_size_have_the_shapes_of_the_public_code(name):
    """Depth is cut to one block: the others have the same shapes."""
    shapes = json.loads((GOLDEN / "sizes.json").read_text())[name]
    hollow = {k: np.broadcast_to(np.float32(0), shape) for k, shape in shapes.items()}
    expected = {path: array.shape for path, array in arrays(hollow).items()}
    net = getattr(kd.models, PUBLISHED[name])(num_classes=1000, depth=1)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), image)["params"]
    one = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(params).items()}
    block = {path[1:]: shape for path, shape in one.items() if path[0] == "block1"}
    blocks = {(f"block{i}", *path): shape for i in range(1, 13) for path, shape in block.items()}
    assert one | blocks == expected


@pytest.mark.parametrize("grid", [(5, 5), (2, 2), (6, 3), (1, 7)])
def test_positions_are_interpolated_as_timm_does(grid):
    with np.load(GOLDEN / "positions.npz") as golden:
        with pytest.warns(UserWarning, match="of 3 x 3 patches"):
            ours = resized(jnp.asarray(golden["table"]), 2, grid, "ViT")
        np.testing.assert_allclose(ours, golden[f"{grid[0]}x{grid[1]}"], rtol=1e-5, atol=1e-5)
