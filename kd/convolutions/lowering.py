"""The translation of jax's convolutions to custom calls of oneDNN, where that is asked for."""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.interpreters import mlir

from kd.convolutions import library
from kd.convolutions.problem import KERNEL, MAPS, Problem, recognise

XLA, ONEDNN = "xla", "onednn"

_chosen = jax.make_user_context(XLA)
"""Part of the keys under which jax keeps traced and compiled programs: the same function under both
settings is two programs.
"""

_TYPES = {np.dtype("float32"): 0, np.dtype(jax.numpy.bfloat16): 1}
_ORDER = {MAPS: (2, 1, 0), KERNEL: (0, 2, 1)}
"""Where maps, kernel and outputs are among (first operand, second operand, result)."""


def compiled_by(name: str, function: Callable) -> Callable:
    """A compiled function whose convolutions are computed by `xla` or `onednn`, on CPUs.

    It has what kd uses of jitted functions: calls, `lower` and `_cache_size`. Convolutions that
    oneDNN does not cover are XLA's, and so is every program that jax splits over devices.

    Args:
      name: `xla` or `onednn`.
      function: from `jax.jit` or `jax.pmap`, or one that calls such.
    """
    return function if name == XLA else _Compiled(function, name)


@contextmanager
def using(name: str) -> Generator[None]:
    """Context in which programs are traced and compiled with the convolutions of `xla` or `onednn`.

    jax compiles a function that it has compiled under the other name again.
    """
    if name == ONEDNN:
        _register()
    with _chosen(name):
        yield


def current() -> str:
    """`xla` or `onednn`: whose convolutions a program takes that is compiled now."""
    return _chosen.value


def describe(name: str) -> str:
    """`xla`, or `onednn` with its version, as `result.json` records it."""
    return name if name == XLA else f"{name} {library.load().version}"


class _Compiled:
    def __init__(self, function: Callable, name: str):
        self._function, self._name = function, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with using(self._name):
            return self._function(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As of jitted functions."""
        with using(self._name):
            return self._function.lower(*args, **kwargs)  # pyrefly: ignore

    def _cache_size(self) -> int:
        return self._function._cache_size()  # pyrefly: ignore


@functools.cache
def _register() -> None:
    """Puts `_lower` before jax's own translation for CPUs, which serves all that it leaves."""
    primitive = lax.conv_general_dilated_p
    specific = mlir._platform_specific_lowerings["cpu"]
    entry = specific.get(primitive) or mlir._lowerings[primitive]
    rule = functools.partial(_lower, entry.rule)
    mlir.register_lowering(primitive, rule, platform="cpu")


def _lower(otherwise: Callable, context: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
    """jax's rule for the translation of a convolution."""
    if _chosen.value == ONEDNN and _on_one_device(context.module_context.axis_context):
        (first, second), (result,) = context.avals_in, context.avals_out
        problem = covered(first, second, result, params)
        if problem is not None:
            call = functools.partial(_call, problem, result, params["dimension_numbers"])
            return mlir.lower_fun(call, multiple_results=False)(context, lhs, rhs)
    return otherwise(context, lhs, rhs, **params)


def covered(first: Any, second: Any, result: Any, params: dict[str, Any]) -> Problem | None:
    """The problem of a convolution if oneDNN has fast code for it on this CPU.

    Args:
      first, second: abstract operands of `conv_general_dilated`.
      result: abstract.
      params: of the equation.
    """
    kinds = {array.dtype for array in (first, second, result)}
    if not kinds <= _TYPES.keys() or first.dtype != second.dtype:
        return None
    problem = recognise(first.shape, second.shape, result.shape, params)
    if problem is None:
        return None
    arrays = (first, second, result)
    types = tuple(_TYPES[arrays[i].dtype] for i in _ORDER.get(problem.kind, (0, 1, 2)))
    implementation = library.load().implementation(problem.numbers(), types)
    if not implementation or implementation.startswith(("ref", "gemm")):
        return None
    return problem


def _call(problem: Problem, result: Any, dimensions: Any, lhs: Any, rhs: Any) -> Any:
    """The custom call, in jax's words."""
    if problem.kind == MAPS:  # oneDNN takes the kernel as in the forward pass
        rhs = lax.rev(rhs, dimensions.rhs_spec[2:])
    shape, stack, axis = result.shape, problem.stack, dimensions.out_spec[1]
    if stack > 1:  # the axis of a stack comes first; XLA cancels this with what `vmap` did
        lhs = _split(lhs, dimensions.lhs_spec[1], stack)
        rhs = _split(rhs, dimensions.rhs_spec[0], stack)
        shape = (stack, *shape[:axis], shape[axis] // stack, *shape[axis + 1 :])
    call = jax.ffi.ffi_call(
        library.TARGET, jax.ShapeDtypeStruct(shape, result.dtype), vmap_method=None
    )
    value = call(lhs, rhs, problem=np.array(problem.numbers(), np.int64))
    return jax.numpy.moveaxis(value, 0, axis).reshape(result.shape) if stack > 1 else value


def _split(array: Any, axis: int, parts: int) -> Any:
    """An array whose axis has been cut into parts, along a new first axis."""
    before, size, after = array.shape[:axis], array.shape[axis], array.shape[axis + 1 :]
    return jax.numpy.moveaxis(array.reshape(*before, parts, size // parts, *after), axis, 0)


def _on_one_device(axes: Any) -> bool:
    """Whether each device computes the convolution alone, as under `shard_map`."""
    mesh = getattr(axes, "mesh", None)
    if mesh is None:
        return getattr(axes, "num_devices", 2) == 1
    return mesh.size == 1 or set(mesh.axis_names) <= set(axes.manual_axes)
