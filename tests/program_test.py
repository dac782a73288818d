"""Compiled updates of several seeds: equal to single seeds, independent of the dispatches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import optimization

from kd import teachers
from kd.data.augment import make_augment
from kd.devices import mesh as sharding
from kd.devices.vectorize import tree_index
from kd.init import make_init
from kd.models.cnn import CNN
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.predict import make_logits
from kd.step import make_eval, make_step
from kd.train.program import make_order, make_update, make_updates, seed_keys

N, BATCH, CLASSES, SEEDS = 24, 8, 4, 3


def data():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (N, 6, 6, 1), dtype=np.uint8)
    return {"image": jnp.asarray(image), "label": jnp.arange(N) % CLASSES}


def first_batch():
    values = {k: v[:BATCH] for k, v in data().items()}
    return {**values, "index": jnp.arange(BATCH), "epoch": jnp.zeros((), jnp.int32)}


augment = make_augment("crop(1)", (0.5,), (0.5,))


class Machine:
    """A student, its teachers and compiled updates, to be run in several dispatches."""

    def __init__(self, student=None, paired=False, how="vmap", mesh=None, loop="device"):
        student = student or MLP(CLASSES, (8,))
        model = MLP(CLASSES, (16,))
        objective = Weighted({"ce": CE(), "kd": KD(2.0)}, {"ce": 0.5, "kd": 0.5})
        images = jnp.zeros((1, 6, 6, 1))
        weights = jax.vmap(lambda k: model.init(k, images))(seed_keys(100, SEEDS))
        teacher = teachers.frozen(model) if paired else teachers.ensemble(model)
        tx = optax.sgd(0.1, 0.9)
        self.paired = paired
        self.frozen = {"teacher": weights, "tables": {}}
        self.data = data()
        if mesh:
            everywhere = sharding.replicated(mesh)
            self.frozen, self.data = jax.device_put((self.frozen, self.data), everywhere)
        self.init_one = make_init(student, objective, teacher, tx, augment)
        step = make_step(student, objective, teacher, tx, augment)
        place = sharding.split_batch(mesh, BATCH) if mesh else lambda batch: batch
        update = make_update(step, BATCH, how, paired, place)
        self.updates = make_updates(update, BATCH, 3, loop)
        self.order = jax.jit(make_order(N))

    def init(self, keys):
        def one(key, teacher):
            frozen = {"teacher": teacher, "tables": {}}
            return self.init_one(key, frozen, first_batch())

        axes = (0, 0 if self.paired else None)
        with optimization(False):  # every comparison begins with what this program computes
            return jax.jit(jax.vmap(one, axes))(keys, self.frozen["teacher"])

    def run(self, keys, cuts=((0, 3), (24, 3))):
        """Two epochs of three updates; `cuts` are (examples before, updates) of each dispatch."""
        state = self.init(keys)
        logs = []
        for before, count in cuts:
            epoch, start = divmod(before, N)
            numbers = jnp.int32(epoch), jnp.int32(start), jnp.int32(count)
            order = self.order(keys, jnp.int32(epoch))
            state, log = self.updates(state, self.frozen, self.data, order, *numbers)
            logs.append({k: np.asarray(v)[:, :count] for k, v in log.items()})
        joined = {k: np.concatenate([log[k] for log in logs], 1) for k in logs[0]}
        return jax.device_get(plain(state)), joined


def plain(state):
    return {"params": state.params, "stats": state.stats, "opt": state.opt}


def assert_close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@pytest.fixture(scope="module")
def machine():
    return Machine()


@pytest.fixture(scope="module")
def whole(machine):
    return machine.run(seed_keys(5, SEEDS))


@pytest.mark.slow
def test_seeds_together_equal_seeds_alone(machine, whole):
    for i in range(SEEDS):
        alone, logs = machine.run(seed_keys(5 + i, 1))
        mine = tree_index(whole[0], slice(i, i + 1))
        assert_close(mine, alone, 1e-6)
        assert_close({k: v[i : i + 1] for k, v in whole[1].items()}, logs, 1e-5)


@pytest.mark.slow
def test_seeds_differ(whole):
    kernels = whole[0]["params"]["student"]["head"]["kernel"]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "cuts",
    [((0, 1), (8, 1), (16, 1), (24, 1), (32, 1), (40, 1)), ((0, 2), (16, 1), (24, 1), (32, 2))],
)
def test_dispatches_of_other_lengths_compute_the_same_bits(machine, whole, cuts):
    """With one program for all lengths, so that a resumed run equals an uninterrupted one."""
    state, logs = machine.run(seed_keys(5, SEEDS), cuts)
    jax.tree.map(np.testing.assert_array_equal, state, whole[0])
    jax.tree.map(np.testing.assert_array_equal, logs, whole[1])
    assert machine.updates._cache_size() <= 2  # three seeds, and one seed


@pytest.mark.parametrize("how", ["map", pytest.param("unroll", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_vmap_map_and_unroll_over_seeds_agree(whole, how):
    state, _ = Machine(how=how).run(seed_keys(5, SEEDS))
    assert_close(state, whole[0], 1e-6)


@pytest.mark.slow
def test_the_loop_on_the_host_equals_the_loop_on_the_device(whole):
    machine = Machine(loop="host")
    state, logs = machine.run(seed_keys(5, SEEDS))
    assert_close(state, whole[0], 1e-6)
    assert_close(logs, whole[1], 1e-5)
    again, _ = machine.run(seed_keys(5, SEEDS), ((0, 1), (8, 2), (24, 3)))
    jax.tree.map(np.testing.assert_array_equal, again, state)
    assert machine.updates._cache_size() == 1


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_each_paired_student_learns_from_its_teacher():
    machine = Machine(paired=True)
    together, _ = machine.run(seed_keys(5, SEEDS))
    members = machine.frozen["teacher"]
    for i in (0, 2):
        machine.frozen = {"teacher": tree_index(members, slice(i, i + 1)), "tables": {}}
        alone, _ = machine.run(seed_keys(5 + i, 1))
        assert_close(tree_index(together, slice(i, i + 1)), alone, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 4), (1, 8)])
@pytest.mark.usefixtures("unoptimized")
def test_eight_devices_equal_one(shape):
    """With BatchNorm: under jit its moments are those of the global batch."""
    one, logs = Machine(CNN(CLASSES, (4,))).run(seed_keys(5, 1))
    mesh = sharding.make_mesh(*shape)
    eight, others = Machine(CNN(CLASSES, (4,)), mesh=mesh).run(seed_keys(5, 1))
    assert_close(one, eight, 2e-6)
    assert_close(logs, others, 1e-5)


def test_orders_differ_by_epoch_and_seed():
    order = jax.jit(make_order(N))
    first = np.asarray(order(seed_keys(0, 2), jnp.int32(0)))
    second = np.asarray(order(seed_keys(0, 2), jnp.int32(1)))
    for row in (*first, *second):
        assert sorted(row) == list(range(N))
    assert (first[0] != second[0]).any() and (first[0] != first[1]).any()


@pytest.mark.parametrize("size", [5, 24, 100])
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_logits_of_a_split_do_not_depend_on_the_batch_size(size):
    model = CNN(CLASSES, (4,))
    images = data()["image"]
    evaluate = make_eval(model, make_augment("", (0.5,), (0.5,)))
    weights = jax.vmap(lambda k: model.init(k, jnp.zeros((1, 6, 6, 1))))(seed_keys(0, 2))
    found = make_logits(evaluate, size)(weights, images)
    one = tree_index(weights, 1)
    image = (images.astype(jnp.float32) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(found[1], model.apply(one, image).logits, atol=1e-5)
