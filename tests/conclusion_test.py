"""The sentence on what distillation gained, at what cost: in the closing table and the report."""

import numpy as np
import pytest

from kd.config import ConfigDict, complete
from kd.metrics.intervals import Interval
from kd.report.content import describe
from kd.report.run import read
from kd.runs import summary
from kd.runs.conclusion import Compared, Taught, sentence

SMALL = {"bytes": 100, "macs": 10}
LARGE = {"bytes": 5800, "macs": 580}
GAIN, NONE, LOSS = (
    Interval(0.029, 0.01, 0.05),
    Interval(0.001, -0.01, 0.012),
    Interval(-0.02, -0.03, -0.01),
)
FIVE = Taught(Interval(0.009, 0.002, 0.02), [LARGE] * 5, paired=False)
ONE = FIVE._replace(costs=[LARGE])


def labels(gain, costs=SMALL, seeds=5, name="labels"):
    return Compared(name, gain, [costs], seeds)


@pytest.mark.parametrize(
    ("compared", "taught", "seeds", "words"),
    [
        (
            [labels(GAIN)],
            FIVE,
            5,
            "Distillation gains 2.9 points over 'labels' at the same size, and the student is 58 "
            "times smaller than a teacher and takes 58 times fewer MACs, for 0.9 points less than "
            "the ensemble.",
        ),
        ([labels(NONE)], FIVE, 5, "shows neither gain nor loss against 'labels' at the same size"),
        ([labels(LOSS)], ONE, 5, "loses 2.0 points against 'labels'"),
        ([labels(GAIN)], ONE, 5, "smaller than its teacher and"),
        ([labels(GAIN)], FIVE._replace(paired=True), 5, "less than its teacher."),
        (
            [labels(GAIN)],
            FIVE._replace(loss=NONE),
            5,
            "for 0.1 points less than the ensemble, inside the",
        ),
        ([labels(GAIN)], FIVE._replace(loss=LOSS), 5, "with 2.0 points more than the ensemble."),
        ([labels(Interval(1e-4, 1e-5, 1e-3))], FIVE, 5, "gains less than 0.1 points over"),
        ([], FIVE, 5, "What distillation gains over labels was not measured. The student is"),
        ([labels(GAIN)], FIVE, 1, "the ensemble (one seed: others may differ)."),
        ([labels(GAIN, seeds=1)], FIVE, 5, "the ensemble (one seed: others may differ)."),
        ([], FIVE, 1, "(one seed: others may differ)."),
        (
            [labels(GAIN, LARGE)],
            FIVE,
            5,
            "'labels' (58 times larger, with 58 times more MACs), and",
        ),
        (
            [labels(GAIN), labels(NONE, name="b")],
            FIVE,
            5,
            "gains 2.9 points over 'labels' at the same size and shows neither gain nor loss "
            "against 'b' at the same size, and",
        ),
        ([], ONE._replace(costs=[SMALL]), 5, "is as large as its teacher and takes as many MACs,"),
        ([], ONE._replace(costs=[{"bytes": 50, "macs": 0}]), 5, "is 2.0 times larger than its"),
        (
            [],
            FIVE._replace(costs=[LARGE, {"bytes": 200, "macs": 20}]),
            5,
            "is between 2.0 times smaller and 58 times smaller than a teacher and takes between "
            "2.0 times fewer and 58 times fewer MACs",
        ),
    ],
)
def test_what_is_said_is_what_is_shown(compared, taught, seeds, words):
    text = sentence([SMALL], seeds, compared, taught)
    assert words in text and text.endswith(".") and text.count(". ") == (not compared)


def test_the_closing_table_and_the_report_say_the_same(by_hand, monkeypatch, tmp_path):
    """Of 40 images the teacher gets all, the student loses two, and labels lose twenty more."""
    costs = {"parameters": 20, "bytes": 80, "macs": 16}
    teacher = by_hand("teacher", ["1" * 40], **costs)
    by_hand("labels", ["1" * 18 + "0" * 22] * 2)
    taught = {"run": str(teacher.path), "members": [0]}
    by_hand("other", ["1" * 10 + "0" * 30] * 2, teacher=taught)  # another method of distillation
    section = {"run": str(teacher.path), "members": "all", "reduce": "probs", "name": "frozen"}
    compare = {"labels": "labels.py", "other": "other.py"}
    config = {"teacher": section, "compare": compare}
    own = by_hand("own", ["1" * 38 + "00"] * 2, config=config, teacher=taught)
    others = {name: summary.Workdir(tmp_path / name) for name in compare}
    text = summary.table(complete(ConfigDict(config)), summary.Runs(own, (teacher,), None, others))
    line = (
        "Distillation gains 50.0 points over 'labels' at the same size, and the student is 2.0 "
        "times smaller than its teacher and takes 2.0 times fewer MACs, for 5.0 points less than "
        "its teacher, inside the interval."
    )
    assert line in " ".join(text.split())
    content = describe(read(own, str(tmp_path)))
    assert line in content["conclusions"]
    # Without a trained teacher nothing was distilled.
    alone = by_hand("alone", ["1" * 38 + "00"] * 2)
    text = summary.table(complete(ConfigDict()), summary.Runs(alone, (), None, others))
    assert "istillation" not in text


def test_peers_of_several_sizes_are_a_span(by_hand):
    costs = {"parameters": 20, "bytes": 80, "macs": 16}
    teacher = by_hand("teacher", ["1111"], **costs)
    peers = [{"parameters": 5, "bytes": 20, "macs": 4}, {"parameters": 10, "bytes": 40, "macs": 8}]
    taught = {"run": str(teacher.path), "members": [0]}
    own = by_hand("own", np.eye(2)[np.zeros((2, 4), int)], peers=peers, teacher=taught)
    section = {"teacher": {"run": str(teacher.path)}}
    text = summary.table(complete(ConfigDict(section)), summary.Runs(own, (teacher,), None, {}))
    text = " ".join(text.split())
    assert "is between 2.0 times smaller and 4.0 times smaller than its teacher" in text
    assert "(one seed: others may differ)" in text
