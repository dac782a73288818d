"""Rules: how each operation of a trace is computed on grids, see `kd.quantize.rewrite`."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

from kd.errors import InputError
from kd.trace import Constant, bind, layer, operation


@runtime_checkable
class Rounding(Protocol):
    """The rounding of activations and weights.

    In training it rounds to ranges that are being observed, in an export by operations of the
    target's language.
    """

    def activation(self, x: Array, place: int | None) -> tuple[Array, int]:
        """x on the grid of a place (None: a new one), and the place.

        Places are counted in the order of the computation.
        """
        ...

    def weight(self, kernel: Constant) -> Array:
        """A kernel, output channels last, on its grids."""
        ...


@dataclasses.dataclass
class Product:
    """A convolution or matrix product with what is folded into it: `of(kernel * gain) + offset`."""

    of: Callable[[Array], Array]
    kernel: Constant
    gain: Any = 1.0  # a number, or one for each output channel
    offset: Any = 0.0

    def then(self, name: str, constant: Any, first: bool) -> "Product":
        """The product followed by an operation with a constant, its first operand if `first`."""
        gain, offset = self.gain, self.offset
        if name == "mul":
            gain, offset = gain * constant, offset * constant
        elif name == "div":
            gain, offset = gain / constant, offset / constant
        elif name == "add":
            offset = offset + constant
        elif first:  # constant - x
            gain, offset = -gain, constant - offset
        else:
            offset = offset - constant
        return dataclasses.replace(self, gain=gain, offset=offset)


@dataclasses.dataclass(eq=False)
class Signal:
    """A value that depends on the image: `value`, or a product while constants can still be folded
    into it.
    """

    value: Array | None = None
    product: Product | None = None
    sum: bool = False  # to be divided into a mean
    place: int | None = None  # the grid that it is on, or is to be rounded to
    rounded: Array | None = None


class Rules:
    """The operations.

    Each method takes an equation, its operands (arrays and signals) and whether no other equation
    uses these signals.
    """

    def __init__(self, rounding: Rounding):
        self._rounding = rounding

    def apply(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> list[Signal]:
        """The results of an equation.

        Raises:
          InputError: integer kernels have no such operation.
        """
        rule = RULES.get(eqn.primitive.name)
        results = rule(self, eqn, operands, alone) if rule else None
        if results is None:
            signals = sum(isinstance(x, Signal) for x in operands)
            raise InputError(
                "int8: training has no integer form of the operation "
                f"{operation(eqn, signals)} as it is used in {layer(eqn)}. Take a network of "
                "convolutions, dense layers, BatchNorm, ReLU, sums, products and pooling, or leave "
                "out student.quantize: `kd export RUN --format litert --int8` rounds a trained "
                "network, transformers, too."
            )
        return results if isinstance(results, list) else [results]

    def round(self, signal: Any) -> Array:
        """A signal's values on their grid; a constant as it is."""
        if not isinstance(signal, Signal):
            return jnp.asarray(signal)
        if signal.rounded is None:
            value = self._value(signal)
            signal.rounded, signal.place = self._rounding.activation(value, signal.place)
        return signal.rounded

    def best(self, signal: Any) -> Array:
        """A signal as it leaves the network: rounded if some operation needed it rounded."""
        if isinstance(signal, Signal) and signal.rounded is None:
            return self._value(signal)
        return self.round(signal)

    def _value(self, signal: Signal) -> Array:
        if signal.value is None:
            assert signal.product is not None
            product = signal.product
            kernel = product.kernel * _last(product.gain, product.kernel)
            value = product.of(self._rounding.weight(kernel))
            signal.value = value + _last(product.offset, value)
        return signal.value

    def product(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal | None:
        x, kernel = operands
        if isinstance(kernel, Signal) or not _channels_last(eqn):
            return None
        x = self.round(x)
        return Signal(product=Product(lambda k: bind(eqn, (x, k))[0], kernel))

    def arithmetic(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal | None:
        """Addition, subtraction, product, quotient: of two signals, or of a signal and a constant.

        A constant is folded into the product before it where possible.
        """
        name = eqn.primitive.name
        signals = [x for x in operands if isinstance(x, Signal)]
        if len(signals) == 2:
            rounded = [self.round(x) for x in operands]
            return None if name == "div" else Signal(bind(eqn, rounded)[0])
        (x,) = signals
        first = isinstance(operands[1], Signal)
        constant = operands[0 if first else 1]
        if name == "div" and first:
            return None
        if x.sum and name in ("div", "mul"):
            values = [self._value(o) if o is x else o for o in operands]
            return Signal(bind(eqn, values)[0], place=x.place)
        vector = _per_channel(constant)
        if x.product and alone and vector is not None:
            return Signal(product=x.product.then(name, vector, first))
        return Signal(bind(eqn, [self.round(o) if o is x else o for o in operands])[0])

    def cut(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal | None:
        """Clipping at constants, such as ReLU: fused with the operation before it."""
        if sum(isinstance(x, Signal) for x in operands) > 1:
            return None
        see = self._value if alone else self.round
        values = [see(x) if isinstance(x, Signal) else x for x in operands]
        return Signal(bind(eqn, values)[0])

    def total(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal:
        return Signal(bind(eqn, [self.round(operands[0])])[0], sum=True)

    def window_total(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal:
        """Averages of windows stay on the grid of their operand."""
        total = self.total(eqn, operands, alone)
        return dataclasses.replace(total, place=operands[0].place)

    def still(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal | None:
        """Operations that leave values on their grid: moves, maxima, padding with zeros."""
        x, *rest = operands
        if not isinstance(x, Signal) or any(isinstance(r, Signal) for r in rest):
            return None
        value = bind(eqn, [self.round(x), *rest])[0]
        return Signal(value, place=x.place, rounded=value)

    def split(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> list[Signal]:
        values = bind(eqn, [self.round(operands[0])])
        place = operands[0].place
        return [Signal(value, place=place, rounded=value) for value in values]

    def join(self, eqn: core.JaxprEqn, operands: Sequence[Any], alone: bool) -> Signal:
        return Signal(bind(eqn, [self.round(x) for x in operands])[0])


RULES: dict[str, Callable] = {
    **dict.fromkeys(("conv_general_dilated", "dot_general"), Rules.product),
    **dict.fromkeys(("add", "sub", "mul", "div"), Rules.arithmetic),
    **dict.fromkeys(("max", "min", "clamp", "custom_jvp_call"), Rules.cut),
    "reduce_sum": Rules.total,
    "reduce_window_sum": Rules.window_total,
    **dict.fromkeys(
        (
            "broadcast_in_dim",
            "convert_element_type",
            "copy",
            "expand_dims",
            "pad",
            "reduce_max",
            "reduce_window_max",
            "reshape",
            "rev",
            "slice",
            "squeeze",
            "transpose",
        ),
        Rules.still,
    ),
    "concatenate": Rules.join,
    "split": Rules.split,
}


def _channels_last(eqn: core.JaxprEqn) -> bool:
    """Whether the output channels are the last axis of a product's kernel and of its result."""
    numbers, kernel = eqn.params["dimension_numbers"], eqn.invars[1].aval
    last = len(getattr(kernel, "shape", ())) - 1
    if eqn.primitive.name == "conv_general_dilated":
        return numbers.rhs_spec[0] == last and numbers.out_spec[1] == last
    (_, contracted), (batch, _) = numbers
    return last == 1 and tuple(contracted) == (0,) and not batch


def _per_channel(constant: Any) -> Any:
    """A number, or one for each channel; None where a constant is something else."""
    shape = jnp.shape(constant)
    if any(size != 1 for size in shape[:-1]):
        return None
    return constant.reshape(shape[-1:]) if shape else constant


def _last(vector: Any, x: Constant) -> Any:
    """A number as it is, a vector over channels with the rank of x, whose last axis is channels."""
    return vector.reshape((1,) * (x.ndim - 1) + (-1,)) if jnp.ndim(vector) else vector
