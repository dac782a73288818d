"""What trained networks say about the training images, asked once and stored, valid where images
are augmented.

What augmentation does to an image depends on the seed, the epoch and the image alone. Where its
epochs repeat, every `config.teacher.cache_window` of them, a network has only so many views to
speak about: answers are [s, m, w, n, ...] of s students, m networks, w epochs and n images. Without
augmentation there is one view, the same for all students: [m, 1, n, ...].

A cache is a directory with `cache.json`, which says what it was made of, and a file of arrays for
each seed, so that other runs of the same teacher share it and one that was cut off goes on with the
next seed.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Sharding

from kd.config import ConfigDict
from kd.data.augment import make_augment
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.init import state_key
from kd.runs.record import Progress
from kd.teachers.codec import encode
from kd.train.program import seed_keys
from kd.types import PyTree

type Ask = Callable[[jax.Array, int], dict[str, np.ndarray]]
"""`ask(key, epoch)`: what all networks say about all images in that epoch of a student with that
key, each [m, n, ...].
"""


def precision(config: ConfigDict) -> str:
    """How answers are stored; "" where none are."""
    cache = config.teacher.cache
    return "float32" if cache is True else cache or ""


def window(config: ConfigDict) -> int:
    """Epochs of views that there are to store, 1 where all are the same.

    Raises:
      InputError: they do not repeat, or a batch shows two of each image.
    """
    if config.second_view:
        raise InputError(
            f"config.teacher.cache: second_view = {config.second_view!r} shows the teacher two "
            "views of each image, and answers are about one. Leave one of the two out."
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
    """Raises InputError where a teacher cannot be asked once, as far as the config tells: before
    one is trained.
    """
    if not precision(config):
        return
    if config.teacher.name == "ema":
        raise InputError(
            "config.teacher.cache: a mean of the student's own weights changes with every update, "
            "so that it cannot be asked once. Leave cache out."
        )
    window(config)


def per_seed(config: ConfigDict) -> bool:
    """Whether each student has answers of its own."""
    return bool(precision(config) and config.augment)


def facts(config: ConfigDict, weights: str, data: str) -> dict[str, Any]:
    """Content of `cache.json`: all that answers depend on but the seed; of jax because another
    version may draw other views.

    Args:
      config: of the run.
      weights: fingerprint of the networks.
      data: of the training images.
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


def make_ask(
    each: Callable[[PyTree, PyTree, Any], Any],
    variables: PyTree,
    config: ConfigDict,
    dataset: Dataset,
    place: Sharding,
) -> Ask:
    """Asks networks `each(variables [m, ...], (), batch) -> logits [m, b, c]`.

    Raises:
      InputError: pictures that are decoded as they are needed.
    """
    image = dataset.train.image
    if isinstance(image, Pictures):
        raise InputError(
            "config.teacher.cache: pictures that are decoded as they are needed are cropped anew "
            "in each epoch. Leave it out."
        )
    augment = make_augment(config.augment, dataset.mean, dataset.std)
    n, size = len(image), min(config.eval_batch_size, len(image))
    images = jax.device_put(image, place) if place.is_fully_addressable else image

    @partial(jax.jit, out_shardings=place)
    def batch(variables: PyTree, images: Any, key: Any, epoch: Any, first: Any) -> Any:
        index = jnp.minimum(first + jnp.arange(size), n - 1)
        examples = {"image": images[index], "index": index, "epoch": epoch}
        logits = each(variables, (), augment(state_key(key), examples))
        return encode(logits, precision(config))

    def ask(key: jax.Array, epoch: int) -> dict[str, np.ndarray]:
        parts = [
            jax.device_get(batch(variables, images, key, jnp.int32(epoch), jnp.int32(i)))
            for i in range(0, n, size)
        ]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, :n] for name in parts[0]
        }

    return ask


def answers(
    ask: Ask, config: ConfigDict, made: Mapping[str, Any], run: epath.Path, name: str
) -> dict[str, np.ndarray]:
    """All answers, read from the cache as far as they are there, else asked for, and written where
    `config.teacher.cache` says so.

    Args:
      ask: asks about one epoch.
      config: of the run.
      made: from `facts`.
      run: directory of the teacher's run, in which caches lie where `config.teacher.cache_dir`
        names no other place.
      name: of this group of networks among several, a directory in that place; "" for the only one.

    Raises:
      InputError: the cache there was made of something else, or is damaged.
    """
    there = None
    if config.teacher.cache is not True and jax.process_count() == 1:
        text = json.dumps(made, sort_keys=True)
        key = f"{made['precision']}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        own = config.teacher.cache_dir
        there = epath.Path(own) / name if own else run / "outputs" / key
        _claim(there, made)
    seeds = range(config.seed, config.seed + config.seeds)
    if not per_seed(config):
        return _of_seed(ask, config, there, "all", seeds[0])
    each = [_of_seed(ask, config, there, f"seed{i}", i) for i in seeds]
    return {part: np.stack([one[part] for one in each]) for part in each[0]}


def _of_seed(
    ask: Ask, config: ConfigDict, there: epath.Path | None, name: str, seed: int
) -> dict[str, np.ndarray]:
    """Answers [m, w, n, ...] for one student."""
    file = None if there is None else there / f"{name}.npz"
    if file is not None and file.exists():
        return _read(file)
    key, epochs = seed_keys(seed, 1)[0], window(config)
    progress = Progress(f"asking the teacher, {name}", epochs, 0)
    found = []
    for epoch in range(epochs):
        found.append(ask(key, epoch))
        progress.update(epoch + 1)
    whole = {part: np.stack([one[part] for one in found], axis=1) for part in found[0]}
    if file is not None:
        temporary = file.parent / f".{name}.{os.getpid()}.part"
        with temporary.open("wb") as out:
            np.savez(out, **whole)  # pyrefly: ignore
        temporary.replace(file)
    return whole


def _claim(there: epath.Path, made: Mapping[str, Any]) -> None:
    """Makes the directory this cache's. Raises InputError where it is one of something else."""
    path = there / "cache.json"
    if not path.exists():
        if there.exists() and any(not p.name.startswith(".") for p in there.iterdir()):
            raise InputError(
                f"{there} holds files and no cache.json: not a cache. Give another "
                "config.teacher.cache_dir."
            )
        there.mkdir(parents=True, exist_ok=True)
        temporary = there / f".cache.json.{os.getpid()}.part"
        temporary.write_text(json.dumps(made, indent=2) + "\n")
        temporary.replace(path)
        return
    try:
        theirs = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}. Remove {there}.") from error
    differ = [key for key in made if theirs.get(key) != made[key]]
    if differ:
        which = ", ".join(f"{k} {theirs.get(k)!r}, here {made[k]!r}" for k in differ)
        raise InputError(
            f"{there}: the cache was made with another {' and '.join(differ)} ({which}). Give "
            "another config.teacher.cache_dir, or remove it."
        )


def _read(file: epath.Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} cannot be read: {error}. Remove it: it is made again.") from error


def names(count: int) -> Sequence[str]:
    """Names of the caches of so many groups, see `answers`."""
    return [""] if count == 1 else [f"group{i}" for i in range(count)]
