"""Limits of `config.acceptance` on scores of classes: by hand, their verdicts, what is refused."""

import numpy as np
import pytest

from kd import build
from kd import config as configs
from kd.config import ConfigDict
from kd.errors import InputError
from kd.metrics import acceptance
from kd.metrics.intervals import accuracy
from kd.report.conclusions import STATES
from kd.report.content import describe
from kd.report.run import read
from kd.train.checks import dry_run

LABEL = np.repeat([0, 1, 2], [60, 30, 10])
NAMES = ("cat", "dog", "eel")


def predictions(*right):
    """Logits of a network with so many images of each class right; the others get class 0."""
    answers = np.zeros(100, int)
    for k, (count, first) in enumerate(zip(right, (0, 60, 90), strict=True)):
        answers[first : first + count] = k
    return np.eye(3)[answers]


STUDENTS = np.stack([predictions(60, 30, 5), predictions(60, 30, 7)])
TEACHER = predictions(60, 27, 9)


def judge(section, reference=TEACHER):
    return acceptance.judge(section, STUDENTS, LABEL, reference, NAMES)


def test_limits_by_hand():
    """Recall of eels 0.5 and 0.7; their F1 2/3 and 14/17; precision of cats 60/65 and 60/63."""
    texts = {
        "min_accuracy": "accuracy 96.00 % of at least 90.00 %",
        "min_balanced_accuracy": "balanced accuracy 86.67 % of at least 90.00 %",
        "min_recall": "lowest recall 60.00 % (eel) of at least 90.00 %",
        "min_precision": "lowest precision 93.77 % (cat) of at least 90.00 %",
        "min_f1": "lowest F1 74.51 % (eel) of at least 90.00 %",
    }
    for key, text in texts.items():
        (limit,) = judge({key: 0.9})
        assert limit.text == text
        assert limit.met == (key in ("min_accuracy", "min_precision"))
    (drop,) = judge({"max_recall_drop": 0.2})
    assert drop.text == "largest loss of recall 30.00 (eel) of at most 20.00 points"
    assert not drop.met and not drop.certain
    (drop,) = judge({"max_balanced_accuracy_drop": 0.1})
    assert drop.text == "loss of balanced accuracy 6.67 of at most 10.00 points" and drop.met
    one, two = judge({"min_recall": {"cat": 0.99, "2": 0.99}})
    assert one == ("recall of cat 100.00 % of at least 99.00 %", True, True)
    assert two.text.startswith("recall of eel 60.00 %") and not two.met
    assert not two.certain  # of two students, 50 and 70 %, others could be anywhere


@pytest.mark.parametrize(("seeds", "certain"), [(2, False), (12, True)])
def test_verdicts_of_few_students_are_less_certain(seeds, certain):
    """Recall of eels 0.5 and 0.7 in turn. By Student's t its interval is 0.6 -+ 1.3 of two
    students, whose own spread by resampling would be 0.6 -+ 0.1, and 0.6 -+ 0.07 of twelve.
    """
    students = np.tile(STUDENTS, (seeds // 2, 1, 1))
    label = np.tile(LABEL, 100)  # so many images that their draw is certain
    logits = np.tile(students, (1, 100, 1))
    (limit,) = acceptance.judge({"min_recall": {"eel": 0.8}}, logits, label, None, NAMES)
    assert not limit.met and limit.certain == certain


def test_the_interval_of_the_accuracy_is_that_of_reports():
    """A limit just above its lower end is met without certainty, one just below it with."""
    low = accuracy((STUDENTS.argmax(-1) == LABEL) * 1.0).low
    for distance, certain in ((1e-4, False), (-1e-4, True)):
        (limit,) = judge({"min_accuracy": low + distance})
        assert limit.met and limit.certain == certain


def test_losses_need_a_teacher_and_floors_do_not():
    section = {"max_drop": 1.0, "min_agreement": 0.0, "min_recall": 0.1, "max_recall_drop": 0.5}
    assert [x.text[:6] for x in judge(section, None)] == ["lowest"]
    assert acceptance.asks_teacher(section)
    del section["max_recall_drop"]
    assert not acceptance.asks_teacher(section)
    assert acceptance.asks_teacher(section | {"max_drop": 0.1})


def test_a_class_without_images_is_left_out_unless_it_is_named():
    few = LABEL[:90]
    of = lambda section: acceptance.judge(section, STUDENTS[:, :90], few, None, NAMES)
    assert of({"min_recall": 0.99})[0].met
    (named,) = of({"min_recall": {"eel": 0.1}})
    assert named.text == "recall of eel not defined (no such image)" and not named.met


def test_each_student_is_judged_against_its_own_teacher():
    (drop,) = judge({"max_recall_drop": {"eel": 0.0}}, np.stack([TEACHER, STUDENTS[1]]))
    assert drop.text == "loss of recall of eel 20.00 of at most 0.00 points" and not drop.met


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"min_recal": 0.5}, r"unknown key of config.acceptance 'min_recal'.*'min_recall'"),
        ({"min_recall": 2.0}, r"config.acceptance.min_recall: expected"),
        ({"min_recall": {"8": -1.0}}, r"config.acceptance.min_recall.8: expected"),
        ({"min_f1": "high"}, r"config.acceptance.min_f1: expected"),
        ({"min_accuracy": {"8": 0.5}}, r"config.acceptance.min_accuracy: expected"),
        ({"min_recall": {"eight": 0.5}}, r"unknown class in config.acceptance.min_recall 'eight'"),
    ],
)
def test_bad_limits_are_refused_before_training(section, message):
    c = ConfigDict({"data": {"name": "digits"}, "student": {"name": "mlp.MLP", "widths": (4,)}})
    c.objective = {"ce": {"name": "ce.CE"}}
    c.optimizer = {"name": "sgd", "learning_rate": 0.1}
    c.acceptance = section
    with pytest.raises(InputError, match=message):
        dry_run(build.spell_out(configs.complete(c)))


def test_overrides_may_name_a_limit_and_a_class():
    config = configs.load("configs/digits.py:role=labels")
    arguments = ["--config.acceptance.min_f1=0.5", "--config.acceptance.min_recall={'8': 0.75}"]
    changed = build.overridden(config, arguments)
    assert changed.acceptance.to_dict() == {
        "max_drop": 1.0,
        "min_agreement": 0.0,
        "min_f1": 0.5,
        "min_recall": {"8": 0.75},
    }
    with pytest.raises(InputError, match=r"Did you mean 'min_recall'\?"):
        build.overridden(config, ["--config.acceptance.min_recal=0.5"])


@pytest.mark.parametrize(
    ("limits", "state", "text"),
    [
        ({"min_recall": 0.5}, "met", "Lowest recall 87.50 % (class 0) of at least 50.00 %."),
        ({"min_accuracy": 0.9}, "not met", "Accuracy 87.50 % of at least 90.00 %."),
        ({"min_accuracy": 0.8}, "undecided", "Accuracy 87.50 % of at least 80.00 %."),
        ({"max_drop": 0.1, "min_accuracy": 0.8}, "none", "This run has no teacher"),
    ],
)
def test_a_report_without_a_teacher_judges_what_needs_none(by_hand, limits, state, text):
    config = {"acceptance": {"max_drop": 1.0, "min_agreement": 0.0} | limits}
    content = describe(read(by_hand("own", ["11111110"] * 2, config)))
    assert content["verdict"]["state"] == state and state in STATES
    assert content["verdict"]["text"].startswith(text)
