"""Metrics of tables from predictions: counts by hand, and the bias against trying every number."""

from types import SimpleNamespace

import numpy as np
import pytest

from kd.config import ConfigDict
from kd.errors import InputError
from kd.metrics import scores
from kd.runs.workdir import Workdir
from kd.tables import corruption, teacher_predictions
from kd.tables.evaluate import best_bias, evaluate, evaluate_scores
from kd.tables.metric import StoredRun
from kd.tables.metric_call import parse
from kd.tables.metrics import agreement


@pytest.fixture
def predictions():
    """Two seeds on five examples of three classes: seed 0 makes errors on the last two, seed 1 on
    the first.
    """
    logits = np.zeros((2, 5, 3), np.float32)
    label = np.array([0, 1, 1, 2, 2])
    for seed, predicted in enumerate(([0, 1, 1, 0, 1], [2, 1, 1, 2, 2])):
        logits[seed, np.arange(5), predicted] = 1.0
    validation = {"validation_logits": logits[:, ::-1], "validation_label": label[::-1]}
    return {"logits": logits, "label": label, **validation}


def of(text, predictions):
    return evaluate(parse(text), predictions)


def test_errors_by_hand(predictions):
    assert of("errors", predictions) == [2, 1]
    assert of("errors(of=2)", predictions) == [2, 0]
    assert of("errors(of=(0, 1))", predictions) == [0, 1]
    assert of("error_rate", predictions) == [40, 20]
    assert of("accuracy(of=0)", predictions) == [100, 0]


def test_calibration_error_by_hand(predictions):
    """Each network is 1 / (1 + 2 / e) sure of everything, and right on 3 and 4 of 5."""
    sure = 1 / (1 + 2 / np.e)
    expected = [100 * abs(3 / 5 - sure), 100 * abs(4 / 5 - sure)]
    assert of("ece", predictions) == pytest.approx(expected, rel=1e-6)


def test_log_loss_by_hand_and_of_each_example(predictions):
    """An example costs log(1 + 2 / e) where the network is right, one nat more where it is not."""
    right = np.log(1 + 2 / np.e)
    assert of("nll", predictions) == pytest.approx([right + 2 / 5, right + 1 / 5], rel=1e-6)
    assert of("nll", predictions) == pytest.approx(
        scores.nll(predictions["logits"], predictions["label"]), rel=1e-12
    )
    each = evaluate_scores(parse("nll"), predictions)
    np.testing.assert_allclose(each.values[1], right + np.array([1, 0, 0, 0, 0]), rtol=1e-6)


def test_the_ensemble_is_one_number_of_the_mean_probability(predictions):
    """Seed 1 is made sure of itself, so that it decides wherever the two differ."""
    predictions["logits"][1] *= 9
    assert of("errors(ensemble=True)", predictions) == [1]


def test_exported_files_are_asked_in_place_of_the_networks(predictions):
    predictions["exported_logits"] = predictions["logits"][::-1]
    assert of("errors(exported=True)", predictions) == [1, 2]
    assert of("errors(exported=True, of=2)", predictions) == [0, 2]
    assert of("errors", predictions) == [2, 1]


def test_a_bias_raises_the_class_that_was_never_seen(predictions):
    """Seed 0 puts class 2 at 0 where its rival is at 1: any shift above 1 repairs both errors, and
    below 1 breaks nothing.
    """
    logits = np.array([[[3, 0, 0], [0, 3, 0], [0, 3, 0], [1, 0, 0], [0, 1, 0]]], float)
    predictions |= {"logits": logits, "validation_logits": logits[:, ::-1]}
    for where in ("validation", "test"):
        assert of(f"errors(bias=2, chosen_on={where!r})", predictions) == [0]
        assert of(f"bias(bias=2, chosen_on={where!r})", predictions) == [2.0]
    assert of("errors(of=2, bias=2)", predictions) == [0]
    assert of("errors", predictions) == [2]


@pytest.mark.parametrize("classes", [(3,), (1, 4)])
def test_the_best_bias_is_as_good_as_any(classes):
    rng = np.random.default_rng(0)
    for _ in range(20):
        logits, label = rng.normal(size=(60, 5)), rng.integers(0, 5, 60)
        logits[np.arange(60), label] += 1.0
        logits[:, list(classes)] -= rng.uniform(-4, 4)

        def errors(shift, logits=logits, label=label):
            moved = logits.copy()
            moved[:, list(classes)] += shift
            return (moved.argmax(1) != label).sum()

        best = min(errors(shift) for shift in np.linspace(-15, 15, 3001))
        assert errors(best_bias(logits, label, classes)) <= best


def test_the_bias_is_chosen_on_validation_unless_the_text_says_test(predictions):
    """Validation asks for no shift where the test set would gain from one."""
    predictions["validation_logits"] = 9 * np.eye(3)[[0, 1, 1, 2, 2]][None].repeat(2, 0)
    predictions["validation_label"] = np.array([0, 1, 1, 2, 2])
    predictions["logits"] = np.array(
        [[[20, 0, 0], [0, 20, 0], [0, 20, 0], [9.5, 0, 0], [0, 9.5, 0]]] * 2
    )
    chosen = of("errors(bias=2)", predictions)
    peeked = of("errors(bias=2, chosen_on='test')", predictions)
    assert peeked < chosen and parse("errors(bias=2, chosen_on='test')").uses_test
    assert not parse("errors(bias=2)").uses_test


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("erors", "Did you mean 'errors'"),
        ("errors(off=3)", "Did you mean 'of'"),
        ("errors(3)", "keywords such as"),
        ("errors(of='three')", "of[0]: expected an integer, 0 or more, got 'three'"),
        ("errors(of=-1)", "of[0]: expected 0 or more, got -1"),
        ("accuracy(ensemble='no')", "ensemble: expected True or False, got 'no'"),
        ("errors(bias=3, chosen_on='train')", "chosen_on 'train'"),
        ("kl(of=3)", "takes no keywords"),
        ("bias", "bias is missing, as in 'bias(bias=3)'"),
        ("exported_bytes(of=3)", "takes no keywords"),
        ("errors(bias=3, exported=True)", "exported files have no bias"),
        ("__import__('os').system('x')", "keywords such as"),
    ],
)
def test_wrong_metrics_teach(text, words):
    with pytest.raises(InputError) as error:
        parse(text)
    assert words in str(error.value)


def test_what_the_predictions_lack_is_said(predictions):
    with pytest.raises(InputError, match="classes 0 to 2"):
        of("errors(of=7)", predictions)
    with pytest.raises(InputError, match=r"set config\.export"):
        of("errors(exported=True)", predictions)
    del predictions["validation_logits"]
    with pytest.raises(InputError, match=r"set config\.validation"):
        of("errors(bias=2)", predictions)


@pytest.mark.slow
def test_accuracy_on_corrupted_images_is_kept_with_its_weights(finished):
    """And computed again for other weights, or from a damaged file."""
    workdir = Workdir("runs/small-teacher")
    stored = StoredRun(
        workdir, ConfigDict(workdir.read("config.json")), workdir.read("result.json")
    )
    values = parse("corrupted").metric(stored)
    clean = stored.final("accuracy", 100)
    assert all(10 < value < of_clean + 5 for value, of_clean in zip(values, clean, strict=True))
    file = workdir.path / corruption.FILE
    with np.load(file) as content:
        arrays = dict(content)
    shape = workdir.predictions()["logits"].shape[:2]
    each = parse("corrupted").metric.scores(stored)
    assert each.shape == shape and set(each.ravel()) <= {100 * k / 25 for k in range(26)}
    assert list(each.mean(axis=1)) == values
    none = np.zeros(shape, np.uint8)
    np.savez(file, **arrays | {"right": none})
    assert parse("corrupted").metric(stored) == [0.0] * len(values)
    np.savez(file, **arrays | {"right": none, "weights": np.asarray("others")})
    assert parse("corrupted").metric(stored) == values
    for content in (b"{", file.read_bytes()[:-9]):
        file.write_bytes(content)
        assert parse("corrupted").metric(stored) == values


@pytest.mark.slow
def test_agreement_of_each_example_has_the_mean_of_the_run(finished):
    """Its teacher is the mean of two members."""
    workdir = Workdir("runs/small")
    stored = StoredRun(
        workdir, ConfigDict(workdir.read("config.json")), workdir.read("result.json")
    )
    metric = parse("agreement").metric
    each = metric.scores(stored)
    assert each.shape == workdir.predictions()["logits"].shape[:2]
    np.testing.assert_allclose(each.mean(axis=1), metric(stored), rtol=1e-12)
    assert len(set(metric(stored))) > 1


@pytest.mark.parametrize("teachers", [1, 2, 4])
def test_peers_agree_with_one_teacher_with_that_of_their_seed_or_each_with_its_own(
    teachers, monkeypatch
):
    """Two seeds of two peers on two images; every teacher says class 1."""
    said = np.array([[1, 1], [0, 1], [0, 0], [1, 0]])
    one_hot = lambda classes: np.eye(2, dtype=np.float32)[classes]
    content = {"logits": one_hot(said), "peers": np.asarray(2)}
    workdir = SimpleNamespace(predictions=lambda: content)
    teacher = one_hot(np.ones((teachers, 2), int))
    monkeypatch.setattr(teacher_predictions, "logits", lambda run: teacher)
    each = agreement.per_example.__wrapped__(SimpleNamespace(workdir=workdir))
    np.testing.assert_array_equal(each, [[50, 100], [50, 0]])
