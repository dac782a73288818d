"""`kd import`: a checkpoint of PyTorch's becomes a finished run that teaches; nothing is left
behind where it cannot.
"""

import json
import struct

import jax
import numpy as np
import pytest
from importer_test import resnet8

from kd import build, config
from kd.cli.main import main
from kd.data import prepare
from kd.errors import InputError
from kd.models.resnet_cifar import resnet8 as net
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.train.run import run
from kd.weights import convert

CLASSES = 10


def write_safetensors(path, arrays):
    header, body = {}, b""
    for name, array in arrays.items():
        array = np.asarray(array, np.float32)
        ends = [len(body), len(body) + array.nbytes]
        header[name] = dict(dtype="F32", shape=list(array.shape), data_offsets=ends)
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


@pytest.fixture
def weights():
    return {
        k: v for k, v in resnet8(classes=CLASSES).items() if not k.endswith("num_batches_tracked")
    }


@pytest.fixture
def checkpoint(tmp_path, weights):
    path = tmp_path / "resnet8.safetensors"
    write_safetensors(path, weights)
    return path


def write_data(path, classes=CLASSES):
    r = np.random.default_rng(0)
    images = lambda n: r.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    labels = lambda n: (np.arange(n) % classes).astype(np.int32)
    np.savez(path, x_train=images(32), y_train=labels(32), x_test=images(20), y_test=labels(20))
    return path


def call(checkpoint, out, data, model="resnet8"):
    argv = ["import", str(checkpoint), "--model", model, "--out", str(out)]
    return main([*argv, "--data", "arrays", "--data_path", str(data)])


@pytest.mark.slow
def test_an_imported_network_teaches(tmp_path, checkpoint, weights, capsys):
    data, out = write_data(tmp_path / "data.npz"), tmp_path / "teacher"
    assert call(checkpoint, out, data) == 0
    assert "sha256" in capsys.readouterr().out
    result = Workdir(out).read("result.json")
    assert result["imported"]["sha256"] == convert.sha256(checkpoint)

    trained = load_networks(Workdir(out))
    expected = convert.from_torch("resnet8", weights)
    jax.tree.map(
        lambda got, want: np.testing.assert_array_equal(got[0], want), trained.variables, expected
    )
    # What it stored is what the network says of the normalised test images.
    with np.load(data) as arrays:
        pixels = arrays["x_test"] / np.float32(255)
    image = (pixels - np.float32(result["mean"])) / np.float32(result["std"])
    own = net(num_classes=CLASSES).apply(expected, image.astype(np.float32))
    stored = Workdir(out).predictions()["logits"]
    np.testing.assert_allclose(stored[0], own.logits, rtol=1e-4, atol=1e-4)

    small = tmp_path / "weights" / "resnet8.safetensors"
    assert main(["pack", str(out), "--out", str(small)]) == 0
    assert capsys.readouterr().out == f"{convert.sha256(small)}  {small}\n"
    sums = small.with_name("SHA256SUMS").read_text()
    assert sums == f"{convert.sha256(small)}  resnet8.safetensors\n"
    again, _ = convert.import_checkpoint(small, "resnet8")
    jax.tree.map(np.testing.assert_array_equal, again, expected)
    assert main(["pack", str(out), "--out", str(small)]) == 2
    assert main(["pack", str(out), "--out", str(small), "--member", "1"]) == 2
    assert main(["pack", str(tmp_path), "--out", f"{small}.safetensors"]) == 2

    c = config.load("configs/digits.py:role=labels,seeds=1")
    c.data = dict(name="arrays", path=str(data))
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.teacher.name, c.teacher.run = "frozen", str(out)
    c.objective = dict(kd=dict(name="kd.KD", temperature=4.0))
    c.compare = {}
    c.epochs, c.batch_size, c.schedule.warmup = 1, 16, 0.0
    student = run(build.spell_out(c), Workdir(tmp_path / "student"), tmp_path)
    assert student.read("result.json")["teacher"]["run"] == str(out)


def test_a_directory_that_is_there_is_left_alone(tmp_path, checkpoint, capsys):
    kept = tmp_path / "kept"
    kept.mkdir()
    assert call(checkpoint, kept, tmp_path / "data.npz") == 2
    assert "exists already" in capsys.readouterr().err
    assert not list(kept.iterdir())


@pytest.mark.parametrize(
    ("model", "classes", "told"),
    [("resnet14", CLASSES, "missing"), ("resnet8", 7, "10 classes"), ("resnet9", 7, "resnet8")],
)
def test_what_does_not_fit_leaves_nothing(tmp_path, checkpoint, capsys, model, classes, told):
    data, out = write_data(tmp_path / "data.npz", classes), tmp_path / "teacher"
    assert call(checkpoint, out, data, model) == 2
    error = capsys.readouterr().err.strip()
    assert told in error
    assert "\n" not in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.npz", checkpoint.name]


def test_a_truncated_file_is_refused(tmp_path, checkpoint, capsys):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    data = write_data(tmp_path / "data.npz")
    assert call(checkpoint, tmp_path / "teacher", data) == 2
    assert not (tmp_path / "teacher").exists()


@pytest.mark.slow
def test_without_its_data_a_network_is_imported_and_evaluated_later(
    tmp_path, weights, capsys, monkeypatch
):
    """The set is prepared between two of the same command; a run with this teacher would come to
    the same.
    """
    from kd.train.run import finished
    from kd.train.sources import sources_of

    checkpoint, out = tmp_path / "resnet8.safetensors", tmp_path / "teacher"
    write_safetensors(checkpoint, weights)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    command = ["import", str(checkpoint), "--model", "resnet8", "--out", str(out)]
    command += ["--data", "cifar10"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "not evaluated" in told and "cifar10" in told
    assert not Workdir(out).finished
    c = config.load("configs/digits.py:role=labels,seeds=1")
    c.teacher.name, c.teacher.run = "frozen", str(out)
    with pytest.raises(InputError, match="cifar10 is not prepared"):
        finished(sources_of(c, tmp_path).teachers[0], tmp_path)

    r = np.random.RandomState(0)
    arrays = {
        split: {
            "image": r.randint(0, 256, (n, 32, 32, 3)).astype(np.uint8),
            "label": np.arange(n) % 10,
        }
        for split, n in (("train", 20), ("test", 10))
    }
    prepare.write("cifar10", tmp_path / "tfds", arrays)
    teacher = finished(sources_of(c, tmp_path).teachers[0], tmp_path)
    assert teacher.read("result.json")["examples"] == 10
    assert main(command) == 2  # it is finished: left alone
    assert "exists already" in capsys.readouterr().err


def test_images_that_the_network_cannot_look_at(tmp_path, weights, capsys):
    """Grey images for a network that wants colour: one line, and nothing is left."""
    checkpoint, data = tmp_path / "net.safetensors", tmp_path / "grey.npz"
    write_safetensors(checkpoint, weights)
    image = np.random.RandomState(0).randint(0, 256, (20, 32, 32, 1)).astype(np.uint8)
    label = np.arange(20) % CLASSES
    np.savez(data, x_train=image, y_train=label, x_test=255 - image, y_test=label)
    assert call(checkpoint, tmp_path / "teacher", data) == 2
    error = capsys.readouterr().err.strip()
    assert "3 channels" in error and "\n" not in error
    assert not (tmp_path / "teacher").exists()
