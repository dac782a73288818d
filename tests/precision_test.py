"""What is multiplied in what under each policy, read from the traced program; runs end to end; what
cannot be told.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import teachers
from kd.cli.main import main
from kd.devices import precision
from kd.errors import InputError
from kd.init import make_init
from kd.models.cnn import CNN
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.sp import SP
from kd.runs.workdir import Workdir
from kd.step import make_eval, make_step

SMALL = CNN(3, (4, 4))
IMAGE = np.random.default_rng(2).normal(size=(6, 8, 8, 3)).astype(np.float32)
BATCH = {"image": jnp.asarray(IMAGE), "label": jnp.asarray(np.arange(6) % 3)}


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def products(jaxpr, primitive):
    """(type of the factors, precision) of all products of one kind."""
    found = {
        (str(e.invars[0].aval.dtype), e.params["precision"])
        for e in equations(jaxpr)
        if e.primitive.name == primitive
    }
    assert found
    return found


def parts_under(policy):
    net = precision.network(SMALL, policy)
    objective = Weighted({"ce": CE(), "sp": SP()}, {"ce": 1.0, "sp": 1.0})
    return net, objective, teachers.frozen(net), optax.sgd(0.1)


def arguments(parts):
    """The step's, at the start."""
    weights = SMALL.init(jax.random.key(1), BATCH["image"])
    frozen = {"teacher": weights, "tables": {}}
    return make_init(*parts)(jax.random.key(0), frozen, BATCH), frozen, BATCH


HIGH, HIGHEST = jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST


@pytest.mark.parametrize(
    ("policy", "dtype", "expected"),
    [
        ("default", "float32", None),
        ("float32", "float32", (HIGHEST, HIGHEST)),
        ("tf32", "float32", (HIGH, HIGH)),
        ("bfloat16", "bfloat16", None),
    ],
)
def test_networks_and_losses(policy, dtype, expected):
    """Convolutions are the networks' alone, forward and backward; the loss of SP has the products
    of its Gram matrices.
    """
    parts = parts_under(policy)
    step = precision.training(make_step(*parts), policy)
    given = jax.eval_shape(lambda: arguments(parts))
    traced = jax.make_jaxpr(step)(*given)
    assert products(traced.jaxpr, "conv_general_dilated") == {(dtype, expected)}
    dots = products(traced.jaxpr, "dot_general")
    assert ("float32", (HIGHEST, HIGHEST)) in dots  # of the loss
    assert {factor for factor, _ in dots} == {"float32"}  # classifiers, too
    state, metrics = jax.eval_shape(step, *given)
    assert {m.dtype for m in metrics.values()} == {jnp.dtype("float32")}
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("policy", precision.POLICIES)
def test_evaluation_is_in_float32(policy):
    evaluate = precision.evaluation(make_eval(SMALL), policy)
    variables = jax.eval_shape(SMALL.init, jax.random.key(0), BATCH["image"])
    traced = jax.make_jaxpr(evaluate)(variables, BATCH)
    expected = None if policy == "default" else (HIGHEST, HIGHEST)
    found = products(traced.jaxpr, "conv_general_dilated")
    assert found == {("float32", expected)}


@pytest.mark.slow
def test_half_precision_learns_what_full_does():
    """Ten updates: the same losses up to bfloat16's eight bits."""
    losses, start = {}, jax.jit(lambda: arguments(parts_under("default")))()
    for policy in ("default", "bfloat16"):
        step = jax.jit(precision.training(make_step(*parts_under(policy)), policy))
        (state, frozen, batch), losses[policy] = start, []
        for _ in range(10):
            state, metrics = step(state, frozen, batch)
            losses[policy].append(float(metrics["ce"]))
    half, full = losses["bfloat16"], losses["default"]
    np.testing.assert_allclose(half, full, rtol=0.05)
    assert half != full and half[-1] < half[0]


class Deaf(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, image, train=False):
        return nn.Dense(self.num_classes)(image.reshape(len(image), -1))


def test_a_network_that_cannot_be_told():
    for policy in ("default", "float32", "tf32"):
        assert isinstance(precision.network(Deaf(3), policy), Deaf)
    with pytest.raises(InputError, match="Deaf has no attribute `dtype`"):
        precision.network(Deaf(3), "bfloat16")


COMMAND = ["run", "--config", "configs/digits.py:role=labels,labelled=all,seeds=1"]


def test_an_unknown_policy(capsys):
    assert main([*COMMAND, "--config.precision=half"]) == 2
    assert "Known: default, float32, tf32, bfloat16" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = ["--workdir", str(tmp_path / "run")]
    assert main([*COMMAND, *where, "--config.precision=bfloat16"]) == 0
    run = Workdir(tmp_path / "run")
    assert run.read("config.json")["precision"] == "bfloat16"
    assert run.read("result.json")["final"]["accuracy"][0] > 0.95
