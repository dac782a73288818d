"""`kd report`: its numbers by hand, and the report of a small run."""

import json
from pathlib import Path

import numpy as np
import pytest

from kd import main as command
from kd.report.calibration import brier, ece, reliability, temperature
from kd.report.fidelity import per_class
from kd.report.significance import mcnemar, wilson

LOGITS = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
LABEL = np.array([0, 1, 1, 1])


def test_calibration_by_hand():
    found = reliability(LOGITS, LABEL, bins=4)
    assert found.count.tolist() == [0, 0, 1, 3]  # 0.6 in (0.5, 0.75], the others above
    # |1 - 0.6| / 4 + 3 / 4 |2 / 3 - 2.6 / 3|
    assert ece(LOGITS, LABEL, bins=4) == pytest.approx(0.1 + 0.15)
    assert brier(LOGITS, LABEL) == pytest.approx((0.02 + 1.62 + 0.32 + 0.08) / 4)


def test_the_temperature_makes_the_confidence_the_accuracy():
    # Logit 4 and right in three of four: sigmoid(4 / t) = 3 / 4 at t = 4 / log 3.
    logits = np.array([[4.0, 0.0]] * 4)
    label = np.array([0, 0, 0, 1])
    assert temperature(logits, label) == pytest.approx(4 / np.log(3), rel=1e-4)


def test_significance_by_hand():
    # z^2 = 3.8415: (0.8 + z^2 / 20) / (1 + z^2 / 10) and its half width.
    assert wilson(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10).high == pytest.approx(1)
    a, b = np.array([1, 1, 1, 1, 1, 0, 1]) > 0, np.array([0, 0, 0, 0, 0, 1, 1]) > 0
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar(a, a) == 1


def test_classes_by_hand():
    target = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.2, 0.8]]))
    none, one = per_class(LOGITS[None], LABEL, target)
    assert (none.count, none.accuracy, none.kl) == (1, 1, 0) and not none.worse
    assert one.count == 3 and one.worse and one.teacher == 1
    assert one.accuracy == pytest.approx(2 / 3) == one.agreement
    assert one.kl == pytest.approx(0.8 * np.log(9) / 3)


@pytest.mark.slow
def test_the_report_of_a_small_run(finished, capsys):
    assert command.main(["report", "runs/small", "--out", "out"]) == 0
    assert capsys.readouterr().out == "out/report.html\n"
    content = json.loads(Path("out/report.json").read_text())
    result = json.loads(Path("runs/small/result.json").read_text())
    assert content["accuracy"] == pytest.approx(np.mean(result["final"]["accuracy"]))
    assert content["teacher"]["kl"] == pytest.approx(np.mean(result["final"]["kl"]))
    assert sum(row["count"] for row in content["classes"]) == 40
    assert content["calibration"]["temperature"] is None
    page, text = Path("out/report.html").read_text(), Path("out/report.md").read_text()
    for line in content["conclusions"]:
        assert f"<li>{line}</li>" in page and f"- {line}" in text
    assert any("No held-out data" in line for line in content["conclusions"])
    assert "data:image/png;base64," in page
    assert "http" not in page  # opens offline


@pytest.mark.slow
def test_held_out_logits_give_the_temperature(finished):
    path = Path("runs/small/predictions.npz")
    stored = dict(np.load(path))
    logits = np.zeros((2, 4, 10), np.float32)
    logits[:, :, 0] = 4.0
    label = np.array([0, 0, 0, 1], np.int32)
    np.savez(path, **stored, validation_logits=logits, validation_label=label)
    assert command.main(["report", "runs/small"]) == 0
    found = json.loads(Path("runs/small/report/report.json").read_text())["calibration"]
    # e^(4 / t) / (e^(4 / t) + 9) = 3 / 4
    assert found["temperature"] == pytest.approx([4 / np.log(27)] * 2, rel=1e-4)
    assert found["scaled"]["nll"] != found["nll"]


@pytest.mark.slow
def test_the_verdict_and_gains_are_on_top(finished, capsys):
    path = Path("runs/small/config.json")
    config = json.loads(path.read_text())
    config["acceptance"] = {"max_drop": 0.0, "min_agreement": 1.0}
    config["compare"] = {"plain": "small.py:teacher", "missing": "small.py:other"}
    path.write_text(json.dumps(config))
    assert command.main(["report", "runs/small"]) == 0
    content = json.loads(Path("runs/small/report/report.json").read_text())
    assert content["conclusions"][0].startswith("Acceptance NOT MET: loss ")
    gains = [line for line in content["conclusions"] if line.startswith("Gain over")]
    assert "points" in gains[0] and "unknown" in gains[1]
    assert content["gains"]["plain"]["low"] <= content["gains"]["plain"]["high"]


@pytest.mark.parametrize("begun", [False, True])
def test_no_finished_run_is_one_line(begun, tmp_path, capsys):
    if begun:
        (tmp_path / "config.json").write_text("{}")
    assert command.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert ("not finished" if begun else "no run directory") in error


def test_a_student_as_often_right_as_its_teacher_is_not_worse():
    """35 of 36 each: a mean of five rounded shares falls short of the share itself."""
    label = np.zeros(36, int)
    target = np.tile(np.array([1.0, 0.0]), (36, 1))
    target[0] = target[0, ::-1]
    (row,) = per_class(np.stack([target] * 5), label, target)
    assert row.accuracy == row.teacher
    assert not row.worse
