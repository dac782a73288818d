"""Bounds of a network's logits over a box of images, in JAX: with a gradient, for training.

Interval bound propagation (Gowal et al. 2018, https://arxiv.org/abs/1810.12715) and linear bounds
within its intervals (CROWN-IBP, Zhang et al. 2020, https://arxiv.org/abs/1906.06316), by the rules
of the operations in the network's trace, in the network's own operations and precision.

`kd.verify` has the same rules a second time, for proofs: of sparse float64 matrices in NumPy, with
an analysis of rounding, which no gradient passes and no compiled step could hold. Both read the
same traces (`kd.trace`) and relax clippings alike (`kd.robustness.relaxation`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.robustness.relaxation import lines
from kd.trace import MOVES, bind, constants, is_relu, layer, needed, read, trace
from kd.types import PyTree

PRODUCTS = ("conv_general_dilated", "dot_general")
SUMS = ("reduce_sum", "reduce_window_sum")
MAXIMA = ("reduce_max", "reduce_window_max")
CLIPS = ("max", "min", "clamp")
CASTS = ("convert_element_type", "reduce_precision", "stop_gradient")


class Interval(NamedTuple):
    """Values between `center - radius` and `center + radius`, entry by entry."""

    center: Array
    radius: Array

    @property
    def low(self) -> Array:
        """The least values."""
        return self.center - self.radius

    @property
    def high(self) -> Array:
        """The largest values."""
        return self.center + self.radius


def between(low: Array, high: Array) -> Interval:
    """The interval with these ends."""
    return Interval((low + high) / 2, (high - low) / 2)


class Bounds:
    """Bounds of one network, a function of one image, over boxes.

    Attributes:
      classes: number of logits.
    """

    def __init__(self, network: Callable[[PyTree, Any], Any], variables: PyTree, image: Any):
        """Reads the trace of `network(variables, image) -> logits [1, c]`.

        Args:
          network: in evaluation mode.
          variables: its weights, with a gradient where they are traced.
          image: of the shape [1, ...], or its shape.
        """
        traced = trace(network, variables, image)
        self._jaxpr = traced.jaxpr
        self._image, self._output = traced.jaxpr.invars[-1], traced.jaxpr.outvars[0]
        self._known = constants(traced, variables)
        self._eqns = needed(traced.jaxpr, self._output, self._known)
        if self._output in self._known or not self._eqns:
            raise InputError("the student's logits do not depend on the image: nothing to bound.")
        self.classes = self._output.aval.shape[-1]  # pyrefly: ignore

    def logits(self, box: Interval) -> Interval:
        """Intervals of the logits of a box of images, [1, ...]."""
        return self._intervals(box)[self._output]

    def margins(
        self, box: Interval, rows: Float[Array, "r c"], linear: bool = False
    ) -> Float[Array, " r"]:
        """Lower bounds of combinations of the logits over a box.

        The operations after the last nonlinearities are joined with the combination ("elision of
        the last layer", Gowal et al., section 3), so that a difference of logits is bounded as one.

        Args:
          box: of images, [1, ...].
          rows: the combinations, such as logit 2 minus logit 0.
          linear: go back to the image by linear bounds of each clipping (CROWN-IBP); maxima are
            bounded by intervals. Otherwise intervals of the last nonlinearities.
        """
        values = self._intervals(box)
        return jax.vmap(lambda row: self._pulled(values, row[None], linear))(rows)

    def _intervals(self, box: Interval) -> dict[Any, Any]:
        """The values of all variables, known or intervals."""
        values: dict[Any, Any] = {**self._known, self._image: box}
        for eqn in self._eqns:
            results = _forward(eqn, [read(values, v) for v in eqn.invars])
            values |= zip(eqn.outvars, results, strict=True)
        return values

    def _pulled(self, values: dict[Any, Any], row: Array, linear: bool) -> Float[Array, ""]:
        """The lower bound of the sum of `row` times the logits, from the last operation back.

        `total + sum of pending[v] (v - center of v)` is a lower bound throughout.
        """
        pending: dict[Any, Array] = {self._output: row.astype(jnp.float32)}
        total = jnp.sum(row * values[self._output].center)
        for eqn in reversed(self._eqns):
            slopes = [pending.pop(v, None) for v in eqn.outvars]
            slope, out = slopes[0], values[eqn.outvars[0]]
            if all(one is None for one in slopes):
                continue
            if slope is None or not _is_nonlinear(eqn):
                _merge(pending, _backward(eqn, slopes, values))
                continue
            clip = _clip(eqn, [read(values, v) for v in eqn.invars])
            if not linear or clip is None:
                total -= jnp.sum(jnp.abs(slope) * out.radius)
                continue
            x, least, most = clip
            relaxed = lines(x.low, x.high, least, most)
            up, down = jnp.maximum(slope, 0), jnp.minimum(slope, 0)
            below = relaxed.low_slope * x.center + relaxed.low_offset - out.center
            above = relaxed.high_slope * x.center + relaxed.high_offset - out.center
            total += jnp.sum(up * below + down * above)
            source = next(v for v in eqn.invars if isinstance(read(values, v), Interval))
            _merge(pending, {source: up * relaxed.low_slope + down * relaxed.high_slope})
        for v, slope in pending.items():  # the image, where it is reached
            total -= jnp.sum(jnp.abs(slope) * values[v].radius)
        return total


def _forward(eqn: core.JaxprEqn, operands: list[Any]) -> list[Interval]:
    """The results of an equation on intervals and constants. Raises InputError without a rule."""
    name = eqn.primitive.name
    signals = [isinstance(x, Interval) for x in operands]
    apply = lambda part: bind(
        eqn, [part(x) if s else x for x, s in zip(operands, signals, strict=True)]
    )
    centers, radii = (lambda x: x.center), (lambda x: x.radius)
    clip = _clip(eqn, operands)
    if clip is not None:
        x, least, most = clip
        return [between(*(jnp.minimum(jnp.maximum(v, least), most) for v in (x.low, x.high)))]
    if name in MAXIMA:
        return [between(apply(lambda x: x.low)[0], apply(lambda x: x.high)[0])]
    if name in CASTS and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating):  # pyrefly: ignore
        return [Interval(*bind(eqn, [x.center]), *bind(eqn, [x.radius])) for x in operands]
    if name in ("add", "sub"):
        shape = eqn.outvars[0].aval.shape  # pyrefly: ignore
        parts = [jnp.broadcast_to(x.radius, shape) for x in operands if isinstance(x, Interval)]
        return [Interval(apply(centers)[0], sum(parts[1:], parts[0]))]
    one = sum(signals) == 1
    if name in (*PRODUCTS, "mul") and one:
        positive = [
            jnp.abs(x) if not s else x.radius for x, s in zip(operands, signals, strict=True)
        ]
        return [Interval(apply(centers)[0], bind(eqn, positive)[0])]
    if name == "div" and signals == [True, False]:
        positive = [operands[0].radius, jnp.abs(operands[1])]
        return [Interval(apply(centers)[0], bind(eqn, positive)[0])]
    if name == "neg":
        return [Interval(-operands[0].center, operands[0].radius)]
    if name == "concatenate":
        spread = [
            x.radius if s else jnp.zeros_like(x) for x, s in zip(operands, signals, strict=True)
        ]
        return [Interval(apply(centers)[0], bind(eqn, spread)[0])]
    if name in (*SUMS, *MOVES) and one and signals[0]:
        return [Interval(*pair) for pair in zip(apply(centers), apply(radii), strict=True)]
    if name == "pad" and signals == [True, False]:
        radius = bind(eqn, [operands[0].radius, jnp.zeros_like(operands[1])])[0]
        return [Interval(apply(centers)[0], radius)]
    raise InputError(
        f"no bound is known for the operation {name} as it is used in {layer(eqn)}. Bounds are of "
        "convolutions, dense layers, BatchNorm, ReLU, ReLU6, sums, concatenation, means and "
        "pooling. Take such a network, or an objective that attacks it, such as rslad.RSLAD."
    )


def _is_nonlinear(eqn: core.JaxprEqn) -> bool:
    return is_relu(eqn) or eqn.primitive.name in (*CLIPS, *MAXIMA)


def _clip(eqn: core.JaxprEqn, operands: list[Any]) -> tuple[Interval, Any, Any] | None:
    """What an equation clips, and between which constants; None for any other operation."""
    name = eqn.primitive.name
    signals = [x for x in operands if isinstance(x, Interval)]
    if is_relu(eqn):
        return signals[0], 0.0, jnp.inf
    if name not in CLIPS or len(signals) != 1:
        return None
    (x,) = signals
    spread = lambda limit: jnp.broadcast_to(jnp.asarray(limit, x.center.dtype), x.center.shape)
    if name == "clamp":
        return (x, spread(operands[0]), spread(operands[2])) if operands[1] is x else None
    limit = spread(next(o for o in operands if o is not x))
    return (x, limit, jnp.inf) if name == "max" else (x, -jnp.inf, limit)


def _backward(
    eqn: core.JaxprEqn, slopes: list[Array | None], values: dict[Any, Any]
) -> dict[Any, Array]:
    """Slopes of the operands of an affine operation, from those of its results."""
    operands = [read(values, v) for v in eqn.invars]
    places = [i for i, x in enumerate(operands) if isinstance(x, Interval)]

    def affine(*centers: Array) -> list[Array]:
        mixed = list(operands)
        for i, center in zip(places, centers, strict=True):
            mixed[i] = center
        return bind(eqn, mixed)

    results, back = jax.vjp(affine, *(operands[i].center for i in places))
    cotangents = [
        jnp.zeros_like(x) if slope is None else slope.astype(x.dtype)
        for x, slope in zip(results, slopes, strict=True)
    ]
    merged: dict[Any, Array] = {}
    for i, slope in zip(places, back(cotangents), strict=True):
        _merge(merged, {eqn.invars[i]: slope})
    return merged


def _merge(pending: dict[Any, Array], slopes: dict[Any, Array]) -> None:
    """Adds slopes to those that are pending."""
    for v, slope in slopes.items():
        pending[v] = pending[v] + slope if v in pending else slope
