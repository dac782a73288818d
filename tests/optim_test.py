"""Optimizers and schedules against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import build, config, optim
from kd.errors import InputError
from kd.optim import by_path, check_decay, make_optimizer, make_schedule


def at(spec, epoch, steps_per_epoch=10, epochs=10.0):
    return float(make_schedule(spec, steps_per_epoch, epochs)(epoch * steps_per_epoch))


def test_piecewise_lowers_the_rate_from_the_named_epoch_on():
    """The CIFAR recipe: epochs 151, 181 and 211 counted from 1 are the first with a lower rate."""
    spec = {"name": "piecewise", "epochs": (150, 180, 210), "factor": 0.1}
    schedule = make_schedule(spec, 782, 240, value=0.05)
    for epoch, rate in ((149, 5e-2), (150, 5e-3), (180, 5e-4), (239, 5e-5)):
        for step in (epoch * 782, epoch * 782 + 781):
            np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)


@pytest.mark.parametrize("steps_per_epoch", [55, 107])
def test_an_epoch_begins_with_its_first_step(steps_per_epoch):
    """Also where 1 / steps, by which a compiled program may multiply, is rounded down."""
    schedule = jax.jit(make_schedule({"name": "by_epoch"}, steps_per_epoch, 10))
    found = [float(schedule(epoch * steps_per_epoch)) for epoch in range(10)]
    np.testing.assert_allclose(found, np.arange(1, 11) / 10, rtol=1e-6)


def test_curves_at_their_corners():
    cosine = {"name": "cosine", "warmup": 2.0, "end": 0.1}
    assert [round(at(cosine, e), 6) for e in (0, 1, 2, 6, 10)] == [0, 0.5, 1, 0.55, 0.1]
    linear = {"name": "linear", "over": 4.0, "value": 3.0}
    assert [round(at(linear, e), 6) for e in (0, 2, 4, 9)] == [0, 1.5, 3, 3]
    at_once = {"name": "linear", "start": 4.0, "end": 1.0, "over": 0.0}
    assert [at(at_once, e) for e in (0, 1)] == [1, 1]
    assert at(0.3, 7) == pytest.approx(0.3)
    assert at({"name": "exponential", "factor": 0.5}, 2) == pytest.approx(0.25)


def test_sgd_adds_the_decay_before_the_momentum():
    """Two steps by hand of v = m v + (g + wd w), w = w - lr v: PyTorch's SGD."""
    tx = make_optimizer(
        {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        lambda step: 1.0,
    )
    w, v = 2.0, 0.0
    params = {"w": jnp.float32(w)}
    state = tx.init(params)
    for g in (0.5, -1.0):
        updates, state = tx.update({"w": jnp.float32(g)}, state, params)
        params = optax.apply_updates(params, updates)
        v = 0.9 * v + (g + 0.01 * w)
        w = w - 0.1 * v
        np.testing.assert_allclose(params["w"], w, rtol=1e-6)


def test_masks_by_path():
    params = {"student": {"norm": {"scale": 1.0}, "conv": {"kernel": 1.0}}}
    assert by_path("kernel$")(params)["student"] == {
        "norm": {"scale": False},
        "conv": {"kernel": True},
    }
    assert all(jax.tree.leaves(by_path("")(params)))


def test_a_decay_that_finds_nothing_is_told():
    params = {"student": {"conv": {"kernel": 1.0, "bias": 1.0}}, "objective": {}}
    spec = {"name": "sgd", "weight_decay": 1e-4, "decay": "kernal$"}
    with pytest.raises(InputError, match=r"'kernal.' matches no .* student/conv/bias"):
        check_decay(spec, params)
    for fine in ({"decay": "kernel$"}, {"decay": ""}, {"weight_decay": 0.0}):
        check_decay(spec | fine, params)
    check_decay({"name": "adam"}, params)


def test_clipping_bounds_the_norm_of_the_gradient():
    tx = make_optimizer(
        {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0, "clip_norm": 1.0}, lambda step: 1.0
    )
    params = {"w": jnp.zeros(2)}
    updates, _ = tx.update({"w": jnp.array([3.0, 4.0])}, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], [-0.6, -0.8], rtol=1e-6)


def test_the_norm_of_incoming_weights_is_bounded_after_the_update():
    """By hand: the first unit's weights become (3, 4), of norm 5, and are scaled back to 2; the
    second's stay short.
    """
    spec = {"name": "sgd", "learning_rate": 1.0, "momentum": 0.0, "max_norm": 2.0}
    tx = make_optimizer(spec, lambda step: 1.0)
    params = {"kernel": jnp.array([[2.0, 1.0], [2.0, 0.0]]), "bias": jnp.full(2, 9.0)}
    grads = {"kernel": jnp.array([[-1.0, 0.5], [-2.0, 0.0]]), "bias": jnp.ones(2)}
    updates, _ = tx.update(grads, tx.init(params), params)
    new = optax.apply_updates(params, updates)
    np.testing.assert_allclose(new["kernel"], [[1.2, 0.5], [1.6, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(new["bias"], [8.0, 8.0])


def test_an_optimizer_may_be_anybodys():
    spec = {"name": "optax.lamb", "learning_rate": 0.1}
    tx = make_optimizer(spec, lambda step: 1.0)
    assert isinstance(tx, optax.GradientTransformation)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "sdg", "learning_rate": 1.0}, ["optimizer 'sdg'", "'sgd'", "adamw"]),
        ({"name": "sgd"}, ["learning_rate"]),
        ({"name": "sgd", "learning_rate": 0.1, "momentun": 0.9}, ["'momentum'"]),
    ],
)
def test_wrong_optimizers_teach(spec, words):
    with pytest.raises(InputError) as error:
        make_optimizer(spec, lambda step: 1.0)
    assert all(word in str(error.value) for word in words), error.value


def test_wrong_schedules_teach():
    with pytest.raises(InputError, match="Did you mean 'cosine'"):
        make_schedule({"name": "cosin"}, 1, 1)


NEW = """
import jax.numpy as jnp
import optax


def sign(learning_rate, scale: float = 1.0) -> optax.GradientTransformation:
    rate = optax.scale_by_learning_rate(learning_rate)
    return optax.chain(optax.scale_by_sign(), optax.scale(scale), rate)


def halving(every: float = 1.0) -> Curve:
    return lambda epoch, epochs: 0.5 ** jnp.floor(epoch / every)
"""


@pytest.mark.parametrize("home", ["a user's file", "kd/optim.py"])
def test_an_optimizer_and_a_schedule_are_one_function_each(home, tmp_path, monkeypatch):
    """Named in a config, with settings whose defaults are written out, and with errors that list
    them.
    """
    prefix = ""
    if home == "kd/optim.py":
        for name in ("sign", "halving"):  # removed after the test
            monkeypatch.setattr(optim, name, None, raising=False)
        exec(NEW, vars(optim))
    else:
        (tmp_path / "newly.py").write_text(f"from kd.optim import Curve\n{NEW}")
        monkeypatch.syspath_prepend(tmp_path)
        prefix = "newly."
    c = config.load("configs/digits.py:role=labels")
    c.optimizer = {"name": f"{prefix}sign", "learning_rate": 0.1}
    c.schedule = {"name": f"{prefix}halving"}
    c = build.spell_out(c)
    assert c.optimizer.scale == 1.0 and c.schedule.every == 1.0
    tx = build.make_tx(c, 10)
    params = {"w": jnp.array([3.0, -4.0])}
    state = tx.init(params)
    updates, state = tx.update({"w": jnp.array([5.0, -0.1])}, state, params)
    np.testing.assert_allclose(updates["w"], [-0.1, 0.1], rtol=1e-6)
    assert at(c.schedule.to_dict(), 2.5) == 0.25
    c = c.copy_and_resolve_references().unlock()
    c.optimizer.scael = 1.0
    with pytest.raises(InputError, match="Did you mean 'scale'"):
        build.spell_out(c)
    if not prefix:
        with pytest.raises(InputError, match="Did you mean 'halving'"):
            make_schedule({"name": "halvin"}, 1, 1)
