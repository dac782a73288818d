"""Numbers of reports, by hand."""

import numpy as np
import pytest

from kd.metrics import scores
from kd.metrics.intervals import paired_difference

LN = np.log
# Two members, three examples, two classes; probabilities (3/4, 1/4), (1/2, 1/2), ...
LOGITS = np.array(
    [[[LN(3), 0], [0, 1e-3], [0, LN(9)]], [[0, LN(3)], [0, 1e-3], [0, LN(9)]]], np.float32
)
LABEL = np.array([0, 0, 1], np.int32)


def test_accuracy_and_likelihood():
    np.testing.assert_allclose(scores.accuracy(LOGITS, LABEL), [2 / 3, 1 / 3])
    by_hand = -(LN(3 / 4) + LN(1 / 2) + LN(9 / 10)) / 3
    np.testing.assert_allclose(scores.nll(LOGITS, LABEL)[0], by_hand, atol=2e-4)


def test_the_ensemble_is_the_mean_of_probabilities():
    mean = np.exp(scores.mean_probs(LOGITS))
    np.testing.assert_allclose(mean[0], [0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(mean[2], [0.1, 0.9], rtol=1e-6)


def test_fidelity():
    np.testing.assert_allclose(scores.agreement(LOGITS, LOGITS[0]), [1, 2 / 3])
    # KL((3/4, 1/4) || (1/4, 3/4)) = 3/4 ln 3 + 1/4 ln 1/3 = ln(3) / 2, on one of three examples.
    np.testing.assert_allclose(scores.kl(LOGITS, LOGITS[0]), [0, LN(3) / 2 / 3], atol=1e-6)


def test_extreme_logits_stay_finite():
    sure = np.array([[[1e4, -1e4], [-1e4, 1e4], [0, 0]]], np.float32)
    assert np.isfinite(scores.kl(sure, -sure)).all()
    assert np.isfinite(scores.mean_probs(np.concatenate([sure, -sure]))).all()


@pytest.mark.slow
def test_intervals_cover_what_they_should():
    """Of 200 pairs whose true difference is 5 points, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        a = (rng.random((1, 300)) < 0.85).astype(float)
        b = (rng.random((1, 300)) < 0.80).astype(float)
        found = paired_difference(a, b)
        hits += found.low <= 0.05 <= found.high
        assert found.low <= found.value <= found.high
    assert 0.90 <= hits / 200 <= 0.99


def test_equal_predictions_differ_by_nothing():
    right = np.array([[1.0, 0.0, 1.0, 1.0]])
    assert paired_difference(right, right) == (0.0, 0.0, 0.0)
