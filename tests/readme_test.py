"""The README's notebook example runs as it stands, and documents keep to 100 columns."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "tests/golden/*/*.md")
    for path in ROOT.glob(pattern)
)


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


def test_the_commands_that_ci_and_a_newcomer_run():
    assert "    python -m pip install uv && uv run pytest  " in README
    digits = "    python -m pip install uv && uv run kd run --config configs/digits.py  "
    assert digits in README


@pytest.mark.parametrize("document", DOCUMENTS)
def test_prose_is_at_most_100_columns_wide(document):
    """Tables, code, images, and what `kd table` and the benchmarks write may be wider."""
    text = (ROOT / document).read_text()
    text = re.sub(r"(?s)<!-- table.*?<!-- /table -->", "", text)
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    prose = [line for line in text.splitlines() if not line.startswith(("|", "    ", "!["))]
    assert [line for line in prose if len(line) > 100] == []
