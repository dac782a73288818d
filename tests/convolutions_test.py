"""oneDNN's convolutions: equal to XLA's in every case, and unseen by what reads a network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kd.convolutions import library, lowering
from kd.models import cost

SAID = {}
try:
    library.load()
except library.Unavailable as error:
    SAID["reason"] = str(error)

needs_onednn = pytest.mark.skipif(bool(SAID), reason=SAID.get("reason", ""))

NUMBERS = ("NHWC", "HWIO", "NHWC")
CASES = {
    # maps, kernel, strides, padding, dilations, groups
    "3x3": ((3, 9, 7, 8), (3, 3, 8, 16), (1, 1), "SAME", (1, 1), 1),
    "one-channel": ((2, 8, 8, 1), (3, 3, 1, 8), (1, 1), "SAME", (1, 1), 1),
    "strided": ((3, 9, 8, 8), (3, 3, 8, 16), (2, 2), "SAME", (1, 1), 1),
    "uneven": ((3, 9, 12, 5), (5, 2, 5, 7), (2, 3), [(0, 1), (2, 0)], (1, 1), 1),
    "valid": ((2, 10, 10, 4), (3, 3, 4, 4), (2, 2), "VALID", (1, 1), 1),
    "dilated": ((2, 12, 11, 8), (3, 3, 8, 8), (1, 1), "SAME", (2, 3), 1),
    "pointwise": ((3, 7, 7, 16), (1, 1, 16, 24), (1, 1), "VALID", (1, 1), 1),
    "pointwise-strided": ((3, 7, 8, 16), (1, 1, 16, 24), (2, 2), "VALID", (1, 1), 1),
    "grouped": ((2, 8, 8, 24), (3, 3, 8, 48), (2, 2), "SAME", (1, 1), 3),
    "depthwise": ((2, 9, 9, 16), (3, 3, 1, 16), (1, 1), "SAME", (1, 1), 16),
    "depthwise-strided": ((2, 9, 9, 16), (3, 3, 1, 16), (2, 2), "SAME", (1, 1), 16),
    "multiplied": ((2, 9, 9, 8), (3, 3, 1, 16), (1, 1), "SAME", (1, 1), 8),
    "many": ((70, 16, 16, 16), (3, 3, 16, 32), (1, 1), "SAME", (1, 1), 1),
}


def convolution(case, maps, kernel):
    *_, strides, padding, dilations, groups = CASES[case]
    return lax.conv_general_dilated(
        maps,
        kernel,
        strides,
        padding,
        rhs_dilation=dilations,
        dimension_numbers=NUMBERS,
        feature_group_count=groups,
    )


def operands(case, dtype="float32", stack=()):
    rng = np.random.default_rng(0)
    draw = lambda shape: jnp.asarray(rng.standard_normal((*stack, *shape)), dtype)
    maps, kernel, *_ = CASES[case]
    return draw(maps), draw(kernel)


def with_gradients(function, *arguments):
    """The result of a function, and the gradients of a sum of it, weighted to be no constant."""
    value, pull = jax.vjp(function, *arguments)
    weights = jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
    return value, *pull(weights)


def compare(function, *arguments, calls, tolerance=1e-5):
    """Compiles a function under both settings; results are equal up to rounding."""
    program = jax.jit(function)
    fast = lowering.compiled_by("onednn", program)
    assert fast.lower(*arguments).as_text().count("@kd_convolution(") == calls
    assert "kd_convolution" not in program.lower(*arguments).as_text()
    pairs = zip(
        jax.tree.leaves(fast(*arguments)), jax.tree.leaves(program(*arguments)), strict=True
    )
    for got, expected in pairs:
        assert got.dtype == expected.dtype
        got, expected = np.asarray(got, "float64"), np.asarray(expected, "float64")
        assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()


@needs_onednn
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_xla(case):
    function = functools.partial(convolution, case)
    compare(functools.partial(with_gradients, function), *operands(case), calls=3)


@needs_onednn
def test_a_cost_and_a_jaxpr_are_those_of_xla():
    maps, kernel = operands("strided")
    function = functools.partial(convolution, "strided")
    expected = cost.macs(function, maps, kernel), str(jax.make_jaxpr(function)(maps, kernel))
    with lowering.using("onednn"):
        got = cost.macs(function, maps, kernel), str(jax.make_jaxpr(function)(maps, kernel))
    assert got == expected and got[0] > 0
