"""Objectives where numbers are hard, and invariances that hold for all of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.errors import InputError
from kd.objectives import (
    ab,
    at,
    cc,
    ce,
    crd,
    cwd,
    dist,
    dkd,
    fitnet,
    fsp,
    ft,
    ickd,
    kd,
    mlkd,
    nkd,
    nst,
    ofa,
    ofd,
    pkt,
    reviewkd,
    rkd,
    sp,
    srd,
    ttm,
    vid,
    wsld,
)

pytestmark = pytest.mark.usefixtures("unoptimized_module")

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
softmax = jax.nn.softmax

# Of logits [b, c], of the teacher's, and of labels.
LOGITS = {
    "cross_entropy": lambda s, t, y: ce.cross_entropy(s, y, 0.1),
    "distill_kl": lambda s, t, y: kd.distill_kl(s, t, 4.0),
    "logit_mse": lambda s, t, y: kd.logit_mse(s, t),
    "standardized": lambda s, t, y: kd.distill_kl(kd.standardize(s), kd.standardize(t), 2.0),
    "decoupled_kl": lambda s, t, y: dkd.decoupled_kl(s, t, y, 1.0, 8.0, 4.0),
    "inter_class": lambda s, t, y: dist.inter_class(softmax(s), softmax(t)),
    "intra_class": lambda s, t, y: dist.intra_class(softmax(s), softmax(t)),
    "normalized_kd": lambda s, t, y: nkd.normalized_kd(s, t, y, 1.5, 1.0),
    "weighted_soft_label": lambda s, t, y: wsld.weighted_soft_label(s, t, y, 4.0),
    "transformed_kl": lambda s, t, y: ttm.transformed_kl(s, t, 0.1) * ttm.power_sum(t, 0.1),
    "batch_relation": lambda s, t, y: mlkd.batch_relation(softmax(s), softmax(t)),
    "class_relation": lambda s, t, y: mlkd.class_relation(softmax(s), softmax(t)),
    "ofa": lambda s, t, y: ofa.enhanced_cross_entropy(s, t, y, 1.5),
}
# Of maps of one shape [b, h, w, d].
vectors = lambda f: lambda s, t: f(jnp.mean(s, (1, 2)), jnp.mean(t, (1, 2)))
MAPS = {
    "hint": fitnet.hint,
    "attention_transfer": at.attention_transfer,
    "similarity": sp.similarity_preserving,
    "correlation": vectors(cc.correlation_congruence),
    "rkd_distance": vectors(rkd.rkd_distance),
    "rkd_angle": vectors(rkd.rkd_angle),
    "pkt": vectors(pkt.neighbour_kl),
    "nst": nst.channel_mmd,
    "fsp": lambda s, t: fsp.flow_mse((s, s), (t, t)),
    "gaussian_nll": lambda s, t: vid.gaussian_nll(s, jnp.ones(s.shape[-1]), t),
    "activation_boundary": ab.activation_boundary,
    "factor_transfer": ft.factor_transfer,
    "hierarchical_context": reviewkd.hierarchical_context,
    "partial_distance": lambda s, t: ofd.partial_distance(s, t, -jnp.ones(s.shape[-1])),
    "log_sum": vectors(srd.log_sum),
    "channel_kl": lambda s, t: cwd.channel_kl(s, t, 4.0),
    "channel_correlation": ickd.channel_correlation,
}


def _with_gradients(functions: dict, *args) -> dict:
    """{name: (value, gradient with respect to the student)}, the value as the function gives it."""

    def one(f):
        def mean(x):
            value = f(x, *args[1:])
            return jnp.mean(value), value

        grad, value = jax.grad(mean, has_aux=True)(args[0])
        return value, grad

    return {name: one(f) for name, f in functions.items()}


logits = jit(partial(_with_gradients, LOGITS))
maps = jit(partial(_with_gradients, MAPS))


def _logits(case: str, classes: int = 5) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    s, t = rng.standard_normal((2, 6, classes))
    y = np.arange(6) % classes
    if case == "huge":
        s, t = 1e4 * np.sign(s), -1e4 * np.sign(t)
    elif case == "equal":
        s, t = np.full_like(s, 3.0), np.full_like(t, -1.0)
    elif case == "one-hot teacher":
        t = 1e4 * np.eye(classes)[y]
    elif case == "wrong one-hot student":
        s, t = 1e4 * np.eye(classes)[(y + 1) % classes], 1e4 * np.eye(classes)[y]
    return jnp.asarray(s, jnp.float32), jnp.asarray(t, jnp.float32), jnp.asarray(y)


CASES = ["huge", "equal", "one-hot teacher", "wrong one-hot student"]


@pytest.mark.parametrize("classes", [5, 2])
@pytest.mark.parametrize("case", CASES)
def test_hard_logits_give_finite_values_and_gradients(case: str, classes: int):
    for name, (value, grad) in logits(*_logits(case, classes)).items():
        assert np.all(np.isfinite(value)) and np.all(np.isfinite(grad)), name
        # Of probabilities no derivative is large; the squared distance of logits is its own.
        if name != "logit_mse":
            assert np.max(np.abs(grad)) < 100, name


MAP_CASES = {
    "huge": (1e4, 1e4),
    "zero student": (0.0, 1.0),
    "zero teacher": (1.0, 0.0),
    "both zero": (0.0, 0.0),
}


@pytest.fixture(scope="module")
def map_pair() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (2, 6, 4, 4, 5))


@pytest.mark.parametrize("case", MAP_CASES)
@pytest.mark.slow
def test_hard_maps_give_finite_values_and_gradients(case: str, map_pair: jax.Array):
    """Dead features too, as a network with all ReLUs silent gives: the public code has NaN or 1e12
    there.
    """
    s, t = (scale * x for scale, x in zip(MAP_CASES[case], map_pair, strict=True))
    for name, (value, grad) in maps(s, t).items():
        assert np.all(np.isfinite(value)) and np.all(np.isfinite(grad)), name


@pytest.mark.slow
def test_examples_that_coincide_have_finite_gradients(map_pair: jax.Array):
    s, t = map_pair
    for name, (value, grad) in maps(s.at[1].set(s[0]), t).items():
        assert np.all(np.isfinite(value)) and np.all(np.isfinite(grad)), name


# Methods that promise it: a student equal to the teacher has nothing to learn.
STATIONARY = {*LOGITS, *MAPS} - {
    "cross_entropy",  # looks at labels alone
    "normalized_kd",  # its first term is a cross entropy with part of a distribution
    "transformed_kl",  # softens one side alone
    "ofa",  # learns the label too
    "activation_boundary",  # wants a margin beyond the boundary
}


def test_a_student_equal_to_the_teacher_is_stationary(map_pair: jax.Array):
    s, _, y = _logits("plain")
    found = logits(s, s, y) | maps(map_pair[0], map_pair[0])
    del found["factor_transfer"]  # a kink, at which rounding decides the slope
    for name, (_, grad) in found.items():
        still = np.max(np.abs(grad)) < 1e-6
        assert still == (name in STATIONARY), f"{name}: {np.max(np.abs(grad))}"


@pytest.mark.slow
def test_bfloat16_is_computed_in_float32(map_pair: jax.Array):
    """The same as of the rounded numbers in float32; only the gradient that goes back is rounded
    again.
    """
    half = lambda x: x.astype(jnp.bfloat16)
    full = lambda x: half(x).astype(jnp.float32)
    s, t, y = _logits("plain")
    a, b = map_pair
    # Those that this file gives probabilities or means, themselves rounded to bfloat16, are left
    # out.
    skip = {"inter_class", "intra_class", "batch_relation", "class_relation"}
    skip |= {"correlation", "rkd_distance", "rkd_angle", "pkt", "log_sum"}
    pairs = [
        (logits(half(s), half(t), y), logits(full(s), full(t), y)),
        (maps(half(a), half(b)), maps(full(a), full(b))),
    ]
    for ours, theirs in pairs:
        for name in ours.keys() - skip:
            value, grad = ours[name]
            assert value.dtype == jnp.float32 and grad.dtype == jnp.bfloat16, name
            np.testing.assert_allclose(value, theirs[name][0], rtol=1e-5, atol=1e-7)


SHIFTABLE = LOGITS.keys() - {"logit_mse"}
random = pytest.mark.parametrize(
    "seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.campaign) for seed in range(5, 50))]
)


def _random_logits(seed: int, scale: float = 4.0):
    rng = np.random.default_rng(seed)
    s, t = scale * rng.standard_normal((2, 6, 5)).astype(np.float32)
    return rng, jnp.asarray(s), jnp.asarray(t), jnp.asarray(rng.integers(0, 5, 6))


@random
def test_logits_count_up_to_a_shift_of_each_row(seed: int):
    rng, s, t, y = _random_logits(seed)
    shift = [jnp.asarray(x, jnp.float32) for x in 10 * rng.standard_normal((2, 6, 1))]
    plain, moved = logits(s, t, y), logits(s + shift[0], t + shift[1], y)
    for name in SHIFTABLE:
        np.testing.assert_allclose(
            moved[name][0], plain[name][0], rtol=2e-3, atol=2e-4, err_msg=name
        )


@random
def test_names_of_classes_do_not_count(seed: int):
    rng, s, t, y = _random_logits(seed)
    order = rng.permutation(5)
    plain = logits(s, t, y)
    moved = logits(s[:, order], t[:, order], jnp.asarray(np.argsort(order))[y])
    for name, (value, grad) in plain.items():
        np.testing.assert_allclose(moved[name][0], value, rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(
            moved[name][1], grad[:, order], rtol=1e-3, atol=1e-5, err_msg=name
        )


@random
def test_the_order_of_the_batch_does_not_count(seed: int):
    rng, s, t, y = _random_logits(seed)
    a, b = (jnp.asarray(x, jnp.float32) for x in rng.standard_normal((2, 6, 4, 4, 5)))
    order = rng.permutation(6)
    plain = logits(s, t, y) | maps(a, b)
    moved = logits(s[order], t[order], y[order]) | maps(a[order], b[order])
    for name, (value, grad) in plain.items():
        if name == "correlation":  # of neighbours in the batch, as its authors have it
            continue
        value = value[order] if value.ndim else value
        np.testing.assert_allclose(moved[name][0], value, rtol=1e-4, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(moved[name][1], grad[order], rtol=1e-3, atol=1e-5, err_msg=name)


@random
def test_divergences_are_not_negative(seed: int):
    _, s, t, y = _random_logits(seed)
    found = logits(s, t, y)
    signed = {"inter_class", "intra_class"}  # between 0 and 2, checked here too
    for name, (value, _) in found.items():
        assert np.all(value >= -1e-5), name
        if name in signed:
            assert value <= 2 + 1e-5


def test_what_is_undefined_is_refused():
    one = jnp.ones((1, 3))
    with pytest.raises(InputError, match="two classes or more"):
        dkd.decoupled_kl(jnp.ones((2, 1)), jnp.ones((2, 1)), jnp.array([0, 0]), 1, 1, 1)
    with pytest.raises(InputError, match="two classes or more"):
        kd.standardize(jnp.ones((2, 1)))
    with pytest.raises(InputError, match="two examples"):
        cc.correlation_congruence(one, one)
    with pytest.raises(InputError, match="two or more"):
        rkd.rkd_distance(one, one)
    tables = {k: jnp.array([0]) for k in ("order", "start", "count")}
    with pytest.raises(InputError, match="two classes or more"):
        crd.draw_negatives(jax.random.key(0), jnp.array([0]), tables, 3)
