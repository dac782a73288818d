"""How several teachers become one target: weights, confidence, one that is drawn, and members of
several architectures.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import teachers
from kd.models.mlp import MLP
from kd.objective import PerGroup, PerTeacher, Weighted
from kd.objectives.fitnet import FitNet
from kd.objectives.kd import KD, distill_kl
from kd.teachers.reduction import confidence
from kd.types import Mixture, Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

WEIGHTS = (0.5, 0.2, 0.3)
NETS = MLP(3, (4,)), MLP(3, (6, 5))
SIZES = 2, 1


def normal(*shape):
    """Numbers to test with. NumPy's: a draw of jax would be compiled."""
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def several():
    """Stacks of two narrow networks and of one wide, a batch, and the logits of all three [m, b,
    c].
    """
    image, keys = normal(4, 5), jax.random.split(jax.random.key(2), 2)
    batch = {"image": image, "label": jnp.array([0, 1, 2, 0]), "key": jax.random.key(3)}

    @jax.jit
    def make(keys):
        stacks, logits = [], []
        for net, m in zip(NETS, SIZES, strict=True):
            alone = [net.init_with_output(key, image) for key in keys[:m]]
            logits += [outputs.logits for outputs, _ in alone]
            stacks.append(teachers.stack([variables for _, variables in alone]))
        return tuple(stacks), jnp.stack(logits)

    stacks, logits = make(keys)
    return stacks, batch, logits


def target(several, reduce, weights=WEIGHTS, how="map"):
    stacks, batch, _ = several
    groups = [teachers.Group(net, how) for net in NETS]
    return jax.jit(teachers.grouped(groups, reduce, weights).apply)(stacks, (), batch)


def test_confidence_by_hand():
    """Two members say 1/2 and 3/4 of the label: exp(CE) is 2 and 4/3, so the weights are 4/3 and 2
    of 10/3.
    """
    logits = jnp.array([[[0.0, 0.0]], [[np.log(3.0), 0.0]]])
    label = jnp.array([0])
    np.testing.assert_allclose(confidence(logits, label), [[0.4], [0.6]], rtol=1e-6)
    np.testing.assert_allclose(confidence(logits, label + 1), [[2 / 3], [1 / 3]], rtol=1e-6)
    sure = jnp.array([[[1e4, -1e4]], [[-1e4, 1e4]], [[0.0, 0.0]]])
    weights = confidence(sure, label)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(0), 1.0, rtol=1e-6)


def test_weights_of_each_example_learn_as_the_weighted_losses_of_the_members():
    """The gradient of KL to the mixture is that of sum_m w_m KL to each member: what CA-MKD trains
    with.
    """
    members, student = normal(3, 4, 5), normal(4, 5)
    weights = jax.jit(confidence)(members, jnp.arange(4))
    mixed = lambda s: distill_kl(s, Mixture(members, weights).at(2.0), 2.0).sum()
    apart = lambda s: (weights * jax.vmap(lambda z: distill_kl(s, z, 2.0))(members)).sum()
    np.testing.assert_allclose(
        jax.jit(jax.grad(mixed))(student), jax.jit(jax.grad(apart))(student), atol=1e-6
    )


@pytest.mark.slow
def test_members_of_several_architectures_are_one_mixture(several):
    mixture = target(several, "probs")
    np.testing.assert_allclose(mixture.members, several[2], atol=1e-6)
    p = np.einsum("m,mbc->bc", WEIGHTS, jax.nn.softmax(several[2] / 4))
    np.testing.assert_allclose(jax.nn.softmax(mixture.at(4.0) / 4), p, atol=1e-6)


@pytest.mark.slow
def test_the_other_reductions_of_several_architectures(several):
    _, batch, logits = several
    mean = target(several, "logits").logits
    np.testing.assert_allclose(mean, np.einsum("m,mbc->bc", WEIGHTS, logits), atol=1e-6)
    even = target(several, "logits", None).logits
    np.testing.assert_allclose(even, logits.mean(0), atol=1e-6)
    sure = target(several, "confidence")
    np.testing.assert_allclose(sure.weights, confidence(logits, batch["label"]), atol=1e-6)
    narrow, wide = target(several, "each")
    assert narrow.features["stage1"].shape == (2, 4, 4)
    assert wide.features["stage1"].shape == (1, 4, 6)
    np.testing.assert_allclose(wide.logits, logits[2:], atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.slow
def test_the_one_that_is_drawn_comes_as_often_as_it_counts(several, groups):
    """Over 400 updates, whose keys are equal on both sides; a member of weight 0 never comes."""
    stacks, batch, logits = several
    size = SIZES[0] if groups == 1 else 3
    weights = ((0.25, 0.75), (0.7, 0.0, 0.3))[groups - 1]
    nets = [teachers.Group(net) for net in NETS[:groups]]
    apply = teachers.grouped(nets, "random", weights).apply
    keys = jax.random.split(jax.random.key(4), 400)
    draw = lambda key: apply(stacks[:groups], (), {**batch, "key": key}).logits
    drawn = jax.jit(lambda keys: jax.lax.map(draw, keys))(keys)
    distance = jnp.abs(drawn[:, None] - logits[None, :size]).max((2, 3))  # [400, m]
    assert (distance.min(axis=1) < 1e-5).all()  # one member, the same for the batch
    often = np.bincount(distance.argmin(axis=1), minlength=size) / 400
    np.testing.assert_allclose(often, weights, atol=0.08)
    assert (often[np.array(weights) == 0] == 0).all()


def test_no_other_member_is_computed_than_the_one_that_is_drawn():
    """Of eight, an eighth of the operations."""
    net, image = MLP(3, (64, 64)), jnp.ones((16, 5))
    one = jax.eval_shape(net.init, jax.random.key(0), image)
    weights = jax.tree.map(lambda x: jnp.zeros((8, *x.shape)), one)
    batch = {"image": image, "label": jnp.zeros(16, int), "key": jax.random.key(0)}

    def flops(reduce):
        f = lambda w, b: teachers.ensemble(net, reduce).apply(w, (), b).logits
        return jax.jit(f).lower(weights, batch).compile().cost_analysis()["flops"]

    assert 7 * flops("random") < flops("probs")


def view_of(teacher, variables, image):
    student = Outputs(jnp.ones((4, 3)), {"stage1": jnp.ones((4, 1, 1, 2))})
    batch = {"image": image, "label": jnp.arange(4) % 3}
    return View(student, teacher, batch, {}, jnp.int32(0), variables)


@pytest.mark.slow
def test_each_teacher_counts_what_its_weight_says(several):
    stacks, batch, logits = several
    teacher = target(several, "each")
    view = view_of(teacher, stacks, batch["image"])
    lifted = PerGroup([PerTeacher(KD(2.0), WEIGHTS[:2]), PerTeacher(KD(2.0), WEIGHTS[2:])])
    loss, _ = jax.jit(Weighted({"kd": lifted}, {"kd": 1.0}).apply)({}, view)
    alone = [distill_kl(view.student.logits, z, 2.0) for z in logits]
    expected = np.mean(np.einsum("m,mb->b", WEIGHTS, alone))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_each_teacher_has_a_regressor_of_its_own_width():
    maps = lambda m, d: {"stage1": jnp.ones((m, 4, 1, 1, d))}
    logits = jnp.zeros((1, 4, 3))
    teacher = (Outputs(jnp.zeros((2, 4, 3)), maps(2, 3)), Outputs(logits, maps(1, 5)))
    lifted = PerGroup(
        [PerTeacher(FitNet("stage1"), (0.2, 0.3)), PerTeacher(FitNet("stage1"), (0.5,))]
    )
    view = view_of(teacher, ({}, {}), None)
    variables = jax.eval_shape(lifted.init, jax.random.key(0), view)
    shapes = sorted(x.shape for x in jax.tree.leaves(variables) if x.ndim > 2)
    assert shapes[0][0] == 1 and shapes[0][-1] == 5
    assert shapes[1][0] == 2 and shapes[1][-1] == 3
