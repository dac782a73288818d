"""PyTorch weights as variables of our networks: no code is run and no name is guessed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from kd import registry
from kd.errors import InputError, unknown
from kd.types import PyTree
from kd.weights import directory, layouts, safetensors, torch_file
from kd.weights.matching import Match, Network
from kd.weights.state_dicts import few

_MOST_ENTRIES = 40


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


def _read_for(path: Path, network: Network, entry: str | None) -> dict[str, np.ndarray]:
    """The state dict of a file: of several, the only one that fits the network."""
    if entry is not None or _is_safetensors(path):
        return read(path, entry)
    checkpoint = torch_file.Checkpoint(path)
    if len(checkpoint.entries) > _MOST_ENTRIES:
        raise InputError(
            f"cannot import {path}: it has {len(checkpoint.entries)} state dicts. Choose one by "
            f"--entry NAME: {few(checkpoint.entries)}."
        )
    model_name = network.name
    fits = [k for k, tensors in checkpoint.entries.items() if network.fits(tensors)]
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


def from_torch(
    model_name: str,
    state_dict: Mapping[str, np.ndarray],
    settings: Mapping[str, Any] | None = None,
) -> dict[str, PyTree]:
    """Variables of the network `model_name` from a PyTorch state dict.

    Args:
      model_name: `FAMILY.NAME`, or NAME alone where that is unique: `resnet_cifar.resnet32x4` or
        `resnet32x4`.
      state_dict: arrays under PyTorch's names and in its layouts (OIHW kernels, [out, in]
        matrices). A prefix that all names share, such as `module.`, is dropped. Names are those of
        RepDistiller and mdistiller, for `resnet` those of torchvision and timm.
      settings: of the network other than the number of classes.

    Returns:
      `{"params", "batch_stats"}`, float32, for as many classes as the classifier has rows.

    Raises:
      InputError: a name is missing or unexpected, an array has another shape, or a weight is not
        finite.
    """
    return _variables(Network(full_name(model_name), settings).match(state_dict))


def _variables(match: Match) -> dict[str, PyTree]:
    flat = {
        path: layouts.from_torch(path, where, _finite(where.name, match.state[where.name]))
        for path, where in match.sources.items()
    }
    return traverse_util.unflatten_dict(flat)


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"the weights {name} are not finite: that training diverged.")
    return array


def to_torch(model_name: str, variables: PyTree) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`: arrays under PyTorch's names, in its layouts, of the first
    naming scheme of the network's file.

    Raises:
      InputError: kd knows no PyTorch names for this network.
    """
    rules = Network(full_name(model_name)).rules[0]
    flat = traverse_util.flatten_dict(variables)
    arrays = {path: np.asarray(leaf) for path, leaf in flat.items()}
    return layouts.to_torch({path: layouts.source(path, rules) for path in arrays}, arrays)


def import_checkpoint(
    path: str | Path,
    model_name: str | None = None,
    entry: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """Variables from a checkpoint, and the record of their origin.

    Args:
      path: of a file that `read` reads, or of a directory, see `kd.weights.directory`.
      model_name: see `from_torch`; None for a directory, whose `config.json` says it.
      entry: which entry of the file holds the weights; None takes the only one that fits.
      settings: of the network other than the number of classes; None for a directory.

    Returns:
      The variables, and for the run directory `model`, the full name of the network; `num_classes`;
      `channels` of its images; `checkpoint`, the name of the file or directory; `sha256` of the
      file, of a directory that of the lines that `sha256sum` prints for `files`; `parameters`, the
      number of trained ones. Where there are any: `settings`; `image`, height and width that the
      weights are for; `mean` and `std` of the normalisation; `classes`, their names; `files` of a
      directory, the digest of each.

    Raises:
      InputError: the file or directory cannot be read, or holds another network.
    """
    path = Path(path)
    if path.is_dir():
        if model_name or settings or entry:
            raise InputError(
                f"{path}: the config.json of a directory says what the network is. Leave --model, "
                "--setting and --entry out, or give the file of weights in place of its directory."
            )
        return _import_directory(directory.open_directory(path))
    if model_name is None:
        raise InputError(
            f"{path}: say by --model which network these weights are of, such as --model "
            "resnet32x4. Only a directory with config.json says it itself."
        )
    name = full_name(model_name)
    network = Network(name, settings)
    match = network.match(_read_for(path, network, entry))
    if match.needs_config:
        raise InputError(
            f"{path}: these names are those of Hugging Face, whose config.json says what the "
            "weights do not (layer_norm_eps, hidden_act). Give the directory with both."
        )
    variables = _variables(match)
    return variables, _record(name, settings or {}, match, variables) | {
        "checkpoint": path.name,
        "sha256": sha256(path),
    }


def _import_directory(opened: directory.Directory) -> tuple[dict[str, PyTree], dict[str, Any]]:
    of = opened.network
    state: dict[str, np.ndarray] = {}
    for file in opened.weights:
        tensors = read(file)
        directory.check_parts(opened, file, tensors)
        state |= tensors
    network = Network(of.name, of.settings)
    match = network.match(state, of.image)
    variables = _variables(match)
    record = _record(of.name, of.settings, match, variables)
    known = {"mean": of.mean, "std": of.std, "classes": of.classes}
    record |= {key: list(value) for key, value in known.items() if value}
    files = opened.digests()
    lines = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    return variables, record | {
        "checkpoint": opened.path.resolve().name,
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "files": files,
    }


def _record(
    name: str, settings: Mapping[str, Any], match: Match, variables: PyTree
) -> dict[str, Any]:
    """What is known of a network, for its run directory."""
    return {
        "model": name,
        "num_classes": match.num_classes,
        "channels": match.image[-1],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        **({"settings": dict(settings)} if settings else {}),
        **({"image": list(match.image[:2])} if match.sized else {}),
    }
