"""What a `config.json` of Hugging Face's transformers or of timm says, as a network of ours.

Every key is either read, or known to leave the outputs of an evaluated network alone, or refused.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from kd.errors import InputError, unknown

type Content = Mapping[str, Any]
"""Of a file in JSON."""


class Network(NamedTuple):
    """A network of `kd.models`, and what its images are.

    Attributes:
      name: `FAMILY.NAME`.
      settings: without the number of classes.
      image: height, width and channels; None where the weights say it.
      mean: of the normalisation of pixels in [0, 1], one number for each channel; () if not known.
      std: likewise.
      classes: names of the classes in their order; () if not known.
    """

    name: str
    settings: dict[str, Any]
    image: tuple[int, int, int] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()


_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
"""Of transformers, by its name for them, and our name."""

_WITHOUT_EFFECT = (
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "dtype",
    "encoder_stride",
    "finetuning_task",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "label2id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pooler_act",
    "pooler_output_size",
    "return_dict",
    "task_specific_params",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "use_cache",
)
"""Keys of transformers' configs that say nothing of the logits: of training, and of the file."""

_ONLY = {
    "problem_type": (None, "single_label_classification"),
    "pruned_heads": ({}, None),
    "is_encoder_decoder": (False,),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "use_bfloat16": (False,),
}
"""Keys that are accepted with these values alone."""

_VIT: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
    "num_channels": 3,
    "qkv_bias": True,
}
"""Keys that decide a ViT or DeiT, and what transformers takes where they are left out."""


def _vit(config: Content, name: str) -> Network:
    """A ViT or DeiT of transformers."""
    width, hidden = _count(config, "hidden_size"), _count(config, "intermediate_size")
    activation = config["hidden_act"]
    if activation not in _ACTIVATIONS:
        raise unknown("hidden_act", activation, _ACTIVATIONS)
    epsilon = config["layer_norm_eps"]
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise InputError(f"layer_norm_eps: expected a number between 0 and 1, got {epsilon!r}.")
    if not isinstance(config["qkv_bias"], bool):
        raise InputError(f"qkv_bias: expected true or false, got {config['qkv_bias']!r}.")
    patch = _sides(config, "patch_size")
    if patch[0] != patch[1]:
        raise InputError(f"patch_size: only square patches are supported, got {patch}.")
    settings = {
        "patch": patch[0],
        "width": width,
        "depth": _count(config, "num_hidden_layers", 200),
        "heads": _count(config, "num_attention_heads"),
        "mlp_ratio": hidden / width,
        "activation": _ACTIVATIONS[activation],
        "epsilon": float(epsilon),
        "qkv_bias": config["qkv_bias"],
    }
    image = (*_sides(config, "image_size"), _count(config, "num_channels"))
    return Network(name, settings, image)


class _Type(NamedTuple):
    """A model type of transformers: its keys, its architecture with a classifier, our network."""

    keys: Mapping[str, Any]
    architecture: str
    make: Callable[[Content, str], Network]
    name: str


_TYPES = {
    "vit": _Type(_VIT, "ViTForImageClassification", _vit, "vit.ViT"),
    "deit": _Type(_VIT, "DeiTForImageClassificationWithTeacher", _vit, "vit.DeiT"),
}

_TIMM_KEYS = (
    "architecture",
    "global_pool",
    "label_descriptions",
    "label_names",
    "model_args",
    "num_classes",
    "num_features",
    "pretrained_cfg",
)
_TIMM_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}
_TIMM_SIZES["large"] = (1024, 24, 16)
_TIMM_VIT = re.compile(r"(vit|deit)_(tiny|small|base|large)(_distilled)?_patch(\d+)_(\d+)")
_TIMM_RESNETS = ("resnet18", "resnet34", "resnet50")


def network(config: Content, preprocessor: Content | None = None) -> Network:
    """The network of a `config.json`.

    Args:
      config: content of the file.
      preprocessor: of the `preprocessor_config.json` beside it, which has the normalisation; timm
        has that in its `config.json`.

    Raises:
      InputError: a model type, an architecture, a key or a value that is not known.
    """
    if "model_type" not in config and "architecture" in config:
        return _of_timm(config)
    kind = config.get("model_type")
    if kind not in _TYPES:
        raise InputError(
            f"model_type {kind!r} is not known; known are {', '.join(_TYPES)}, and timm's "
            "directories of ViT, DeiT and ResNet by their architecture."
        )
    of = _TYPES[kind]
    architectures = config.get("architectures")
    if architectures is not None and architectures != [of.architecture]:
        raise InputError(
            f"architectures {architectures!r} is not supported of model_type {kind!r}: expected "
            f"[{of.architecture!r}], a network with its classifier."
        )
    keys = ("model_type", "architectures", *of.keys, *_ONLY, *_WITHOUT_EFFECT)
    _check_keys(config, keys)
    for key, values in _ONLY.items():
        if key in config and config[key] not in values:
            raise InputError(f"{key}: only {values[-1]!r} is supported, got {config[key]!r}.")
    net = of.make({**of.keys, **config}, of.name)
    mean, std = _normalisation(preprocessor or {}, net.image[2] if net.image else 3)
    return net._replace(mean=mean, std=std, classes=_classes(config.get("id2label")))


def _of_timm(config: Content) -> Network:
    """The network of a directory that timm wrote."""
    _check_keys(config, _TIMM_KEYS)
    name = config["architecture"]
    pretrained = config.get("pretrained_cfg") or {}
    mean, std = (_numbers(pretrained, key, 3) for key in ("mean", "std"))
    arguments = dict(config.get("model_args") or {})
    channels = arguments.pop("in_chans", 3)
    match = _TIMM_VIT.fullmatch(name) if isinstance(name, str) else None
    image = None
    if match:
        width, depth, heads = _TIMM_SIZES[match[2]]
        settings = {"patch": int(match[4]), "width": width, "depth": depth, "heads": heads}
        if "img_size" in arguments:
            image = (*_sides(arguments, "img_size"), _count({"in_chans": channels}, "in_chans"))
            del arguments["img_size"]
        net = Network("vit.DeiT" if match[3] else "vit.ViT", settings, image)
        pools: tuple[Any, ...] = ("token", None)
    elif name in _TIMM_RESNETS:
        net, pools = Network(f"resnet.{name}", {}), ("avg", None)
    else:
        raise InputError(
            f"architecture {name!r} of timm is not known; known are "
            "vit_SIZE_patchN_SIZE, deit_SIZE_patchN_SIZE, deit_SIZE_distilled_patchN_SIZE (tiny, "
            f"small, base, large), {', '.join(_TIMM_RESNETS)}."
        )
    for pool in (config.get("global_pool"), arguments.pop("global_pool", None)):
        if pool not in pools:
            raise InputError(
                f"global_pool: only {pools[0]!r} is supported of {name}, got {pool!r}."
            )
    for key in ("num_classes", "drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate"):
        arguments.pop(key, None)  # of training, or in the weights
    if arguments:
        raise InputError(
            f"model_args: {', '.join(map(repr, arguments))} change {name} in ways that kd does not "
            "know."
        )
    return net._replace(mean=mean, std=std)


def _normalisation(content: Content, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of a `preprocessor_config.json`, () where it has none."""
    factor = content.get("rescale_factor", 1 / 255)
    rescaled = content.get("do_rescale", True) is True and abs(factor * 255 - 1) < 1e-6
    if not rescaled or content.get("rescale_offset"):
        raise InputError(
            "preprocessor_config.json: pixels are not scaled to [0, 1] before the normalisation, "
            "and only that is supported (do_rescale, rescale_factor 1/255)."
        )
    if not content.get("do_normalize", True):
        return (0.0,) * channels, (1.0,) * channels
    return _numbers(content, "image_mean", channels), _numbers(content, "image_std", channels)


def _classes(names: Any) -> tuple[str, ...]:
    """The names of `id2label` in their order; () unless they are one for each class."""
    if not isinstance(names, Mapping):
        return ()
    return tuple(str(names[str(i)]) for i in range(len(names)) if str(i) in names)


def _numbers(content: Content, key: str, channels: int) -> tuple[float, ...]:
    values = content.get(key, ())
    is_list = isinstance(values, list | tuple) and len(values) in (0, channels)
    if not is_list or any(isinstance(x, bool) or not isinstance(x, int | float) for x in values):
        raise InputError(f"{key}: expected {channels} numbers, got {values!r}.")
    if key.endswith("std") and any(x <= 0 for x in values):
        raise InputError(f"{key}: expected numbers above 0, got {values!r}.")
    return tuple(float(x) for x in values)


def _count(config: Content, key: str, most: int = 2**16) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InputError(f"{key}: expected a whole number from 1 to {most}, got {value!r}.")
    return value


def _sides(config: Content, key: str) -> tuple[int, int]:
    """Height and width, from one number or two."""
    value = config[key]
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    height, width = (_count({key: side}, key) for side in sides)
    return height, width


def _check_keys(config: Content, known: Iterable[str]) -> None:
    """Raises InputError for a key that is not known."""
    strange = sorted(set(config) - set(known))
    if strange:
        more = ", ..." if len(strange) > 5 else ""
        raise InputError(
            f"{', '.join(map(repr, strange[:5]))}{more}: kd does not know what this changes in the "
            "network. Remove it if it changes nothing."
        )
