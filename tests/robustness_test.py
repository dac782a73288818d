"""Objectives that look at the student around its images: bounds, attacks and what the step makes of
them.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import verify_bounds_test as verified
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd import teachers
from kd.cli.main import main
from kd.data import digits
from kd.data.augment import make_normalize
from kd.data.base import Dataset, Split, image_tables
from kd.errors import InputError
from kd.functions import StudentFunction, of_student
from kd.init import make_init
from kd.models.cohort import Cohort
from kd.models.mlp import MLP
from kd.objective import PerTeacher, Weighted
from kd.objectives.ard import ARD
from kd.objectives.iad import IAD, trust
from kd.objectives.ibp import CROWNIBP, IBP, linear_ramp, worst_logits
from kd.objectives.kd import distill_kl
from kd.objectives.rslad import RSLAD
from kd.robustness import attack
from kd.robustness.bounds import Bounds, Interval, between
from kd.robustness.relaxation import lines
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.types import Outputs, View
from kd.verify import bounds as proofs

pytestmark = pytest.mark.usefixtures("unoptimized_module")

CLASSES, B = 3, 8
TABLES = {"level": np.ones(1), "low": -np.full(1, 9.0), "high": np.full(1, 9.0)}


def batch(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.standard_normal((B, 2, 2, 1)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, CLASSES, B), jnp.int32),
        "index": jnp.arange(B),
        "epoch": jnp.int32(0),
    }


class Linear(nn.Module):
    """Softmax regression, whose worst case in a box is a corner."""

    @nn.compact
    def __call__(self, image, train: bool = False):
        return nn.Dense(CLASSES, name="head")(image.reshape(len(image), -1))


class Normed(nn.Module):
    """A network with BatchNorm and dropout."""

    @nn.compact
    def __call__(self, image, train: bool = False):
        x = nn.Dense(6)(image.reshape(len(image), -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(CLASSES)(nn.Dropout(0.5, deterministic=not train)(x))


def view(model: nn.Module, teacher=None, seed: int = 0, epoch: int = 0, **tables) -> View:
    """The view of a student, with the teacher as a function."""
    examples = batch(seed) | {"epoch": jnp.int32(epoch)}
    variables = model.init(jax.random.key(seed), examples["image"])
    student = of_student(model)(variables, jax.random.key(1))
    outputs = teacher and teacher(examples["image"])
    return View(
        student(examples["image"]),
        outputs,
        examples,
        TABLES | tables,
        jnp.int32(epoch),
        student_fn=student,
        teacher_fn=teacher,
    )


def corners(weights: np.ndarray, image: np.ndarray, label: np.ndarray, radius: float) -> np.ndarray:
    """Least margins of a linear network over boxes, by hand, [b, c]."""
    x, (kernel, bias) = image.reshape(len(image), -1), weights
    rows = np.arange(len(x))
    z = x @ kernel + bias
    lean = np.abs(kernel.T[label][:, None] - kernel.T[None]).sum(-1)
    return z[rows, label][:, None] - z - radius * lean


def head(student: StudentFunction) -> tuple[np.ndarray, np.ndarray]:
    dense = student.variables["params"]["head"]
    return np.asarray(dense["kernel"]), np.asarray(dense["bias"])


def cross_entropy(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -log_p[np.arange(len(label)), label]


# ------------------------------------------------------------------ bounds


TINY = {
    "kernel1": np.array([[1.0, -1.0], [2.0, 1.0]]),
    "kernel2": np.array([[1.0, 0.0], [-1.0, 1.0]]),
}


def tiny(variables, image):
    hidden = nn.relu(image @ variables["kernel1"])
    return hidden @ variables["kernel2"]


def test_bounds_of_a_tiny_network_by_hand():
    """Image (1, 0.5), radius 0.5: hidden units (2, -0.5) +- (1.5, 1): within (0.5, 3.5) and, after
    the ReLU, (0, 0.5). Logits h1 - h2 and h2.
    """
    bounds = Bounds(tiny, jax.tree.map(jnp.float32, TINY), jnp.zeros((1, 2)))
    box = Interval(jnp.array([[1.0, 0.5]]), jnp.full((1, 2), 0.5))
    logits = bounds.logits(box)
    np.testing.assert_allclose(logits.low, [[0.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(logits.high, [[3.5, 0.5]], atol=1e-6)
    # Logit 0 minus logit 1 is h1 - 2 h2: 0.5 - 2 * 0.5 at least, not 0 - 0.5 as of two intervals.
    row = jnp.array([[1.0, -1.0]])
    np.testing.assert_allclose(bounds.margins(box, row), [-0.5], atol=1e-6)
    # By lines h2 <= (x2 + 1.5) / 4 with x2 in (-1.5, 0.5), and h1 = x1: the margin is at least
    # a + 2 b - (-a + b + 1.5) / 2 = 1.5 a + 1.5 b - 0.75, at a = 0.5 and b = 0: 0.
    np.testing.assert_allclose(bounds.margins(box, row, linear=True), [0.0], atol=1e-6)


def test_bounds_have_the_gradient_of_their_formula():
    """Of h1's least value: 1 for the first weight times the image's end."""
    bound = lambda variables: Bounds(tiny, variables, jnp.zeros((1, 2))).margins(
        Interval(jnp.array([[1.0, 0.5]]), jnp.full((1, 2), 0.5)), jnp.array([[1.0, 1.0]])
    )[0]
    gradient = jax.grad(bound)(jax.tree.map(jnp.float32, TINY))  # h1 - h2 + h2
    np.testing.assert_allclose(gradient["kernel1"], [[0.5, 0.0], [0.0, 0.0]], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "shape"), verified.NETWORKS)
def test_intervals_are_those_that_prove(net, shape):
    """One rule, two implementations: those of `kd.verify` on every kind of layer, and lines of
    CROWN that no image of the ball beats.
    """
    logits, graph = verified.network(net, shape)
    balls = verified.balls(shape, 2.0)
    limits = proofs.intervals(graph, balls)
    box = between(*(jnp.asarray(x, jnp.float32) for x in (balls.low, balls.high)))
    bounds = Bounds(lambda _, image: logits(image), {}, jnp.zeros((1, *shape)))
    rows = jnp.eye(graph.classes)[:1] - jnp.eye(graph.classes)
    each = lambda center, radius: (
        *bounds.logits(around := Interval(center.reshape(1, *shape), radius.reshape(1, *shape))),
        bounds.margins(around, rows),
        bounds.margins(around, rows, linear=True),
    )
    center, radius, joined, linear = jax.jit(jax.vmap(each))(*box)
    low, high = center[:, 0] - radius[:, 0], center[:, 0] + radius[:, 0]
    scale = np.abs(limits.high[-1]).max()
    np.testing.assert_allclose(low, limits.low[-1], atol=2e-5 * scale)
    np.testing.assert_allclose(high, limits.high[-1], atol=2e-5 * scale)
    assert (joined >= low[:, :1] - high - 1e-4 * scale)[:, 1:].all()
    rng = np.random.default_rng(1)
    for i in range(len(balls)):
        image = rng.uniform(balls.low[i], balls.high[i], (300, balls.low.shape[1]))
        image[::2] = np.where(image[::2] > balls.image[i], balls.high[i], balls.low[i])
        found = np.asarray(logits(jnp.asarray(image.reshape(-1, *shape), jnp.float32)))
        margin = (found[:, :1] - found).min(axis=0)
        assert (margin[1:] >= np.maximum(joined, linear)[i, 1:] - 1e-4 * scale).all()


def test_lines_are_the_same_in_numpy_and_jax():
    rng = np.random.default_rng(0)
    low = rng.normal(size=200)
    high = low + rng.uniform(0, 3, 200)
    for least, most in ((0.0, np.inf), (0.0, 1.0), (-0.5, 0.5), (-np.inf, 0.3)):
        ours = lines(jnp.float32(low), jnp.float32(high), least, most)
        for a, b in zip(ours, lines(np.float32(low), np.float32(high), least, most), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("act", "words"), [(nn.sigmoid, "operation logistic .* in .*hidden"), (nn.gelu, "operation")]
)
def test_an_operation_without_a_rule_is_named_with_its_layer(act, words):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, image, train: bool = False):
            with jax.named_scope("hidden"):
                x = act(nn.Dense(4)(image.reshape(len(image), -1)))
            return nn.Dense(CLASSES)(x)

    with pytest.raises(InputError, match=words):
        jax.eval_shape(lambda: IBP(ramp=0.0).apply({}, view(Net())))


# ------------------------------------------------------------------ IBP


@pytest.mark.slow
def test_ibp_of_a_linear_student_is_the_cross_entropy_at_the_worst_corner():
    seen = view(Linear())
    label, image = np.asarray(seen.batch["label"]), np.asarray(seen.batch["image"])
    worst = -corners(head(seen.student_fn), image, label, 0.3)
    worst[np.arange(B), label] = 0.0
    nominal = cross_entropy(np.asarray(seen.student.logits), label)
    expected = 0.2 * nominal + 0.8 * cross_entropy(worst, label)
    for module in (IBP, CROWNIBP):
        found = module(radius=0.3, nominal=0.2, ramp=0.0).apply({}, seen)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_ramp_by_hand():
    """Radius and weights at a quarter of the ramp, in the middle of an epoch of eight updates."""
    assert [float(linear_ramp(e, 2, 4)) for e in (0, 2, 3, 6, 9)] == [0, 0, 0.25, 1, 1]
    assert [float(linear_ramp(e, 2, 0)) for e in (1, 2)] == [0, 1]
    seen = view(Linear(), updates=jnp.int32(8)).replace(step=jnp.int32(12))
    label, image = np.asarray(seen.batch["label"]), np.asarray(seen.batch["image"])
    worst = -corners(head(seen.student_fn), image, label, 0.25 * 0.4)
    worst[np.arange(B), label] = 0.0
    nominal = cross_entropy(np.asarray(seen.student.logits), label)
    expected = 0.875 * nominal + 0.125 * cross_entropy(worst, label)
    found = IBP(radius=0.4, start=1.0, ramp=2.0).apply({}, seen)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_crown_ibp_mixes_linear_bounds_into_intervals():
    """With b = 1 - (1 - linear) * ramp, of margins."""
    seen = view(MLP(CLASSES, (6, 5)), updates=jnp.int32(8)).replace(step=jnp.int32(4))
    label, settings = seen.batch["label"], dict(radius=0.5, ramp=1.0)
    radius, half = jnp.float32(0.25), jnp.float32(0.5)
    margins = lambda module: module.apply({}, seen, radius, label, half, method="margins")
    by_intervals, mixed = margins(IBP(**settings)), margins(CROWNIBP(**settings, linear=0.2))
    linear = margins(CROWNIBP(**settings, linear=1.0))
    np.testing.assert_allclose(mixed, 0.6 * linear + 0.4 * by_intervals, rtol=1e-4, atol=1e-5)
    assert (linear >= by_intervals - 1e-5).mean() > 0.9  # tighter, but not everywhere


def test_pixels_end_at_black_and_white_and_floats_do_not():
    """The unit is a level: of normalised images 1 / 255 over the deviation."""
    data = digits.load()
    tables = image_tables(data)
    normalize = make_normalize(data.mean, data.std)
    ends = normalize(jax.random.key(0), {"image": jnp.array([[[[0], [1], [255]]]], jnp.uint8)})
    found = np.asarray(ends["image"]).ravel()
    np.testing.assert_allclose(found[::2], [*tables["low"], *tables["high"]], rtol=1e-5)
    np.testing.assert_allclose(found[1] - found[0], tables["level"], rtol=1e-4)
    floats = Split(np.zeros((2, 3), np.float32), np.zeros(2, np.int32))
    tables = image_tables(Dataset(floats, floats, 2, (0.0,) * 3, (2.0,) * 3))
    assert (tables["level"] == 1).all() and np.isinf([tables["low"], tables["high"]]).all()


def test_a_class_of_the_teacher_needs_no_label():
    teacher = lambda image: Outputs(jnp.tile(jnp.array([0.0, 1.0, 0.0]), (len(image), 1)))
    seen = view(Linear(), teacher)
    labelled = seen.replace(batch=seen.batch | {"label": jnp.ones(B, jnp.int32)})
    by_label = IBP(radius=0.3, ramp=0.0).apply({}, labelled)
    by_teacher = IBP(radius=0.3, ramp=0.0, target="teacher")
    np.testing.assert_allclose(by_teacher.apply({}, seen), by_label, rtol=1e-6)
    assert "batch.label" in IBP().needs and "batch.label" not in by_teacher.needs
    with pytest.raises(InputError, match="Did you mean 'teacher'"):
        IBP(target="teachers").apply({}, seen)


def test_worst_logits_keep_zero_for_the_label():
    found = worst_logits(jnp.array([[0.5, 2.0, -1.0]]), jnp.array([0]))
    assert found.tolist() == [[0, -2, 1]]


# ------------------------------------------------------------------ attacks


def fixed(image):
    """A teacher: logits from the image."""
    x = image.reshape(len(image), -1)
    return Outputs(jnp.stack([x.sum(-1), x[:, 0], -x[:, 1]], axis=-1))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kl(p, logits, temperature=1.0):
    q = softmax(logits / temperature)
    return (p * np.log(p / q)).sum(-1)


class Binary(nn.Module):
    """Logits (w x, 0): both attacks go to one corner, wherever they begin."""

    @nn.compact
    def __call__(self, image, train: bool = False):
        w = self.param("w", lambda key: jnp.array([1.0, -2.0, 0.5, 3.0]))
        z = image.reshape(len(image), -1) @ w
        return jnp.stack([z, jnp.zeros_like(z)], axis=-1)


def binary(image):
    x = image.reshape(len(image), -1)
    return Outputs(jnp.stack([3 + x[:, 0], jnp.zeros(len(image))], axis=-1))


W = np.array([1.0, -2.0, 0.5, 3.0])


def attacked(seen: View, sign: np.ndarray, radius: float) -> np.ndarray:
    """Logits of `Binary` at the corner where w x moves by `sign`."""
    x = np.asarray(seen.batch["image"]).reshape(B, -1) + radius * sign[:, None] * np.sign(W)
    return np.stack([x @ W, np.zeros(B)], axis=-1)


def two_classes(epoch: int = 0) -> tuple[View, np.ndarray]:
    seen = view(Binary(), binary, epoch=epoch)
    label = np.arange(B) % 2
    seen = seen.replace(batch=seen.batch | {"label": jnp.asarray(label)})
    return seen, np.where(label == 0, -1.0, 1.0)  # the label's logit falls


SETTINGS = dict(radius=0.5, step=2.0, steps=2)


def rngs() -> dict:
    return {"objective": jax.random.key(3)}


def test_ard_by_hand():
    """T^2 KL(T(x) || S(x')) at the corner that cross entropy leads to."""
    seen, sign = two_classes()
    p = softmax(np.asarray(seen.teacher.logits) / 4)
    expected = 16 * kl(p, attacked(seen, sign, 0.5), 4.0)
    found = ARD(temperature=4.0, **SETTINGS).apply({}, seen, rngs=rngs())
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_rslad_by_hand():
    """KL(T(x) || S(x')) at the corner away from the teacher's probability."""
    seen, _ = two_classes()
    p = softmax(np.asarray(seen.teacher.logits))
    z = np.asarray(seen.student.logits)
    sign = np.where(softmax(z)[:, 0] > p[:, 0], 1.0, -1.0)
    ends = np.stack([kl(p, attacked(seen, s * np.ones(B), 0.5)) for s in (-1, 1)])
    expected = kl(p, attacked(seen, sign, 0.5))
    inside = np.isclose(expected, ends.max(axis=0))  # the near start leads to the worse corner
    assert inside.sum() >= 4
    found = np.asarray(RSLAD(**SETTINGS).apply({}, seen, rngs=rngs()))
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4)


@pytest.mark.parametrize("epoch", [0, 5])
def test_iad_by_hand(epoch):
    """Before `begin` it is ARD; then (1 - P_T(y | x')^beta) KL(S(x) || S(x')) is added."""
    seen, sign = two_classes(epoch)
    far = attacked(seen, sign, 0.5)
    p = softmax(np.asarray(seen.teacher.logits) / 2)
    expected = 4 * kl(p, far, 2.0)
    x = np.asarray(seen.batch["image"]).reshape(B, -1) + 0.5 * sign[:, None] * np.sign(W)
    teacher = softmax(np.stack([3 + x[:, 0], np.zeros(B)], axis=-1))
    alpha = teacher[np.arange(B), np.asarray(seen.batch["label"])] ** 0.3
    if epoch:
        expected += (1 - alpha) * kl(softmax(np.asarray(seen.student.logits)), far)
    module = IAD(temperature=2.0, exponent=0.3, begin=5.0, **SETTINGS)
    np.testing.assert_allclose(module.apply({}, seen, rngs=rngs()), expected, rtol=1e-4)
    np.testing.assert_allclose(trust(jnp.log(teacher), seen.batch["label"], 0.3), alpha, rtol=1e-5)


def test_an_attack_stays_in_the_ball_and_within_black_and_white():
    limits = {"low": np.full(1, -0.5), "high": np.full(1, 0.5)}
    seen = view(Linear(), **limits)
    image = seen.batch["image"]
    climb = lambda logits: logits[:, 0]
    found = attack.perturbed(seen, climb, jax.random.key(0), 0.25, 0.1, 5)
    assert (abs(found - image) <= 0.25 + 1e-6).all() and (found != image).any()
    inside = abs(image) <= 0.5
    assert (abs(found)[inside] <= 0.5 + 1e-6).all()


# ------------------------------------------------------------------ the student as a function


@pytest.mark.slow
def test_the_student_function_is_the_student_and_leaves_no_trace():
    """In both modes; BatchNorm's statistics after a step are those of the images alone."""
    model, examples = Normed(), batch()
    variables = model.init(jax.random.key(0), examples["image"])
    key = jax.random.key(5)
    student = of_student(model)(variables, key)
    np.testing.assert_array_equal(
        student(examples["image"]).logits, model.apply(variables, examples["image"])
    )
    expected, _ = model.apply(
        variables, examples["image"], train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    np.testing.assert_array_equal(student(examples["image"], train=True).logits, expected)
    assert not (student(examples["image"]).logits == expected).all()
    after = []
    for objective in (terms("ard"), Weighted({"kd": Distance()}, {"kd": 1.0})):
        state, step, frozen = training(objective, Normed())
        after.append(step(state, frozen, examples)[0].stats["student"])
    jax.tree.map(np.testing.assert_array_equal, *after)


class Distance(nn.Module):
    """Plain distillation, whose only forward pass is the step's."""

    def __call__(self, view: View):
        return distill_kl(view.student.logits, view.target(1.0), 1.0)


def terms(*names: str, each: bool = False) -> Weighted:
    few = dict(radius=0.5, step=0.2, steps=2)
    modules = {
        "ibp": IBP(radius=0.5, ramp=1.0),
        "crown": CROWNIBP(radius=0.5, ramp=1.0, target="teacher"),
        "ard": ARD(4.0, **few),
        "rslad": RSLAD(**few),
        "iad": IAD(begin=0.0, **few),
    }
    lift = PerTeacher if each else lambda module: module
    return Weighted({n: lift(modules[n]) for n in names}, dict.fromkeys(names, 1.0))


def training(objective, student=None, reduce="probs", seed=0):
    model = MLP(CLASSES, (5,))
    image = batch()["image"]
    members = jax.vmap(lambda key: model.init(key, image))(jax.random.split(jax.random.key(9), 2))
    args = (student or MLP(CLASSES, (4,)), objective, teachers.ensemble(model, reduce))
    tables = jax.tree.map(jnp.asarray, TABLES | {"updates": np.int32(4)})
    frozen = {"teacher": members, "tables": tables}
    args = (*args, optax.sgd(0.1))
    state = make_init(*args)(jax.random.key(seed), frozen, batch())
    return state, make_step(*args), frozen


ALL = ("ibp", "crown", "ard", "rslad", "iad")


@functools.cache
def alone(seed: int) -> list:
    state, step, frozen = training(terms(*ALL), seed=seed)
    return three(jax.jit(step), state, frozen)


def three(step, state, frozen, place=lambda examples: examples):
    history = []
    for seed in range(3):
        state, metrics = step(state, frozen, place(batch(seed)))
        history.append((state.params, metrics))
    return history


def close(ours, theirs):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, theirs)


@pytest.mark.slow
def test_three_steps_of_every_objective_are_finite_and_learn():
    history = alone(0)
    assert all(np.isfinite(v) for _, metrics in history for v in metrics.values())
    before = training(terms("ibp"))[0].params["student"]
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), before, history[-1][0]["student"])
    assert min(jax.tree.leaves(moved)) > 0


@pytest.mark.slow
def test_seeds_at_once_and_on_devices_are_seeds_alone():
    """Under vmap, and with the batch on eight devices."""
    states = [training(terms(*ALL), seed=seed) for seed in (0, 1)]
    _, step, frozen = states[0]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *(state for state, _, _ in states))
    together = three(jax.jit(jax.vmap(step, (0, None, None))), stacked, frozen)
    for seed in (0, 1):
        one = jax.tree.map(lambda x, i=seed: x[i], together)
        close(one, alone(seed))
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    spread = lambda x: NamedSharding(mesh, PartitionSpec(*["data"] * (x.ndim > 0)))
    place = lambda b: jax.tree.map(lambda x: jax.device_put(x, spread(x)), b)
    everywhere = NamedSharding(mesh, PartitionSpec())
    state, frozen = jax.device_put((states[0][0], frozen), everywhere)
    close(three(jax.jit(step), state, frozen, place), alone(0))


@pytest.mark.slow
def test_pmap_is_one_device():
    """Each device looks at the student on the whole batch, and the gradients are those of one."""
    objective = terms("ibp", "ard", "iad")
    model = MLP(CLASSES, (5,))
    members = model.init(jax.random.key(9), batch()["image"])
    args = (MLP(CLASSES, (4,)), objective, teachers.frozen(model), optax.sgd(0.1))
    tables = jax.tree.map(jnp.asarray, TABLES | {"updates": np.int32(4)})
    frozen = {"teacher": members, "tables": tables}
    state = make_init(*args)(jax.random.key(0), frozen, batch())
    one = jax.jit(make_step(*args))(state, frozen, batch())
    step = make_step(*args, axis_name="data")
    split = {k: v.reshape(8, -1, *v.shape[1:]) if v.ndim else v for k, v in batch().items()}
    axes = {k: 0 if v.ndim else None for k, v in batch().items()}
    run = jax.pmap(step, "data", in_axes=(None, None, axes), out_axes=None)
    found = run(state, frozen, split)
    close(found[0].params, one[0].params)


@pytest.mark.slow
def test_members_each_have_an_attack_of_their_own():
    state, step, frozen = training(terms("rslad", "ard", each=True), reduce="each")
    _, metrics = jax.jit(step)(state, frozen, batch())
    assert all(np.isfinite(v) for v in metrics.values())


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(tables={}), r"tables\.level"),
        (dict(student_fn=None), "student_fn"),
        (dict(teacher_fn=None), r"config\.teacher\.cache"),
        (dict(teacher=None), "needs a teacher"),
    ],
)
def test_what_a_view_lacks_is_named(change, words):
    seen, _ = two_classes()
    with pytest.raises(InputError, match=words):
        IAD().apply({}, seen.replace(**change), rngs=rngs())


@pytest.mark.slow
def test_a_cohort_and_members_apart_are_refused():
    with pytest.raises(InputError, match="cohort"):
        training(terms("ibp"), Cohort({"name": "mlp.MLP", "widths": (4,)}, CLASSES))
    with pytest.raises(InputError, match="'each'"):
        training(terms("iad", each=True), reduce="each")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("c.objective = dict(ibp=dict(name='ibp.IBP', radius=256.0))", "radius"),
        ("c.objective = dict(ibp=dict(name='ibp.IBP', radius=0.0))", "radius"),
        ("c.objective = dict(ibp=dict(name='ibp.IBP', ramp=30.0))", "config.epochs is 3"),
        ("c.objective = dict(iad=dict(name='iad.IAD'))", "after 61, and config.epochs is 3"),
        ("c.teacher.cache = True; c.augment = ''; c.objective = dict(iad=dict(name='iad.IAD',"
         " begin=0.0))", "config.teacher.cache"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_before_training(small_config, capsys, lines, words):
    text = small_config.read_text().replace(
        "    return c\n", f"    {LEARNS}{lines}\n    return c\n"
    )
    small_config.write_text(text)
    assert main(["run", "--config", "small.py"]) == 2
    assert words in capsys.readouterr().err


LEARNS = "if arg == 'teacher': return c\n    "


@pytest.mark.campaign
def test_a_run_that_was_stopped_ends_as_one_that_was_not(finished, small_config, stopped_at):
    """And with the loop on the host as on the device."""
    terms = "ibp=dict(name='ibp.IBP', ramp=2.0), ard=dict(name='ard.ARD', steps=2)"
    change = f"    {LEARNS}c.objective = dict({terms})\n    return c\n"
    small_config.write_text(small_config.read_text().replace("    return c\n", change))
    run = ["run", "--config", "small.py", "--workdir"]
    assert main([*run, "whole"]) == 0
    assert main([*run, "host", "--config.loop=host"]) == 0
    with stopped_at(step=6):
        assert main([*run, "cut"]) == 0
    assert not Workdir("cut").finished
    assert main([*run, "cut"]) == 0
    whole, host, cut = (load_networks(Workdir(n)).variables for n in ("whole", "host", "cut"))
    jax.tree.map(np.testing.assert_array_equal, whole, cut)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), whole, host)
