"""What the terms of an objective need of the labels: checks, and class weights as numbers."""

from collections.abc import Iterator

import flax.linen as nn
import numpy as np

from kd import labels
from kd.config import ConfigDict
from kd.data import class_weights as weights_of_classes
from kd.data.base import UNKNOWN, Dataset
from kd.errors import InputError
from kd.objective import PerGroup, PerTeacher, Weighted
from kd.teachers import reduction

CLASS_TABLES = ("tables.order", "tables.start", "tables.count")
"""Needs of an objective that draws images by their class."""


def check_labels(objective: nn.Module, dataset: Dataset, reduce: str) -> None:
    """Raises InputError if images of train have no label and a part of the run needs all labels.

    A term says so by its attributes `needs` (tables of classes) or `every_label`; `reduce` is of
    the teacher's members.
    """
    count = int((dataset.train.label == UNKNOWN).sum())
    if not count:
        return
    remedy = (
        f"and {count:,} of the {len(dataset.train.label):,} training images have none. Take it "
        "out, or keep the labelled images alone: config.data.unlabelled = 'drop'."
    )
    for term, module in _terms(objective):
        by_class = any(need in CLASS_TABLES for need in getattr(module, "needs", ()))
        if by_class or getattr(module, "every_label", False):
            name = type(module).__name__
            raise InputError(
                f"config.objective.{term}: {name} needs the label of every image, {remedy}"
            )
    if reduction.find(reduce).needs_labels:
        raise InputError(
            f"config.teacher.reduce = {reduce!r} needs the label of every image, {remedy}"
        )


def check_mix(
    config: ConfigDict,
    objective: nn.Module,
    dataset: Dataset,
    reduce: str,
) -> None:
    """Raises InputError where `config.mix` mixes images and a part of the run wants images, or
    classes, as they are.

    Args:
      config: of the run.
      objective: likewise.
      dataset: likewise.
      reduce: of the teacher's members.
    """
    mix = f"config.mix = {config.mix!r}"
    if config.second_view:
        raise InputError(
            f"{mix} and config.second_view = {config.second_view!r}: two views of a mixture of two "
            "images are not defined. Leave one of the two out."
        )
    if config.teacher.cache_window:
        raise InputError(
            f"{mix} mixes other images in every epoch, so that views do not repeat after "
            f"config.teacher.cache_window = {config.teacher.cache_window} epochs. Leave one of the "
            "two out."
        )
    if reduction.find(reduce).needs_labels:
        raise InputError(
            f"{mix} shows mixtures of two images, and config.teacher.reduce = {reduce!r} needs the "
            "one class of each. Take another, such as 'probs'."
        )
    unlabelled = int((dataset.train.label == UNKNOWN).sum())
    for term, module in _terms(objective):
        needs = getattr(module, "needs", ())
        reads = labels.NEED in needs or getattr(module, "every_label", False)
        single = reads or "batch.index" in needs or {*CLASS_TABLES} & {*needs}
        if single and not labels.mixes(module):
            raise labels.refused_pairs(term, module)
        if reads and unlabelled:
            raise InputError(
                f"{mix} mixes the labels of two images for config.objective.{term}, and "
                f"{unlabelled:,} of the {len(dataset.train.label):,} training images have none "
                "(-1). Leave mix out, or keep the labelled images alone: "
                "config.data.unlabelled = 'drop'."
            )


def check_classes(objective: nn.Module, dataset: Dataset) -> None:
    """Raises InputError if too few classes have training images for an objective.

    It says how many it needs by its attribute `least_classes`. Classes that exist count only where
    an image of the training set has them.
    """
    known = dataset.train.label[dataset.train.label != UNKNOWN]
    present = len(np.unique(known))
    for term, module in _terms(objective):
        least = getattr(module, "least_classes", 0)
        if present < least:
            raise InputError(
                f"config.objective.{term}: {type(module).__name__} draws images by their class and "
                f"needs {least} classes or more, and the {len(known):,} training images are of "
                f"{present} (of {dataset.num_classes} that exist). Train on images of more "
                "classes, such as by config.train_classes, or take the term out."
            )


def needs_of(objective: nn.Module) -> dict[str, tuple[str, ...]]:
    """What each term of an objective declares as `needs`."""
    return {name: tuple(getattr(module, "needs", ())) for name, module in _terms(objective)}


def _terms(objective: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The terms of an objective by name, taken out of their lifts to several teachers."""
    terms = objective.terms if isinstance(objective, Weighted) else {"": objective}
    for name, term in terms.items():
        lifts = term.objectives if isinstance(term, PerGroup) else (term,)
        for lift in lifts:
            yield name, lift.objective if isinstance(lift, PerTeacher) else lift


def class_weights(objective: nn.Module, dataset: Dataset) -> nn.Module:
    """The objective, whose terms with `class_weights` have one number for each class.

    Args:
      objective: a term's `class_weights` may be "balanced" or a dict by class.
      dataset: that it is trained on.

    Raises:
      InputError: weights that the data do not fit, see `kd.data.class_weights.resolve`.
    """
    if not isinstance(objective, Weighted):
        return _weighted("objective", objective, dataset)
    terms = {
        name: _weighted(f"config.objective.{name}", term, dataset)
        for name, term in objective.terms.items()
    }
    changed = any(terms[name] is not term for name, term in objective.terms.items())
    return objective.clone(terms=terms) if changed else objective


def _weighted(where: str, term: nn.Module, dataset: Dataset) -> nn.Module:
    """A term with its weights as numbers, inside its lifts to several teachers."""
    if isinstance(term, PerGroup):
        lifts = [_weighted(where, lift, dataset) for lift in term.objectives]
        return term.clone(objectives=lifts)
    if isinstance(term, PerTeacher):
        return term.clone(objective=_weighted(where, term.objective, dataset))
    weights = getattr(term, "class_weights", None)
    weights = getattr(term, "default_weights", None) if weights is None else weights
    if weights is None:
        return term
    numbers = weights_of_classes.resolve(weights, dataset, f"{where}.class_weights")
    return term.clone(class_weights=numbers)
