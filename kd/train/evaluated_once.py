"""Teachers whose logits are computed before the training: on every view of every training image."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from kd import teachers
from kd.config import ConfigDict
from kd.data.augment import make_augment
from kd.data.base import Dataset
from kd.data.pictures import Pictures
from kd.errors import InputError
from kd.init import state_key
from kd.runs.networks import weights_hash
from kd.teachers.codec import encode
from kd.train import cache, own_function
from kd.train.run_teacher import RunTeacher


def check(config: ConfigDict, dataset: Dataset, what: str) -> None:
    """Raises InputError where the student sees images that cannot be evaluated before.

    Args:
      config: of the run.
      dataset: of the run.
      what: the teacher, as the subject of a sentence.
    """
    if isinstance(dataset.train.image, Pictures):
        raise InputError(
            f"config.teacher: images of data set {config.data.name} are decoded during training "
            f"and cropped anew in each epoch, and {what} is evaluated before. Take a teacher that "
            "can be evaluated in the step: config.teacher.run, or a JAX function as "
            "config.teacher.apply."
        )
    if config.mix:
        raise InputError(
            f"config.mix = {config.mix!r} mixes images anew in every step, and {what} is evaluated "
            "before. Leave mix out, or take a teacher that can be evaluated in the step: "
            "config.teacher.run, or a JAX function as config.teacher.apply."
        )
    if config.second_view:
        raise InputError(
            f"config.second_view = {config.second_view!r} shows two views of each image, and "
            f"{what} is evaluated before, on one. Leave second_view out, or take a teacher that "
            "can be evaluated in the step: config.teacher.run, or a JAX function as "
            "config.teacher.apply."
        )
    if config.augment and not config.teacher.cache_window:
        raise InputError(
            f"config.augment = {config.augment!r} shows other images in every epoch, and {what} is "
            "evaluated before. Let them repeat, as with config.teacher.cache_window = 10, or leave "
            "augment out, or take a teacher that can be evaluated in the step: config.teacher.run, "
            "or a JAX function as config.teacher.apply."
        )
    if isinstance(config.teacher.cache, str) and not config.teacher.cache_dir:
        raise InputError(
            f"config.teacher.cache = {config.teacher.cache!r} writes a directory, and this teacher "
            "has none of its own. Name one in config.teacher.cache_dir, or set cache to True, "
            "which keeps the logits in memory."
        )


def evaluate(
    function: Callable, config: ConfigDict, dataset: Dataset, what: str, identity: str = ""
) -> RunTeacher:
    """The teacher that answers with the logits that a function of NumPy arrays gave.

    Args:
      function: of normalised images [b, ...] to logits [b, c].
      config: of the run, see `check`.
      dataset: of the run.
      what: the teacher in messages.
      identity: what identifies it, for a cache on disk; "": its logits of the first images.

    Raises:
      InputError: logits that are not finite, or none.
    """
    config = ConfigDict(config.to_dict())
    with config.ignore_type():
        config.teacher.cache = config.teacher.cache or True
    test = own_function.evaluate(function, dataset, what, "test")
    _check_finite(test, what, "test")
    identity = identity or weights_hash(own_function.probe(function, dataset, what))
    facts = cache.facts(config, identity, weights_hash(dataset.train))
    facts |= {"of": [*dataset.mean, *dataset.std]}
    epoch_logits = _epoch_logits(function, config, dataset, what)
    stored = cache.load_or_compute(epoch_logits, config, facts, epath.Path(), "")
    per_student = cache.per_seed(config)
    only = jax.tree.map(lambda x: jnp.asarray(x[:, 0] if per_student else x[0]), stored)
    return RunTeacher(
        teachers.cached(dataset.num_classes),
        only,
        member_weights=(1.0,),
        per_student=per_student,
        evaluated=test[None],
    )


def _epoch_logits(
    function: Callable, config: ConfigDict, dataset: Dataset, what: str
) -> cache.EpochLogits:
    image, n = dataset.train.image, len(dataset.train.label)
    augment = make_augment(config.augment, dataset.mean, dataset.std)
    size = min(config.eval_batch_size, n)

    @partial(jax.jit)
    def view(image: Any, key: Any, epoch: Any, index: Any) -> Any:
        examples = {"image": image, "index": index, "epoch": epoch}
        return augment(state_key(key), examples)["image"]

    def epoch_logits(key: jax.Array, epoch: int) -> dict[str, np.ndarray]:
        parts = []
        for first in range(0, n, size):
            index = np.minimum(first + np.arange(size), n - 1)
            seen = np.asarray(view(image[index], key, jnp.int32(epoch), index))
            logits = own_function.logits(function, seen, dataset, what)
            _check_finite(logits, what, "training")
            parts.append(jax.device_get(encode(jnp.asarray(logits), cache.precision(config))))
        joined = {k: np.concatenate([part[k] for part in parts])[None, :n] for k in parts[0]}
        cache.check_range(joined, config)
        return joined

    return epoch_logits


def _check_finite(logits: np.ndarray, what: str, split: str) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(-1))
    if len(bad):
        raise InputError(
            f"{what} gives NaN or infinite logits for {len(bad):,} of {len(logits):,} {split} "
            "images. Logits are finite."
        )
