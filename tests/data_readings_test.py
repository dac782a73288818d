"""Arrays whose shape or labels could mean two things are refused with both readings and the key
that settles it; what is read is said before training.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kd import data
from kd.config.identity import config_hash
from kd.data import labels, remarks
from kd.data.base import Dataset, Split
from kd.data.check import check
from kd.errors import InputError
from kd.runs.networks import check_fit
from kd.train import objects

RANDOM = np.random.RandomState(0)
LABEL = np.arange(12) % 3


def load(tmp_path: Path, x, y=LABEL, y_test=None, **settings) -> Dataset:
    y_test = y[:6] if y_test is None else y_test
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y_test)
    data._load.cache_clear()
    return data.load("arrays", path=str(tmp_path / "mine.npz"), **settings)


def refusal(*arguments, **settings) -> str:
    with pytest.raises(InputError) as caught:
        load(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.randn(*shape).astype(np.float32)


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.randint(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("x", "shape", "dtype"),
    [
        (pixels(12, 8, 8), (8, 8, 1), "uint8"),
        (pixels(12, 8, 8).astype(np.int64), (8, 8, 1), "uint8"),
        (pixels(12, 8, 8) > 99, (8, 8, 1), "uint8"),
        (pixels(12, 8, 9, 3), (8, 9, 3), "uint8"),
        (pixels(12, 4, 4, 1), (4, 4, 1), "uint8"),
        (floats(12, 8, 8, 1), (8, 8, 1), "float32"),
        (floats(12, 6, 6, 16), (6, 6, 16), "float32"),
        (floats(12, 16, 16, 16), (16, 16, 16), "float32"),
        (floats(12, 128, 9), (128, 9), "float32"),  # series are long and narrow
        (1000 * floats(12, 64, 3).astype(np.int16), (64, 3), "float32"),
        (floats(12, 7).astype(np.float64), (7,), "float32"),
        (pixels(12, 7), (7,), "float32"),
        (np.arange(36).reshape(12, 3) - 5, (3,), "float32"),
    ],
)
def test_shapes_with_one_reading(tmp_path, x, shape, dtype):
    loaded = load(tmp_path, x)
    assert loaded.train.image.shape == (12, *shape) and loaded.test.image.shape == (6, *shape)
    assert loaded.train.image.dtype == dtype
    np.testing.assert_array_equal(loaded.train.image, x.reshape(12, *shape).astype(dtype))


TWO_READINGS = [
    (floats(12, 8, 8), "kind", {"image": (8, 8, 1), "series": (8, 8)}),
    (floats(12, 28, 40), "kind", {"image": (28, 40, 1), "series": (28, 40)}),
    (pixels(12, 64, 3), "kind", {"image": (64, 3, 1), "series": (64, 3)}),
    (floats(12, 3, 8, 8), "channels", {"first": (8, 8, 3), "last": (3, 8, 8)}),
    (pixels(12, 1, 28, 28), "channels", {"first": (28, 28, 1), "last": (1, 28, 28)}),
    (pixels(12, 3, 4, 4), "channels", {"first": (4, 4, 3), "last": (3, 4, 4)}),
    (pixels(12, 3, 10, 8), "channels", {"first": (10, 8, 3), "last": (3, 10, 8)}),
    (floats(12, 10, 32, 32), "channels", {"first": (32, 32, 10), "last": (10, 32, 32)}),
]


@pytest.mark.parametrize("x, key, readings", TWO_READINGS)
def test_shapes_with_two_readings(tmp_path, x, key, readings):
    message = refusal(tmp_path, x)
    for value, shape in readings.items():
        assert f'{key} = "{value}"' in message
        loaded = load(tmp_path, x, **{key: value})
        assert loaded.train.image.shape == (12, *shape)
    if key == "channels":
        first = load(tmp_path, x, channels="first").train.image
        np.testing.assert_array_equal(first, x.transpose(0, 2, 3, 1))
        assert 'channels = "last"' in refusal(tmp_path, x, kind="image")


def test_series_of_few_steps_and_many_channels(tmp_path):
    x = floats(12, 3, 128)
    assert 'channels = "first"' in refusal(tmp_path, x, kind="series")
    assert load(tmp_path, x, kind="series", channels="first").train.image.shape == (12, 128, 3)
    assert load(tmp_path, x, kind="series", channels="last").train.image.shape == (12, 3, 128)


def test_wide_integers_are_series_or_refused_as_both(tmp_path):
    square = (1000 * floats(12, 8, 8)).astype(np.int16)
    message = refusal(tmp_path, square)
    assert "0 to 255" in message and 'kind = "series"' in message
    series = load(tmp_path, square, kind="series").train.image
    np.testing.assert_array_equal(series, square.astype(np.float32))
    assert "0 to 255" in refusal(tmp_path, square, kind="image")


def test_a_kind_of_another_rank_is_refused(tmp_path):
    assert "[n, f]" in refusal(tmp_path, floats(12, 8, 8), kind="table")
    assert "[n, t, c]" in refusal(tmp_path, floats(12, 8), kind="series")
    assert "[n, h, w, c]" in refusal(tmp_path, floats(12, 8), kind="image")
    assert "'table'" in refusal(tmp_path, floats(12, 8), kind="tabular")
    assert "'first' or 'last'" in refusal(tmp_path, floats(12, 8), channels="3")


# ---- labels ----


def test_labels_from_one_do_not_become_a_class_more(tmp_path):
    x = pixels(12, 8, 8)
    message = refusal(tmp_path, x, LABEL + 1)
    assert "from 1 to 3 and none is 0" in message
    assert "y - 1" in message and "classes = 4" in message
    assert load(tmp_path, x, LABEL + 1, classes=4).num_classes == 4
    assert load(tmp_path, x, LABEL + 1, num_classes=4).num_classes == 4
    assert "y - 1" in refusal(tmp_path, x, LABEL + 1, classes=3)
    assert "classes = 11" in refusal(tmp_path, x, LABEL * 5)
    assert "differ" in refusal(tmp_path, x, classes=3, num_classes=4)


def test_names_become_classes(tmp_path):
    x, names = pixels(12, 8, 8), np.array(["dog", "cat", "emu"])[LABEL]
    loaded = load(tmp_path, x, names)
    assert loaded.class_names == ("cat", "dog", "emu") and loaded.num_classes == 3
    assert [loaded.class_names[k] for k in loaded.train.label] == names.tolist()
    assert [loaded.class_names[k] for k in loaded.test.label] == names[:6].tolist()
    ordered = load(tmp_path, x, names.astype("S"), class_names=["emu", "dog", "cat"])
    assert ordered.train.label[:3].tolist() == [1, 2, 0]
    assert "'emu'" in refusal(tmp_path, x, names, class_names=["cat", "dog"])
    assert "Store both alike" in refusal(tmp_path, x, names, LABEL[:6])
    assert "more than once" in refusal(tmp_path, x, class_names=["a", "a", "b"])


NO_CLASSES = {
    "regression": (RANDOM.rand(12), "regression"),
    "floats": (LABEL.astype(float), r"y.astype\(int\)"),
    "one-hot": (np.eye(3)[LABEL], "one-hot"),
    "several": (np.array([[1, 1, 0]] * 12), "multi-label"),
    "soft": (np.full((12, 3), 1 / 3), "soft labels"),
    "two targets": (RANDOM.randn(12, 2), "Several numbers"),
}


@pytest.mark.parametrize("case", NO_CLASSES)
def test_other_targets_are_told_what_kd_learns(tmp_path, case):
    y, words = NO_CLASSES[case]
    with pytest.raises(InputError, match=words) as caught:
        load(tmp_path, pixels(12, 8, 8), y)
    assert "classification of one label an example" in str(caught.value)
    split = Split(pixels(12, 8, 8, 1), y)
    with pytest.raises(InputError, match=words):
        check(Dataset(split, split, 3, (0.5,), (0.5,)))
    assert labels.refusal(np.array(["a"] * 12), 12, "data") is not None


@pytest.mark.parametrize("classes", [2**32 + 3, 2**24 + 1, 1, True, None, 3.0, float("nan")])
def test_labels_that_would_wrap_are_refused_with_any_number_of_classes(classes):
    split = Split(pixels(12, 8, 8, 1), LABEL + 2**32)
    with pytest.raises(InputError, match="two classes or more"):
        check(Dataset(split, split, 3, (0.5,), (0.5,))._replace(num_classes=classes))
    with pytest.raises(InputError, match="labels run from 4294967296"):
        check(Dataset(split, split, 3, (0.5,), (0.5,)))


def test_later_keys_leave_the_hash_of_earlier_runs():
    stored = {"data": {"name": "arrays", "path": "mine.npz", "kind": None}}
    today = {"data": {**stored["data"], "classes": None, "channels": None}}
    assert config_hash(today) == config_hash(stored)
    assert config_hash({"data": {**today["data"], "classes": 4}}) != config_hash(stored)
    own = {"data": {"name": "mine.load", "classes": None}}
    assert config_hash(own) != config_hash({"data": {"name": "mine.load"}})


# ---- what is said ----


@pytest.mark.parametrize(
    ("x", "line"),
    [
        (pixels(12, 8, 8), "12 training and 6 test images, 8 x 8 x 1, uint8, 3 classes"),
        (floats(12, 40, 3), "12 training and 6 test series, 40 x 3, float32, 3 classes"),
        (floats(12, 7), "12 training and 6 test rows, 7 columns, float32, 3 classes"),
    ],
)
def test_a_data_set_in_one_line(tmp_path, x, line):
    assert remarks.summary(load(tmp_path, x)) == line


def test_examples_of_both_splits_are_counted_and_the_first_named(tmp_path, capsys):
    x = pixels(12, 8, 8)
    load(tmp_path, x)  # the six test images are those of train
    told = capsys.readouterr().err
    assert "6 of 6 test images are byte for byte in train" in told
    assert "test 0 = train 0, test 1 = train 1, test 2 = train 2 and more." in told
    other = pixels(6, 8, 8)
    other[4] = x[7]
    np.savez(tmp_path / "one.npz", x_train=x, y_train=LABEL, x_test=other, y_test=LABEL[:6])
    data.load("arrays", path=str(tmp_path / "one.npz"))
    assert "1 of 6 test images are byte for byte in train as well: test 4 = train 7. " in (
        capsys.readouterr().err
    )
    other[4, 0, 0] ^= 1
    np.savez(tmp_path / "none.npz", x_train=x, y_train=LABEL, x_test=other, y_test=LABEL[:6])
    data.load("arrays", path=str(tmp_path / "none.npz"))
    assert capsys.readouterr().err == ""


def test_floats_far_from_zero_mean_and_unit_deviation_get_the_remedy(tmp_path, capsys):
    x = 100 + 20 * floats(12, 30, 2)
    load(tmp_path, x)
    told = capsys.readouterr().err
    assert "far from zero mean and unit deviation in 2 of 2 channels" in told
    mean, std = x.mean((0, 1)), x.std((0, 1))
    assert f"mean = ({mean[0]:.4g}, {mean[1]:.4g})" in told
    load(tmp_path, x, mean=mean.tolist(), std=std.tolist())
    assert "far from" not in capsys.readouterr().err
    for near in (floats(12, 30, 2), RANDOM.rand(12, 8, 8, 1), np.ones((12, 8, 8, 1))):
        load(tmp_path, near)
        assert "far from" not in capsys.readouterr().err
    load(tmp_path, 1e-3 * floats(12, 40))
    assert "in 40 of 40 channels" in (told := capsys.readouterr().err) and "40 numbers each" in told


def test_plain_objects_are_remarked_upon_as_data_sets_are(capsys):
    far = 50 * floats(12, 9)
    objects.make_dataset((far, LABEL), (far[3:9], LABEL[3:9]), None)
    told = capsys.readouterr().err
    assert "far from zero mean" in told and "test 0 = train 3" in told
    objects.make_dataset((floats(12, 9), LABEL), None, None)  # evaluated on its training data
    assert capsys.readouterr().err == ""


TABLE = """
from ml_collections import ConfigDict

def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="arrays", path="table.npz")
    c.batch_size, c.epochs = 6, 1
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(ce=dict(name="ce.CE"))
    c.holdout = 0.5
    return c
"""


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_a_table_trains_an_mlp_and_its_size_is_printed_first(tmp_path, monkeypatch, capsys):
    from kd.cli.main import main

    monkeypatch.chdir(tmp_path)
    Path("table.py").write_text(TABLE)
    x = floats(12, 7)
    x[9] = x[0]
    names = np.array(["a", "b", "c"])[LABEL]
    np.savez("table.npz", x_train=x, y_train=names, x_test=floats(6, 7), y_test=names[:6])
    assert main(["run", "--config", "table.py"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "table: 6 training and 6 validation rows, 7 columns, float32, 3 classes"
    result = json.loads(Path("runs/table/result.json").read_text())
    assert result["class_names"] == ["a", "b", "c"] and result["shape"] == [7]
    assert result["parameters"] == 7 * 4 + 4 + 4 * 3 + 3


def test_other_data_than_the_teachers_get_a_remedy(tmp_path):
    own = load(tmp_path, pixels(12, 8, 8))
    facts = dict(num_classes=3, shape=[8, 8, 1], mean=list(own.mean), std=list(own.std))
    for key, value, words in (
        ("mean", [0.5], r"config.data.mean = \(0.5,\) and config.data.std = "),
        ("num_classes", 4, "config.data.classes = 4"),
        ("shape", [9, 8, 1], "one shape"),
    ):
        with pytest.raises(InputError, match=words):
            check_fit({**facts, key: value}, own, "the teacher")


@pytest.mark.slow
@pytest.mark.usefixtures("finished", "unoptimized")
def test_a_student_of_a_part_of_its_teachers_data_is_told_the_remedy(small_data, capsys):
    """And with what the message names it trains."""
    from kd.cli.main import main

    arrays = dict(np.load(small_data))
    np.savez("half.npz", **{**arrays, **{k: arrays[k][:50] for k in ("x_train", "y_train")}})
    command = ["run", "--config", "small.py", "--workdir", "half", "--config.data.path=half.npz"]
    command += ["--config.epochs=1"]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert "runs/small-teacher was trained with mean" in told
    remedy = re.findall(r"config\.data\.(mean|std) = (\([\d., ]+\))", told)
    assert [key for key, _ in remedy] == ["mean", "std"]
    assert main([*command, *(f"--config.data.{key}={value}" for key, value in remedy)]) == 0
    result = json.loads(Path("half/result.json").read_text())
    taught = json.loads(Path("runs/small-teacher/result.json").read_text())
    assert (result["mean"], result["std"]) == (taught["mean"], taught["std"])
