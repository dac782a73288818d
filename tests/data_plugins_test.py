"""A data set, a network and an augmentation of one's own: one file each, named by dotted path."""

import json
from pathlib import Path

import numpy as np
import pytest

from kd import data, registry
from kd.cli.main import main
from kd.config.defaults import LABELS
from kd.errors import InputError

DATA = """
import numpy as np
from kd.data.base import Dataset, Split

def load(examples=64):
    label = np.arange(examples) % 2
    image = np.random.default_rng(0).integers(0, 100, (examples, 4, 4, 1))
    image = (image + 100 * label[:, None, None, None]).astype(np.uint8)
    split = Split(image, label)
    return Dataset(split, split, num_classes=2, mean=(0.5,), std=(0.25,))
"""

NETWORKS = """
import flax.linen as nn
from kd.types import Outputs

class Linear(nn.Module):
    num_classes: int
    scale: float = 1.0

    @nn.compact
    def __call__(self, image, train: bool = False):
        x = image.reshape(image.shape[0], -1)
        return Outputs(self.scale * nn.Dense(self.num_classes)(x), {"pooled": x})

class Plain(Linear):
    def __call__(self, image, train: bool = False):
        return super().__call__(image, train).logits

class Pair(Linear):
    def __call__(self, image, train: bool = False):
        return super().__call__(image, train).logits, {}

class Seven(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, image, train: bool = False):
        return Outputs(nn.Dense(7)(image.reshape(image.shape[0], -1)))

class Fixed(nn.Module):
    classes: int = 2
"""

AUGMENT = """
import jax

def shift(key, image, most: int = 3):
    return image + jax.random.randint(key, (), 0, most + 1).astype(image.dtype)
"""

CONFIG = """
from ml_collections import ConfigDict

def get_config(network="Linear"):
    c = ConfigDict()
    c.data = dict(name="my_project.data.load", examples=32)
    c.batch_size = 16
    c.epochs = 2
    c.augment = "crop(1)|my_project.augment.shift(most=2)"
    c.student = dict(name=f"my_project.networks.{network}")
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    return c
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "my_project").mkdir()
    for name, text in (("data", DATA), ("networks", NETWORKS), ("augment", AUGMENT)):
        (tmp_path / "my_project" / f"{name}.py").write_text(text)
    (tmp_path / "config.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize("network", ["Linear", "Plain"])
def test_a_run_of_ones_own_data_network_and_augmentation(project, network):
    """`Plain` returns its logits alone."""
    assert main(["run", "--config", f"config.py:{network}", "--workdir", "runs/config"]) == 0
    config = json.loads((project / "runs/config/config.json").read_text())
    assert config["data"] == {"name": "my_project.data.load", **LABELS, "examples": 32}
    assert config["student"]["scale"] == 1.0  # its defaults are spelled out, as for kd's own
    result = json.loads((project / "runs/config/result.json").read_text())
    assert result["parameters"] == 34
    with np.load(project / "runs/config/predictions.npz") as predictions:
        assert (predictions["logits"][0].argmax(-1) == predictions["label"]).mean() > 0.9


@pytest.mark.parametrize("name", ["images", "imagenes"])
def test_a_data_set_of_ones_own_by_its_bare_name_is_told_its_path(name, tmp_path, monkeypatch):
    """And not that it looks like 'imagenet'."""
    monkeypatch.chdir(tmp_path)
    if name == "images":
        Path("images.py").write_text(DATA)
    else:
        Path(name).mkdir()
        Path(name, "files.py").write_text(DATA)
    with pytest.raises(
        InputError, match=rf"Of {name}.*dotted path, such as '{name}\.load'"
    ) as told:
        data.load(name)
    assert "imagenet" not in str(told.value)
    if name == "images":
        assert len(data.load("images.load").train.label) == 64


def test_a_module_without_its_class_and_a_class_that_it_lacks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own_networks.py").write_text(NETWORKS)
    where = r"Of own_networks\.py, name the class .* such as 'own_networks\.MyClass'"
    for package in ("kd.models", "kd.objectives"):
        with pytest.raises(InputError, match=where):
            registry.find(package, "own_networks")
    lacking = r"module own_networks has no class or function 'Liner'\. Did you mean 'Linear'"
    with pytest.raises(InputError, match=lacking):
        registry.find("kd.models", "own_networks.Liner")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("Pair", "Pair returns tuple; expected logits [b, c] or kd.types.Outputs(logits, feat"),
        ("Seven", "returns logits of shape [2, 7] for 2 images of 2 classes; expected [2, 2]"),
        ("Fixed", "Fixed takes no setting num_classes"),
        ("Liner", "has no class or function 'Liner'. Did you mean 'Linear'"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(project, network, message, capsys):
    assert main(["run", "--config", f"config.py:{network}"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()
