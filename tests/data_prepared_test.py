"""Prepared sets of TFDS whose files lie: what was changed is noticed, and nothing is imported."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from kd import data
from kd.data import prepare, tfds
from kd.errors import InputError

RANDOM = np.random.RandomState(0)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("original")
    for name in ("mnist", "fashion_mnist"):
        splits = {}
        for split, n in (("train", 20), ("test", 20 if name == "mnist" else 8)):
            image = RANDOM.randint(0, 256, (n, 28, 28, 1)).astype(np.uint8)
            splits[split] = {"image": image, "label": np.arange(n) % 10}
        prepare.write(name, root, splits)
    return root


@pytest.fixture
def home(original, tmp_path) -> Path:
    shutil.copytree(original, tmp_path / "sets")
    return tmp_path / "sets"


def edit(file: Path, **changes) -> None:
    content = json.loads(file.read_text())
    content["splits"][1].update(changes)
    file.write_text(json.dumps(content))


def refusal(home: Path, name: str = "fashion_mnist") -> str:
    with pytest.raises(InputError) as caught:
        data.load(name, data_dir=str(home))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("length", ["7", "9", "1000000000000", "-8"])
def test_a_length_that_is_not_the_files(home, length):
    edit(home / "fashion_mnist/3.0.1/dataset_info.json", shardLengths=[length])
    message = refusal(home)
    assert "holds 8 examples" in message and f"says {int(length):,}" in message
    assert "kd prepare fashion_mnist" in message


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_a_shard_of_train_in_place_of_test(home, name):
    """By its length, and where that is the same by its images."""
    version = home / name / "3.0.1"
    train, test = (next(version.glob(f"*-{split}.*")) for split in ("train", "test"))
    shutil.copyfile(train, test)
    assert ("test holds the images of train" if name == "mnist" else "holds 20") in refusal(
        home, name
    )


def test_metadata_of_another_set(home):
    shutil.copy(home / "mnist/3.0.1/dataset_info.json", home / "fashion_mnist/3.0.1")
    assert "it describes mnist 3.0.1" in refusal(home)


def test_other_classes_than_those_of_the_set(home):
    file = home / "fashion_mnist/3.0.1/label.labels.txt"
    names = file.read_text().splitlines()
    file.write_text("\n".join([names[1], names[0], *names[2:]]) + "\n")
    assert "not those of fashion_mnist" in refusal(home)
    loaded = tfds.load("fashion_mnist", str(home), class_names=tuple("abcdefghij"))
    assert loaded.class_names == tuple("abcdefghij")  # the generic loader takes them as they are


def test_no_module_that_the_metadata_name_is_imported(home):
    file = home / "fashion_mnist/3.0.1/features.json"
    text = file.read_text()
    path = "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
    legacy = {"type": "antigravity.Label", "content": "{}"}
    hidden = {"content": json.dumps({"features": {"label": legacy}})}
    for content in (
        text.replace(path, "antigravity.Label"),
        json.dumps(legacy),
        json.dumps(hidden),
    ):
        file.write_text(content)
        assert "could run code" in refusal(home)
        assert "antigravity" not in sys.modules
    file.write_text("[" * 10**5)
    assert "features.json is damaged" in refusal(home)
    file.write_text(json.dumps({"a": json.loads("[" * 99 + "]" * 99)}))
    assert "nested more than" in refusal(home)


@pytest.mark.parametrize("name", ["../mnist", "", "mnist\0", 3, ["mnist"], "a b", "."])
def test_names_that_no_set_has(home, name):
    with pytest.raises(InputError, match=r"dataset must be the name|a text"):
        data.load("tfds", dataset=name, data_dir=str(home))
    with pytest.raises(InputError, match=r"unknown split|a text"):
        data.load("tfds", dataset="mnist", data_dir=str(home), test=name)
