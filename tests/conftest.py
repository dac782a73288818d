"""Strict everywhere: eight simulated devices, no silent rank promotion, warnings are errors, shapes checked as they run."""

from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.npz` of 100 + 40 real digits, 8 x 8."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    image = (digits.images * 15).astype(np.uint8)[..., None]
    label = digits.target.astype(np.int32)
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(
        path,
        x_train=image[:100],
        y_train=label[:100],
        x_test=image[100:140],
        y_test=label[100:140],
    )
    return path


SMALL_CONFIG = '''
from ml_collections import ConfigDict

def get_config(arg=None):
    """A teacher (`teacher`), and a student of it."""
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.seeds = 2
    c.batch_size = 32
    c.epochs = 3
    c.steps_per_call = 2
    c.augment = "crop(1)"
    c.student = dict(name="mlp.MLP", widths=(8,))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.checkpoint = dict(seconds=0.0)
    if arg != "teacher":
        c.teacher = dict(config="{here}/small.py:teacher")
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c
'''


@pytest.fixture
def small_config(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A config file of a three-epoch run on `small_data`, in a fresh working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.py"
    path.write_text(
        SMALL_CONFIG.replace("{data}", str(small_data)).replace("{here}", str(tmp_path))
    )
    return path
