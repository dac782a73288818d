"""Class weights and focal loss: values by hand, gradients, unknown labels, what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd
from kd import build
from kd import config as configs
from kd.config import ConfigDict
from kd.data import class_weights, digits
from kd.data.base import keep_classes
from kd.errors import InputError
from kd.objective import PerTeacher
from kd.objectives.ce import cross_entropy
from kd.objectives.focal import Focal, focal_loss
from kd.objectives.weighted_ce import WeightedCE, weighted_cross_entropy
from kd.train.checks import dry_run
from kd.train.label_needs import class_weights as resolved
from kd.train.rehearsal import rehearse

LOGITS = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]]))


def test_weighted_cross_entropy_by_hand():
    loss = weighted_cross_entropy(LOGITS, jnp.array([0, 1, 2]), (1.0, 0.5, 3.0))
    np.testing.assert_allclose(loss, [math.log(2), 0.5 * math.log(20), -3 * math.log(0.6)], 1e-5)
    smooth = weighted_cross_entropy(LOGITS[:1], jnp.array([1]), (9.0, 2.0, 9.0), smoothing=0.3)
    expected = 0.7 * math.log(4) + 0.1 * (math.log(2) + 2 * math.log(4))
    np.testing.assert_allclose(smooth, [2 * expected], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_by_hand(gamma):
    p = np.array([0.5, 0.05, 0.6])
    loss = focal_loss(LOGITS, jnp.array([0, 1, 2]), gamma, (1.0, 2.0, 1.0))
    np.testing.assert_allclose(loss, -((1 - p) ** gamma) * np.log(p) * [1, 2, 1], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_finite_for_every_certainty_with_the_gradient_of_its_formula(gamma):
    """Certain and wrong, nearly certain, and certain beyond what float32 tells from 1."""
    x = jnp.array([[-200.0, 0.0], [-3.0, 0.0], [3.0, 0.0], [30.0, 0.0], [200.0, 0.0]])
    label = jnp.zeros(5, int)
    loss, gradient = jax.value_and_grad(lambda x: focal_loss(x, label, gamma).sum())(x)
    assert np.isfinite(loss) and np.isfinite(gradient).all()
    z = np.asarray(x[:, 0], np.float64)
    log_p, q = -np.logaddexp(0, -z), 1 / (1 + np.exp(z))  # q = 1 - p
    by_hand = q**gamma * (gamma * (1 - q) * log_p - q)  # d/dz -(1 - p)^gamma log p
    np.testing.assert_allclose(gradient[:, 0], by_hand, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(gradient[:, 1], -gradient[:, 0], atol=1e-6)


def test_focal_loss_without_focus_is_cross_entropy_also_of_a_cohort():
    x = jax.random.normal(jax.random.key(0), (2, 6, 4))
    label = jnp.arange(6) % 4
    np.testing.assert_allclose(focal_loss(x, label, 0.0), cross_entropy(x, label), rtol=1e-5)
    weights = (1.0, 2.0, 3.0, 0.0)
    expected = np.asarray(cross_entropy(x, label)) * np.array(weights)[np.asarray(label)]
    np.testing.assert_allclose(weighted_cross_entropy(x, label, weights), expected, rtol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn_and_have_mean_one():
    from sklearn.utils.class_weight import compute_class_weight

    label = np.repeat([0, 1, 2, 3], [50, 30, 19, 1])
    ours = class_weights.balanced(np.bincount(label))
    theirs = compute_class_weight("balanced", classes=np.arange(4), y=label)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert np.asarray(ours)[label].mean() == pytest.approx(1)


def small(label, names=()):
    """A data set of three classes with these training labels."""
    dataset = digits.load()
    train = dataset.train._replace(
        image=dataset.train.image[: len(label)], label=np.array(label, np.int32)
    )
    return dataset._replace(train=train, num_classes=3, class_names=names)


def test_weights_become_one_number_for_each_class():
    rare = small([0, 0, 0, 1, 2, 2, -1, -1], ("cat", "dog", "eel"))
    resolve = lambda weights: class_weights.resolve(weights, rare, "config.w")
    assert resolve("balanced") == (6 / 9, 2.0, 1.0)  # unknown labels do not count
    assert resolve([1, 0, 2.5]) == (1.0, 0.0, 2.5)
    assert resolve({"dog": 4, "2": 0.5}) == (1.0, 4.0, 0.5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, 2.0), r"config.w: expected 3 numbers, one for each class, got 2"),
        ((1.0, -2.0, 1.0), r"config.w\[1\]: expected a number, 0 or more, got -2.0"),
        ((1.0, math.nan, 1.0), r"config.w\[1\]: expected a number, 0 or more, got nan"),
        ((1.0, math.inf, 1.0), r"config.w\[1\]"),
        ((1.0, "2", 1.0), r"config.w\[1\]"),
        ((0.0, 0.0, 0.0), r"config.w: the weights of all classes .* are 0"),
        ((0.0, 0.0, 1.0), r"config.w: the weights of all classes that have training images are 0"),
        ("balanced", r"config.w = 'balanced': no labelled training image is of class 'eel'"),
        ("balance", r"unknown value of config.w 'balance'. Did you mean 'balanced'\?"),
        ({"dgo": 2.0}, r"unknown class in config.w 'dgo'. Did you mean 'dog'\?"),
        ({"3": 2.0}, r"unknown class in config.w '3'"),
        ({"dog": -1.0}, r"config.w.dog: expected a number, 0 or more, got -1.0"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        class_weights.resolve(weights, small([0, 1, 0], ("cat", "dog", "eel")), "config.w")


def config_of(term, **keys):
    c = ConfigDict({"data": {"name": "digits"}, "student": {"name": "mlp.MLP", "widths": (4,)}})
    c.objective = {"ce": term}
    c.optimizer = {"name": "sgd", "learning_rate": 0.1}
    if "teacher" in keys:
        c.objective.kd = {"name": "kd.KD"}
    c.update(keys)
    return build.spell_out(configs.complete(c))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (dict(name="focal.Focal", gamma=-1.0), r"config.objective.ce.gamma: expected 0 or more"),
        (dict(name="focal.Focal", gamma=math.nan), r"config.objective.ce.gamma"),
        (
            dict(name="weighted_ce.WeightedCE", class_weights=(1.0,) * 9),
            r"config.objective.ce.class_weights: expected 10 numbers, one for each class, got 9",
        ),
        (
            dict(name="focal.Focal", class_weights=(1.0,) * 9 + (-1.0,)),
            r"config.objective.ce.class_weights\[9\]: expected 0 or more, got -1.0",
        ),
        (
            dict(name="focal.Focal", class_weights={"ten": 1.0}),
            r"unknown class in config.objective.ce.class_weights 'ten'",
        ),
    ],
)
def test_a_run_refuses_them_before_it_trains_and_names_the_key(term, message):
    with pytest.raises(InputError, match=message):
        dry_run(config_of(term))


def test_a_class_that_is_left_out_of_training_has_no_balanced_weight():
    config = config_of(dict(name="weighted_ce.WeightedCE"), train_classes=(0, 1, 2))
    with pytest.raises(InputError, match=r"ce.class_weights = 'balanced'.*classes '3', '4'"):
        dry_run(config)


def test_the_weights_of_a_run_are_those_of_its_own_images():
    dataset = keep_classes(digits.load(), (0, 1))
    dataset = dataset._replace(num_classes=2)
    count = np.bincount(dataset.train.label)
    terms = {"ce": WeightedCE(), "each": PerTeacher(Focal(1.0, {"1": 3.0}), (0.5, 0.5))}
    objective = resolved(kd.Weighted(terms, dict.fromkeys(terms, 1.0)), dataset)
    assert objective.terms["ce"].class_weights == class_weights.balanced(count)
    assert objective.terms["each"].objective.class_weights == (1.0, 3.0)
    plain = kd.Weighted({"ce": kd.objectives.CE()}, {"ce": 1.0})
    assert resolved(plain, dataset) is plain


def test_a_student_of_a_teacher_that_is_not_trained_yet_is_tried_with_its_weights(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    term = dict(name="weighted_ce.WeightedCE")
    config = config_of(term, teacher={"config": "kd:digits:role=teacher"})
    rehearse(config, "runs")


def test_images_without_a_label_have_no_weight():
    """The mean is over the labelled images, each times the weight of its class."""
    label, weights = jnp.array([0, -1, 2, -1]), (2.0, 1.0, 0.5)
    logits = jnp.concatenate([LOGITS, LOGITS[:1]])
    view = kd.View(kd.Outputs(logits), None, {"label": label}, {}, jnp.int32(0))
    for term, factor in ((WeightedCE(weights), [1, 1]), (Focal(2.0, weights), [0.25, 0.16])):
        loss, _ = kd.Weighted({"ce": term}, {"ce": 1.0}, unlabelled=True).apply({}, view)
        expected = (factor[0] * 2 * math.log(2) - factor[1] * 0.5 * math.log(0.6)) / 2
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_loop_of_ones_own_needs_numbers():
    view = kd.View(kd.Outputs(jnp.zeros((2, 3))), None, {"label": jnp.zeros(2, int)}, {}, 0)
    for weights in (None, "balanced", {"1": 2.0}):
        with pytest.raises(InputError, match="in a training loop of your own give numbers"):
            WeightedCE(weights)(view)
    with pytest.raises(InputError, match="expected 3 numbers"):
        Focal(2.0, (1.0, 2.0))(view)
