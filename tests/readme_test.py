"""The README's notebook example runs as it stands."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_notebook_example_takes_a_step():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example = next(block for block in blocks if "make_step" in block)
    names = {
        "images": jax.random.normal(jax.random.key(0), (8, 8, 8, 1)),
        "labels": jnp.arange(8) % 10,
    }
    exec(example, names)
    assert jnp.isfinite(names["metrics"]["loss"])
    assert int(names["state"].step) == 1
