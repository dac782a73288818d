"""Folders of pictures as they lie about: hidden files, links, pipes, bad pictures, other splits."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd import data
from kd.data.base import Dataset
from kd.errors import InputError

RANDOM = np.random.RandomState(0)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.randint(0, 256, (6, 7, 3)).astype(np.uint8)).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("cat", "dog"):
        for i in range(4):
            picture(tmp_path / "root" / name / f"{i}.png")
    return tmp_path / "root"


def load(root: Path, **settings) -> Dataset:
    data._load.cache_clear()
    return data.load("folder", path=str(root), size=4, test_fraction=0.25, **settings)


def test_what_is_hidden_or_left_behind_is_skipped(root, capsys):
    expected = load(root)
    hidden = root / "cat" / ".ipynb_checkpoints"
    hidden.mkdir()
    (hidden / "0-checkpoint.png").write_bytes((root / "cat" / "0.png").read_bytes())
    for name in ("._0.png", ".DS_Store", "Thumbs.db"):
        (root / "dog" / name).write_bytes(b"\0\5\x16\7")
    for name in ("__MACOSX/dog", ".git", "@eaDir", "dog/__MACOSX", "dog/more/.thumbs"):
        (root / name).mkdir(parents=True)
    picture(root / "dog" / "__MACOSX" / "0.png")
    picture(root / "dog" / "more" / ".thumbs" / "0.png")
    loaded = load(root)
    assert loaded.class_names == ("cat", "dog") and loaded.files == expected.files
    np.testing.assert_array_equal(loaded.train.image, expected.train.image)
    assert capsys.readouterr().err == ""


def test_all_bad_pictures_are_in_one_message(root):
    for i in range(4):
        path = root / "dog" / f"{i}.png"
        path.write_bytes(path.read_bytes()[: 20 * i])
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "deep.tiff").touch()
    with pytest.raises(InputError, match="6 of 10 pictures cannot be used") as caught:
        load(root)
    message = str(caught.value)
    assert "cat/pipe.jpg is no file but a folder, pipe" in message
    assert "dog/2.png cannot be read" in message and "; and 1 more." in message
    assert "\n" not in message


def test_links_that_lead_out_are_told_of(root, tmp_path, capsys):
    picture(tmp_path / "elsewhere" / "a.png")
    picture(tmp_path / "elsewhere" / "b.png")
    (root / "emu").symlink_to(tmp_path / "elsewhere")
    (root / "cat" / "inside.png").symlink_to(root / "dog" / "0.png")
    (root / "cat" / "nested").symlink_to(tmp_path / "elsewhere")
    assert load(root).class_names == ("cat", "dog", "emu")
    told = capsys.readouterr().err
    assert f"lead out of {root} and are followed, 1: {root}/emu -> {tmp_path}/elsewhere" in told
    assert f"are not followed, 1: {root}/cat/nested" in told


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_path_that_is_neither_file_nor_directory(tmp_path, make):
    make(path := tmp_path / "data.npz")
    for name, settings in (("arrays", {}), ("folder", {"size": 4})):
        with pytest.raises(InputError, match="neither a file nor a directory"):
            data.load(name, path=str(path), **settings)


def test_equal_pictures_of_both_splits_are_named_by_their_files(root, capsys):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            picture(root / "both" / split / name / "a.png")
    twice = root / "both" / "test" / "dog" / "z.png"
    twice.write_bytes((root / "both" / "train" / "cat" / "a.png").read_bytes())
    load(root / "both")
    told = capsys.readouterr().err
    assert "1 of 3 test images are byte for byte in train as well" in told
    assert f"{twice} = {root}/both/train/cat/a.png" in told


@pytest.mark.parametrize("names", [("train", "val"), ("Train", "Test"), ("training", "test")])
def test_splits_are_not_read_as_classes(tmp_path, names):
    for split in names:
        for name in ("cat", "dog"):
            picture(tmp_path / split / name / "a.png")
    with pytest.raises(InputError, match="would be read as classes"):
        load(tmp_path)
    for split in names:  # but a class may have any name
        picture(tmp_path / "flat" / split / "a.png")
        picture(tmp_path / "flat" / split / "b.png")
    assert load(tmp_path / "flat").num_classes == 2


@pytest.mark.parametrize("size", [float("nan"), None, True, 10**7, 0, "4", (4,), (4, None), 2.5])
def test_sizes_that_are_none(root, size):
    with pytest.raises(InputError, match="size"):
        data.load("folder", path=str(root), size=size)
