"""What students are measured against, and the closing table of `kd run`, by hand from runs that
nobody trained.
"""

import re

import numpy as np
import pytest

from kd.config import ConfigDict, complete
from kd.metrics.intervals import Interval
from kd.metrics.reference import accuracy_loss, per_student
from kd.runs import summary
from kd.teachers.reduction import reference_logits

# Of four images the first teacher knows all, the second two; each student lost one, or none, of its
# own teacher's.
TEACHERS, STUDENTS = ["1111", "1100"], ["1110", "1100"]
COSTS = {"parameters": 20, "bytes": 80, "macs": 16}
# Two barely sure members against one that is certain: outvoted as probabilities, not as logits.
SPLIT = np.array([[[0.0, 2.0]], [[0.0, 2.0]], [[10.0, 0.0]]])


def config(**sections) -> ConfigDict:
    return complete(ConfigDict({"objective": {"ce": {"name": "ce.CE"}}, **sections}))


def taught_by(there, members) -> dict:
    return {"run": str(there), "members": members}


def table(own, teachers=(), others=None, **sections) -> list[str]:
    runs = summary.Runs(own, tuple(teachers), None, others or {})
    return summary.table(config(**sections), runs).splitlines()


def line(lines, start) -> str:
    return next(text for text in lines if text.startswith(start))


def test_what_taught_is_the_mean_of_probabilities_or_of_logits_or_each_alone():
    mean = lambda *how: reference_logits(SPLIT, [0.25, 0.25, 0.5], *how)
    np.testing.assert_allclose(mean("logits"), [[5.0, 1.0]])
    p = 1 / (1 + np.exp([2, 2, -10]))
    found = np.exp(mean("probs"))[0]
    np.testing.assert_allclose(found[0], p @ [0.25, 0.25, 0.5], rtol=1e-6)
    assert mean("probs", True) is SPLIT
    # Of two seeds with two peers each, both peers of a seed have its teacher.
    assert per_student(SPLIT[1:], 4)[:, 0, 0].tolist() == [0, 0, 10, 10]


def test_pairs_are_drawn_together():
    """Both students lose nothing, whatever is drawn; drawn apart the two sides would differ."""
    logits = np.eye(2)[[[0, 0, 0, 0], [0, 0, 1, 1]]]
    label = np.zeros(4, int)
    assert accuracy_loss(logits, logits, label) == (0, 0, 0)
    # The first alone taught both: all images, less three quarters.
    found = accuracy_loss(logits, logits[0], label)
    assert found.value == 0.25 and found.low < 0.25 < found.high


def test_paired_students_are_judged_against_their_own_teachers(by_hand):
    teacher = by_hand("teacher", TEACHERS, **COSTS)
    own = by_hand("own", STUDENTS, teacher=taught_by(teacher, [0, 1]))
    section = {"run": str(teacher.path), "members": "paired"}
    limits = {"max_drop": 0.13, "min_agreement": 0.87}
    three, two = by_hand("three", ["1111"] * 3), by_hand("two", ["0011", "1111"])
    others = {"three": three, "two": two}
    lines = table(own, [teacher], others, teacher=section, acceptance=limits)
    assert lines[1] == f"student i learned from member i of {teacher}"
    assert "100.00 ± 0.00" in line(lines, "teacher, mean of 2")
    # 3 of 4 with the first, 4 of 4 with the second.
    assert "87.50 ± 17.68" in line(lines, "distilled student")
    assert "50.00 ± 0.00  0.231" in line(lines, "two ")  # 2 of 4, and 2 of 4
    assert line(lines, "three").endswith("8")  # three have no teacher here
    assert not any("ensemble" in text for text in lines)
    assert "its own teacher, seed by seed: +12.50 points" in line(lines, "Loss")
    assert "MET: loss 12.50 of at most 13.00 points, agreement 87.50 %" in line(lines, "Acceptance")


def test_without_a_teacher_gains_are_told_and_why_there_is_no_verdict(by_hand):
    own, labels = by_hand("own", ["1110"]), by_hand("labels", ["1100"])
    limits = {"max_drop": 0.02, "min_agreement": 0.97}
    lines = table(own, others={"labels": labels}, acceptance=limits)
    gain, accepted, blank, results = lines[-6:-2]
    assert gain.startswith("Gain over 'labels': +25.00 points, 95 % interval")
    assert accepted == summary.NO_VERDICT
    assert (blank, results) == ("", "Results:")
    assert lines[-7] == ""
    # With nothing to say there is no empty paragraph.
    row, *rest = table(own)[-4:]
    assert row.startswith("student") and rest == ["", "Results:", f"  {own}"]


def test_a_loss_of_what_was_allowed_is_accepted():
    """0.99 - 0.97 is 0.020000000000000018."""
    limits = ConfigDict({"max_drop": 0.02, "min_agreement": 0.97})
    at = 0.99 - 0.97
    text = summary._acceptance(limits, Interval(at, 0.0, at), 0.97)
    assert text.startswith("Acceptance MET: loss 2.00 of at most 2.00 points")
    assert "interval" not in text
    text = summary._acceptance(limits, Interval(0.0201, 0.0, 0.03), 0.97)
    assert text.startswith("Acceptance NOT MET: loss 2.01") and "interval" in text


@pytest.mark.parametrize(("reduce", "agreement"), [("probs", "0.00"), ("logits", "100.00")])
def test_students_are_judged_against_what_they_learned_from(by_hand, reduce, agreement):
    teacher = by_hand("teacher", SPLIT)
    own = by_hand("own", ["1"], teacher=taught_by(teacher, [0, 1, 2]))
    section = {"run": str(teacher.path), "reduce": reduce}
    lines = table(own, [teacher], teacher=section)
    assert agreement in line(lines, "distilled student")
    assert "100.00" in line(lines, "ensemble of 3")


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_table_of_equal_networks_has_no_negative_zero(by_hand, seeds):
    """One seed is a seed without a deviation; KL and intervals of nothing are 0, not -0."""
    rows = np.eye(2, dtype=np.float32)[np.zeros((seeds, 8), int)] * 3.0 + 1e-3
    teacher = by_hand("teacher", rows[:1])
    taught = {"run": "teacher", "members": [0]}
    student = by_hand("student", rows, teacher=taught)
    config = complete(ConfigDict({"teacher": {"run": "teacher"}, "acceptance": {"max_drop": 0.0}}))
    text = summary.table(config, summary.Runs(student, (teacher,), None, {"equal": student}))
    first = text.splitlines()[0]
    wanted = {1: "8 test images, 1 seed", 2: "8 test images, 2 seeds, mean ± std over seeds"}
    assert first == wanted[seeds]
    assert not re.search(r"-0\.0*\b(?![1-9])", text), text
    assert "[+0.00, +0.00]" in text
