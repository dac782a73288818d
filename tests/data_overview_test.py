"""`kd data`: what is counted in a data set, what is remarked, and the picture."""

from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.data import survey
from kd.data.base import Dataset, Split

RNG = np.random.default_rng(0)


def dataset(image, label=None, test=None, test_label=None, **keys):
    """A data set of three classes, whose test split is like train."""
    label = np.arange(len(image)) % 3 if label is None else np.asarray(label)
    test = image + 0 if test is None else test
    test_label = np.arange(len(test)) % 3 if test_label is None else np.asarray(test_label)
    c = image.shape[-1]
    facts = {"num_classes": 3, "mean": (0.0,) * c, "std": (1.0,) * c} | keys
    return Dataset(Split(image, label), Split(test, test_label), **facts)


def pixels(n=60):
    return RNG.integers(0, 256, (n, 5, 5, 1)).astype(np.uint8)


def remarks(data):
    return "\n".join(survey.all_remarks(data))


def test_a_plain_data_set_has_no_remark():
    assert remarks(dataset(pixels(), test=pixels())) == ""


def test_rare_classes_and_unknown_labels_are_counted():
    label = np.repeat([0, 1, 2, -1], [30, 20, 3, 7])
    text = remarks(dataset(pixels(), label, pixels(), class_names=("cat", "dog", "eel")))
    assert "7 training images (11.7 %) have no label." in text
    assert "rare: eel (3), where the median class has 20 labelled" in text
    text = remarks(dataset(pixels(), test=pixels(4), test_label=[0, 1, 0, 1]))
    assert "no test image is of class 2: nothing is measured" in text


def test_equal_examples_within_and_between_the_splits():
    train, test = pixels(), pixels(20)
    train[9], train[30], test[4] = train[3], train[3], train[7]
    data = dataset(train, test=test)
    assert survey.repeated(data.train) == [(9, 3), (30, 3)]
    text = remarks(data)
    assert "2 examples of train equal to an earlier one: 9 = 3, 30 = 3." in text
    assert "another label" not in text  # 3, 9 and 30 are of class 0
    assert "1 of 20 test images are byte for byte in train as well: test 4 = train 7" in text
    train[10] = train[3]
    assert "; 1 of them with another label." in remarks(dataset(train, test=test))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: x * (np.arange(60) != 5)[:, None, None, None],
            "1 example of train with one value everywhere: 5.",
        ),
        (lambda x: x * [1, 1, 100], "channel 2 has another range than the others: deviation"),
        (lambda x: x * [1, 1, 0], "channel 2 has the same value in all training examples"),
        (lambda x: np.abs(x * 40 + 120).clip(0, 255), "as pixels of 0 to 255 do"),
        (lambda x: (x > 0).astype(np.uint8), "pixels are uint8 and at most 1 of 255"),
    ],
)
def test_values_far_from_their_scale(change, message):
    image = np.asarray(change(RNG.normal(size=(60, 5, 5, 3))))
    image = image if image.dtype == np.uint8 else image.astype(np.float32)
    assert message in remarks(dataset(image, test=image[::-1] * 1))


def test_a_test_split_of_another_scale():
    image = RNG.normal(size=(60, 9, 2)).astype(np.float32)
    assert "test has another scale than train: in channel 0" in remarks(
        dataset(image, test=255 * image)
    )
    assert "another scale" not in remarks(dataset(image, test=image[:30]))


CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    c = ConfigDict()
    c.data = dict({data})
    c.augment = "{augment}"
    c.batch_size = 8
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(kd=dict(name="kd.KD"))
    c.teacher = dict(run="gone")
    return c
"""


def write(data, augment=""):
    Path("mine.py").write_text(CONFIG.replace("{data}", data).replace("{augment}", augment))
    arrays = dict(
        images=RNG.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8),
        series=RNG.normal(size=(40, 30, 2)),
        table=RNG.normal(size=(40, 7)),
    )
    for name, x in arrays.items():
        y = np.arange(40) % 4
        np.savez(f"{name}.npz", x_train=x, y_train=y, x_test=x[::-1] * 1, y_test=y[::-1])


@pytest.mark.parametrize(
    ("name", "augment", "kind"),
    [
        ("images", "flip|crop(1)", "kind: images [6, 6, 3], uint8; values from 0 to 255"),
        ("series", "", "kind: series [30, 2], float32"),
        ("table", "", "kind: rows [7], float32"),
    ],
)
def test_every_kind_of_data_is_described_and_drawn(
    name, augment, kind, tmp_path, monkeypatch, capsys
):
    """Without the teacher that the config names."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    write(f'name="arrays", path="{name}.npz"', augment)
    assert main(["data", "mine.py", "--config.data.labelled=20"]) == 0
    printed = capsys.readouterr()
    assert kind in printed.out and "40 training (20 labelled)" in printed.out
    assert "40 of 40 test" in printed.out and "byte for byte" not in printed.err
    assert printed.out.splitlines()[-1].endswith(": mine-data.png")
    with Image.open("mine-data.png") as picture:
        assert picture.size == (700, 760) and len(set(picture.convert("L").tobytes())) > 20
    assert sorted(Path().glob("runs*")) == []


def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write('name="arrays", path="nan.npz"')
    x = RNG.normal(size=(12, 7))
    x[3] = np.nan
    np.savez("nan.npz", x_train=x, y_train=[0, 1] * 6, x_test=x[:2], y_test=[0, 1])
    for command, message in (
        (["data", "mine.py"], "image 3 (from 0) has pixels that are NaN or infinite"),
        (["data", "gone.py"], "no config file 'gone.py'"),
        (["data", "mine.py", "--config.data.pth=1"], "pth"),
        (["data", "mine.py", "--config.data.path=gone.npz"], "gone.npz"),
        (["data", "mine.py", "--config.data.path=table.npz", "--config.augment=crp(1)"], "crop"),
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err.strip().splitlines()
        assert message in error[-1] and error[-1].startswith("kd data: "), error
