"""PyTorch's names of the weights of vision transformers, and the images that weights are for."""

import math
from collections.abc import Mapping
from typing import Any

from kd.errors import InputError


def _block(name: str) -> tuple[str, Any]:
    """The blocks, which count from 1 here and from 0 there."""
    return r"^block(\d+)", lambda match: f"{name}{int(match[1]) - 1}"


def _fused(name: str) -> tuple[tuple[str, str], ...]:
    """Query, key and value as the thirds of one matrix."""
    parts = enumerate(("query", "key", "value"))
    return tuple((rf"attention\.{part}$", f"{name}[{i} of 3]") for i, part in parts)


_TIMM = (
    (r"^patch$", "patch_embed.proj"),
    (r"^class_token$", "cls_token"),
    (r"^distillation_token$", "dist_token"),
    (r"^position$", "pos_embed"),
    (r"^pre_logits$", "pre_logits.fc"),
    (r"^head_distillation$", "head_dist"),
    _block("blocks."),
    *_fused("attn.qkv"),
    (r"attention\.out$", "attn.proj"),
    (r"\.up$", ".mlp.fc1"),
    (r"\.down$", ".mlp.fc2"),
)


def _torchvision(*layers: str) -> tuple[tuple[str, Any], ...]:
    """torchvision's names; `layers` are those of the two in each block's perceptron."""
    return (
        (r"^patch$", "conv_proj"),
        (r"^position$", "encoder.pos_embedding"),
        (r"^norm$", "encoder.ln"),
        (r"^(pre_logits|head)$", r"heads.\1"),
        _block("encoder.layers.encoder_layer_"),
        *_fused("self_attention.in_proj_{leaf}"),
        (r"attention\.out$", "self_attention.out_proj"),
        (r"\.norm(\d)$", r".ln_\1"),
        (r"\.up$", f".mlp.{layers[0]}"),
        (r"\.down$", f".mlp.{layers[1]}"),
    )


def _hugging_face(name: str, *classifiers: str) -> tuple[tuple[str, Any], ...]:
    """Hugging Face's names of a model type in its files; `classifiers` are its heads."""
    return (
        *_hugging_face_frame(name, *classifiers),
        _block(f"{name}.encoder.layer."),
        (r"attention\.out$", "attention.output.dense"),
        (r"attention\.(query|key|value)$", r"attention.attention.\1"),
        (r"\.up$", ".intermediate.dense"),
        (r"\.down$", ".output.dense"),
    )


def _hugging_face_5(name: str, *classifiers: str) -> tuple[tuple[str, Any], ...]:
    """The names that transformers 5 has in memory, and translates only in `save_pretrained`."""
    return (
        *_hugging_face_frame(name, *classifiers),
        _block(f"{name}.layers."),
        (r"attention\.(o|q|k|v)(?:ut|uery|ey|alue)$", r"attention.\1_proj"),
        (r"\.up$", ".mlp.fc1"),
        (r"\.down$", ".mlp.fc2"),
    )


def _hugging_face_frame(name: str, *classifiers: str) -> tuple[tuple[str, Any], ...]:
    """What the two have in common."""
    heads = zip(("head", "head_distillation"), classifiers, strict=False)
    return (
        (r"^patch$", f"{name}.embeddings.patch_embeddings.projection"),
        (r"^class_token$", f"{name}.embeddings.cls_token"),
        (r"^distillation_token$", f"{name}.embeddings.distillation_token"),
        (r"^position$", f"{name}.embeddings.position_embeddings"),
        (r"^norm$", f"{name}.layernorm"),
        *((rf"^{ours}$", theirs) for ours, theirs in heads),
        (r"\.norm1$", ".layernorm_before"),
        (r"\.norm2$", ".layernorm_after"),
    )


_VIT, _DEIT = ("vit", "classifier"), ("deit", "cls_classifier", "distillation_classifier")
HUGGING_FACE = tuple(
    make(*names) for make in (_hugging_face, _hugging_face_5) for names in (_VIT, _DEIT)
)

TORCH_NAMES = (
    _TIMM,
    _torchvision("0", "3"),
    _torchvision("linear_1", "linear_2"),  # files from before torchvision 0.13
    *HUGGING_FACE,
)


def image_of(
    settings: Mapping[str, Any], shapes: Mapping[tuple[str, ...], tuple[int, ...]]
) -> tuple[int, int, int]:
    """Height, width and channels of the images that weights are for.

    Args:
      settings: of the network that are not its defaults.
      shapes: of its variables by path; without any, the size is one that the network takes.

    Raises:
      InputError: the table of positions is of no square.
    """
    side, _, channels, _ = shapes.get(("params", "patch", "kernel"), (0, 0, 3, 0))
    table = shapes.get(("params", "position"), ())
    if not side or len(table) != 3:
        side = settings.get("patch", 7 * 64)  # which every usual patch divides
        return side, side, channels
    tokens = sum(("params", name) in shapes for name in ("class_token", "distillation_token"))
    rows = math.isqrt(max(table[1] - tokens, 0))
    if rows**2 + tokens != table[1]:
        raise InputError(
            f"the table of positions is of {table[1]} tokens, {tokens} of them no patches, which "
            "are no square: the size of the images is not known. Give a directory whose "
            "config.json says it."
        )
    return rows * side, rows * side, channels
