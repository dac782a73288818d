"""XLA's options for kd's programs on CPUs: which library computes their convolutions.

jaxlib hands convolutions, products and sums on CPUs to YNNPACK, unless an option says otherwise.
On processors with AVX2 and without AVX-512, its gradients of convolutions are slow. See
docs/performance.md for the measurements, and https://github.com/jax-ml/jax/issues/37465,
https://github.com/jax-ml/jax/issues/31662 and https://github.com/openxla/xla/issues/34273.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax

from kd.convolutions import lowering
from kd.devices import processor

YNN = "xla_cpu_experimental_ynn_fusion_type"
"""XLA's option with the kinds of operations that it hands to YNNPACK."""

WITHOUT_CONVOLUTIONS = "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"
"""Products and sums remain YNNPACK's, which is the faster one for them."""


def choose(features: frozenset[str], groups: frozenset[int], xla_flags: str = "") -> dict[str, str]:
    """The options of a program on a CPU whose convolutions are XLA's, not oneDNN's.

    Ordinary convolutions are not handed to YNNPACK on a processor with AVX2 and without AVX-512.
    They are where AVX-512 makes it the faster one, and so are depthwise and grouped convolutions.

    Args:
      features: instruction sets of the processor, see `kd.devices.processor.flags`.
      groups: numbers of groups of the program's convolutions, see `convolution_groups`.
      xla_flags: the variable XLA_FLAGS; a user's choice in it is kept.
    """
    if YNN in xla_flags or "avx2" not in features or "avx512f" in features:
        return {}
    return {YNN: WITHOUT_CONVOLUTIONS} if groups == {1} else {}


def convolution_groups(jaxpr: Any) -> frozenset[int]:
    """Numbers of groups of all convolutions in a program and in the programs inside it."""
    return frozenset(
        max(equation.params["feature_group_count"], equation.params["batch_group_count"])
        for equation in equations(jaxpr)
        if equation.primitive.name == "conv_general_dilated"
    )


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program and of the programs inside it, such as loops and jitted calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def jit(function: Callable, **settings: Any) -> Any:
    """`jax.jit` with the options that are fastest for this program, chosen at its first call.

    Args:
      function: as for `jax.jit`.
      **settings: of `jax.jit`, without `compiler_options`.
    """
    if jax.default_backend() != "cpu":
        return jax.jit(function, **settings)
    if not choose(processor.flags(), frozenset({1}), os.environ.get("XLA_FLAGS", "")):
        return jax.jit(function, **settings)
    return _Chosen(function, settings)


class _Chosen:
    """A jitted function whose options depend on what is in it."""

    def __init__(self, function: Callable, settings: dict[str, Any]):
        self._function, self._settings = function, settings
        self._plain = jax.jit(function, **settings)
        self._jitted: Any = None

    def _with_options(self, *args: Any, **kwargs: Any) -> Any:
        if self._jitted is None:
            groups = convolution_groups(self._plain.trace(*args, **kwargs).jaxpr.jaxpr)
            flags = os.environ.get("XLA_FLAGS", "")
            options = known(tuple(choose(processor.flags(), groups, flags).items()))
            self._jitted = self._plain
            if options:  # jax does not trace the function again
                self._jitted = jax.jit(self._function, compiler_options=options, **self._settings)
        return self._jitted

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if lowering.current() == lowering.ONEDNN:  # YNNPACK has none of the convolutions
            return self._plain(*args, **kwargs)
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._plain(*args, **kwargs)  # jax takes options at the outermost call alone
        return self._with_options(*args, **kwargs)(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As of jitted functions."""
        if lowering.current() == lowering.ONEDNN:
            return self._plain.lower(*args, **kwargs)
        return self._with_options(*args, **kwargs).lower(*args, **kwargs)

    def _cache_size(self) -> int:
        return (self._jitted or self._plain)._cache_size()  # pyrefly: ignore


@functools.cache
def known(options: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The options, or none if this jaxlib does not know them, by compiling a number with them."""
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(options)
