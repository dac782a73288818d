"""Bounds of networks over balls: against samples, attacks, each other and enumeration."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from kd.errors import InputError
from kd.models.mlp import MLP
from kd.verify import bounds, exact, slopes
from kd.verify.attack import Attack, inside
from kd.verify.bounds import Balls
from kd.verify.crown import Crown, lines
from kd.verify.extraction import extract
from kd.verify.graph import Clip, Graph


class Everything(nn.Module):
    """Each kind of layer that a rule is for, but series."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu6(3 * nn.Conv(4, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=True)(nn.max_pool(x, (2, 2), (2, 2)))
        x = nn.relu(x + nn.Conv(4, (3, 3), feature_group_count=4)(x))
        pooled = nn.avg_pool(x, (3, 3), (1, 1), padding="SAME")
        x = jnp.concatenate([x, jnp.flip(pooled, 2)], -1)
        x = nn.relu(nn.Conv(6, (3, 3), strides=2, feature_group_count=2)(x))
        x = jnp.clip(nn.Dense(5)(x - 0.1), -0.5, 0.8)
        return nn.Dense(5)(x.mean((1, 2))) - jnp.max(x, (1, 2))


class Series(nn.Module):
    """Convolutions of series, dilated, and a product with the constant first."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3,), strides=2, padding=[(1, 2)])(x))
        x = nn.relu(nn.Conv(5, (3,), kernel_dilation=2)(x))
        kernel = self.param("kernel", nn.initializers.normal(0.3), (3, 5))
        x = jnp.einsum("cd,btd->ctb", kernel, jnp.pad(x, ((0, 0), (1, 0), (0, 0))))
        return x.sum(1).T


def network(net: nn.Module, shape: tuple[int, ...], seed: int = 0):
    """Weights that are not at their initial values, the function, and its graph."""
    variables = net.init(jax.random.key(seed), jnp.zeros((1, *shape)))
    move = lambda x: x + 0.1 * jax.random.normal(jax.random.key(seed + 1), x.shape)
    variables = jax.tree.map(move, variables)

    def logits(variables, image):
        outputs = net.apply(variables, image / 64 - 1.0)
        return getattr(outputs, "logits", outputs)

    return (lambda image: logits(variables, image)), extract(logits, variables, shape)


def balls(shape: tuple[int, ...], radius: float, norm: str = "linf", count: int = 4) -> Balls:
    n = int(np.prod(shape))
    image = np.random.default_rng(0).integers(0, 256, (count, n)).astype(float)
    low, high = np.maximum(image - radius, 0), np.minimum(image + radius, 255)
    return Balls(image, low, high, np.full(n, radius) if norm == "l2" else None)


def margins(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    rows = np.arange(len(target))
    difference = logits[rows, target][:, None] - logits
    difference[rows, target] = np.inf
    return difference


NETWORKS = [
    (MLP(4, (6, 5)), (3, 3, 1)),
    pytest.param(Everything(), (8, 8, 2), marks=pytest.mark.slow),
    pytest.param(Series(), (12, 2), marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize(("net", "shape"), NETWORKS, ids=lambda x: type(x).__name__)
def test_no_sample_and_no_attack_is_beyond_a_bound(net, shape, unoptimized):
    """In both norms, of every node of the graph, whose logits are those of the network."""
    function, graph = network(net, shape)
    attack = Attack(function, shape)
    for norm, radius in (("linf", 6.0), ("l2", 20.0)):
        part = balls(shape, radius, norm)
        shaped = lambda x: jnp.asarray(x.reshape(-1, *shape), jnp.float32)
        logits = graph.logits(part.image)
        limits = Crown(graph).bounds(part)
        error = abs(np.asarray(function(shaped(part.image))) - logits)
        assert (error <= limits.error[-1]).all() and limits.error[-1].max() < 0.05
        target = logits.argmax(-1)
        plain = bounds.intervals(graph, part)
        linear = Crown(graph).margins(part, limits, target)
        by_intervals = bounds.margins(plain, target)
        before = np.maximum(by_intervals, linear)
        best = slopes.margins(
            Crown(graph), part, limits, target, before, np.full(before.shape, 1e9)
        )
        assert (best >= before).all() and (best > before).mean() > 0.2
        rng = np.random.default_rng(1)
        for i in range(250):  # of four images each
            image = rng.uniform(part.low, part.high)
            if i % 2:
                image = np.where(rng.random(image.shape) < 0.5, part.low, part.high)
            values = graph.values(inside(part, image))
            for value, low, high in zip(values, limits.low, limits.high, strict=True):
                assert (value >= low - 1e-9).all() and (value <= high + 1e-9).all()
            assert (margins(values[-1], target) >= best - 1e-9).all()
        worst = attack(part, target)
        np.testing.assert_array_equal(worst, inside(part, worst))
        found = margins(graph.logits(worst), target)
        assert (found >= best - 1e-9).all()
        assert found.min(1).sum() < margins(logits, target).min(1).sum()
        assert best.sum(where=np.isfinite(best)) > by_intervals.sum(where=np.isfinite(best))


@pytest.mark.slow
def test_exact_lies_between_linear_bounds_and_attacks(unoptimized):
    """With maxima and clippings of both sides; and what it returns has the margin that it says."""
    shape = (8, 8, 2)
    function, graph = network(Everything(), shape)
    part = balls(shape, 6.0, count=1)
    crown = Crown(graph)
    limits = crown.bounds(part)
    target = graph.logits(part.image).argmax(-1)
    linear = crown.margins(part, limits, target)[0]
    attacked = margins(graph.logits(Attack(function, shape)(part, target)), target)[0]
    k = int(linear.argmin())
    answer = exact.least_margins(
        graph, part, limits, int(target[0]), linear, np.full(len(linear), 1e3), 60.0
    )
    enough = np.full((1, len(linear)), 1e9)
    chosen = slopes.margins(crown, part, limits, target, linear[None], enough)[0]
    assert linear[k] < chosen[k] <= answer.bound[k] + 1e-6
    assert answer.bound[k] <= attacked[k] + 1e-6
    reached = margins(graph.logits(answer.image[None]), target)[0]
    assert answer.bound[k] == pytest.approx(reached[k], abs=5e-3)
    # Where no margin can be as small as asked, there is no image, and the bound is at least that.
    low = np.full(len(linear), answer.bound[k] - 0.1)
    nothing = exact.least_margins(graph, part, limits, int(target[0]), linear, low, 60.0)
    assert nothing.image is None
    assert low[k] - 1e-6 <= nothing.bound[k] <= answer.bound[k] + 1e-6


def test_exact_equals_the_enumeration_of_activation_patterns():
    """A linear program for each of the 2^5 patterns of a hidden layer."""
    _, graph = network(MLP(3, (5,)), (2, 2, 1), seed=3)
    part = balls((2, 2, 1), 40.0, count=1)
    target = int(graph.logits(part.image).argmax())
    other = (target + 1) % 3
    hidden, last = graph.nodes[1], graph.nodes[3]
    w, b = hidden.weights[0].matrix.toarray(), hidden.bias
    v, c = last.weights[0].matrix.toarray(), last.bias
    row, constant = v[target] - v[other], c[target] - c[other]
    least = np.inf
    for signs in itertools.product((0, 1), repeat=5):
        on = np.array(signs)
        side = np.where(on, -1, 1)  # w x + b >= 0 where on, <= 0 where off
        limits = list(zip(part.low[0], part.high[0], strict=True))
        found = linprog((row * on) @ w, side[:, None] * w, -side * b, bounds=limits)
        if found.status == 0:
            least = min(least, found.fun + (row * on) @ b + constant)
    crown = Crown(graph)
    limits = crown.bounds(part)
    known = np.full(3, np.inf)
    known[other] = -np.inf
    answer = exact.least_margins(graph, part, limits, target, known, np.full(3, 1e3), 60.0)
    assert answer.bound[other] == pytest.approx(least, abs=2e-3)
    assert answer.bound[other] <= least
    assert margins(graph.logits(answer.image[None]), np.array([target]))[0, other] == (
        pytest.approx(least, abs=1e-4)
    )


def test_slopes_are_chosen_for_a_margin_by_hand():
    """relu(a) + relu(-a) - 0.9 a, of a in [-2, 1], is least at 0. By lines of slope s and t below
    the units it is at least (s - t - 0.9) a, which only s - t = 0.9 keeps at 0: the rule of CROWN,
    by which s = 0 and t = 1, has -1.9. What is proved already is left as it is.
    """
    weights = {"w": jnp.array([[1.0, -1.0, 1.0]]), "v": jnp.array([[1.0, 0], [1.0, 0], [-0.9, 0]])}
    net = lambda p, x: jnp.maximum(x @ p["w"], jnp.array([[0.0, 0.0, -9.0]])) @ p["v"]
    graph = extract(net, weights, (1,))
    part = Balls(np.full((2, 1), -0.5), np.full((2, 1), -2.0), np.full((2, 1), 1.0))
    crown = Crown(graph)
    limits, target = crown.bounds(part), np.zeros(2, int)
    linear = crown.margins(part, limits, target)
    np.testing.assert_allclose(linear[:, 1], -1.9, atol=1e-5)
    slack = np.array([[0.0, 0.5], [0.0, -5.0]])
    found = slopes.margins(crown, part, limits, target, linear, slack)
    assert -0.4 < found[0, 1] <= 1e-9 and found[1, 1] == linear[1, 1]


def test_linear_bounds_by_hand():
    """x1 = relu(a + b), x2 = relu(a - b), logit x1 + x2 against 0, for a, b in [-1, 1]: both units
    lie between -2 and 2, below them are the lines x (upper ends as large as lower ones: slope 0).
    """
    kernel = {"w": jnp.array([[1.0, 1.0], [1.0, -1.0]]), "v": jnp.array([[1.0, 0.0], [1.0, 0.0]])}
    net = lambda p, x: nn.relu(x @ p["w"] + jnp.array([[0.5, 0.0]])) @ p["v"]
    graph = extract(net, kernel, (2,))
    part = Balls(np.zeros((1, 2)), np.full((1, 2), -1.0), np.full((1, 2), 1.0))
    crown = Crown(graph)
    limits = crown.bounds(part)
    np.testing.assert_allclose(limits.low[1], [[-1.5, -2.0]], atol=1e-6)
    np.testing.assert_allclose(limits.high[1], [[2.5, 2.0]], atol=1e-6)
    rows = np.array([[[1.0, 0.0], [-1.0, 0.0]]])
    # Below: the first unit by x (2.5 > 1.5), the second by 0. Above: the chords 5/8 (x + 3/2) and
    # 1/2 (x + 2) of the sums a + b + 1/2 and a - b: 1.25 + 1 + max of 9/8 a + 1/8 b.
    found = crown.combination(part, limits, rows)
    np.testing.assert_allclose(found, [[-1.5, -(1.25 + 1 + 9 / 8 + 1 / 8)]], atol=1e-6)


def test_lines_enclose_every_clipping():
    rng = np.random.default_rng(0)
    low = rng.normal(size=(2000, 1)) * 3
    high = low + rng.exponential(size=(2000, 1)) * 3
    for a, c in ((0.0, np.inf), (0.0, 2.0), (-np.inf, 1.0), (-0.5, 0.5)):
        node = Clip((0,), np.array([a]), np.array([c]), "")
        s, t, u, v = lines(node, low, high)
        x = low + (high - low) * np.linspace(0, 1, 51)
        y = np.clip(x, a, c)
        assert (s * x + t <= y + 1e-12).all() and (y <= u * x + v + 1e-12).all()
        linear = ((low >= a) & (high <= c)) | (high <= a) | (low >= c)
        exactly = (abs(s * x + t - y) < 1e-12) & (abs(u * x + v - y) < 1e-12)
        assert exactly.all(axis=1)[linear[:, 0]].all()


@pytest.mark.slow
def test_wide_layers_fall_back_to_intervals_and_say_so():
    _, graph = network(MLP(4, (6, 5)), (3, 3, 1))
    part = balls((3, 3, 1), 6.0)
    narrow = Crown(graph, most=0)
    assert narrow.by_intervals == ["MLP/layer2"] and not Crown(graph).by_intervals
    loose, plain = narrow.bounds(part), bounds.intervals(graph, part)
    np.testing.assert_array_equal(loose.low[3], plain.low[3])
    assert (Crown(graph).bounds(part).low[3] >= plain.low[3]).all()


@pytest.mark.parametrize(
    ("layer", "operation"),
    [(nn.sigmoid, "logistic"), (nn.softmax, "exp"), (lambda x: x * x, "mul"), (nn.gelu, "")],
)
def test_an_operation_without_a_rule_is_refused_by_name_and_layer(layer, operation):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            with jax.named_scope("middle"):
                x = layer(nn.Dense(4)(x))
            return nn.Dense(2)(x)

    with pytest.raises(InputError, match=f"operation {operation}.* in .*middle"):
        network(Net(), (3,))


def test_half_precision_is_refused():
    with pytest.raises(InputError, match="in float32"):
        network(MLP(2, (3,), dtype=jnp.bfloat16), (4,))


def test_branches_that_the_logits_do_not_need_are_no_obstacle():
    graph = extract(lambda p, x: (x @ p, jnp.exp(x))[0], jnp.ones((3, 2)), (3,))
    assert isinstance(graph, Graph) and len(graph.nodes) == 2
