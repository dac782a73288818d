"""Scores of each class: by hand, and those of scikit-learn."""

import warnings

import numpy as np
import pytest

from kd.errors import InputError
from kd.metrics import classes, scores
from kd.runs.workdir import Workdir
from kd.tables.evaluate import evaluate
from kd.tables.metric_call import parse

LABEL = np.array([0, 0, 0, 0, 1, 1, 2, 2])
ANSWERS = np.array([[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 0, 0, 2, 1]])
LOGITS = np.eye(4)[ANSWERS]  # two networks; class 3 has no examples and is never predicted


def test_a_confusion_matrix_by_hand():
    first = [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    second = [[4, 0, 0, 0], [2, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    matrix = classes.confusion(LOGITS, LABEL)
    np.testing.assert_array_equal(matrix, [first, second])
    np.testing.assert_array_equal(classes.confusion(LOGITS[1], LABEL), second)
    by_class = classes.class_scores(matrix)
    nan = np.nan
    np.testing.assert_allclose(by_class.recall, [[3 / 4, 1 / 2, 1, nan], [1, 0, 1 / 2, nan]])
    np.testing.assert_allclose(by_class.precision, [[1, 1 / 2, 2 / 3, nan], [4 / 6, 0, 1, nan]])
    np.testing.assert_allclose(by_class.f1, [[6 / 7, 1 / 2, 4 / 5, nan], [4 / 5, 0, 2 / 3, nan]])
    np.testing.assert_allclose(classes.balanced_accuracy(matrix), [2.25 / 3, 1.5 / 3])
    assert classes.OVERALL["accuracy"](matrix).tolist() == [6 / 8, 5 / 8]


def test_scores_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    logits, label = (
        rng.normal(size=(3, 200, 7)),
        rng.choice(6, 200, p=[0.5, 0.3, 0.1, 0.06, 0.04, 0]),
    )
    logits[..., 5] -= 9  # never predicted, and like class 6 without examples
    logits[..., 4] -= 9  # never predicted, with examples
    matrix = classes.confusion(logits, label)
    ours = classes.class_scores(matrix)
    for i, answers in enumerate(logits.argmax(-1)):
        np.testing.assert_array_equal(
            matrix[i], metrics.confusion_matrix(label, answers, labels=range(7))
        )
        theirs = metrics.precision_recall_fscore_support(
            label, answers, labels=range(7), zero_division=np.nan
        )
        for name, values in zip(("precision", "recall", "f1"), theirs, strict=False):
            np.testing.assert_allclose(getattr(ours, name)[i], values, rtol=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are predicted and have no examples
            balanced = metrics.balanced_accuracy_score(label, answers)
        assert classes.balanced_accuracy(matrix)[i] == pytest.approx(balanced)
    of = lambda text: evaluate(parse(text), {"logits": logits, "label": label})
    np.testing.assert_allclose(of("f1(of=2)"), 100 * ours.f1[:, 2])
    np.testing.assert_allclose(of("precision(of=(0, 1))"), 100 * ours.precision[:, :2].mean(1))
    np.testing.assert_allclose(of("recall"), 100 * classes.balanced_accuracy(matrix))
    np.testing.assert_allclose(of("balanced_accuracy"), of("recall"))
    np.testing.assert_allclose(of("recall(of=2)"), of("accuracy(of=2)"))


def test_a_score_that_is_not_defined_is_refused():
    predictions = {"logits": LOGITS, "label": LABEL}
    for text in ("recall(of=3)", "precision(of=3)", "f1(of=3)"):
        with pytest.raises(InputError, match=r"of 3 is not defined"):
            evaluate(parse(text), predictions)


def test_evaluations_have_the_balanced_accuracy_beside_the_accuracy():
    found = scores.evaluate(LOGITS, LABEL, None)
    assert list(found) == ["accuracy", "balanced_accuracy", "nll"]
    assert found["balanced_accuracy"] == [0.75, 0.5]


def test_a_finished_run_has_them(finished):
    """A list over networks of lists over classes; None where a score is not defined."""
    run = Workdir("runs/small")
    result, stored = run.read("result.json"), run.predictions()
    matrix = classes.confusion(stored["logits"], stored["label"])
    expected = classes.class_scores(matrix)
    for name, values in result["classes"].items():
        assert np.shape(values) == (2, 10)
        np.testing.assert_allclose(np.array(values, float), getattr(expected, name))
    assert result["final"]["balanced_accuracy"] == list(classes.balanced_accuracy(matrix))
