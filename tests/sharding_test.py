"""Several devices equal one: ensembles spread over them, batches split over them, and nothing gathered that need not be."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import sharding
from kd import teacher as teachers
from kd.data.augment import make_augment
from kd.data.base import class_tables
from kd.errors import InputError
from kd.models.cnn import CNN
from kd.objective import PerTeacher, Weighted
from kd.objectives.ce import CE
from kd.objectives.crd import CRD
from kd.objectives.kd import KD
from kd.program import make_order, make_update, make_updates, seed_keys
from kd.step import make_init, make_step

N, BATCH, CLASSES = 56, 16, 4
LABEL = np.arange(N) % CLASSES
IMAGE = np.random.default_rng(0).integers(0, 255, (N, 6, 6, 1), dtype=np.uint8)
STUDENT, TEACHER = CNN(CLASSES, (8,)), CNN(CLASSES, (6,))
CONTRAST = CRD(dim=32, num_negatives=8, temperature=0.5)


def parts(members: int, term, spread=None, reduce="probs"):
    weight = 0.5 if isinstance(term, KD) else 0.1  # brings either to about 1
    objective = Weighted({"ce": CE(), "term": term}, {"ce": 0.5, "term": weight})
    teacher = teachers.frozen(TEACHER)
    if members > 1:
        teacher = teachers.ensemble(TEACHER, reduce, "unroll", spread)
    return STUDENT, objective, teacher, optax.sgd(0.1, 0.9), AUGMENT


AUGMENT = make_augment("crop(1)", (0.5,), (0.5,))


def frozen(members: int):
    init = lambda key: TEACHER.init(key, jnp.zeros((1, 6, 6, 1)))
    weights = jax.jit(jax.vmap(init))(seed_keys(100, members))
    weights["params"]["head"]["kernel"] *= 4  # so that they say something
    tables = {k: jnp.asarray(v) for k, v in class_tables(LABEL, CLASSES).items()}
    return {
        "teacher": weights if members > 1 else jax.tree.map(lambda x: x[0], weights),
        "tables": tables,
    }


def machine(members, term, mesh=None, reduce="probs", size=BATCH):
    """The compiled update on a mesh, or on one device, and what it starts from."""
    given, data = (
        frozen(members),
        {"image": jnp.asarray(IMAGE), "label": jnp.asarray(LABEL)},
    )
    spread = sharding.spread(mesh) if mesh and members > 1 else None
    made = parts(members, term, spread, reduce)
    values = {k: jnp.asarray(v[:BATCH]) for k, v in data.items()}
    first = {**values, "index": jnp.arange(BATCH), "epoch": jnp.int32(0)}
    init = make_init(*parts(members, term, None, reduce))
    state = jax.jit(jax.vmap(lambda k: init(k, given, first)))(seed_keys(5, 1))
    place, split, whole = None, lambda b: b, lambda b: b
    if mesh:
        place = sharding.everywhere(mesh)
        tables, data, state = jax.device_put((given["tables"], data, state), place)
        apart = sharding.members(mesh, members) if spread else place
        given = {
            "teacher": jax.device_put(given["teacher"], apart),
            "tables": tables,
        }
        split = sharding.split_batch(mesh, size)
        whole = sharding.split_batch(mesh, size, ("data",) if spread else sharding.ALL)
    seen = lambda key, batch: whole(AUGMENT(key, batch))
    step = make_step(*made[:-1], seen, split)
    update = make_update(step, size, "unroll", False, whole)
    return update, make_updates(update, size, 1, "host", place), given, data, state


def three(members, term, mesh=None, reduce="probs", size=BATCH):
    """State and metrics after three updates."""
    _, updates, given, data, state = machine(members, term, mesh, reduce, size)
    order = make_order(N)(seed_keys(5, 1), jnp.int32(0))
    numbers = jnp.int32(0), jnp.int32(0), jnp.int32(3)
    state, logs = updates(state, given, data, order, *numbers)
    plain = {"params": state.params, "stats": state.stats, "opt": state.opt}
    return jax.device_get((plain, logs))


def assert_equal(ours, theirs, tolerance=1e-6):
    """Equal to `tolerance`, or to that share of an array's largest number where that is above one."""

    def check(a, b):
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(a, b, atol=tolerance * scale, rtol=0)

    jax.tree.map(check, ours, theirs)


@pytest.fixture(scope="module")
def eight():
    """Three updates from an ensemble of eight on one device."""
    return three(8, KD(2.0))


MESHES = [(4, 2), *(pytest.param(m, marks=pytest.mark.slow) for m in [(1, 1), (2, 4), (8, 1), (1, 8)])]  # fmt: skip


@pytest.mark.parametrize("shape", MESHES)
def test_eight_members_on_a_mesh_equal_one_device(eight, shape):
    """Parameters, BatchNorm's statistics and the optimizer's state; members in their places, the student on all devices."""
    found = three(8, KD(2.0), sharding.make_mesh(*shape))
    assert_equal(found[0], eight[0])
    assert_equal(found[1], eight[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 8)])
@pytest.mark.parametrize("term", [KD(2.0), CONTRAST], ids=["kd", "crd"])
def test_one_teacher_on_a_mesh_equals_one_device(term, shape):
    assert_equal(three(1, term, sharding.make_mesh(*shape))[0], three(1, term)[0])


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 12])
@pytest.mark.parametrize("reduce", ["logits", "each"])
def test_other_reductions_and_a_batch_that_does_not_divide(reduce, size):
    """Twelve examples stay whole on each of the eight devices."""
    term = PerTeacher(CONTRAST) if reduce == "each" else KD(2.0)
    found = three(4, term, sharding.make_mesh(4, 2), reduce, size)
    assert_equal(found[0], three(4, term, None, reduce, size)[0], 2e-6)


def collectives(text: str) -> dict[str, int]:
    """How often each kind of collective stands in a compiled program."""
    kinds = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")  # fmt: skip
    return {k: len(re.findall(rf"= [^=]*\b{k}(?:-start)?\(", text)) for k in kinds}


def test_the_mean_of_members_gathers_nothing():
    """The student's gradient and BatchNorm are all-reduced, the members' logits change hands, and that is all."""
    mesh = sharding.make_mesh(4, 2)
    update, _, given, data, state = machine(8, KD(2.0), mesh)
    order = make_order(N)(seed_keys(5, 1), jnp.int32(0))
    place = sharding.everywhere(mesh)
    compiled = jax.jit(update, donate_argnums=0, out_shardings=place).lower(
        state, given, data, order, jnp.int32(0), jnp.int32(0)
    )
    counts = collectives(compiled.compile().as_text())
    assert counts["all-gather"] == 0, counts
    assert counts["all-reduce"] > 0 and counts["all-to-all"] > 0, counts


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (lambda: sharding.make_mesh(4, 4), "needs 16 devices, here are 8"),
        (lambda: sharding.make_mesh(0, 1), "teacher=0"),
        (lambda: sharding.members(sharding.make_mesh(4, 2), 6), "6 members"),
        (lambda: sharding.check_batch(sharding.make_mesh(4, 2), 20), "batch_size = 20"),
    ],
)
def test_what_does_not_divide_is_refused(refused, words):
    with pytest.raises(InputError, match=words):
        refused()


@pytest.mark.slow
def test_a_run_on_a_mesh_equals_the_run_on_one_device(finished, small_config):
    """The whole command, its short last batch of four examples too, which do not divide among eight devices."""
    from kd.main import main
    from kd.workdir import Workdir

    mesh = ["--config.devices.teacher=2", "--config.devices.data=4"]
    assert main(["run", "--config", "small.py", "--workdir", "mesh", *mesh]) == 0
    ours, theirs = Workdir("mesh").predictions(), Workdir("runs/small").predictions()
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-5)
