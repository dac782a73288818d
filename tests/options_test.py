"""XLA's options for convolutions on CPUs: which programs get them on which processor, and that they
reach the compiled program.
"""

import re

import jax
import jax.numpy as jnp
import pytest

from kd.devices import options, processor
from kd.devices.options import WITHOUT_CONVOLUTIONS, YNN, choose, convolution_groups

AVX2 = frozenset({"avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512_bf16"}
NUMBERS = ("NHWC", "HWIO", "NHWC")

KERNEL, DEPTHWISE = (3, 3, 4, 4), (3, 3, 1, 4)


def convolve(x, w):
    groups = x.shape[3] // w.shape[2]
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=NUMBERS, feature_group_count=groups
    )


def update(w, x):
    """A gradient step of a kernel, or of several in a loop inside a jitted call."""
    loss = jax.jit(lambda w: jax.nn.relu(convolve(x, w)).mean((1, 2)).var())
    return jax.lax.fori_loop(0, 2, lambda i, w: w - jax.grad(loss)(w), w)


def arguments(kernel):
    return jnp.ones(kernel), jnp.ones((2, 8, 8, 4))


@pytest.mark.parametrize("features", [frozenset(), frozenset({"asimd"}), AVX512])
def test_xla_decides_on_other_processors(features):
    assert choose(features, frozenset({1})) == {}


def test_ynnpack_is_off_for_ordinary_convolutions_with_avx2_alone():
    assert choose(AVX2, frozenset({1})) == {YNN: WITHOUT_CONVOLUTIONS}
    assert choose(AVX2, frozenset({1, 4})) == choose(AVX2, frozenset({4})) == {}
    assert choose(AVX2, frozenset()) == {}


@pytest.mark.parametrize("flags", [f"--{YNN}=", f"--xla_x=1 --{YNN}=LIBRARY_FUSION_TYPE_DOT"])
def test_a_choice_of_the_user_is_kept(flags):
    assert choose(AVX2, frozenset({1}), flags) == {}
    assert choose(AVX2, frozenset({1}), "--xla_cpu_enable_fast_math=true") == {
        YNN: WITHOUT_CONVOLUTIONS
    }


def test_groups_are_those_of_gradients_and_inner_programs_too():
    groups = lambda kernel: convolution_groups(jax.make_jaxpr(update)(*arguments(kernel)).jaxpr)
    assert groups(KERNEL) == {1} and groups(DEPTHWISE) >= {4}
    assert convolution_groups(jax.make_jaxpr(jnp.dot)(jnp.ones(3), jnp.ones(3)).jaxpr) == set()
    several = jax.make_jaxpr(jax.vmap(convolve))(jnp.ones((5, 2, 8, 8, 4)), jnp.ones((5, *KERNEL)))
    assert convolution_groups(several.jaxpr) == {5}


def convolutions_in_fusions(text: str) -> int:
    """Convolutions in the computations that a program hands to YNNPACK."""
    called = set(re.findall(r"ynn_fusion[.\d]* = .* fusion\(.*calls=%?([\w.-]+)", text))
    inside, count = "", 0
    for line in text.splitlines():
        if line.endswith("{") and (begins := re.match(r"(?:ENTRY )?%?([\w.-]+) ", line)):
            inside = begins[1]
        count += inside in called and " convolution(" in line
    return count


def program(kernel) -> str:
    return options.jit(update, donate_argnums=0).lower(*arguments(kernel)).compile().as_text()


def test_the_compiled_program_has_the_option(monkeypatch):
    monkeypatch.setattr(processor, "flags", lambda: AVX2)
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    assert convolutions_in_fusions(program(KERNEL)) == 0
    others = program(DEPTHWISE)
    assert (
        others == jax.jit(update, donate_argnums=0).lower(*arguments(DEPTHWISE)).compile().as_text()
    )
    jitted = options.jit(update)
    alone = jitted(*arguments(KERNEL))
    assert jitted._cache_size() == 1
    within = jax.jit(lambda *args: jitted(*args))(*arguments(KERNEL))
    assert jnp.allclose(alone, within, rtol=1e-5)


def test_the_function_is_traced_once(monkeypatch):
    monkeypatch.setattr(processor, "flags", lambda: AVX2)
    traces = []

    def counted(w, x):
        traces.append(w)
        return convolve(x, w)

    jitted = options.jit(counted)
    jitted(*arguments(KERNEL))
    jitted(*arguments(KERNEL))
    assert len(traces) == 1


def test_an_option_that_jaxlib_does_not_know_is_left_out():
    assert options.known((("xla_cpu_option_of_the_future", "x"),)) == {}


def test_the_processor_is_read_from_the_system(tmp_path, monkeypatch):
    text = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 fma\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    processor.flags.cache_clear()
    assert processor.model() == "Some CPU" and processor.flags() == {"fpu", "avx2", "fma"}
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    processor.flags.cache_clear()
    assert processor.flags() == frozenset() and processor.model()
    processor.flags.cache_clear()
