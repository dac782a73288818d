"""PyTorch weights as variables of our networks: no code is run and no name is guessed."""

import hashlib
import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from kd import registry
from kd.errors import InputError, unknown
from kd.types import PyTree
from kd.weights import safetensors, torch_file
from kd.weights.state_dicts import few

# Flax's names of a layer's arrays, and PyTorch's.
_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_MOST_PREFIXES, _MOST_ENTRIES = 6, 40


def read(path: str | Path, entry: str | None = None) -> dict[str, np.ndarray]:
    """The state dict of a `.pth`, `.pt` or `.safetensors` file, by PyTorch's names, read-only.

    The content decides which format it is, not the suffix.

    Args:
      path: of the file.
      entry: which entry of a PyTorch file holds the state dict; None takes the only one that does.

    Raises:
      InputError: the file cannot be read, is damaged, has another format, or holds several state
        dicts.
    """
    path = Path(path)
    if not _is_safetensors(path):
        return torch_file.read(path, entry)
    if entry is not None:
        raise InputError(f"--entry {entry}: {path} is a safetensors file, which has no entries.")
    return safetensors.read(path)


def _is_safetensors(path: Path) -> bool:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"cannot read {path}: it is no regular file.")
        with path.open("rb") as file:
            return safetensors.matches(file.read(16))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}.") from error


def _read_for(path: Path, model_name: str, entry: str | None) -> dict[str, np.ndarray]:
    """The state dict of a file: of several, the only one that fits the network."""
    if entry is not None or _is_safetensors(path):
        return read(path, entry)
    checkpoint = torch_file.Checkpoint(path)
    if len(checkpoint.entries) > _MOST_ENTRIES:
        raise InputError(
            f"cannot import {path}: it has {len(checkpoint.entries)} state dicts. Choose one by "
            f"--entry NAME: {few(checkpoint.entries)}."
        )
    layouts = _layouts(model_name)
    fits = [k for k, tensors in checkpoint.entries.items() if _fits(model_name, layouts, tensors)]
    if len(fits) > 1:
        raise InputError(
            f"cannot import {path}: weights of {model_name} are in several of its entries, "
            f"{few(fits)}. Choose one by --entry NAME."
        )
    names = fits or list(checkpoint.entries)
    if len(names) > 1:
        raise InputError(
            f"cannot import {path}: none of its entries, {few(names)}, holds the weights of "
            f"{model_name}. Choose another --model, or --entry NAME to see what differs."
        )
    return checkpoint.arrays(names[0])


def _fits(model_name: str, layouts: list[dict[Any, str]], state: Mapping[str, Any]) -> bool:
    """Whether names and shapes of a state dict are those of the network."""
    count = sum(not name.endswith("num_batches_tracked") for name in state)
    if all(count != len(layout) for layout in layouts):
        return False  # known without computing shapes
    try:
        _matched(model_name, state)
    except InputError:
        return False
    return True


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def full_name(model_name: str) -> str:
    """`FAMILY.NAME` of a network, from the full name or from a NAME that only one family has.

    Raises:
      InputError: no such network, or several families have that name.
    """
    if "." in model_name:
        registry.find("kd.models", model_name)
        return model_name
    known = registry.known("kd.models")
    matches = [name for name in known if name.partition(".")[2] == model_name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise InputError(f"{model_name!r} is in more than one family: {', '.join(matches)}.")
    raise unknown("model", model_name, known)


def from_torch(model_name: str, state_dict: Mapping[str, np.ndarray]) -> dict[str, PyTree]:
    """Variables of the network `model_name` from a PyTorch state dict.

    Args:
      model_name: `FAMILY.NAME`, or NAME alone where that is unique: `resnet_cifar.resnet32x4` or
        `resnet32x4`.
      state_dict: arrays under PyTorch's names and in its layouts (OIHW kernels, [out, in]
        matrices). A prefix that all names share, such as `module.`, is dropped. Names are those of
        RepDistiller and mdistiller, for `resnet` those of torchvision and timm.

    Returns:
      `{"params", "batch_stats"}`, float32, for as many classes as the classifier has rows.

    Raises:
      InputError: a name is missing or unexpected, an array has another shape, or a weight is not
        finite.
    """
    names, state = _matched(full_name(model_name), state_dict)
    flat = {path: _convert(name, state[name]) for path, name in names.items()}
    return traverse_util.unflatten_dict(flat)


def _matched(
    model_name: str, state_dict: Mapping[str, Any]
) -> tuple[dict[tuple[str, ...], str], dict[str, Any]]:
    """PyTorch's name of each variable, and the state dict without a prefix of its names.

    Raises:
      InputError: names or shapes are not those of the network.
    """
    state = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    layouts = _layouts(model_name)
    state = max(_without_prefixes(state), key=lambda state: _common(state, layouts))
    names = max(layouts, key=lambda layout: _common(state, [layout]))
    bias = state.get(names["params", "head", "bias"])
    shapes = _shapes(model_name, None if bias is None or len(bias.shape) != 1 else bias.shape[0])
    expected = {names[path]: _torch_shape(leaf.shape) for path, leaf in shapes.items()}
    _compare(model_name, expected, state)
    return {path: names[path] for path in shapes}, state


def _common(state: Mapping[str, Any], layouts: Iterable[Mapping[Any, str]]) -> int:
    """The number of names that a state dict has in common with the layout most like it."""
    return max(len(state.keys() & set(layout.values())) for layout in layouts)


def import_checkpoint(
    path: str | Path, model_name: str, entry: str | None = None
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """Variables from a checkpoint file, and the record of their origin.

    Args:
      path: of a file that `read` reads.
      model_name: see `from_torch`.
      entry: which entry of the file holds the weights; None takes the only one that fits.

    Returns:
      The variables, and `{"model", "num_classes", "checkpoint", "sha256", "parameters"}` for the
      run directory: the full name of the network, its classes, the name of the file without its
      directory, its digest, and the number of trained parameters.
    """
    variables = from_torch(model_name, _read_for(Path(path), full_name(model_name), entry))
    params = variables["params"]
    return variables, {
        "model": full_name(model_name),
        "num_classes": int(params["head"]["bias"].shape[0]),
        "checkpoint": Path(path).name,
        "sha256": sha256(path),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
    }


def _without_prefixes(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a state dict as it is, then without the first part of its names, as long as all have
    the same: `module.` of DataParallel, `_orig_mod.` of a compiled network, `model.`, ...
    """
    yield state
    for _ in range(_MOST_PREFIXES):
        if len({name.partition(".")[0] for name in state}) != 1:
            return
        state = {name.partition(".")[2]: value for name, value in state.items()}
        if "" in state:
            return
        yield state


def _shapes(model_name: str, num_classes: int | None) -> dict[tuple[str, ...], Any]:
    """Shapes of the network's variables by their path, computed without any weights."""
    options = {} if num_classes is None else {"num_classes": num_classes}
    net = registry.make(registry.find("kd.models", model_name), options, model_name)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    return traverse_util.flatten_dict(variables)


def torch_names(model_name: str) -> dict[tuple[str, ...], str]:
    """PyTorch's name of each variable of a network `FAMILY.NAME`, in the first scheme of its file.

    Raises:
      InputError: the file has no table `TORCH_NAMES`.
    """
    return _layouts(model_name)[0]


def _layouts(model_name: str) -> list[dict[tuple[str, ...], str]]:
    """PyTorch's name of each variable, in each naming scheme."""
    module = f"kd.models.{model_name.partition('.')[0]}"
    if importlib.util.find_spec(module) is None:
        module = model_name.rpartition(".")[0]  # a network by dotted path
    schemes = getattr(importlib.import_module(module), "TORCH_NAMES", None)
    if schemes is None:
        raise InputError(
            f"kd knows no PyTorch names for {model_name}: its file has no table TORCH_NAMES."
        )
    paths = list(_shapes(model_name, None))
    return [{path: _torch_name(path, rules) for path in paths} for rules in schemes]


def _torch_name(path: tuple[str, ...], rules: Iterable[tuple[str, Any]]) -> str:
    _, *layers, leaf = path
    name = ".".join(layers)
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return f"{name}.{_LEAVES[leaf]}"


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[kh, kw, in, out] as [out, in, kh, kw]; [in, out] as [out, in]."""
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _convert(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"the weights {name} are not finite: that training diverged.")
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T)


def _compare(
    model_name: str, expected: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray]
) -> None:
    """Raises InputError where names or shapes of a state dict are not those of the network."""
    # Kernels first: they say most about the architecture.
    expected = dict(sorted(expected.items(), key=lambda item: (-len(item[1]), item[0])))
    both = expected.keys() & state.keys()
    shapes = [
        f"{k} is {list(state[k].shape)} in place of {list(expected[k])}"
        for k in expected
        if k in both and tuple(state[k].shape) != expected[k]
    ]
    faults = {
        "missing": [k for k in expected if k not in both],
        "not of this network": [k for k in state if k not in both],
        "of another shape": shapes,
    }
    if any(faults.values()):
        differences = "; ".join(f"{len(v)} {k}: {_few(v)}" for k, v in faults.items() if v)
        raise InputError(f"these are not the weights of {model_name}: {differences}.")


def _few(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(repr(item)[1:-1][:80] for item in items[:3]) + more
