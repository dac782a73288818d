"""Checkpoints: whole or not at all, on any number of devices, and without the teacher."""

import jax
import numpy as np
import optax
import pytest

from kd import teachers
from kd.devices import mesh as sharding
from kd.errors import InputError
from kd.init import make_init
from kd.models.cnn import CNN
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.runs.checkpoint import Checkpoints, load_student
from kd.train.program import seed_keys


def states(mesh=None):
    """States of two seeds of a small network with BatchNorm, taught by a teacher of another
    width.
    """
    model = CNN(3, (2,))
    image = jax.numpy.ones((4, 5, 5, 1))
    batch = {"image": image, "label": jax.numpy.arange(4) % 3}
    teacher = MLP(3, (77,))
    frozen = {"teacher": teacher.init(jax.random.key(9), image), "tables": {}}
    init = make_init(
        model, Weighted({"ce": CE()}, {"ce": 1.0}), teachers.frozen(teacher), optax.adam(0.1)
    )
    place = sharding.replicated(mesh) if mesh else None
    start = jax.jit(jax.vmap(init, (0, None, None)), out_shardings=place)
    return start(seed_keys(0, 2), frozen, batch)


def assert_equal(a, b):
    def same(x, y):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)

    jax.tree.map(same, a, b)


@pytest.fixture
def saved(tmp_path):
    state = states()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (3, 7):
        checkpoints.save(state, step)
    checkpoints.close()
    return tmp_path / "checkpoints", state


@pytest.mark.slow
def test_a_state_comes_back_bit_for_bit_onto_another_number_of_devices(saved):
    directory, state = saved
    for shape in ((1, 1), (2, 4)):
        place = sharding.replicated(sharding.make_mesh(*shape))
        like = jax.tree.map(
            lambda x, place=place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state
        )
        checkpoints = Checkpoints(directory)
        assert checkpoints.latest() == 7
        found = checkpoints.restore(like)
        checkpoints.close()
        assert_equal(state, found)
        leaf = found.params["student"]["head"]["kernel"]
        assert len(leaf.sharding.device_set) == shape[0] * shape[1]


@pytest.mark.slow
def test_a_save_that_was_cut_short_is_not_loaded(saved):
    """What a kill leaves behind: a temporary directory, and a directory without its mark of
    completion.
    """
    directory, state = saved
    (directory / "9.orbax-checkpoint-tmp").mkdir()
    (directory / "9.orbax-checkpoint-tmp" / "student").mkdir()
    checkpoints = Checkpoints(directory)
    assert checkpoints.latest() == 7
    assert_equal(state, checkpoints.restore(state))
    checkpoints.close()


def test_the_teacher_is_in_no_checkpoint(saved):
    """The names of all arrays stand in the metadata: the student's first layer does, the teacher's
    does not.
    """
    directory, _ = saved
    files = [p for p in directory.rglob("*") if p.is_file()]
    text = " ".join(p.read_text(errors="ignore") for p in files)
    assert "conv1_0" in text and "layer1" not in text


def test_the_student_alone_can_be_loaded(saved):
    directory, state = saved
    assert_equal(state.student, load_student(directory, state.student))


def test_another_network_is_refused(saved, tmp_path):
    directory, state = saved
    other = {"params": {"nothing": state.params["student"]["head"]}}
    with pytest.raises(InputError, match="does not hold this network"):
        load_student(directory, other)
    with pytest.raises(InputError, match="no complete checkpoint"):
        load_student(tmp_path / "empty", state.student)


def test_donating_the_state_after_a_save_does_not_spoil_it(tmp_path):
    """The save copies before it returns: the next update may reuse the memory at once."""
    state = states()
    before = jax.device_get(state.params)
    checkpoints = Checkpoints(tmp_path / "c")
    double = jax.jit(lambda s: jax.tree.map(lambda x: x * 2, s.params), donate_argnums=0)
    checkpoints.save(state, 1)
    double(state)
    checkpoints.wait()
    found = checkpoints.restore(states())
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, before, jax.device_get(found.params))
