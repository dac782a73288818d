"""Several devices equal one: ensembles spread over them, batches split over them, and nothing
gathered that need not be.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import teachers
from kd.config import ConfigDict, default
from kd.data.augment import make_augment
from kd.data.base import class_tables
from kd.devices import mesh as sharding
from kd.errors import InputError
from kd.init import make_init
from kd.models.cnn import CNN
from kd.objective import PerTeacher, Weighted
from kd.objectives.ce import CE
from kd.objectives.crd import CRD
from kd.objectives.kd import KD
from kd.step import _gather, make_step
from kd.train import placement
from kd.train.program import make_order, make_update, make_updates, seed_keys

pytestmark = pytest.mark.usefixtures("unoptimized_module")

N, BATCH, CLASSES = 56, 16, 4
LABEL = np.arange(N) % CLASSES
IMAGE = np.random.default_rng(0).integers(0, 255, (N, 6, 6, 1), dtype=np.uint8)
STUDENT, TEACHER = CNN(CLASSES, (8,)), CNN(CLASSES, (6,))
CONTRAST = CRD(dim=32, num_negatives=8, temperature=0.5)


def parts(members: int, term, spread=None, reduce="probs", how="unroll"):
    weight = 0.5 if isinstance(term, KD) else 0.1  # brings either to about 1
    objective = Weighted({"ce": CE(), "term": term}, {"ce": 0.5, "term": weight})
    teacher = teachers.frozen(TEACHER)
    if members > 1:
        teacher = teachers.ensemble(TEACHER, reduce, how, spread)
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


def machine(
    members, term, devices=None, reduce="probs", size=BATCH, seeds=1, how="unroll", in_parts=1
):
    """The compiled updates on some devices, or on one, and what they start from."""
    section = default().devices.to_dict() | (devices or {})
    sizes = {"seeds": seeds, "batch_size": BATCH, "accumulate": in_parts}
    config = ConfigDict({"devices": section, **sizes})
    mesh = placement.make_mesh(config)
    several = members > 1 and placement.spreads(config)
    spread = sharding.shard_members(mesh) if several else None
    given, data = frozen(members), {"image": jnp.asarray(IMAGE), "label": jnp.asarray(LABEL)}
    first = {k: v[:BATCH] for k, v in data.items()}
    first |= {"index": jnp.arange(BATCH), "epoch": jnp.int32(0)}
    init = make_init(*parts(members, term, None, reduce))
    state = jax.jit(jax.vmap(lambda k: init(k, given, first)))(seed_keys(5, seeds))
    place = sharding.replicated(mesh)
    tables, data = jax.device_put((given["tables"], data), place)
    state = jax.device_put(state, placement.place_of_states(config, mesh))
    apart = sharding.member_sharding(mesh, members) if several else place
    given = {"teacher": jax.device_put(given["teacher"], apart), "tables": tables}
    placed = placement.choose(config, mesh, size, several, False, in_parts)
    seen = lambda key, batch: placed.augmented(AUGMENT(key, batch))
    made = (*parts(members, term, spread, reduce, how)[:-1], seen)
    settings = dict(split=placed.student, axis_name=placed.axis_name, accumulate=in_parts)
    step = make_step(*made, **settings)
    update = make_update(step, size, "unroll", False, placed.read)
    return placed.compile, update, (state, given, data), place


def three(*args, **settings):
    """Parameters, statistics and optimizer state, and metrics, after three updates by the `machine`
    of these arguments.
    """
    compile, update, (state, *rest), place = machine(*args, **settings)
    size = settings.get("size", BATCH)
    updates = make_updates(update, size, 1, "host", compile)
    order = make_order(N)(seed_keys(5, settings.get("seeds", 1)), jnp.int32(0))
    numbers = jnp.int32(0), jnp.int32(0), jnp.int32(3)
    state, logs = updates(state, *rest, jax.device_put(order, place), *numbers)
    plain = {"params": state.params, "stats": state.stats, "opt": state.opt}
    return jax.device_get((plain, logs))


def alone(members, term):
    """What `three` gives, from `jax.jit` of the step and nothing else: no mesh, no loop of kd's."""
    given, data = frozen(members), {"image": jnp.asarray(IMAGE), "label": jnp.asarray(LABEL)}
    order = make_order(N)(seed_keys(5, 1), jnp.int32(0))[0]

    def batch(index):
        own = {name: values[index] for name, values in data.items()}
        return {**own, "index": index, "epoch": jnp.int32(0)}

    made = parts(members, term)
    state = jax.jit(make_init(*made))(seed_keys(5, 1)[0], given, batch(jnp.arange(BATCH)))
    step, rows = jax.jit(make_step(*made)), []
    for i in range(3):
        index = jax.lax.dynamic_slice(order, (i * BATCH,), (BATCH,))
        state, metrics = step(state, given, batch(index))
        rows.append(metrics)
    plain = {"params": state.params, "stats": state.stats, "opt": state.opt}
    logs = {name: jnp.stack([row[name] for row in rows])[None] for name in rows[0]}
    return jax.device_get((jax.tree.map(lambda x: x[None], plain), logs))


def compiled_text(*args, **settings):
    """The program of one update, as XLA compiled it."""
    compile, update, given, place = machine(*args, **settings)
    order = make_order(N)(seed_keys(5, settings.get("seeds", 1)), jnp.int32(0))
    order = jax.device_put(order, place)
    numbers = jnp.int32(0), jnp.int32(0)
    return compile(update).lower(*given, order, *numbers).compile().as_text()


def assert_equal(ours, theirs, tolerance=1e-6):
    """Equal to `tolerance`, or to that share of an array's largest number where that is above
    one.
    """

    def check(a, b):
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(a, b, atol=tolerance * scale, rtol=0)

    jax.tree.map(check, ours, theirs)


def mesh(teacher, data):
    return {"teacher": teacher, "data": data}


@pytest.fixture(scope="module")
def eight():
    """Three updates from an ensemble of eight on one device."""
    return alone(8, KD(2.0))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (4, 2), (2, 4), (8, 1), (1, 8)])
def test_eight_members_on_a_mesh_equal_one_device(eight, shape):
    """Parameters, BatchNorm's statistics and the optimizer's state; members in their places, the
    student on all devices.
    """
    found = three(8, KD(2.0), mesh(*shape))
    assert_equal(found[0], eight[0])
    assert_equal(found[1], eight[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices", [mesh(1, 1), mesh(1, 8), {"data": 8, "transform": "pmap"}], ids=str
)
@pytest.mark.parametrize("term", [KD(2.0), CONTRAST], ids=["kd", "crd"])
def test_one_teacher_on_several_devices_equals_one_device(term, devices):
    """CRD's banks, too, which under pmap see the examples of all devices."""
    found, one = three(1, term, devices), alone(1, term)
    assert_equal(found[0], one[0])
    assert_equal(found[1], one[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["vmap", "map"])
def test_ways_over_the_members_agree_on_a_mesh_and_gather_nothing(eight, how):
    """`vmap` is the default where there are several devices."""
    found = three(8, KD(2.0), mesh(4, 2), how=how)
    assert_equal(found[0], eight[0])
    counts = collectives(compiled_text(8, KD(2.0), mesh(4, 2), how=how))
    assert counts["all-gather"] == 0, counts


@pytest.mark.slow
def test_an_ensemble_under_pmap_equals_one_device(eight):
    found = three(8, KD(2.0), {"data": 8, "transform": "pmap"})
    assert_equal(found[0], eight[0])
    assert_equal(found[1], eight[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "members"),
    [(mesh(2, 4), 4), ({"data": 8, "transform": "pmap"}, 1)],
    ids=str,
)
def test_parts_of_a_batch_on_several_devices_equal_those_on_one(devices, members):
    """The same examples make each part: BatchNorm's moments are equal, and CRD's banks."""
    term = KD(2.0) if members > 1 else CONTRAST
    found, one = (three(members, term, on, in_parts=2) for on in (devices, None))
    assert_equal(found[0], one[0])
    assert_equal(found[1], one[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 12])
@pytest.mark.parametrize("reduce", ["logits", "each"])
@pytest.mark.parametrize("devices", [mesh(4, 2), {"data": 8, "transform": "pmap"}], ids=str)
def test_other_reductions_and_a_batch_that_does_not_divide(reduce, size, devices):
    """Twelve examples stay whole on each of the eight devices."""
    term = PerTeacher(CONTRAST) if reduce == "each" else KD(2.0)
    found = three(4, term, devices, reduce, size=size)
    assert_equal(found[0], three(4, term, None, reduce, size=size)[0], 2e-6)


def collectives(text: str) -> dict[str, int]:
    """How often each kind of collective stands in a compiled program."""
    kinds = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
    return {k: len(re.findall(rf" {k}(?:-start)?\(", text)) for k in kinds}


@pytest.mark.slow
def test_the_mean_of_members_gathers_nothing():
    """The student's gradient and BatchNorm are all-reduced, the members' logits change hands, and
    that is all.
    """
    counts = collectives(compiled_text(8, KD(2.0), mesh(4, 2)))
    assert counts["all-gather"] == 0, counts
    assert counts["all-reduce"] > 0 and counts["all-to-all"] > 0, counts


@pytest.mark.slow
def test_seeds_on_devices_of_their_own_tell_one_another_nothing():
    """The seeds of one device, in a program without a collective."""
    assert not any(collectives(compiled_text(1, KD(2.0), {"seeds": 2}, seeds=2)).values())
    found, one = three(1, KD(2.0), {"seeds": 2}, seeds=2), three(1, KD(2.0), seeds=2)
    assert_equal(found, one, 1e-7)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (mesh(4, 4), "needs 16 devices, this machine has 8"),
        (mesh(0, 1), "teacher=0"),
        (mesh(1, 3), "batch_size = 16"),
        ({"seeds": 4}, "config.seeds = 6"),
        ({"seeds": 2, "data": 2}, "share nothing else"),
        ({"teacher": 2, "transform": "pmap"}, "under pmap each device"),
        (mesh(1, 8), "batch_size = 16 in config.accumulate = 4 parts.* a multiple of 32"),
    ],
)
def test_what_does_not_divide_is_refused(devices, words):
    section = default().devices.to_dict() | devices
    parts = 4 if "accumulate" in words else 1
    sizes = {"seeds": 6, "batch_size": 16, "accumulate": parts}
    config = ConfigDict({"devices": section, **sizes})
    with pytest.raises(InputError, match=words):
        placement.make_mesh(config)


def test_members_that_do_not_divide_are_refused():
    with pytest.raises(InputError, match="6 members"):
        sharding.member_sharding(sharding.make_mesh(4, 2), 6)


def test_a_teacher_whose_examples_have_no_known_axis_is_refused_under_pmap():
    with pytest.raises(InputError, match="does not run under pmap"):
        _gather("data", (jnp.zeros(3),))


@pytest.mark.slow
def test_a_run_on_a_mesh_equals_the_run_on_one_device(finished, small_config):
    """The whole command, its short last batch of four examples too, which do not divide among eight
    devices.
    """
    from kd.cli.main import main
    from kd.runs.workdir import Workdir

    mesh = ["--config.devices.teacher=2", "--config.devices.data=4"]
    assert main(["run", "--config", "small.py", "--workdir", "mesh", *mesh]) == 0
    ours, theirs = Workdir("mesh").predictions(), Workdir("runs/small").predictions()
    np.testing.assert_allclose(ours["logits"], theirs["logits"], atol=1e-5)
