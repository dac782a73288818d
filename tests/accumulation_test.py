"""A batch in parts: one update equal to that of the batch at once, and what each part sees."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kd
from kd import accumulation, config, teachers
from kd.cli.main import main
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.augment import make_augment
from kd.errors import InputError
from kd.init import make_init
from kd.models.mlp import MLP
from kd.models.norm import BatchNorm
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.train.batches import check_batches
from kd.train.plan import Plan

pytestmark = pytest.mark.usefixtures("unoptimized_module")

CLASSES, SIDE = 4, 4
AUGMENT = make_augment("crop(1)", (0.5,), (0.5,))
SOFT = {"ce": CE(), "kd": KD(2.0)}


def batch(n=12, label=None):
    image = np.random.default_rng(0).integers(0, 255, (n, SIDE, SIDE, 1), dtype=np.uint8)
    known = jnp.arange(n) % CLASSES if label is None else jnp.asarray(label)
    return {"image": image, "label": known, "index": jnp.arange(n), "epoch": jnp.int32(0)}


class Machine:
    """An ensemble's student in its first state, and its step in parts."""

    def __init__(self, terms=None, student=None, tx=None, augment=AUGMENT):
        terms = SOFT if terms is None else terms
        network = MLP(CLASSES, (8,))
        init = lambda key: network.init(key, jnp.zeros((1, SIDE, SIDE, 1)))
        weights = jax.vmap(init)(jax.random.split(jax.random.key(7), 2))
        self.frozen = {"teacher": weights, "tables": {}}
        self.student = student or MLP(CLASSES, (6,))
        objective = Weighted(terms, dict.fromkeys(terms, 0.5), unlabelled=True)
        tx = tx or optax.sgd(0.5, 0.9)
        self.parts = self.student, objective, teachers.ensemble(network), tx, augment

    def init(self, examples):
        return jax.jit(make_init(*self.parts))(jax.random.key(3), self.frozen, examples)

    def update(self, examples, parts, state=None, **settings):
        step = jax.jit(make_step(*self.parts, accumulate=parts, **settings))
        state = self.init(examples) if state is None else state
        return jax.device_get(step(state, self.frozen, examples))


def assert_close(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol, rtol=1e-5), a, b)


def assert_same_update(ours, theirs):
    """Parameters, the optimizer's state and all metrics, which may be NaN."""
    assert_close(
        (ours[0].params, ours[0].opt, ours[1]), (theirs[0].params, theirs[0].opt, theirs[1])
    )
    assert ours[0].step == theirs[0].step == 1


@pytest.fixture(scope="module")
def machine():
    return Machine()


def test_parts_are_as_equal_as_possible():
    for n in range(1, 30):
        for parts in range(1, n + 1):
            sizes = accumulation.sizes(n, parts)
            assert sum(sizes) == n and len(sizes) == parts and max(sizes) - min(sizes) <= 1
    with pytest.raises(InputError, match=r"accumulate = 5: a batch of 4 .* expected 1 to 4"):
        accumulation.sizes(4, 5)


@pytest.mark.parametrize(
    ("parts", "unroll"),
    [(4, False)] + [pytest.param(*c, marks=pytest.mark.slow) for c in ((4, True), (5, False))],
)
def test_an_update_in_parts_equals_that_of_the_batch(machine, parts, unroll):
    """Augmented alike, as an image's view depends on its index. Five parts of 12 are unequal."""
    at_once, in_parts = machine.update(batch(), 1), machine.update(batch(), parts, unroll=unroll)
    assert_same_update(in_parts, at_once)


@pytest.mark.parametrize(
    "label",
    [
        # Of four parts two have no label, and one has three.
        [0, -1, 1, -1, 2, -1, -1, -1, 3, -1, -1, -1],
        pytest.param([-1] * 12, marks=pytest.mark.slow),
    ],
)
def test_a_mean_is_over_the_labelled_examples_of_the_batch(machine, label):
    at_once, in_parts = (machine.update(batch(label=label), n) for n in (1, 4))
    assert_same_update(in_parts, at_once)
    assert np.isnan(in_parts[1]["accuracy"]) == (max(label) < 0)


@pytest.mark.slow
def test_gradients_are_clipped_once_they_are_summed():
    machine = Machine(tx=optax.chain(optax.clip_by_global_norm(0.05), optax.sgd(1.0)))
    at_once, in_parts = (machine.update(batch(), n) for n in (1, 3))
    assert in_parts[1]["grad_norm"] > 0.1
    assert_same_update(in_parts, at_once)


class Normalised(nn.Module):
    """A linear layer on normalised pixels, with dropout that decides nothing."""

    @nn.compact
    def __call__(self, x, train=False):
        x = BatchNorm(momentum=0.5)(x.reshape(len(x), -1), train)
        return kd.Outputs(nn.Dense(CLASSES)(x), {"pooled": x})


@pytest.mark.slow
def test_batch_norm_takes_the_moments_of_each_part_in_turn():
    machine = Machine(student=Normalised(), augment=make_augment("", (0.5,), (0.5,)))
    state, _ = machine.update(batch(), 3)
    norm = state.stats["student"]["batch_stats"]["BatchNorm_0"]
    x = (batch()["image"].reshape(12, -1) / 255 - 0.5) / 0.5
    mean, var = np.zeros(16), np.ones(16)
    for i in range(3):
        mean = 0.5 * mean + 0.5 * x[i::3].mean(0)
        var = 0.5 * var + 0.5 * x[i::3].var(0, ddof=1)
    np.testing.assert_allclose(norm["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(norm["var"], var, atol=1e-5)


class Spread(nn.Module):
    """Compares examples: the variance of their logits, and whether both views of each are here."""

    def __call__(self, view):
        index, views = view.batch["index"], view.batch["views"]
        together = jnp.all(index[::2] == index[1::2]) & jnp.all(views[::2] < views[1::2])
        return jnp.where(together, jnp.mean(jnp.var(view.student.logits, axis=0)), jnp.nan)


@pytest.mark.slow
def test_a_method_that_compares_examples_sees_both_views_of_those_of_a_part():
    augment = make_augment("", (0.5,), (0.5,), second="crop(1)")
    machine = Machine({"spread": Spread(), "kd": KD()}, augment=augment)
    examples = batch()
    state = machine.init(examples)
    shown = augment(state.key, {**examples, "image": jnp.asarray(examples["image"])})["image"]
    logits = np.asarray(machine.student.apply(state.student, shown).logits).reshape(12, 2, -1)
    _, metrics = machine.update(examples, 4)
    by_hand = np.mean([logits[i::4].reshape(6, -1).var(axis=0).mean() for i in range(4)])
    np.testing.assert_allclose(metrics["spread"], by_hand, rtol=1e-4)


def test_parts_that_do_not_divide_a_batch_are_refused():
    with pytest.raises(InputError, match=r"accumulate = 3 .*batch_size = 64.*batch_size = 66"):
        Plan(100, 64, 1, 1, accumulate=3)
    plan = Plan(100, 64, 1, 1, accumulate=4)
    assert plan.part_size == 16 and plan.part_sizes == [16, 12]
    assert (plan.parts(64), plan.parts(36), plan.parts(3)) == (4, 3, 1)


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("rkd.RKD", 32, r"2 examples or more, and config.accumulate = 32 shows it 1 of a batch"),
        ("semckd.SemCKD", 4, r"one size, .* of 32, in parts of 8\) has 4. Leave it out"),
    ],
)
def test_methods_that_cannot_take_the_parts_are_refused(name, parts, message):
    c = config.complete(ConfigDict({"batch_size": 32, "accumulate": parts}))
    c.objective = {"term": {"name": name}}
    with pytest.raises(InputError, match=message):
        check_batches(c, Plan(100, 32, 1, 1, accumulate=parts))


def test_a_config_without_parts_has_the_hash_that_it_had():
    spelled = config.complete(ConfigDict({"batch_size": 32})).to_dict()
    before = {key: value for key, value in spelled.items() if key != "accumulate"}
    assert config_hash(spelled) == config_hash(before)
    assert config_hash({**spelled, "accumulate": 2}) != config_hash(before)


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "how"), [("device", "vmap"), ("host", "map")])
def test_a_run_in_parts_equals_the_run(finished, loop, how):
    """Two seeds, with a short last batch of four."""
    settings = [f"--config.loop={loop}", f"--config.seeds_how={how}", "--config.accumulate=4"]
    assert main(["run", "--config", "small.py", "--workdir", "parts", *settings]) == 0
    ours, theirs = Workdir("parts"), Workdir("runs/small")
    np.testing.assert_allclose(
        ours.predictions()["logits"], theirs.predictions()["logits"], atol=1e-4
    )
    assert len(read_rows(ours)) == len(read_rows(theirs))


@pytest.mark.slow
def test_a_run_in_parts_resumes_with_the_same_bits(finished, stopped_at):
    run = ["run", "--config", "small.py", "--config.accumulate=4", "--workdir"]
    with stopped_at(step=6):
        assert main([*run, "cut"]) == 0
    assert not Workdir("cut").finished
    assert main([*run, "cut"]) == main([*run, "at_once"]) == 0
    ours, theirs = (Workdir(name).predictions()["logits"] for name in ("cut", "at_once"))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_distill_in_parts():
    image = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
    label = np.arange(24) % 2
    ends = [
        kd.distill(
            teacher=None,
            student=MLP(2, (4,)),
            data=(image, label),
            batch_size=12,
            optimizer=optax.sgd(0.1),
            epochs=2,
            progress=False,
            accumulate=parts,
        )
        for parts in (1, 3)
    ]
    assert_close(ends[1].variables, ends[0].variables)
    with pytest.raises(InputError, match="accumulate = 5 does not divide"):
        kd.distill(
            teacher=None,
            student=MLP(2, (4,)),
            data=(image, label),
            batch_size=12,
            accumulate=5,
        )
