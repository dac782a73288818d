"""Objectives by hand: values small enough to be arithmetic here, and identities that the papers
state.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.data.base import class_tables
from kd.features import pool
from kd.objectives import (
    ab,
    at,
    cc,
    ce,
    crd,
    ctkd,
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
    semckd,
    sp,
    srd,
    ttm,
    vid,
    wsld,
)
from kd.types import Mixture, Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

log = math.log
ln = lambda *p: jnp.log(jnp.asarray([p], jnp.float32))
array = lambda *x: jnp.asarray(x, jnp.float32)
LABEL = jnp.array([0])
# One student and one teacher over three classes, label 0.
S, T = ln(0.25, 0.5, 0.25), ln(0.5, 0.3, 0.2)
# By NumPy: what stands at the head of a file is computed by each process that collects tests.
RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(size=(6, 8, 5))
DRAW, ROWS, OTHER, MAP, MAP2 = (
    jnp.asarray(values, jnp.float32)
    for values in (NORMAL, 2 * NORMAL[0], 3 * NORMAL[1], *RANDOM.normal(size=(2, 3, 4, 4, 5)))
)
LABELS = jnp.asarray(np.arange(8) % 5)


CLAIMS: list[tuple] = []


def is_close(value, expected, rtol=1e-5, atol=3e-6):
    """Claims that two values agree; `compiled` checks it."""
    CLAIMS.append((value, expected, rtol, atol))


def compiled(test):
    """Runs a test as one program, not operation by operation, which would take the suite a minute;
    then checks its claims.
    """

    @functools.wraps(test)
    def run(**kwargs):
        tolerances = []

        def body():
            CLAIMS.clear()
            test(**kwargs)
            tolerances[:] = [claim[2:] for claim in CLAIMS]
            return [claim[:2] for claim in CLAIMS]

        claims = jax.jit(body, compiler_options={"xla_backend_optimization_level": 0})()
        assert claims
        for (value, expected), (rtol, atol) in zip(claims, tolerances, strict=True):
            value = np.squeeze(value)
            np.testing.assert_allclose(value, np.squeeze(expected), rtol=rtol, atol=atol)

    return run


@compiled
def test_cross_entropy():
    is_close(ce.cross_entropy(S, LABEL), -log(0.25))
    smooth = -0.9 * log(0.25) - 0.1 * (log(0.25) + log(0.5) + log(0.25)) / 3
    is_close(ce.cross_entropy(S, LABEL, 0.1), smooth)


@compiled
def test_distill_kl():
    kl = 0.5 * log(0.5 / 0.25) + 0.3 * log(0.3 / 0.5) + 0.2 * log(0.2 / 0.25)
    is_close(kd.distill_kl(S, T, 1.0), kl)
    is_close(kd.distill_kl(3 * S, 3 * T, 3.0), 9 * kl)


@compiled
def test_distillation_of_very_soft_targets_is_regression_of_centred_logits():
    """Hinton et al. 2015, section 2.1: the gradient tends to (z - v) / c for logits of mean
    zero.
    """
    centred = lambda z: z - jnp.mean(z, axis=-1, keepdims=True)
    soft = jax.grad(lambda s: jnp.sum(kd.distill_kl(s, OTHER, 300.0)))(ROWS)
    is_close(soft, (centred(ROWS) - centred(OTHER)) / 5, atol=0.02)


@compiled
def test_logit_mse_and_standardize():
    is_close(kd.logit_mse(array([1, 2]), array([3, 5])), (4 + 9) / 2)
    z = kd.standardize(array([1, 2, 3]))
    is_close(z, [[-1, 0, 1]], atol=1e-6)
    is_close(kd.standardize(5 + 7 * ROWS), kd.standardize(ROWS), atol=1e-5)


@compiled
def test_decoupled_kl():
    target = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    # Among the others the teacher says 3 : 2 and the student 2 : 1.
    rest = 0.6 * log(0.6 / (2 / 3)) + 0.4 * log(0.4 / (1 / 3))
    is_close(dkd.decoupled_kl(S, T, LABEL, 1.0, 0.0, 1.0), target)
    is_close(dkd.decoupled_kl(S, T, LABEL, 0.0, 1.0, 1.0), rest)
    is_close(dkd.decoupled_kl(2 * S, 2 * T, LABEL, 2, 3, 2.0), 4 * (2 * target + 3 * rest))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@compiled
def test_dkd_with_the_teachers_doubt_as_beta_is_kd(temperature: float):
    """Zhao et al. 2022, Eq. 6."""
    part = lambda a, b: dkd.decoupled_kl(ROWS, OTHER, LABELS, a, b, temperature)
    p = jax.nn.softmax(OTHER / temperature)[jnp.arange(8), LABELS]
    is_close(
        part(1.0, 0.0) + (1 - p) * part(0.0, 1.0),
        kd.distill_kl(ROWS, OTHER, temperature),
        rtol=1e-4,
        atol=1e-5,
    )


@compiled
def test_dkd_of_two_classes_is_kd_whatever_beta():
    two, label = (ROWS[:, :2], OTHER[:, :2]), LABELS % 2
    for beta in (0.0, 8.0):
        ours = dkd.decoupled_kl(*two, label, 1.0, beta, 2.0)
        is_close(ours, kd.distill_kl(*two, 2.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.05), (9, 0.5), (19, 1), (90, 1)])
@compiled
def test_dkd_warms_up_over_twenty_epochs(epoch: int, weight: float):
    batch = {"label": LABELS, "epoch": jnp.asarray(epoch)}
    view = View(Outputs(ROWS), Outputs(OTHER), batch, {}, jnp.asarray(0))
    whole = dkd.decoupled_kl(ROWS, OTHER, LABELS, 1.0, 8.0, 4.0)
    is_close(dkd.DKD().apply({}, view), weight * whole, rtol=1e-6)


@compiled
def test_dist():
    up, down = array([0.1, 0.3, 0.6]), array([0.6, 0.3, 0.1])
    is_close(dist.inter_class(up, up), 0.0)
    is_close(dist.inter_class(array([0.2, 0.3, 0.5]), array([0.5, 0.3, 0.2])), 1 + 13 / 14)
    both = jnp.concatenate([up, down])
    is_close(dist.intra_class(both, both[::-1]), 1 + 2 / 3)  # columns -1, 0 / 0, -1
    # An affine change of a row keeps its correlation: DIST asks for less than equality.
    is_close(dist.inter_class(0.1 + 0.5 * up, up), 0.0)


@compiled
def test_hint():
    is_close(fitnet.hint(array([1, 2], [0, 0]), array([3, 5], [0, 2])), [6.5, 2])


@compiled
def test_attention():
    # Two places, two channels: mean squares 2.5 and 6, so the squares sum to 42.25.
    map = jnp.array([[[[1.0, 2.0]], [[0.0, math.sqrt(12)]]]])
    is_close(at.attention(map), [2.5 / 6.5, 6 / 6.5])
    flat = jnp.ones((1, 2, 1, 3))
    expected = ((2.5 / 6.5 - 0.5**0.5) ** 2 + (6 / 6.5 - 0.5**0.5) ** 2) / 2
    is_close(at.attention_transfer(map, flat), expected)


@compiled
def test_attention_sees_neither_scale_nor_order_of_channels():
    other = 3 * MAP[..., ::-1]
    is_close(at.attention(MAP), at.attention(other), rtol=1e-5)


@compiled
def test_similarity():
    student, teacher = array([1, 0], [0, 1]), array([1, 1], [1, 1])
    # Rows (1, 0), (0, 1) against (1, 1) / sqrt 2 twice.
    r = 0.5**0.5
    is_close(sp.similarity_preserving(student, teacher), 2 * ((1 - r) ** 2 + r**2) / 4)
    turn = jnp.linalg.qr(DRAW[2, :5, :5])[0]
    is_close(sp.similarity_preserving(ROWS, 2 * ROWS @ turn), 0.0)


@compiled
def test_correlation():
    student, teacher = array([1, 0], [2, 3], [0, 0]), jnp.zeros((3, 2))
    is_close(cc.correlation_congruence(student, teacher), (1 * 2 + 0 * 3 + 0) / 2)


@compiled
def test_gaussian_nll():
    mean, target = jnp.array([[[[1.0, 2.0]]]]), jnp.array([[[[4.0, 2.0]]]])
    expected = 0.5 * (9 / 2 + log(2) + 0 + log(4)) / 2
    is_close(vid.gaussian_nll(mean, array(2, 4), target), expected)
    # At variance 1 it is half the squared error.
    is_close(vid.gaussian_nll(MAP, jnp.ones(5), MAP2), fitnet.hint(MAP, MAP2) / 2)


@compiled
def test_rkd():
    on_line = lambda *x: jnp.asarray(x, jnp.float32)[:, None]
    # Distances 1, 1, 2 (mean 4/3) and 1, 2, 3 (mean 2), each pair twice among nine.
    differences = [1 / (4 / 3) - 0.5, 1 / (4 / 3) - 1, 2 / (4 / 3) - 1.5]
    expected = 2 * sum(0.5 * d**2 for d in differences) / 9
    is_close(rkd.rkd_distance(on_line(0, 1, 2), on_line(0, 1, 3)), expected)
    # A right angle against a straight line: at each corner two ordered pairs differ.
    corner, line = array([1, 0], [0, 0], [0, 1]), array([1, 0], [0, 0], [-1, 0])
    cosines = [(0.0, -1.0), (0.5**0.5, 1.0), (0.5**0.5, 1.0)]
    huber = lambda d: 0.5 * d**2 if abs(d) < 1 else abs(d) - 0.5
    expected = 2 * sum(huber(a - b) for a, b in cosines) / 27
    is_close(rkd.rkd_angle(corner, line), expected)


@compiled
def test_rkd_does_not_see_where_an_embedding_lies():
    turn = jnp.linalg.qr(DRAW[2, :5, :5])[0]
    moved = 3 * ROWS @ turn + DRAW[3, :1]
    is_close(rkd.rkd_distance(ROWS, moved), 0.0)
    is_close(rkd.rkd_angle(ROWS, moved), 0.0)


@compiled
def test_pkt():
    # Cosines 0 and 1: rows (2/3, 1/3) and (1/3, 2/3) against (1/2, 1/2).
    student, teacher = array([1, 0], [0, 1]), array([1, 0], [2, 0])
    expected = 0.5 * (log(0.5 / (2 / 3)) + log(0.5 / (1 / 3))) / 2
    is_close(pkt.neighbour_kl(student, teacher), expected, 1e-4)


@compiled
def test_nst():
    left, right = array([1], [0]), array([0], [1])  # two places, one channel
    as_map = lambda x: x[None, :, None, :]
    is_close(nst.channel_mmd(as_map(left), as_map(right)), 1 + 1 - 2 * 0)
    both = jnp.concatenate([left, right], axis=1)
    is_close(nst.channel_mmd(as_map(both), as_map(left)), 1 + 0.5 - 2 * 0.5)
    # Channels are a set: order, sign, scale and repetition do not count.
    is_close(nst.channel_mmd(MAP, -2 * jnp.concatenate([MAP, MAP[..., ::-1]], -1)), 0.0)


@compiled
def test_fsp():
    bottom = jnp.array([[[[1.0], [3.0]]]])  # two places
    top = jnp.array([[[[2.0, 0.0], [0.0, 4.0]]]])
    is_close(fsp.flow(bottom, top), [(1 * 2 + 0) / 2, (0 + 3 * 4) / 2])
    is_close(fsp.flow_mse((bottom, top), (bottom, 2 * top)), (1 + 36) / 2)
    is_close(fsp.flow(MAP, MAP2), jnp.swapaxes(fsp.flow(MAP2, MAP), 1, 2), rtol=1e-5)


@compiled
def test_activation_boundary():
    # Silent teacher: s > -1 costs (s + 1)^2. Firing: s <= 1 costs (s - 1)^2.
    student, teacher = array([0.5, -2, 0.5, 3]), array([-1, 0, 2, 0.1])
    is_close(ab.activation_boundary(student, teacher), 1.5**2 + 0 + 0.5**2 + 0)
    # Only the side of the boundary counts, not how far.
    far = ab.activation_boundary(student, 10 * teacher)
    is_close(far, ab.activation_boundary(student, teacher))


@compiled
def test_factor_transfer():
    one, two = jnp.array([[[[1.0], [0.0]]]]), jnp.array([[[[0.0], [5.0]]]])
    is_close(ft.factor_transfer(one, two), (1 + 1) / 2)
    is_close(ft.factor_transfer(MAP, 3 * MAP), 0.0)


@compiled
def test_nce():
    # k / n = 2 / 10.
    expected = -log(0.6 / 0.8) - log(0.2 / 0.3) - log(0.2 / 0.5)
    is_close(crd.nce(array([0.6, 0.1, 0.3]), 10), expected)
    # A sure positive and negatives of no score: nothing to learn.
    is_close(crd.nce(array([1e6, 0.0, 0.0]), 10), 0.0, 1e-5)


def test_negatives_are_of_other_classes_each_as_likely():
    label = np.array([2, 0, 1, 1, 0, 2, 2, 2, 2, 0, 1, 2])
    tables = {k: jnp.asarray(v) for k, v in class_tables(label, 4).items()}  # 3: none
    anchor = jnp.array([0, 1, 2, 3])
    drawn = np.asarray(crd.draw_negatives(jax.random.key(0), anchor, tables, 6000))
    assert drawn.shape == (4, 6000)
    for row, own in zip(drawn, (0, 1, 2, 3), strict=True):
        others = np.flatnonzero(label != own)
        found, count = np.unique(row, return_counts=True)
        np.testing.assert_array_equal(found, others)
        expected = 6000 / len(others)  # five standard deviations
        assert np.all(abs(count - expected) < 5 * math.sqrt(expected))


@compiled
def test_hierarchical_context():
    # A constant difference is the same in every pooled size: the weighted mean keeps it.
    is_close(reviewkd.hierarchical_context(MAP + 3, MAP), 9.0, 1e-4)
    # One of four places differs by 4: 4 at full size, 1 pooled to one, weights 1 and 1/2.
    bump = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(4.0)
    flat = jnp.zeros_like(bump)
    is_close(reviewkd.hierarchical_context(bump, flat), (4 + 0.5 * 1) / 1.5)


@compiled
def test_pool_and_nearest():
    x = jnp.arange(5.0)[None, :, None, None]
    # Cells of 5 for 2: rows 0 to 2 and 2 to 4, for 3: 0 1, 1 2 3, 3 4.
    is_close(pool(x, (2, 1)), [1.0, 3.0])
    is_close(pool(x, (3, 1)), [0.5, 2.0, 3.5])
    is_close(reviewkd.resize_nearest(x, (3, 1)), [0, 1, 3])
    is_close(reviewkd.resize_nearest(x[:, :2], (4, 1)), [0, 0, 1, 1])


@compiled
def test_normalized_kd():
    target = -0.5 * log(0.25)
    rest = -(0.6 * log(2 / 3) + 0.4 * log(1 / 3))
    is_close(nkd.normalized_kd(S, T, LABEL, 1.5, 1.0), target + 1.5 * rest)
    # Its second term is that of DKD plus an entropy of the teacher, so its gradient is the same.
    gradient = lambda f: jax.grad(lambda s: jnp.sum(f(s)))(ROWS)
    ours = gradient(lambda s: nkd.normalized_kd(s, OTHER, LABELS, 1.0, 2.0)) - gradient(
        lambda s: nkd.normalized_kd(s, OTHER, LABELS, 0.0, 2.0)
    )
    theirs = gradient(lambda s: dkd.decoupled_kl(s, OTHER, LABELS, 0.0, 1.0, 2.0))
    is_close(ours, theirs, atol=1e-5)


@compiled
def test_weighted_soft_label():
    weight = 1 - math.exp(-2)  # cross entropies 2 log 2 and log 2
    soft = -(0.5 * log(0.25) + 0.3 * log(0.5) + 0.2 * log(0.25))
    is_close(wsld.weighted_soft_label(S, T, LABEL, 1.0), weight * soft)


@compiled
def test_an_ensemble_says_one_thing_of_the_label_and_another_softened():
    """Members of 16, 1, 1 of 18 and 1, 1, 4 of 6; at T = 2 of 4, 1, 1 of 6 and 1, 1, 2 of 4. Means:
    19 of 36 of the label; 11, 5, 8 of 24.
    """
    members = jnp.stack([ln(16, 1, 1), ln(1, 1, 4)])
    mean = Mixture(members, jnp.array([0.5, 0.5]))
    view = View(Outputs(S), mean, {"label": LABEL}, {}, jnp.int32(0))
    p = np.sqrt([0.25, 0.5, 0.25])  # of the student at T = 2
    log_p, log_q = np.log(p / p.sum()), np.log(p[1:] / p[1:].sum())
    rest = -(5 / 13 * log_q[0] + 8 / 13 * log_q[1])
    found = nkd.NKD(gamma=1.5, temperature=2.0).apply({}, view)
    is_close(found, 19 / 36 * log(4) + 1.5 * 4 * rest)
    weight = 1 - math.exp(-log(4) / log(36 / 19))
    soft = -(np.array([11, 5, 8]) / 24 * log_p).sum()
    is_close(wsld.WSLD(temperature=2.0).apply({}, view), weight * 4 * soft)


@compiled
def test_transformed_teacher():
    # Squares of 0.5, 0.3, 0.2 are 25, 9 and 4 of 38.
    q, p = np.array([25, 9, 4]) / 38, np.array([0.25, 0.5, 0.25])
    is_close(ttm.transformed_kl(S, T, 2.0), np.sum(q * np.log(q / p)))
    is_close(ttm.power_sum(T, 2.0), 0.38)
    # An exponent of 1 / T is a temperature T of the teacher alone.
    is_close(ttm.transformed_kl(ROWS, OTHER, 0.25), kd.distill_kl(ROWS, OTHER / 4, 1.0), rtol=1e-4)


@compiled
def test_curriculum_and_reversal():
    is_close(ctkd.curriculum(0, 10), 0.0)
    is_close(ctkd.curriculum(5, 10), -0.5)
    is_close(ctkd.curriculum(10, 10), -1.0)
    is_close(ctkd.curriculum(99, 10), -1.0)
    value, grad = jax.value_and_grad(lambda x: ctkd.scale_gradient(x, -0.5) ** 2)(3.0)
    is_close(value, 9.0)
    is_close(grad, -3.0)


@compiled
def test_relations():
    student, teacher = array([1, 0], [0, 1]), array([1, 0], [1, 0])
    # Grams I and all ones: two entries differ by 1; over columns diag(1, 1) and diag(2, 0).
    is_close(mlkd.batch_relation(student, teacher), 2 / 2)
    is_close(mlkd.class_relation(student, teacher), 2 / 2)
    turned = array([0, 1], [1, 0])
    is_close(mlkd.batch_relation(student, turned), 0.0)  # pairs of images agree


@compiled
def test_partial_distance():
    margin = jnp.array([-1.0])
    # (student, teacher): fires; silenced and above the margin; below both: free; between.
    student, teacher = array([1, 0, -3, -0.7]), array([2, -4, -2, -0.5])
    as_map = lambda x: x[:, :, None, None]
    expected = (1 - 2) ** 2 + (0 + 1) ** 2 + 0 + 0
    is_close(ofd.partial_distance(as_map(student), as_map(teacher), margin), expected)
    # Where the teacher fires everywhere it is the squared distance.
    fires = jnp.abs(MAP2)
    is_close(ofd.partial_distance(MAP, fires, -jnp.ones(5)), jnp.sum((MAP - fires) ** 2, (1, 2, 3)))


@compiled
def test_margin_of_a_standard_normal():
    """E[x | x < 0] of a standard normal is -sqrt(2 / pi)."""
    is_close(
        ofd.negative_mean(array(1, -2), jnp.zeros(2)),
        [-math.sqrt(2 / math.pi), -2 * math.sqrt(2 / math.pi)],
    )


@compiled
def test_log_sum():
    is_close(srd.log_sum(array([1, 2]), array([0, 0])), log(17))
    twice = srd.log_sum(2 * ROWS, 2 * OTHER)
    is_close(twice, srd.log_sum(ROWS, OTHER) + 4 * log(2))


@compiled
def test_srd_is_the_recipe_in_numpy():
    """A linear projector, both sides normalised over the batch without scale, the log of the sum of
    fourth powers.
    """
    student, teacher = ROWS, DRAW[2, :, :3]
    view = View(
        Outputs(ROWS, {"pooled": student}),
        Outputs(OTHER, {"pooled": teacher}),
        {},
        {},
        jnp.asarray(0),
    )
    kernel, bias = DRAW[3, :5, :3], DRAW[4, 0, :3]
    params = {"projector": {"kernel": kernel, "bias": bias}}
    ours, _ = srd.SRD().apply({"params": params}, view, mutable=["batch_stats"])

    def norm(x):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-4)

    draw = np.asarray(DRAW, np.float64)
    student, teacher = 2 * draw[0], draw[2, :, :3]
    projected = student @ draw[3, :5, :3] + draw[4, 0, :3]
    expected = np.log(np.sum(np.abs(norm(projected) - norm(teacher)) ** 4))
    is_close(ours, jnp.float32(expected), rtol=1e-5)


@compiled
def test_channel_kl():
    # One channel over two places: the divergence of (1/2, 1/2) from (3/4, 1/4).
    student = jnp.zeros((1, 1, 2, 1))
    teacher = jnp.log(jnp.array([3.0, 1.0])).reshape(1, 1, 2, 1)
    is_close(cwd.channel_kl(student, teacher, 1.0), 0.75 * log(1.5) + 0.25 * log(0.5))
    shifted = MAP + jnp.arange(5.0)[None, None, None, :]  # each channel by its own
    is_close(cwd.channel_kl(shifted, MAP, 4.0), jnp.zeros(3))


@compiled
def test_channel_correlation():
    # One place: rows of [1, 0; 0, 0] against rows of [1, 1; 1, 1] / sqrt 2; a zero row stays.
    student, teacher = jnp.array([[[[1.0, 0.0]]]]), jnp.array([[[[1.0, 1.0]]]])
    r = 0.5**0.5
    is_close(ickd.channel_correlation(student, teacher), ((1 - r) ** 2 + 3 * r**2) / 2)
    is_close(ickd.channel_correlation(3 * MAP, MAP), jnp.zeros(3))


@compiled
def test_enhanced_cross_entropy():
    expected = -((1.5**2 - 1) * log(0.25) + 0.3**2 * log(0.5) + 0.2**2 * log(0.25))
    is_close(ofa.enhanced_cross_entropy(S, T, LABEL, 2.0), expected)
    # An exponent of 1 is distillation: the divergence plus the entropy of the teacher.
    entropy = -jnp.sum(jnp.exp(T) * T)
    is_close(ofa.enhanced_cross_entropy(S, T, LABEL, 1.0), kd.distill_kl(S, T, 1.0) + entropy)


@compiled
def test_cross_layer():
    distance = jnp.array([[[1.0, 2.0], [3.0, 4.0]]])
    weight = jnp.array([[[0.5, 0.5], [1.0, 0.0]]])
    is_close(semckd.cross_layer(distance, weight), (1.5 + 3) / 2)
