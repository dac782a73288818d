"""`kd verify --vnnlib`: what other verifiers read is what kd proves and refutes."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.files.parsers import parse_npz
from kd.verify.certificates import Question

pytest.importorskip("onnx", reason="needs the extra onnx: uv sync --extra onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from export_onnx_test import drawn  # noqa: E402

from kd.export import source as sources  # noqa: E402
from kd.export import tflite  # noqa: E402
from kd.export.onnx import translation  # noqa: E402
from kd.models import cnn  # noqa: E402
from kd.verify import properties  # noqa: E402

ASSERTION = re.compile(r"\(assert \((<=|>=) X_(\d+) (-?\d+\.\d+)\)\)")
OTHER = re.compile(r"\(and \(>= Y_(\d+) Y_(\d+)\)\)")


def box(text):
    """Bounds of the inputs, and pairs of outputs (other class, label), read without kd."""
    limits = {sign: {} for sign in ("<=", ">=")}
    for sign, i, value in ASSERTION.findall(text):
        limits[sign][int(i)] = float(value)
    low, high = ([limits[s][i] for i in range(len(limits[s]))] for s in (">=", "<="))
    assert len(low) == len(high) == text.count("(declare-const X_")
    return np.array(low), np.array(high), [(int(a), int(b)) for a, b in OTHER.findall(text)]


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def satisfied(logits, pairs):
    """Whether each row of logits is a counterexample."""
    return np.any([logits[:, a] >= logits[:, b] for a, b in pairs], axis=0)


@pytest.fixture
def written(finished, capsys):
    command = ["verify", "runs/small", "--only", "student", "--radius", "0.5,30", "--images", "8"]
    assert main([*command, "--exact", "20", "--vnnlib", "props"]) == 0
    assert "props: the student as ONNX, 16 property files, instances.csv" in capsys.readouterr().out
    with Path("props/instances.csv").open() as file:
        return list(csv.reader(file)), command


def test_other_verifiers_get_the_questions_that_kd_answers(written, capsys):
    """Witnesses satisfy their property, and samples of proved balls do not."""
    rows, command = written
    content = json.loads(Path("runs/small/verify.json").read_text())
    with Path("runs/small/verify.npz").open("rb") as file:
        stored = parse_npz(file)
    assert len(rows) == 16 and {(r[0], r[2]) for r in rows} == {("onnx/model.onnx", "20")}
    network = session(Path("props") / rows[0][0])
    (entry,) = network.get_inputs()
    run = lambda x: network.run(None, {"image": x.reshape(-1, *entry.shape[1:])})[0]
    draw, answers = np.random.default_rng(0), []
    for k, certificate in enumerate(content["networks"][0]["radii"]):
        witness = dict(zip(stored[f"0_{k}_index"], stored[f"0_{k}_image"], strict=True))
        for i, status in enumerate(certificate["statuses"]):
            text = Path("props", rows[8 * k + i][1]).read_text()
            assert (
                f"image{content['index'][i]}_radius{certificate['radius']:g}." in rows[8 * k + i][1]
            )
            low, high, pairs = box(text)
            assert (high - low <= 2 * certificate["radius"]).all()
            assert low.min() >= 0 and high.max() <= 255 and len(pairs) == 9
            answers.append(status)
            if status == "refuted":
                image = witness[i].astype(np.float32).reshape(1, -1)
                assert (image >= low - 1e-4).all() and (image <= high + 1e-4).all()
                assert satisfied(run(image), pairs).all()
            elif status == "proved":
                some = draw.uniform(low, high, (200, len(low))).astype(np.float32)
                assert not satisfied(run(some), pairs).any()
    assert {"refuted", "proved"} <= set(answers)
    before = Path("props/instances.csv").read_bytes()
    assert main([*command, "--vnnlib", "props"]) == 0  # replaces
    assert Path("props/instances.csv").read_bytes() == before.replace(b",20\n", b",60\n")


@pytest.fixture
def compat():
    """The parser that tools of VNN-COMP call; version 1.0 of it reads another language."""
    return pytest.importorskip("vnnlib.compat", reason="needs vnnlib 0.0.1: it reads VNN-LIB 1.0")


def test_the_parser_of_the_field_reads_them(compat, written):
    rows, _ = written
    for _, name, _ in rows:
        low, high, pairs = box(Path("props", name).read_text())
        ((limits, disjuncts),) = compat.read_vnnlib_simple(str(Path("props", name)), 64, 10)
        np.testing.assert_array_equal(limits, np.stack([low, high], axis=1))
        assert len(disjuncts) == len(pairs) == 9
        for (matrix, most), (other, label) in zip(disjuncts, pairs, strict=True):
            target = np.zeros(10)
            target[label], target[other] = 1, -1
            np.testing.assert_array_equal(matrix, target[None])
            assert not np.any(most)


def test_inputs_are_in_the_order_of_the_network_s_input(unoptimized):
    """Of an image of three colours that is no square; levels end at 0 and 255."""
    source = drawn(cnn.CNN(10, (4,)), (6, 5, 3))
    file = tflite.floats(source)
    entry = translation.Entry(True, floats=True)
    model = translation.translate(file.content, file.named, entry, "network", {})
    image = source.dataset.test.image
    question = Question(image, source.dataset.test.label, "linf", np.ones(1))
    balls = question.balls(0.25)
    low, high, _ = box(properties.text(balls.low[0], balls.high[0], 0, 10))
    raw = image[0].reshape(-1)
    np.testing.assert_array_equal(low, np.maximum(raw - 0.25, 0))
    np.testing.assert_array_equal(high, np.minimum(raw + 0.25, 255))
    network = session(model.content)
    shape = network.get_inputs()[0].shape[1:]
    center = np.clip(np.rint((low + high) / 2), 0, 255).astype(np.float32)
    run = lambda x: network.run(None, {"image": x[None]})[0]
    target = sources.logits(source, image[:1])
    np.testing.assert_allclose(run(center.reshape(shape)), target, rtol=1e-4, atol=1e-4)
    turned = center.reshape(3, 6, 5).transpose(1, 2, 0)
    assert abs(run(np.ascontiguousarray(turned)) - target).max() > 0.01


def test_numbers_are_read_back_as_they_were():
    low = np.array([-0.1, 1e-9, 1 / 3, 254.75])
    text = properties.text(low, low + 1e-7, 1, 3)
    read, most, pairs = box(text)
    np.testing.assert_array_equal(read, low)
    np.testing.assert_array_equal(most, low + 1e-7)
    assert pairs == [(0, 1), (2, 1)]


def test_what_cannot_be_written_is_refused(finished, capsys, tmp_path):
    """Before anything is computed, in one line, and other files stay."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("kept")
    for arguments, message in (
        (["--vnnlib", str(other)], "holds other things than properties"),
        (["--vnnlib", str(other / "mine.txt")], "is a file"),
        (["--vnnlib", "props", "--norm", "l2"], "L-infinity"),
    ):
        assert main(["verify", "runs/small", "--images", "4", *arguments]) == 2
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1
    assert (other / "mine.txt").read_text() == "kept"
    assert not Path("props").exists() and not Path("runs/small/verify.json").exists()
