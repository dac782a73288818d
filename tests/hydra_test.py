"""A head for each teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.errors import InputError
from kd.models.hydra import Hydra as Heads
from kd.models.mlp import MLP
from kd.objectives.hydra import Hydra
from kd.objectives.kd import distill_kl
from kd.types import Mixture, Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

WEIGHTS = jnp.array([0.5, 0.3, 0.2])


def normal(*shape):
    """Numbers to test with. NumPy's: a draw of jax would be compiled."""
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.fixture(scope="module")
def student():
    net = Heads({"name": "mlp.MLP", "widths": (6,)}, 4, heads=3)
    image = normal(5, 7)
    outputs, variables = jax.jit(net.init_with_output)(jax.random.key(1), image)
    return outputs, variables, image


def view(outputs, members):
    batch = {"image": jnp.ones((5, 7))}
    return View(outputs, Mixture(members, WEIGHTS), batch, {}, jnp.int32(0))


def test_it_predicts_the_mean_of_its_heads(student):
    outputs, _, _ = student
    assert outputs.features["heads"].shape == (5, 3, 4)
    p = jax.nn.softmax(outputs.features["heads"]).mean(axis=1)
    np.testing.assert_allclose(jax.nn.softmax(outputs.logits), p, rtol=1e-5)
    np.testing.assert_allclose(outputs.logits, np.log(p), atol=1e-5)


def test_it_costs_its_heads_and_the_body_without_its_own(student):
    count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
    body = jax.eval_shape(MLP(4, (6,)).init, jax.random.key(0), student[2])["params"]
    assert count(student[1]) == count(body) - count(body["head"]) + 3 * count(body["head"])


def test_each_head_learns_from_its_own_teacher(student):
    """The loss is the weighted mean of KD's, and what one teacher says moves one head alone."""
    outputs, _, _ = student
    members = normal(3, 5, 4)
    heads = outputs.features["heads"]
    alone = [distill_kl(heads[:, m], members[m], 2.0) for m in range(3)]
    found = jax.jit(Hydra(temperature=2.0).apply)({}, view(outputs, members))
    np.testing.assert_allclose(found, np.einsum("m,mb->b", WEIGHTS, alone), rtol=1e-5)

    def loss(heads, members):
        given = Outputs(outputs.logits, {"heads": heads})
        return Hydra().apply({}, view(given, members)).sum()

    gradient = jax.jit(jax.grad(loss))
    moved = gradient(heads, members) - gradient(heads, members.at[1].add(jnp.arange(4.0)))
    assert (moved[:, 1] != 0).any() and (moved[:, [0, 2]] == 0).all()


def test_what_does_not_fit_is_refused(student):
    outputs, _, image = student
    with pytest.raises(InputError, match="3 heads and 2 teachers"):
        Hydra().apply({}, view(outputs, jnp.zeros((2, 5, 4))))
    with pytest.raises(InputError, match=r"hydra\.Hydra"):
        Hydra().apply({}, view(Outputs(outputs.logits), jnp.zeros((3, 5, 4))))
    with pytest.raises(InputError, match="heads: expected 1"):
        Heads({"name": "mlp.MLP"}, 4, heads=0).init(jax.random.key(0), image)
