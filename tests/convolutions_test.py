"""oneDNN's convolutions: equal to XLA's in every case, and unseen by what reads a network."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd.convolutions import library, lowering
from kd.data.base import Dataset, Split
from kd.export import archive, converter, lower
from kd.export.source import Source
from kd.models import cost
from kd.models.cnn import CNN
from kd.runs.workdir import Workdir

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


CHEAP = ("strided", "uneven", "grouped", "depthwise")


@needs_onednn
@pytest.mark.parametrize(
    "case",
    [case if case in CHEAP else pytest.param(case, marks=pytest.mark.slow) for case in CASES],
)
def test_values_and_gradients_equal_xla(case):
    function = functools.partial(convolution, case)
    compare(functools.partial(with_gradients, function), *operands(case), calls=3)


@needs_onednn
@pytest.mark.slow
@pytest.mark.parametrize("case", ["3x3", "strided", "pointwise", "depthwise", "grouped"])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_batched_maps_and_kernels_equal_xla(case, axes):
    arguments = [operands(case, stack=(3,) * (axis == 0))[i] for i, axis in enumerate(axes)]
    function = functools.partial(with_gradients, functools.partial(convolution, case))
    compare(jax.vmap(function, axes), *arguments, calls=3)


@needs_onednn
def test_kernels_of_several_networks_are_a_stack():
    function = functools.partial(with_gradients, functools.partial(convolution, "strided"))
    compare(jax.vmap(function), *operands("strided", stack=(2,)), calls=3)


@needs_onednn
@pytest.mark.slow
@pytest.mark.parametrize("case", ["3x3", "strided"])
def test_second_derivatives_equal_xla(case):
    def gradient_norm(maps, kernel):
        loss = lambda m, k: (jnp.sin(convolution(case, m, k)) ** 2).sum()
        return sum((g**2).sum() for g in jax.grad(loss, (0, 1))(maps, kernel))

    program = jax.jit(jax.grad(gradient_norm, (0, 1)))
    fast = lowering.compiled_by("onednn", program)
    assert "kd_convolution" in fast.lower(*operands(case)).as_text()
    for got, expected in zip(fast(*operands(case)), program(*operands(case)), strict=True):
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


@needs_onednn
@pytest.mark.slow
def test_one_dimension_equals_xla():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)

    def function(maps, kernel):
        return lax.conv_general_dilated(
            maps, kernel, (2,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
        )

    compare(functools.partial(with_gradients, function), draw(3, 17, 8), draw(5, 8, 16), calls=3)


@needs_onednn
@pytest.mark.slow
@pytest.mark.parametrize("case", ["3x3", "strided", "depthwise"])
def test_bfloat16_is_rounded_once(case):
    """Where the CPU has it: sums are float32, and results as near as bfloat16 numbers are."""
    function = functools.partial(with_gradients, functools.partial(convolution, case))
    low = operands(case, "bfloat16")
    program = lowering.compiled_by("onednn", jax.jit(function))
    if "kd_convolution" not in program.lower(*low).as_text():
        pytest.skip("oneDNN has no bfloat16 on this CPU")
    value, pull = jax.vjp(functools.partial(convolution, case), *(x.astype("float32") for x in low))
    weights = jnp.cos(jnp.arange(value.size, dtype="bfloat16")).reshape(value.shape)
    for got, expected in zip(program(*low), (value, *pull(weights.astype("float32"))), strict=True):
        assert got.dtype == jnp.bfloat16
        difference = np.abs(np.asarray(got, "float32") - expected)
        assert (difference <= 2.0**-8 * np.abs(expected) + 1e-5 * np.abs(expected).max()).all()


@needs_onednn
@pytest.mark.slow
def test_bits_do_not_depend_on_the_number_of_threads():
    """Both processors of this machine, and one of them; twice each."""
    code = (
        "import hashlib, functools, jax, numpy as np\n"
        "from tests.convolutions_test import *\n"
        "function = functools.partial(with_gradients, functools.partial(convolution, 'many'))\n"
        "fast = lowering.compiled_by('onednn', jax.jit(function))\n"
        "for _ in range(2):\n"
        "    results = jax.device_get(fast(*operands('many')))\n"
        "    print(hashlib.sha256(b''.join(x.tobytes() for x in results)).hexdigest())\n"
    )
    cores = sorted(os.sched_getaffinity(0))
    lines = []
    for chosen in (cores, cores[:1]):
        process = subprocess.run(
            [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {chosen})\n{code}"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert process.returncode == 0, process.stderr
        lines += process.stdout.split()
    assert len(lines) == 4 and len(set(lines)) == 1


@needs_onednn
def test_other_types_ranks_and_orders_are_left_to_xla():
    def calls(maps, kernel, numbers, **settings):
        function = functools.partial(
            lax.conv_general_dilated,
            window_strides=(1,) * (maps.ndim - 2),
            padding="SAME",
            dimension_numbers=numbers,
            **settings,
        )
        program = lowering.compiled_by("onednn", jax.jit(function))
        return program.lower(maps, kernel).as_text().count("@kd_convolution(")

    shape = jax.ShapeDtypeStruct
    of = lambda *sizes, dtype="float32": shape(sizes, dtype)
    assert calls(of(2, 8, 8, 4), of(3, 3, 4, 4), NUMBERS) == 1
    assert calls(of(2, 8, 8, 4, dtype="int8"), of(3, 3, 4, 4, dtype="int8"), NUMBERS) == 0
    assert calls(of(2, 4, 8, 8), of(4, 4, 3, 3), ("NCHW", "OIHW", "NCHW")) == 0
    assert calls(of(2, 4, 4, 4, 3), of(3, 3, 3, 3, 4), ("NHWDC", "HWDIO", "NHWDC")) == 0
    assert calls(of(0, 8, 8, 4), of(3, 3, 4, 4), NUMBERS) == 0


@needs_onednn
def test_a_program_split_over_devices_is_of_xla_but_within_shard_map():
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    if mesh.size < 2:
        pytest.skip("one device")
    split = NamedSharding(mesh, P("data"))
    function = functools.partial(convolution, "many")
    maps, kernel = operands("many")
    whole = jax.jit(function, in_shardings=(split, None), out_shardings=split)
    each = jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    )
    programs = [lowering.compiled_by("onednn", f) for f in (whole, each)]
    calls = [f.lower(maps, kernel).as_text().count("@kd_convolution(") for f in programs]
    assert calls == [0, 1]
    results = [np.asarray(f(maps, kernel)) for f in programs]
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_a_cost_and_a_jaxpr_are_those_of_xla():
    maps, kernel = operands("strided")
    function = functools.partial(convolution, "strided")
    expected = cost.macs(function, maps, kernel), str(jax.make_jaxpr(function)(maps, kernel))
    with lowering.using("onednn"):
        got = cost.macs(function, maps, kernel), str(jax.make_jaxpr(function)(maps, kernel))
    assert got == expected and got[0] > 0


@needs_onednn
def test_an_export_has_the_same_bytes_under_both_settings(tmp_path):
    image = np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1)
    split = Split(image, np.zeros(2, np.int32))
    dataset = Dataset(split, split, 3, (0.5,), (0.5,))
    model = CNN(3, (4,))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    config = {"student": {"name": "cnn.CNN"}}
    source = Source(Workdir(tmp_path), config, {}, model, variables, 0, "the first", dataset)

    def written():
        return archive.serialize(source), converter.convert(lower.for_floats(source))

    expected = written()
    with lowering.using("onednn"):
        assert written() == expected
    assert all(len(content) > 1000 for content in expected)
