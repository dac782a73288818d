"""Prepared sets of TFDS: what is read is what the stock reader reads, absence is told at once,
damage is told clearly.
"""

import io
import socket
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd import data
from kd.data import base, cifar100, png, prepare, tfds
from kd.errors import InputError

RANDOM = np.random.RandomState(0)


def tiny(name: str) -> dict:
    """A few random images in the form of the set called `name`."""
    shape = (32, 32, 3) if "cifar" in name else (28, 28, 1)
    arrays = {}
    for split, n in (("train", 30), ("test", 7)):
        image = RANDOM.randint(0, 256, (n, *shape)).astype(np.uint8)
        arrays[split] = {"image": image, "label": np.arange(n) % 10}
        if name == "cifar100":
            arrays[split]["coarse_label"] = cifar100.coarse(np.arange(n) % 10)
    return arrays


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("tfds")
    sets = {name: tiny(name) for name in ("fashion_mnist", "cifar100")}
    for name, arrays in sets.items():
        prepare.write(name, root, arrays)
    return root, sets


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar100"])
def test_stock_tfds_reads_what_was_prepared(prepared, name):
    import tensorflow_datasets

    root, sets = prepared
    for split, given in sets[name].items():
        source = tensorflow_datasets.data_source(name, split=split, data_dir=root)
        assert len(source) == len(given["label"])
        where = {x.tobytes(): i for i, x in enumerate(given["image"])}
        order = [where[source[i]["image"].tobytes()] for i in range(len(source))]
        assert sorted(order) == list(range(len(order)))
        for i, place in enumerate(order):
            assert source[i]["label"] == given["label"][place]
            if name == "cifar100":
                assert source[i]["id"] == f"{split}_{place:05d}".encode()
                assert source[i]["coarse_label"] == given["coarse_label"][place]
        loaded = getattr(tfds.load(name, str(root)), split)
        np.testing.assert_array_equal(loaded.image, given["image"][order])
        np.testing.assert_array_equal(loaded.label, given["label"][order])


def test_load_by_name_finds_tfds_data_dir(prepared, monkeypatch):
    root, _ = prepared
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    loaded = data.load("fashion_mnist")
    assert loaded.num_classes == 10 and loaded.class_names[9] == "Ankle boot"
    assert (loaded.mean, loaded.std) == ((0.2860,), (0.3530,))
    anything = data.load("tfds", dataset="fashion_mnist", test="train")
    np.testing.assert_array_equal(anything.test.image, anything.train.image)
    assert (anything.mean, anything.std) == base.channel_moments(anything.train.image)
    with pytest.raises(InputError, match=r"unknown split.*'tset'.*'test'"):
        data.load("tfds", dataset="fashion_mnist", test="tset")


def test_class_names_of_cifar100_are_those_of_tfds_order(prepared):
    root, _ = prepared
    loaded = data.load("cifar100", data_dir=str(root))
    assert loaded.class_names[:3] == ("apple", "aquarium_fish", "baby")
    assert len(set(loaded.class_names)) == 100 and loaded.class_names[99] == "worm"
    # The coarse class of baby is people, the fifteenth.
    assert cifar100.coarse(np.array([2, 0])).tolist() == [14, 4]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_a_set_that_is_not_prepared_is_told_at_once(name, tmp_path, monkeypatch):
    def offline(*args, **kwargs):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(socket.socket, "connect", offline)
    # What a prepare that was killed leaves does not count.
    unfinished = tmp_path / name / "incomplete.ABCDEF_3.0.1"
    unfinished.mkdir(parents=True)
    (unfinished / "dataset_info.json").write_text("{}")
    start = time.monotonic()
    command = f"`kd prepare {name} --data_dir {tmp_path}`"
    with pytest.raises(InputError, match=command) as caught:
        data.load(name, data_dir=str(tmp_path))
    assert time.monotonic() - start < 2
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_set(prepared, tmp_path):
    root, _ = prepared
    source = root / "fashion_mnist" / "3.0.1"
    target = tmp_path / "fashion_mnist" / "3.0.1"
    target.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        cut = "test.array_record" in file.name
        (target / file.name).write_bytes(content[: len(content) // 2 if cut else None])
    with pytest.raises(InputError, match=r"damaged.*kd prepare fashion_mnist"):
        data.load("fashion_mnist", data_dir=str(tmp_path))


def test_a_set_in_another_format(prepared, tmp_path):
    root, _ = prepared
    source = root / "fashion_mnist" / "3.0.1"
    target = tmp_path / "fashion_mnist" / "3.0.1"
    target.mkdir(parents=True)
    for file in source.iterdir():
        name = file.name.replace("array_record", "tfrecord")
        content = file.read_bytes()
        if file.suffix == ".json":
            content = content.replace(b"array_record", b"tfrecord")
        (target / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read without TensorFlow"):
        data.load("fashion_mnist", data_dir=str(tmp_path))


@pytest.mark.parametrize("shape", [(7, 5, 1), (6, 9, 3)])
def test_png_of_every_filter_decodes_as_pillow_does(shape):
    """Ours without filters, and Pillow's smooth images, for which it takes filters of all kinds."""
    ramp = np.add.outer(np.arange(shape[0]) * 9, np.arange(shape[1]) * 5)[..., None]
    images = [(ramp * (k + 1) + RANDOM.randint(0, 9, shape)).astype(np.uint8) for k in range(20)]
    encoded = [png.encode(image) for image in images[:10]]
    for image in images[10:]:
        file = io.BytesIO()
        plane = image[..., 0] if shape[-1] == 1 else image
        Image.fromarray(plane).save(file, "png")
        encoded.append(file.getvalue())
    for part in (slice(0, 10), slice(10, 20), slice(0, 20)):
        np.testing.assert_array_equal(png.decode(encoded[part]), np.stack(images[part]))
    for image, picture in zip(images[:10], encoded, strict=False):
        pillow = np.asarray(Image.open(io.BytesIO(picture))).reshape(shape)
        np.testing.assert_array_equal(pillow, image)


def test_a_damaged_png_is_an_error():
    good = png.encode(RANDOM.randint(0, 256, (5, 4, 1)).astype(np.uint8))
    short = png.encode(RANDOM.randint(0, 256, (4, 4, 1)).astype(np.uint8))
    for bad in (good[:40], good[:29] + short[29:]):
        with pytest.raises((ValueError, OSError, zlib.error)):
            png.decode([good, bad])


def test_pictures_that_are_not_plain_png_go_to_pillow():
    image = RANDOM.randint(0, 256, (5, 4)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "bmp")
    np.testing.assert_array_equal(png.decode([file.getvalue()] * 2)[1, ..., 0], image)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "mnist"])
def test_the_real_set(name):
    if tfds.prepared(name, None) is None:
        pytest.skip(f"{name} is not prepared: `kd prepare {name}`")
    loaded = data.load(name)
    assert loaded.train.image.shape == (60_000, 28, 28, 1)
    assert loaded.test.image.shape == (10_000, 28, 28, 1)
    assert (loaded.mean, loaded.std) == base.channel_moments(loaded.train.image)
    counts = np.bincount(loaded.test.label).tolist()
    mnist = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert counts == (mnist if name == "mnist" else [1000] * 10)
