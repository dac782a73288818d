"""Writes the golden files beside it: `python tests/golden/transformers/generate.py`.

It runs in an environment of its own with torch 2.14.1, torchvision 0.29.2, timm 1.0.31 and
transformers 5.24.0, not in kd's. Tests only read what it wrote.
"""

import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from timm.layers import resample_abs_pos_embed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    ViTConfig,
    ViTForImageClassification,
)

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))

from models import torch_weights  # noqa: E402

SIDE, CLASSES, EXAMPLES = 12, 7, 3
HF = dict(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    image_size=SIDE,
    patch_size=4,
    num_labels=CLASSES,
    attn_implementation="eager",
)
TIMM = dict(
    img_size=SIDE,
    patch_size=4,
    num_classes=CLASSES,
    embed_dim=24,
    depth=2,
    num_heads=3,
    mlp_ratio=2.0,
)
TORCHVISION = dict(
    image_size=SIDE,
    patch_size=4,
    num_layers=2,
    num_heads=3,
    hidden_dim=24,
    mlp_dim=48,
    num_classes=CLASSES,
)


def miniatures():
    """Yields names and networks."""
    yield "hf_vit", ViTForImageClassification(ViTConfig(**HF))
    quick = ViTConfig(**HF, hidden_act="quick_gelu", qkv_bias=False)
    yield "hf_vit_quick", ViTForImageClassification(quick)
    yield "hf_deit", DeiTForImageClassificationWithTeacher(DeiTConfig(**HF))
    yield "timm_vit", VisionTransformer(**TIMM)
    mean = dict(class_token=False, global_pool="avg", fc_norm=False)
    yield "timm_vit_mean", VisionTransformer(**TIMM, **mean)
    yield "timm_deit", VisionTransformerDistilled(**TIMM)
    yield "torchvision_vit", TorchvisionViT(**TORCHVISION)
    yield "torchvision_vit_pre_logits", TorchvisionViT(**TORCHVISION, representation_size=16)


def full_sizes():
    """Yields names and networks of the published sizes, without weights."""
    with torch.device("meta"):
        for name in (
            "vit_tiny_patch16_224",
            "vit_small_patch16_224",
            "vit_base_patch16_224",
            "deit_tiny_distilled_patch16_224",
            "deit_small_distilled_patch16_224",
        ):
            yield f"timm.{name}", timm.create_model(name)
        yield "torchvision.vit_b_16", torchvision.models.vit_b_16()
        yield "hf.vit-base-patch16-224", ViTForImageClassification(ViTConfig(num_labels=1000))
        deit = DeiTConfig(
            hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=1000
        )
        yield (
            "hf.deit-tiny-distilled-patch16-224",
            DeiTForImageClassificationWithTeacher(deit),
        )


def layout(net):
    state = net.state_dict()
    names, shapes = list(state), [list(tensor.shape) for tensor in state.values()]
    return {"names": json.dumps(names), "shapes": json.dumps(shapes)}


def logits_of(net, x):
    outputs = net(x)
    return getattr(outputs, "logits", outputs), outputs


def golden(net):
    """Names and shapes of the weights, images [b, h, w, c], logits, and the gradient of the mean
    cross entropy of labels 0, 1, 2.
    """
    stored = layout(net)
    weights = torch_weights.state_dict(stored)
    net.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    net.eval()
    x = np.random.default_rng(0).standard_normal((EXAMPLES, SIDE, SIDE, 3)).astype(np.float32)
    logits, outputs = logits_of(net, torch.from_numpy(x).permute(0, 3, 1, 2))
    torch.nn.functional.cross_entropy(logits, torch.arange(EXAMPLES)).backward()
    stored |= {"x": x, "logits": logits.detach().numpy()}
    for head in ("cls_logits", "distillation_logits"):
        if hasattr(outputs, head):
            stored[head] = getattr(outputs, head).detach().numpy()
    for name, parameter in net.named_parameters():
        stored[f"grad.{name}"] = parameter.grad.numpy()
    return stored


def main():
    for name, net in miniatures():
        np.savez_compressed(FOLDER / f"{name}.npz", **golden(net))
    shapes = lambda net: {key: list(tensor.shape) for key, tensor in net.state_dict().items()}
    lines = [f"{json.dumps(name)}: {json.dumps(shapes(net))}" for name, net in full_sizes()]
    (FOLDER / "sizes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    table = np.random.default_rng(0).standard_normal((1, 2 + 9, 4)).astype(np.float32)
    resampled = {
        f"{h}x{w}": resample_abs_pos_embed(torch.from_numpy(table), (h, w), num_prefix_tokens=2)
        for h, w in ((5, 5), (2, 2), (6, 3), (1, 7))
    }
    np.savez(FOLDER / "positions.npz", table=table, **resampled)


if __name__ == "__main__":
    main()
