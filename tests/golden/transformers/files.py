"""Writes the files that `kd import` reads, in miniature: `python files.py`, beside `files/`.

It runs in the environment of `generate.py`. The libraries write them as they write any network:
Hugging Face's `save_pretrained`, in one part and in several, `torch.save` and safetensors.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from generate import HF, SIDE, TIMM, TORCHVISION
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

FILES = Path(__file__).parent / "files"
sys.path.insert(0, str(FILES.parents[1]))

from models import torch_weights  # noqa: E402


def filled(net):
    """The network in evaluation mode with weights that are drawn from their names."""
    state = {k: torch_weights.weight(k, tuple(v.shape)) for k, v in net.state_dict().items()}
    net.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    return net.eval()


def main():
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    x = np.random.default_rng(0).standard_normal((2, SIDE, SIDE, 3)).astype(np.float32)
    logits = {"x": x}

    def keep(name, net):
        with torch.no_grad():
            outputs = net(torch.from_numpy(x).permute(0, 3, 1, 2))
        logits[name] = getattr(outputs, "logits", outputs).numpy()

    vit = filled(ViTForImageClassification(ViTConfig(**HF)))
    vit.save_pretrained(FILES / "hf_vit")
    moments = dict(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4])
    ViTImageProcessor(**moments).save_pretrained(FILES / "hf_vit")
    keep("hf_vit", vit)
    settings = HF | dict(hidden_act="gelu_pytorch_tanh", qkv_bias=False, layer_norm_eps=1e-5)
    deit = filled(DeiTForImageClassificationWithTeacher(DeiTConfig(**settings)))
    deit.save_pretrained(FILES / "hf_deit", max_shard_size="14kB")
    keep("hf_deit", deit)
    vit = filled(VisionTransformer(**TIMM))
    torch.save(vit.state_dict(), FILES / "timm_vit.pth")
    keep("timm_vit", vit)
    deit = filled(VisionTransformerDistilled(**TIMM))
    save_file(deit.state_dict(), FILES / "timm_deit.safetensors")
    keep("timm_deit", deit)
    vit = filled(TorchvisionViT(**TORCHVISION))
    torch.save({"model": vit.state_dict(), "epoch": 3}, FILES / "torchvision_vit.pth")
    keep("torchvision_vit", vit)
    np.savez(FILES / "logits.npz", **logits)


if __name__ == "__main__":
    main()
