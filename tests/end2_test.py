"""Ensemble distribution distillation: the likelihood of the members under the student's
Dirichlet.
"""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import dirichlet

from kd.cli.main import main
from kd.errors import InputError
from kd.objectives.end2 import END2, annealed_temperature
from kd.objectives.end2 import dirichlet_nll as eager
from kd.types import Mixture, Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

dirichlet_nll = jax.jit(eager)
sharp = jax.jit(partial(eager, smoothing=1e-7))

ROOT = Path(__file__).parents[1]
WEIGHTS = jnp.array([0.5, 0.3, 0.2])


def test_by_hand():
    """Dirichlet(1, 1) has density 1 everywhere, Dirichlet(2, 1) has 2 p_1: at p_1 = 3/4 that is
    3/2.
    """
    members = jnp.array([[[np.log(3.0), 0.0]]])
    one = jnp.ones(1)
    loss = lambda student, t=1.0: sharp(student, members, one, t)
    np.testing.assert_allclose(loss(jnp.zeros((1, 2))), 0.0, atol=1e-5)
    tilted = jnp.array([[np.log(2.0), 0.0]])
    np.testing.assert_allclose(loss(tilted), -np.log(1.5), atol=1e-5)
    # At T = 2 both are softened: a = (sqrt 2, 1), p_1 = sqrt 3 / (1 + sqrt 3); times T^2.
    p = np.sqrt(3) / (1 + np.sqrt(3))
    expected = -4 * dirichlet.logpdf([p, 1 - p], [np.sqrt(2), 1.0])
    np.testing.assert_allclose(loss(tilted, 2.0), expected, atol=1e-4)
    # Spread by a thousandth, 3/4 becomes 0.999 * 3/4 + 0.0005.
    found = dirichlet_nll(tilted, members, one)
    np.testing.assert_allclose(found, -np.log(2 * (0.999 * 0.75 + 0.0005)), atol=1e-5)


def test_it_is_the_weighted_mean_of_the_likelihoods():
    random = np.random.default_rng(0)
    members = jnp.asarray(random.standard_normal((3, 4, 5)), jnp.float32)
    student = jnp.asarray(2 * random.standard_normal((4, 5)), jnp.float32)
    p = np.exp(np.asarray(members, np.float64))
    p = p / p.sum(-1, keepdims=True)
    a = np.exp(np.asarray(student, np.float64))
    alone = [[-dirichlet.logpdf(p[m, b], a[b]) for b in range(4)] for m in range(3)]
    found = sharp(student, members, WEIGHTS)
    np.testing.assert_allclose(found, np.einsum("m,mb->b", WEIGHTS, alone), rtol=1e-4)


def test_sure_members_and_a_sure_student_stay_finite():
    members = jnp.array([[[1e3, -1e3]], [[1e3, -1e3]]])
    loss = lambda s: dirichlet_nll(s, members, jnp.ones(2) / 2).sum()
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    for size in (12.0, 1e4):
        value, gradient = value_and_grad(jnp.array([[size, -size]]))
        assert np.isfinite(value) and np.isfinite(gradient).all()
        assert np.isfinite(jnp.linalg.norm(gradient)) and np.any(gradient)


def test_the_temperature_waits_and_then_falls_to_one():
    epochs = jnp.array([0.0, 2.0, 4.0, 6.0, 9.0])
    found = annealed_temperature(epochs, 10.0, 2, 4)
    np.testing.assert_allclose(found, [10, 10, 5.5, 1, 1])
    assert float(annealed_temperature(jnp.float32(3), 1.0, 0, 0)) == 1.0


def view(teacher, epoch=0):
    batch = {"image": jnp.ones((2, 1)), "epoch": jnp.int32(epoch)}
    student = Outputs(jnp.array([[1.0, 0.0], [0.0, 2.0]]))
    return View(student, teacher, batch, {}, jnp.int32(0))


def test_the_module_anneals_and_asks_for_members():
    members = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]])
    mixture = Mixture(members, jnp.ones(2) / 2)
    module = END2(temperature=3.0, hold=0, epochs=2)
    apply = jax.jit(module.apply)
    for epoch, temperature in ((0, 3.0), (1, 2.0), (2, 1.0)):
        expected = dirichlet_nll(
            view(mixture).student.logits, members, mixture.weights, temperature
        )
        np.testing.assert_allclose(apply({}, view(mixture, epoch)), expected, rtol=1e-5)
    # In the middle of the first epoch of four updates.
    begun = dataclasses.replace(view(mixture), step=jnp.int32(2), tables={"updates": jnp.int32(4)})
    expected = dirichlet_nll(begun.student.logits, members, mixture.weights, 2.5)
    np.testing.assert_allclose(apply({}, begun), expected, rtol=1e-5)
    with pytest.raises(InputError, match="several members"):
        module.apply({}, view(Outputs(members[0])))
    with pytest.raises(InputError, match="temperature of at least 1"):
        END2(temperature=0.5).apply({}, view(mixture))


def test_annealing_over_no_epochs_ends_at_once():
    epoch = jnp.arange(3.0)
    np.testing.assert_array_equal(annealed_temperature(epoch, 5.0, hold=1, epochs=0), [5, 1, 1])


def test_a_run_that_ends_before_the_annealing_is_refused(tmp_path, capsys, monkeypatch):
    """Its concentrations would be read at T = 1, and are not meant so."""
    monkeypatch.chdir(tmp_path)
    config = str(ROOT / "configs/ensembles.py:method=end2,smoke")
    assert main(["run", "--config", config, "--config.objective.end2.hold=1"]) == 2
    said = capsys.readouterr().err
    assert "done after 2, and config.epochs is 1" in said
    assert list(tmp_path.iterdir()) == []
