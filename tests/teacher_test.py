"""Ensembles: the soft target of the mean of probabilities, and the three ways through the
members.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import teachers
from kd.devices import vectorize
from kd.devices.vectorize import fastest_method, loops_are_slow, map_stacked, tree_index
from kd.errors import InputError
from kd.models.cnn import CNN
from kd.models.mlp import MLP
from kd.teachers.reduction import REDUCTIONS
from kd.types import Mixture

pytestmark = pytest.mark.usefixtures("unoptimized_module")


def test_a_mixture_softens_to_the_mean_of_its_members_softened_probabilities():
    """Two members, two classes, by hand: softmax([ln 3, 0]) = (3/4, 1/4) and softmax([0, 0]) =
    (1/2, 1/2).
    """
    members = jnp.array([[[np.log(3.0), 0.0]], [[0.0, 0.0]]])
    mixture = Mixture(members, jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(jax.nn.softmax(mixture.at(1.0)), [[0.625, 0.375]], rtol=1e-6)
    # At T = ln 3 / ln 2 the first member is (2/3, 1/3).
    t = np.log(3.0) / np.log(2.0)
    np.testing.assert_allclose(jax.nn.softmax(mixture.at(t) / t), [[7 / 12, 5 / 12]], rtol=1e-6)
    tilted = Mixture(members, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(jax.nn.softmax(tilted.at(1.0)), [[0.75, 0.25]], rtol=1e-6)


def test_a_mixture_of_sure_members_stays_finite():
    members = jnp.array([[[1e4, -1e4]], [[-1e4, 1e4]]])
    mixture = Mixture(members, jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(jax.nn.softmax(mixture.at(4.0) / 4.0), [[0.5, 0.5]])


@pytest.fixture(scope="module")
def network():
    model = CNN(3, (4, 8))
    image = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    init = lambda key: model.init(key, image)
    weights = jax.vmap(init)(jax.random.split(jax.random.key(2), 3))
    batch = {"image": image, "label": jnp.arange(4) % 3, "key": jax.random.key(3)}
    return model, weights, batch


@pytest.mark.slow
@pytest.mark.parametrize(
    "reduce",
    ["probs", *(pytest.param(r, marks=pytest.mark.slow) for r in REDUCTIONS if r != "probs")],
)
def test_vmap_map_and_unroll_agree(network, reduce):
    model, weights, batch = network
    by = {
        how: jax.jit(teachers.ensemble(model, reduce, how).apply)(weights, (), batch)
        for how in ("vmap", "map", "unroll")
    }
    for how in ("map", "unroll"):
        np.testing.assert_allclose(by["vmap"].logits, by[how].logits, atol=1e-5)


def test_each_returns_the_members_and_logits_their_mean(network):
    model, weights, batch = network
    alone = [teachers.frozen(model).apply(tree_index(weights, i), (), batch) for i in range(3)]
    each = teachers.ensemble(model, "each").apply(weights, (), batch)
    stacked = np.stack([a.logits for a in alone])
    np.testing.assert_allclose(each.logits, stacked, atol=1e-5)
    assert each.features["stage1"].shape == (3, 4, 8, 8, 4)
    mean = teachers.ensemble(model, "logits").apply(weights, (), batch)
    np.testing.assert_allclose(mean.logits, stacked.mean(0), atol=1e-5)


def test_an_average_has_no_features(network):
    model, weights, batch = network
    mixture = teachers.ensemble(model).apply(weights, (), batch)
    with pytest.raises(InputError, match="each"):
        mixture.feature("stage1")
    with pytest.raises(InputError, match="'probs'"):
        teachers.ensemble(model, "prob")


def test_convolutions_are_unrolled_on_a_cpu_and_dense_layers_vmapped(network):
    model, weights, batch = network
    one = tree_index(weights, 0)
    forward = lambda v, x: model.apply(v, x, train=False)
    assert fastest_method(forward, one, batch["image"]) == "unroll"
    assert fastest_method(jax.jit(forward), one, batch["image"]) == "unroll"
    dense = MLP(3)
    v = dense.init(jax.random.key(0), batch["image"])
    assert fastest_method(lambda v, x: dense.apply(v, x), v, batch["image"]) == "vmap"


@pytest.mark.parametrize("fast", [True, False])
def test_convolutions_of_onednn_stand_in_loops_where_it_covers_them(network, monkeypatch, fast):
    monkeypatch.setattr(
        vectorize, "covered", lambda *shapes_and_params: "problem" if fast else None
    )
    model, weights, batch = network
    forward = lambda v, x: model.apply(v, x, train=False)
    arguments = tree_index(weights, 0), batch["image"]
    how = fastest_method(forward, *arguments, convolutions="onednn")
    assert how == ("map" if fast else "unroll")
    assert loops_are_slow(forward, *arguments, convolutions="onednn") != fast
    assert loops_are_slow(forward, *arguments)
    attends = lambda v, x: (
        forward(v, x).logits @ jnp.einsum("bij,bjk->bik", *[jnp.ones((2, 3, 3))] * 2)
    )
    assert fastest_method(attends, *arguments, convolutions="onednn") == "unroll"


def test_attention_is_unrolled_and_may_stand_in_loops():
    attention = nn.MultiHeadAttention(2)
    x = jnp.ones((2, 3, 4))
    v = jax.eval_shape(attention.init, jax.random.key(0), x)
    assert fastest_method(attention.apply, v, x) == "unroll"
    assert not loops_are_slow(attention.apply, v, x)


@pytest.mark.parametrize("how", ["vmap", "map", "unroll"])
def test_over_keeps_shared_arguments_whole(how):
    scaled = map_stacked(lambda a, b, c: a * b + c, how, (0, None, 0))
    a, c = jnp.arange(3.0), jnp.ones(3)
    np.testing.assert_allclose(scaled(a, jnp.float32(2.0), c), [1, 3, 5])
