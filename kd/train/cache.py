"""Cache of teacher logits on the training set, one entry per augmented view.

What augmentation does to an image depends on the seed, the epoch and the image alone. Where its
epochs repeat, every `config.teacher.cache_window` of them, a network sees a limited number of
views: the logits are [s, m, w, n, ...] for s students, m networks, w epochs and n images. Without
augmentation there is one view, the same for all students: [m, 1, n, ...].

A cache is a directory with `cache.json`, which says what it was computed from, and a file of arrays
for each seed. Runs with the same teacher share it, and an interrupted run continues with the next
seed.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Sharding

from kd import signals
from kd.config import ConfigDict
from kd.data.augment import make_augment
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.devices import options, processes
from kd.errors import InputError
from kd.files.parsers import parse_json, parse_npz
from kd.files.writing import refusals, replacing
from kd.init import state_key
from kd.runs.progress import Progress
from kd.teachers.codec import encode
from kd.train.program import seed_keys
from kd.types import PyTree

type EpochLogits = Callable[[jax.Array, int], dict[str, np.ndarray]]
"""`epoch_logits(key, epoch)`: logits of all networks on all images, as that epoch of a student with
that key shows them, encoded, [m, n, ...].
"""


def precision(config: ConfigDict) -> str:
    """How logits are stored, see `kd.teachers.codec`; "" without a cache."""
    cache = config.teacher.cache
    return "float32" if cache is True else cache or ""


def window(config: ConfigDict) -> int:
    """Number of epochs whose views are cached, 1 where all epochs show the same.

    Raises:
      InputError: the epochs do not repeat, or a batch shows two views of each image.
    """
    if config.second_view:
        raise InputError(
            f"config.teacher.cache: second_view = {config.second_view!r} shows the teacher two "
            "views of each image, and the cache holds one. Leave one of the two out."
        )
    if config.mix:
        raise InputError(
            f"config.teacher.cache: mix = {config.mix!r} shows the teacher mixtures of two images, "
            "drawn anew in every step, and the cache holds single images. Leave one of the two out."
        )
    if not config.augment:
        return 1
    if not config.teacher.cache_window:
        raise InputError(
            f"config.teacher.cache: with augment = {config.augment!r} no two epochs show the "
            "teacher the same images. Let them repeat, as with config.teacher.cache_window = 10, "
            "or leave one of the two out."
        )
    return min(config.teacher.cache_window, config.epochs)


def check(config: ConfigDict) -> None:
    """Raises InputError for a cache that the config makes impossible, before training."""
    if precision(config):
        window(config)


def per_seed(config: ConfigDict) -> bool:
    """Whether each student has cached logits of its own views."""
    return bool(precision(config) and config.augment)


def facts(config: ConfigDict, weights: str, data: str) -> dict[str, Any]:
    """Content of `cache.json`: all that the logits depend on except the seed.

    Includes the version of jax, as another one may draw other views.

    Args:
      config: of the run.
      weights: hash of the networks.
      data: hash of the training images.
    """
    return {
        "teacher": weights,
        "data": data,
        "augmentation": config.augment,
        "window": window(config),
        "precision": precision(config),
        "networks": config.precision,
        "jax": jax.__version__,
    }


def make_epoch_logits(
    apply: Callable[[PyTree, PyTree, Any], Any],
    variables: PyTree,
    config: ConfigDict,
    dataset: Dataset,
    place: Sharding,
) -> EpochLogits:
    """Evaluates networks on the training set.

    Args:
      apply: `apply(variables [m, ...], (), batch) -> logits [m, b, c]`.
      variables: of the networks, [m, ...].
      config: of the run.
      dataset: of the run.
      place: of images and logits on the devices.

    Raises:
      InputError: images that are decoded from files during training; or, from the function that
        is returned, logits that float16 does not hold.
    """
    image = dataset.train.image
    if isinstance(image, Pictures):
        raise InputError(
            "config.teacher.cache: images that are decoded during training are cropped anew in "
            "each epoch. Leave it out."
        )
    augment = make_augment(config.augment, dataset.mean, dataset.std)
    n, size = len(image), min(config.eval_batch_size, len(image))
    images = jax.device_put(image, place) if place.is_fully_addressable else image

    @partial(options.jit, out_shardings=place)
    def batch(variables: PyTree, images: Any, key: Any, epoch: Any, first: Any) -> Any:
        index = jnp.minimum(first + jnp.arange(size), n - 1)
        examples = {"image": images[index], "index": index, "epoch": epoch}
        logits = apply(variables, (), augment(state_key(key), examples))
        return encode(logits, precision(config))

    def epoch_logits(key: jax.Array, epoch: int) -> dict[str, np.ndarray]:
        parts = [
            jax.device_get(batch(variables, images, key, jnp.int32(epoch), jnp.int32(i)))
            for i in range(0, n, size)
        ]
        stored = {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, :n] for name in parts[0]
        }
        check_range(stored, config)
        return stored

    return epoch_logits


def check_range(stored: Mapping[str, np.ndarray], config: ConfigDict) -> None:
    """Raises InputError for logits that float16 does not hold."""
    if precision(config) == "float16" and np.isinf(stored["logits"]).any():
        raise InputError(
            "config.teacher.cache = 'float16': the teacher has logits beyond 65,504, which "
            "float16 does not hold. Take 'float32'."
        )


def load_or_compute(
    epoch_logits: EpochLogits,
    config: ConfigDict,
    facts: Mapping[str, Any],
    run: epath.Path,
    name: str,
) -> dict[str, np.ndarray]:
    """Logits for all views: read from the cache, else computed, and stored if the config says so.

    Args:
      epoch_logits: computes those of one epoch.
      config: of the run.
      facts: from `facts`.
      run: directory of the teacher's run, which holds the cache unless `config.teacher.cache_dir`
        names another.
      name: subdirectory of `cache_dir` for this group of networks, see `names`.

    Raises:
      InputError: the cache was computed from something else, or is damaged.
    """
    directory = None
    if config.teacher.cache is not True and jax.process_count() == 1:
        text = json.dumps(facts, sort_keys=True)
        key = f"{facts['precision']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        cache_dir = config.teacher.cache_dir
        directory = epath.Path(cache_dir) / name if cache_dir else run / "outputs" / key
        _claim(directory, facts)
    seeds = range(config.seed, config.seed + config.seeds)
    if not per_seed(config):
        return _of_seed(epoch_logits, config, directory, "all", seeds[0])
    students = [_of_seed(epoch_logits, config, directory, f"seed{i}", i) for i in seeds]
    return {part: np.stack([logits[part] for logits in students]) for part in students[0]}


def _of_seed(
    epoch_logits: EpochLogits,
    config: ConfigDict,
    directory: epath.Path | None,
    name: str,
    seed: int,
) -> dict[str, np.ndarray]:
    """Logits [m, w, n, ...] for one student."""
    file = None if directory is None else directory / f"{name}.npz"
    if file is not None and file.exists():
        return _read(file)
    key, epochs = seed_keys(seed, 1)[0], window(config)
    stream = None if processes.is_writer() else io.StringIO()
    title = f"logits of the teacher, {name}"
    progress = Progress(title, epochs, 0, stream, steps_per_epoch=1)
    computed = []
    with contextlib.closing(progress):
        for epoch in range(epochs):
            computed.append(epoch_logits(key, epoch))
            progress.update(epoch + 1)
            signals.poll()
    arrays = {part: np.stack([logits[part] for logits in computed], 1) for part in computed[0]}
    if file is not None:
        with replacing(file) as temporary, temporary.open("wb") as out:
            np.savez(out, **arrays)  # pyrefly: ignore
    return arrays


def _claim(directory: epath.Path, facts: Mapping[str, Any]) -> None:
    """Makes the directory a cache with these facts. Raises InputError if it is another one."""
    path = directory / "cache.json"
    if not path.exists():
        if directory.exists() and any(not p.name.startswith(".") for p in directory.iterdir()):
            raise InputError(
                f"{directory} holds files and no cache.json: not a cache. Give another "
                "config.teacher.cache_dir."
            )
        with refusals(directory):
            directory.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(facts, indent=2) + "\n")
        return
    try:
        stored = parse_json(path.read_bytes())
        if not isinstance(stored, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}. Remove {directory}.") from error
    differ = [key for key in facts if stored.get(key) != facts[key]]
    if differ:
        which = ", ".join(f"{k} {stored.get(k)!r}, here {facts[k]!r}" for k in differ)
        raise InputError(
            f"{directory}: the cache was made with another {' and '.join(differ)} ({which}). Give "
            "another config.teacher.cache_dir, or remove it."
        )


def _read(file: epath.Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as content:
            return parse_npz(content)
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read: {error}. Remove it: it is computed again."
        raise InputError(message) from error


def names(count: int) -> Sequence[str]:
    """Names of the caches of so many groups, see `load_or_compute`."""
    return [""] if count == 1 else [f"group{i}" for i in range(count)]
