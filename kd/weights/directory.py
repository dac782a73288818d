"""A directory as Hugging Face's `save_pretrained` and timm write it: `config.json` and weights."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kd.errors import InputError
from kd.files.parsers import parse_json
from kd.weights import hugging_face

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of weights, the first that there is; each may be in parts, listed in `FILE.index.json`."""

_LARGEST = 2**24
"""Most bytes of a file in JSON."""


class Directory(NamedTuple):
    """A directory whose `config.json` is understood.

    Attributes:
      path: of the directory.
      network: that its files are of.
      files: paths of the files of weights, and of the files that say what they are.
      index: the file of each tensor, where the weights are in parts; else empty.
    """

    path: Path
    network: hugging_face.Network
    files: tuple[Path, ...]
    index: Mapping[str, str]

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of weights."""
        return tuple(path for path in self.files if path.suffix != ".json")

    def digests(self) -> dict[str, str]:
        """SHA-256 of each file by its name."""
        return {path.name: _sha256(path) for path in self.files}


def open_directory(path: Path) -> Directory:
    """Reads what the directory says of its network; no weights.

    Raises:
      InputError: no or another `config.json` than `kd.weights.hugging_face.network` knows; no
        weights; a part of them is missing.
    """
    config = path / "config.json"
    if not config.is_file():
        raise InputError(
            f"cannot import {path}: it is a directory without config.json. Give a directory as "
            "Hugging Face's save_pretrained writes it, or a file of weights."
        )
    preprocessor = path / "preprocessor_config.json"
    described = [config, *([preprocessor] if preprocessor.is_file() else [])]
    contents = [_object(file) for file in described]
    try:
        network = hugging_face.network(*contents)
    except InputError as error:
        raise InputError(f"cannot import {path}: config.json: {error}") from error
    except (TypeError, ValueError, AttributeError, KeyError) as error:  # values of other types
        raise InputError(
            f"cannot import {path}: config.json or preprocessor_config.json is malformed "
            f"({type(error).__name__})."
        ) from error
    for name in WEIGHTS:
        if (path / name).is_file():
            return Directory(path, network, (*described, path / name), {})
        index = path / f"{name}.index.json"
        if index.is_file():
            parts = _parts(index)
            files = sorted({path / part for part in parts.values()})
            return Directory(path, network, (*described, index, *files), parts)
    raise InputError(
        f"cannot import {path}: it has no weights; expected {' or '.join(WEIGHTS)}, or "
        f"{WEIGHTS[0]}.index.json and its parts."
    )


def check_parts(directory: Directory, part: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Raises InputError where a part has other tensors than the index says."""
    listed = {name for name, file in directory.index.items() if file == part.name}
    strange = sorted(listed ^ set(tensors))
    if directory.index and strange:
        raise InputError(
            f"cannot import {directory.path}: {part.name} and the index disagree on "
            f"{strange[0]!r}{f' and {len(strange) - 1} more' if len(strange) > 1 else ''}."
        )


def _parts(index: Path) -> dict[str, str]:
    """The file of each tensor. Raises InputError where one is missing or lies elsewhere."""
    parts = _object(index).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise InputError(f"cannot import {index}: it has no weight_map of tensors and files.")
    for part in sorted(set(map(str, parts.values()))):
        if Path(part).name != part or part.startswith("."):
            raise InputError(f"cannot import {index}: {part!r} is no file beside it.")
        if not (index.parent / part).is_file():
            count = sum(file == part for file in parts.values())
            raise InputError(
                f"cannot import {index.parent}: the part {part} with {count} of {len(parts)} "
                "tensors is missing. Download it again."
            )
    return {str(name): str(part) for name, part in parts.items()}


def _object(path: Path) -> dict[str, Any]:
    """The object in a file of JSON. Raises InputError."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"larger than {_LARGEST} bytes")
        content = parse_json(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
