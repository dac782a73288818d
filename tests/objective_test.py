"""Combinators of objectives: the weighted sum, its schedules, and the lift to many teachers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.errors import InputError
from kd.objective import PerTeacher, Weighted
from kd.objectives.kd import KD
from kd.optim import make_schedule
from kd.types import Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")


def view(step=0, members=None):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    lead = () if members is None else (members,)
    pooled = {"pooled": draw(*lead, 4, 3)}
    teacher = Outputs(draw(*lead, 4, 3), pooled)
    return View(Outputs(draw(4, 3)), teacher, {}, {}, jnp.int32(step))


class Constant(nn.Module):
    value: float

    def __call__(self, view):
        return jnp.full((4,), self.value)


class Hint(nn.Module):
    """Has a parameter, so that each teacher needs one of its own."""

    @nn.compact
    def __call__(self, view):
        return (nn.Dense(3)(view.teacher.feature("pooled")) ** 2).mean(-1)


def test_a_sum_of_terms_reports_each_before_its_weight():
    objective = Weighted({"a": Constant(2.0), "b": Constant(3.0)}, {"a": 0.5, "b": 2.0})
    loss, terms = objective.apply({}, view())
    assert loss == 7.0 and terms == {"a": 2.0, "b": 3.0}


def test_a_weight_may_follow_a_schedule_of_the_epoch():
    warmup = make_schedule({"name": "linear", "over": 20.0, "value": 4.0}, 10, 100)
    objective = Weighted({"a": Constant(1.0)}, {"a": warmup})
    losses = [objective.apply({}, view(step))[0] for step in (0, 50, 200, 900)]
    np.testing.assert_allclose(losses, [0, 1, 4, 4])


def test_many_teachers_count_as_their_mean_each_with_parameters_of_its_own():
    many = view(members=3)
    alone = [KD(2.0).apply({}, view_of(many, i)) for i in range(3)]
    lifted = PerTeacher(KD(2.0)).apply({}, many)
    np.testing.assert_allclose(lifted, np.mean(alone, 0), rtol=1e-5)
    variables = PerTeacher(Hint()).init(jax.random.key(0), many)
    kernel = jax.tree.leaves(variables)[1]
    assert kernel.shape == (3, 3, 3)
    assert jnp.abs(kernel[0] - kernel[1]).max() > 0.1


def view_of(many, i):
    one = jax.tree.map(lambda x: x[i], many.teacher)
    return View(many.student, one, {}, {}, many.step)


def test_an_objective_without_its_teacher_says_what_to_do():
    alone = View(Outputs(jnp.zeros((4, 3))), None, {}, {}, jnp.int32(0))
    with pytest.raises(InputError, match=r"config\.teacher"):
        KD().apply({}, alone)


def test_an_unknown_feature_lists_those_that_exist():
    with pytest.raises(InputError, match=r"Did you mean 'pooled'\? Known: pooled"):
        view().teacher.feature("poled")
