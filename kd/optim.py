"""Optimizers and schedules by name; a schedule is a function of the epoch, the unit of the papers.

A new optimizer is a function in this file, or anywhere by dotted path, that returns an
`optax.GradientTransformation`; a new schedule is one that returns a `Curve`. The return annotation
makes it known, and the keyword arguments are its settings in a config.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from kd import ranges, registry
from kd.errors import InputError
from kd.layer_decay import scale_by_depth
from kd.ranges import (
    Epoch,
    Fraction,
    Growth,
    Increasing,
    NonNegative,
    Positive,
    Probability,
    Range,
    WithinRun,
)
from kd.types import PyTree

type Curve = Callable[[Array, float], Array]
"""Factor of the base value from the epoch (a float, 0 at the first step) and the run's epochs."""

type Rate = NonNegative | Callable[[Any], Any]
"""A learning rate: a number, or a schedule of the step."""

EXTRA = {"clip_norm": NonNegative, "max_norm": NonNegative, "layer_decay": Fraction}
"""Settings of `config.optimizer` that every optimizer has; 0 for none."""

CUSTOMARY = {
    "learning_rate": NonNegative,  # 0 with `config.init` alone, see `kd.config.check`
    "momentum": Probability,
    "weight_decay": NonNegative,
    "b1": Probability,
    "b2": Probability,
    "eps": Positive,
}
"""Ranges of settings that go by these names in any optimizer, such as `optax.lamb`."""


def sgd(
    learning_rate: Rate,
    momentum: Probability = 0.9,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
    decay: str = "",
) -> optax.GradientTransformation:
    """Stochastic gradient descent as in PyTorch: weight decay is added before the momentum.

    Args:
      learning_rate: float or schedule of the step.
      momentum: 0 for none.
      nesterov: look ahead.
      weight_decay: coupled L2.
      decay: regular expression of the paths (`student/layer1/kernel`) of what is decayed. Empty:
        all, BatchNorm and biases included, as in the CIFAR recipes.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, by_path(decay)),
        optax.sgd(learning_rate, momentum or None, nesterov),
    )


def adam(
    learning_rate: Rate,
    b1: Probability = 0.9,
    b2: Probability = 0.999,
    eps: Positive = 1e-8,
) -> optax.GradientTransformation:
    """Kingma, Ba. Adam. ICLR 2015. https://arxiv.org/abs/1412.6980, Algorithm 1."""
    return optax.adam(learning_rate, b1, b2, eps)


def adamw(
    learning_rate: Rate,
    b1: Probability = 0.9,
    b2: Probability = 0.999,
    eps: Positive = 1e-8,
    weight_decay: NonNegative = 1e-4,
    decay: str = "kernel$",
) -> optax.GradientTransformation:
    """Loshchilov, Hutter. Decoupled Weight Decay Regularization. ICLR 2019.
    https://arxiv.org/abs/1711.05101. `decay` is as in `sgd`; by default the kernels.
    """
    return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=by_path(decay))


def _max_norm(limit: float, of: str = "kernel$") -> optax.GradientTransformation:
    """Scales a unit's incoming weights back to L2 norm `limit` if the update would exceed it; last.

    The norm is over all axes of a kernel [..., in, out] but the last. `of` is a pattern as `decay`.

    Hinton et al. Improving neural networks by preventing co-adaptation of feature detectors. 2012.
    https://arxiv.org/abs/1207.0580, section 1 and appendix A.1, which bounds the squared length, by
    15 on MNIST. Departure: it bounds the hidden units alone, this all units that `of` matches.
    """

    def bound(update: Array, weight: Array) -> Array:
        new = weight + update
        axes = tuple(range(new.ndim - 1))
        norm = jnp.sqrt(jnp.sum(new**2, axis=axes, keepdims=True))
        return new * (limit / jnp.maximum(norm, limit)) - weight

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        chosen = by_path(of)(params)
        choose = lambda c, u, w: bound(u, w) if c and u.ndim > 1 else u
        return jax.tree.map(choose, chosen, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def by_path(pattern: str) -> Callable[[PyTree], PyTree]:
    """Mask of the parameters whose path, keys joined by `/`, matches; all if `pattern` is empty."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"config.optimizer.decay: {pattern!r} is not a regular expression: {error}."
        ) from error

    def mask(params: PyTree) -> PyTree:
        matches = lambda path, _: bool(re.search(pattern, _name(path)))
        return jax.tree_util.tree_map_with_path(matches, params)

    return mask


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def check_decay(spec: Mapping[str, Any], params: PyTree) -> None:
    """Raises InputError where `optimizer` decays weights and `decay` matches no parameter."""
    pattern = spec.get("decay", "")
    if not (spec.get("weight_decay") and isinstance(pattern, str)):
        return  # in an optimizer by dotted path it may mean something else
    if any(jax.tree.leaves(by_path(pattern)(params))):
        return
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise InputError(
        f"config.optimizer.decay: {pattern!r} matches no parameter, so none would decay. The "
        f"parameters are {some or 'none'}. Give a regular expression that matches some, '' for "
        "all, or weight_decay = 0.0."
    )


def constant() -> Curve:
    """1 throughout."""
    return lambda epoch, epochs: jnp.ones_like(epoch)


def linear(start: NonNegative = 0.0, end: NonNegative = 1.0, over: Epoch = 1.0) -> Curve:
    """From `start` to `end` in the first `over` epochs, then `end`; at once if `over` is 0."""

    def curve(epoch: Array, epochs: float) -> Array:
        done = jnp.clip(epoch / over, 0, 1) if over > 0 else jnp.ones_like(epoch)
        return start + (end - start) * done

    return curve


def by_epoch(start: NonNegative = 0.0, end: NonNegative = 1.0) -> Curve:
    """From `start` to `end`, constant within an epoch: start + (end - start) (e + 1) / E, e from 0.

    Kim et al. (2021, PS-KD, https://arxiv.org/abs/2006.12000, Eq. 3) increase the weight of past
    predictions in this way.
    """
    done = lambda epoch, epochs: (jnp.floor(epoch) + 1) / epochs
    return lambda epoch, epochs: start + (end - start) * done(epoch, epochs)


def cosine(warmup: Epoch = 0.0, end: NonNegative = 0.0) -> Curve:
    """Linear warm-up from 0 over `warmup` epochs, then half a cosine from 1 down to `end`.

    Loshchilov, Hutter. SGDR. ICLR 2017. https://arxiv.org/abs/1608.03983, Eq. 5, without restarts.
    """

    def curve(epoch: Array, epochs: float) -> Array:
        done = jnp.clip((epoch - warmup) / max(epochs - warmup, 1e-9), 0, 1)
        falling = end + (1 - end) * 0.5 * (1 + jnp.cos(jnp.pi * done))
        return jnp.where(epoch < warmup, epoch / max(warmup, 1e-9), falling)

    return curve


def piecewise(
    epochs: Annotated[
        Sequence[Annotated[float, Range(above=0), WithinRun(before_end=True)]], Increasing()
    ] = (),
    factor: Positive = 0.1,
) -> Curve:
    """Times `factor` after each of `epochs`: (150, 180) lowers the rate from the 151st epoch on."""
    bounds = tuple(epochs)

    def curve(epoch: Array, _: float) -> Array:
        passed = sum(((epoch >= b).astype(jnp.int32) for b in bounds), jnp.int32(0))
        return jnp.float32(factor) ** passed

    return curve


def exponential(factor: Annotated[Positive, Growth()] = 0.95) -> Curve:
    """Times `factor` every epoch."""
    return lambda epoch, epochs: jnp.float32(factor) ** epoch


def make_schedule(
    spec: Mapping[str, Any] | float,
    steps_per_epoch: int,
    epochs: float,
    value: float = 1.0,
    key: str = "schedule",
) -> Callable[[Array], Array]:
    """A function of the step from a section such as `dict(name="cosine", value=0.1, warmup=5.0)`.

    Args:
      spec: the section, whose `value` replaces the argument of that name; or a number, for a
        constant.
      steps_per_epoch: to turn steps into epochs.
      epochs: length of the run.
      value: what the curve multiplies.
      key: the section's place in the config, for messages.

    Raises:
      InputError: no such curve, settings that it does not have, or that the run is too short for.
    """
    if not isinstance(spec, Mapping):
        spec = {"name": "constant", "value": spec}
    settings = {k: v for k, v in spec.items() if k not in ("name", "value")}
    maker = registry.find_in(__name__, "schedule", spec.get("name", ""), Curve)
    curve = registry.make(maker, settings, f"schedule {spec.get('name')}")
    base = spec.get("value", value)
    ranges.check(f"{key}.value", NonNegative, base)
    for name, annotation in registry.annotations(maker).items():
        if name in settings:
            ranges.check_in_run(f"{key}.{name}", annotation, settings[name], epochs)

    def schedule(step: Any) -> Array:
        # XLA multiplies by 1 / steps_per_epoch, which may fall short of the first step of an epoch:
        # complete epochs are counted exactly.
        step = jnp.asarray(step)
        epoch, rest = step // steps_per_epoch, step % steps_per_epoch
        return base * curve(epoch + rest / steps_per_epoch, epochs)

    return schedule


def make_optimizer(
    spec: Mapping[str, Any], schedule: Callable[[Array], Array]
) -> optax.GradientTransformation:
    """The optimizer of a section such as `dict(name="sgd", learning_rate=0.05, clip_norm=1.0)`.

    Args:
      spec: `name` (a function of this file or a dotted path such as `optax.lamb`), `learning_rate`,
        and the optimizer's settings. A positive `clip_norm` clips the global norm of the gradient
        first; `layer_decay` scales the update of each block, see `kd.layer_decay`; `max_norm`
        bounds the incoming weights of each unit last.
      schedule: factor of the learning rate by step.

    Raises:
      InputError: no such optimizer, settings that it does not have, no learning rate.
    """
    name = spec.get("name", "")
    settings = {k: v for k, v in spec.items() if k not in ("name", *EXTRA)}
    settings.setdefault("learning_rate", None)
    for key, annotation in (CUSTOMARY | EXTRA).items():
        if ranges.is_number(spec.get(key)) or key == "learning_rate":
            ranges.check(f"config.optimizer.{key}", annotation, spec.get(key))
    base = settings["learning_rate"]
    settings["learning_rate"] = lambda step: base * schedule(step)
    maker = registry.find_in(__name__, "optimizer", name, optax.GradientTransformation)
    tx = registry.make(maker, settings, f"optimizer {name}")
    clip, limit, decay = [spec.get(key, 0.0) for key in EXTRA]
    first = [optax.clip_by_global_norm(clip)] if clip else []
    last = [scale_by_depth(decay)] if decay else []
    last += [_max_norm(limit)] if limit else []
    return optax.chain(*first, tx, *last) if first or last else tx
