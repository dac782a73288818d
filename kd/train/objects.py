"""Parts from a caller's objects: arrays, networks, functions and logits, for `kd.distill`."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from kd import teachers
from kd.config import ConfigDict
from kd.data import remarks
from kd.data.arrays import dataset_of
from kd.data.base import UNKNOWN, Dataset, Split
from kd.data.check import check
from kd.devices import precision
from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.models.adapted import adapt
from kd.objective import PerTeacher, Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.predict import Networks
from kd.teachers import reduction
from kd.train import convolving, external, own_function, placement
from kd.train.run_teacher import RunTeacher, Stack
from kd.types import PyTree, Teacher

WHAT = "the teacher function"
"""A teacher in messages."""


def make_dataset(data: Any, test: Any, like: Networks | None) -> Dataset:
    """The data set of `kd.distill`.

    Args:
      data: (images, labels) to train on, or a `kd.data.base.Dataset`.
      test: (images, labels) to evaluate on; None: the training images that have a label.
      like: the teacher's networks, whose classes and normalisation are taken over.

    Raises:
      InputError: arrays that do not fit together.
    """
    if isinstance(data, Dataset):
        if test is not None:
            raise InputError("test: the data set that you gave as data has a test split already.")
        dataset = check(data, "data")
        remarks.tell(dataset, "data")
        return dataset
    train = _split(data, "data")
    has_test = test is not None
    test = _split(test, "test") if has_test else _labelled(train)
    if like is None:
        dataset = dataset_of(train, test, "data")
    else:
        dataset = dataset_of(
            train, test, "data", like.num_classes, like.class_names, like.mean, like.std
        )
    remarks.tell(dataset, "data", leaks=has_test)
    return dataset


def _split(pair: Any, what: str) -> Split:
    try:
        image, label = pair
    except (TypeError, ValueError):
        raise InputError(
            f"{what} must be a pair (images, labels), not {type(pair).__name__}."
        ) from None
    image, label = np.asarray(image), np.asarray(label)
    if len(image.shape) < 2 or label.shape != image.shape[:1]:
        raise InputError(
            f"{what}: images are {list(image.shape)} and labels {list(label.shape)}; expected "
            "[n, ...] and [n]."
        )
    if image.dtype == np.uint8 and image.ndim == 3:  # grey images [n, h, w]
        image = image[..., None]
    return Split(image, label)


def _labelled(train: Split) -> Split:
    """The training images that have a label. Raises InputError where none has."""
    known = train.label != UNKNOWN
    if not known.any():
        raise InputError(
            "data: no image has a label, so there is nothing to evaluate on. Give test, a pair "
            "(images, labels)."
        )
    return train if known.all() else Split(train.image[known], train.label[known])


def networks_of(teacher: Any) -> Networks | None:
    """The networks that a teacher consists of, if it is a `kd.Run` or `kd.Networks`."""
    return teacher if isinstance(teacher, Networks) else getattr(teacher, "networks", None)


def make_teacher(
    teacher: Any, dataset: Dataset, config: ConfigDict, reduce: str = "probs"
) -> RunTeacher:
    """The teacher of `kd.distill`.

    Args:
      teacher: one of
        a `kd.Run` or `kd.Networks`: the ensemble of its networks;
        a pair (linen module, variables): one network;
        a function from the images that the student sees, normalised [b, ...], to logits [b, c]:
        inside the compiled step if jax can trace it, else evaluated once on all training images;
        logits of the training images, [n, c], or [m, n, c] of an ensemble;
        a `kd.Teacher` without weights, such as `kd.teachers.ema(student)`;
        None: the student learns from labels alone.
      dataset: that the student is trained on.
      config: of the run; `augment`, `precision` and `seeds` are read.
      reduce: how an ensemble becomes one target, see `kd.teachers`.

    Raises:
      InputError: another kind of object, or shapes that do not fit the data.
    """
    if teacher is None:
        return RunTeacher(teachers.none(), ())
    if isinstance(teacher, Teacher):
        return RunTeacher(teacher, ())
    networks = networks_of(teacher)
    if networks is not None:
        return _ensemble(networks, dataset, config, reduce)
    if isinstance(teacher, tuple) and len(teacher) == 2:
        return _module(*teacher, dataset, config)
    if isinstance(teacher, np.ndarray | jax.Array):
        return _stored(np.asarray(teacher), dataset, config, reduce, "logits")
    if isinstance(teacher, nn.Module) and teacher.scope is None:
        raise InputError(
            f"teacher is a {type(teacher).__name__} without variables: give a pair (module, "
            "variables)."
        )
    if callable(teacher):
        return _function(teacher, dataset, config)
    raise InputError(
        f"teacher is {type(teacher).__name__}; expected a kd.Run, kd.Networks, (module, "
        "variables), a function images -> logits, an array of logits, a kd.Teacher, or None."
    )


def _ensemble(networks: Networks, dataset: Dataset, config: ConfigDict, reduce: str) -> RunTeacher:
    """All networks of a run, as members."""
    ours = dict(
        num_classes=dataset.num_classes,
        shape=tuple(dataset.train.image.shape[1:]),
        mean=tuple(dataset.mean),
        std=tuple(dataset.std),
    )
    for key, value in ours.items():
        if getattr(networks, key) != value:
            raise InputError(
                f"the teacher was trained with {key} {getattr(networks, key)}; the data have "
                f"{value}. Give the Dataset the teacher's {key}, or data as a pair (images, "
                "labels), which take it over."
            )
    network = adapt(networks.model, "the teacher's network")
    model = precision.network(network, config.precision)
    mesh, shape = placement.make_mesh(config), networks.shape
    how = convolving.over_members(config, mesh, network, networks.variables, shape)
    stacks = (Stack(network, networks.variables, how),)
    weights = (1 / len(networks),) * len(networks)
    if len(networks) == 1:
        only = tree_index(networks.variables, 0)
        return RunTeacher(teachers.frozen(model), only, stacks, weights)
    ensemble = teachers.ensemble(model, reduce, how, None, weights)
    lifted = (None,) if reduction.find(reduce).lifts else ()
    return RunTeacher(
        ensemble, networks.variables, stacks, weights, lifted_weights=lifted, reduce=reduce
    )


def _module(model: Any, variables: PyTree, dataset: Dataset, config: ConfigDict) -> RunTeacher:
    """One network with its variables."""
    model = adapt(model, "the teacher's network")
    stacked = jax.tree.map(lambda x: jnp.asarray(x)[None], variables)
    networks = Networks(
        model,
        stacked,
        tuple(dataset.train.image.shape[1:]),
        dataset.num_classes,
        tuple(dataset.mean),
        tuple(dataset.std),
    )
    return _ensemble(networks, dataset, config, "probs")


def _function(function: Callable, dataset: Dataset, config: ConfigDict) -> RunTeacher:
    """A function images -> logits: traced into the step, or evaluated once."""
    own_function.check(function, dataset, WHAT)
    if own_function.is_traceable(function, dataset, WHAT):
        return own_function.of_function(function, dataset, config)
    logits = own_function.evaluate(function, dataset, WHAT)
    return _stored(logits, dataset, config, "probs", "function")


def _stored(
    logits: np.ndarray, dataset: Dataset, config: ConfigDict, reduce: str, what: str
) -> RunTeacher:
    """Logits of the training images, [n, c] or [m, n, c]."""
    n, c = len(dataset.train.label), dataset.num_classes
    if logits.shape[-2:] != (n, c) or logits.ndim not in (2, 3):
        raise InputError(
            f"the teacher's logits are {list(logits.shape)}; expected [{n}, {c}], or [m, {n}, {c}] "
            f"of m members, for {n} training images of {c} classes in their order."
        )
    for key in ("augment", "mix"):
        if config[key]:
            fix = "" if what == "logits" else " Write it with jax, so that it runs in the step, or"
            raise InputError(
                f"{key} = {config[key]!r} changes the images at every step, and the teacher's "
                f"logits are of the images as they are.{fix} leave {key} out."
            )
    if not np.isfinite(logits).all():
        raise InputError("the teacher's logits have NaN or infinite entries.")
    members = logits if logits.ndim == 3 else logits[None]
    return external.of_logits(np.asarray(members, np.float32), reduce)


def make_objective(objective: Any, teacher: RunTeacher, has_teacher: bool) -> Any:
    """The objective of `kd.distill`.

    Args:
      objective: a module `view -> (loss, {term: value})`; or {term: (weight, module)} with a weight
        that is a number or a schedule step -> number; or None, a tenth of cross entropy and nine
        tenths of KD at T = 4, or with no teacher cross entropy.
      teacher: of the run; with `reduce="each"` every term is lifted to its members.
      has_teacher: False if the student learns from labels alone.
    """
    if objective is None:
        labels_only = {"ce": (1.0, CE())}
        objective = {"ce": (0.1, CE()), "kd": (0.9, KD(4.0))} if has_teacher else labels_only
    if not isinstance(objective, Mapping):
        return objective
    terms, weights, lifted = {}, {}, teacher.lifted_weights
    for term, value in objective.items():
        try:
            weights[term], module = value
        except (TypeError, ValueError):
            raise InputError(
                f"objective[{term!r}] must be a pair (weight, module), such as (0.9, "
                f"kd.objectives.KD(4.0)), not {value!r}."
            ) from None
        if isinstance(module, type) or not callable(module):
            raise InputError(
                f"objective[{term!r}]: expected a module, such as kd.objectives.KD(4.0), not "
                f"{module!r}."
            )
        if lifted and not isinstance(module, nn.Module):
            raise InputError(
                f"objective[{term!r}] is a {type(module).__name__}, and only a Flax module can be "
                "lifted to several teachers: write a flax.linen.Module, or leave reduce out."
            )
        terms[term] = PerTeacher(cast(nn.Module, module), lifted[0]) if lifted else module
    if not terms:
        raise InputError("objective is empty: the student has nothing to learn.")
    return Weighted(terms, weights)
