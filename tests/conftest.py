"""Strict everywhere: eight simulated devices, no silent rank promotion, warnings are errors, shapes checked as they run."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
