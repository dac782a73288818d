"""The precision of matrix products and convolutions in training.

Weights, optimizer, losses and evaluation are float32 under every policy.

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
"""jax's name of the precision of float32 products; policies that are not here use its default."""


def network(net: nn.Module, policy: str) -> nn.Module:
    """The network as a training step computes it: with bfloat16 activations under that policy, and
    the same variables.

    Raises:
      InputError: the policy is bfloat16 and the network has no attribute `dtype`.
    """
    if policy != "bfloat16":
        return net
    if hasattr(net, "adapted"):  # see `kd.models.adapted`
        return net.clone(adapted=network(net.adapted, policy))
    if not hasattr(net, "dtype"):
        raise InputError(
            f"config.precision = 'bfloat16': {type(net).__name__} has no attribute `dtype`, by "
            "which a network learns its precision. Add one, as the networks in kd/models have, or "
            "choose default, float32 or tf32."
        )
    return net.clone(dtype="bfloat16")


def training(function: Callable, policy: str) -> Callable:
    """The training step `function` with the policy's precision of float32 products."""
    return _under(function, policy)


def evaluation(function: Callable, policy: str) -> Callable:
    """The evaluation `function` with float32 products under every policy but `default`, so that
    results can be compared.
    """
    return function if policy == "default" else _under(function, "float32")


def _under(function: Callable, policy: str) -> Callable:
    """jax reads the precision while it traces, so the context is inside the traced function."""

    def traced(*arguments: Any) -> Any:
        with _products(policy):
            return function(*arguments)

    return traced


def _products(policy: str) -> AbstractContextManager:
    if policy not in _PRODUCTS:
        return nullcontext()
    return jax.default_matmul_precision(_PRODUCTS[policy])
