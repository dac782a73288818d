"""What a step multiplies in. Weights, optimizer, losses and evaluation are float32 whatever it is.

| `config.precision` | networks | their products |
|---|---|---|
| `default` | float32 | float32 on a CPU, TF32 on an NVIDIA GPU, bfloat16 on a TPU |
| `float32` | float32 | float32 |
| `tf32` | float32 | TF32 (10-bit mantissa) where supported, else three of bfloat16 |
| `bfloat16` | bfloat16 | bfloat16, accumulated in float32; see below for what stays float32 |
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import flax.linen as nn
import jax

from kd.errors import InputError

POLICIES = ("default", "float32", "tf32", "bfloat16")

_PRODUCTS = {"float32": "float32", "tf32": "tensorfloat32"}
"""jax's name of what float32 numbers are multiplied in; where it has none, jax's default."""


def network(net: nn.Module, policy: str) -> nn.Module:
    """The network as a step computes it: the same variables, activations in bfloat16 where the
    policy says so.

    Raises:
      InputError: it should compute in bfloat16 and has no attribute `dtype`.
    """
    if policy != "bfloat16":
        return net
    if not hasattr(net, "dtype"):
        raise InputError(
            f"config.precision = 'bfloat16': {type(net).__name__} has no attribute `dtype`, so "
            "that it cannot be told. Give it one, as the networks in kd/models have it, or choose "
            "default, float32 or tf32."
        )
    return net.clone(dtype="bfloat16")


def training(function: Callable, policy: str) -> Callable:
    """A step whose float32 products are as the policy says."""
    return _under(function, policy)


def evaluation(function: Callable, policy: str) -> Callable:
    """A network's evaluation: float32 under every policy but the default, so that numbers can be
    compared.
    """
    return function if policy == "default" else _under(function, "float32")


def _under(function: Callable, policy: str) -> Callable:
    """The precision is read while jax traces, so the context stands within what is traced."""

    def traced(*arguments: Any) -> Any:
        with _products(policy):
            return function(*arguments)

    return traced


def _products(policy: str) -> AbstractContextManager:
    if policy not in _PRODUCTS:
        return nullcontext()
    return jax.default_matmul_precision(_PRODUCTS[policy])
