"""Rules for functions of single elements, and for sums, means and normalisations over axes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from kd.export.onnx.model import Value
from kd.export.onnx.operation import CHANNELS_FIRST, Operation

FUSED = {0: "", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}
"""Functions that LiteRT's layers apply to their output, by their number in the schema."""

CLIPS = {"RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1)}


def _elementwise(op: Operation, operator: str) -> Value:
    """A function of several inputs, activations or constants, with broadcasting."""
    rank = len(op.result)
    values = {k: _ranked(op, k, rank) for k in range(op.count) if not op.is_constant(k)}
    first = rank == 4 and any(value.channels_first for value in values.values())

    def arranged(array: np.ndarray) -> np.ndarray:
        if not first or array.ndim == 0:
            return array
        return array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(CHANNELS_FIRST)

    inputs = []
    for k in range(op.count):
        if op.is_constant(k):
            inputs.append(op.constant(k, "constant", arranged))
        else:
            value = values[k]
            value = op.builder.channels_first(value, op.layer) if first else value
            inputs.append(op.builder.real(value, op.layer))
    return Value(op.node(operator, inputs), channels_first=first)


def _ranked(op: Operation, k: int, rank: int) -> Value:
    """Input k with axes of length 1 behind the batch: LiteRT broadcasts from the last axis, where
    an example's batch of 1 is any other axis of length 1.
    """
    shape = op.shape(k)
    if len(shape) == rank:
        return op.value(k)
    added = np.array([-1, *[1] * (rank - len(shape)), *shape[1:]], np.int64)
    return op.builder.moved(op.last(k), "Reshape", op.layer, op.numbers(added, "shape"))


def _unequal(op: Operation) -> Value:
    equal = _elementwise(op, "Equal")
    return equal._replace(name=op.node("Not", [equal.name]))


def _like(op: Operation, name: str) -> Value:
    return Value(name, channels_first=op.value(0).channels_first)


def _unary(op: Operation, operator: str) -> Value:
    return _like(op, op.node(operator, [op.real(0)]))


def _clip(op: Operation) -> Value:
    return _like(op, clipped(op, op.real(0), op.name))


def clipped(op: Operation, name: str, function: str) -> str:
    """A tensor within the limits of `CLIPS`."""
    low, high = (op.numbers(np.float32(limit), "limit") for limit in CLIPS[function])
    return op.node("Clip", [name, low, high])


def fused(op: Operation, value: Value) -> Value:
    """The value after the function that LiteRT has in the operation itself."""
    function = FUSED.get(getattr(op.options, "fusedActivationFunction", 0))
    if function is None:
        raise op.refuse("with this function of its output has no ONNX form here")
    if not function:
        return value
    if function in CLIPS:
        return value._replace(name=clipped(op, value.name, function))
    operator = {"RELU": "Relu", "TANH": "Tanh"}[function]
    return value._replace(name=op.node(operator, [value.name]))


def _inverse_root(op: Operation) -> Value:
    return _like(op, op.node("Reciprocal", [op.node("Sqrt", [op.real(0)])]))


def _leaky(op: Operation) -> Value:
    return _like(op, op.node("LeakyRelu", [op.real(0)], alpha=op.options.alpha))


def _gelu(op: Operation) -> Value:
    x = op.real(0)
    half, one = (op.numbers(np.float32(v), "constant") for v in (0.5, 1))
    if op.options.approximate:
        cubic, root = (
            op.numbers(np.float32(v), "constant") for v in (0.044715, (2 / np.pi) ** 0.5)
        )
        cube = op.node("Mul", [op.node("Mul", [op.node("Mul", [x, x]), x]), cubic])
        bent = op.node("Tanh", [op.node("Mul", [op.node("Add", [x, cube]), root])])
    else:
        root = op.numbers(np.float32(0.5**0.5), "constant")
        bent = op.node("Erf", [op.node("Mul", [x, root])])
    share = op.node("Mul", [op.node("Add", [bent, one]), half])
    return _like(op, op.node("Mul", [x, share]))


def _softmax(op: Operation, operator: str) -> Value:
    name = op.builder.real(op.last(0), op.layer)
    beta = getattr(op.options, "beta", 1.0)
    if beta != 1:
        name = op.node("Mul", [name, op.numbers(np.float32(beta), "beta")])
    return Value(op.node(operator, [name], axis=-1))


def _reduction(op: Operation, operator: str) -> Value:
    """A sum, mean or extremum over axes."""
    axes, keep = op.axes(1, len(op.shape(0))), bool(op.options.keepDims)
    value = op.value(0)
    first = value.channels_first and (keep or sorted(axes) == [1, 2])
    if first:
        axes = [CHANNELS_FIRST.index(axis) for axis in axes]
    else:
        value = op.last(0)
    inputs = [op.builder.real(value, op.layer)]
    settings: dict[str, Any] = {"keepdims": int(keep)}
    if operator == "ReduceSum":  # the first of them whose axes are an input
        inputs.append(op.numbers(np.array(sorted(axes), np.int64), "axes"))
    else:
        settings["axes"] = sorted(axes)
    return Value(op.node(operator, inputs, **settings), channels_first=first and keep)


_OF_SEVERAL = {
    "ADD": "Add",
    "SUB": "Sub",
    "MUL": "Mul",
    "DIV": "Div",
    "POW": "Pow",
    "MAXIMUM": "Max",
    "MINIMUM": "Min",
    "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual",
    "LESS": "Less",
    "LESS_EQUAL": "LessOrEqual",
    "EQUAL": "Equal",
    "SELECT": "Where",
    "SELECT_V2": "Where",
}
_OF_ONE = {
    "RELU": "Relu",
    "LOGISTIC": "Sigmoid",
    "TANH": "Tanh",
    "EXP": "Exp",
    "LOG": "Log",
    "SQRT": "Sqrt",
    "ABS": "Abs",
    "NEG": "Neg",
    "SIN": "Sin",
    "COS": "Cos",
    "FLOOR": "Floor",
    "CEIL": "Ceil",
    "ROUND": "Round",
    "HARD_SWISH": "HardSwish",
}
_OVER_AXES = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}

RULES: dict[str, Callable[[Operation], Value]] = {
    **{name: partial(_elementwise, operator=o) for name, o in _OF_SEVERAL.items()},
    **{name: partial(_unary, operator=o) for name, o in _OF_ONE.items()},
    **{name: partial(_reduction, operator=o) for name, o in _OVER_AXES.items()},
    **dict.fromkeys(CLIPS, _clip),
    "NOT_EQUAL": _unequal,
    "RSQRT": _inverse_root,
    "LEAKY_RELU": _leaky,
    "GELU": _gelu,
    "SOFTMAX": partial(_softmax, operator="Softmax"),
    "LOG_SOFTMAX": partial(_softmax, operator="LogSoftmax"),
}
