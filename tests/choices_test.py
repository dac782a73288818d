"""How a run goes over seeds and updates, by its networks and by whose convolutions it takes."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

import kd
from kd.build import spell_out
from kd.config import complete
from kd.convolutions import library
from kd.train.program import _OneByOne
from kd.train.setup import prepare

CNN, MLP = {"name": "cnn.CNN", "widths": (4,)}, {"name": "mlp.MLP", "widths": (8,)}


def loaded() -> bool:
    try:
        library.load()
    except library.Unavailable:
        return False
    return True


needs_onednn = pytest.mark.skipif(not loaded(), reason="oneDNN is not installed")


@pytest.mark.parametrize(
    ("student", "convolutions", "how", "loop"),
    [
        (CNN, "xla", "unroll", "host"),
        pytest.param(CNN, "onednn", "map", "device", marks=needs_onednn),
        (MLP, "auto", "vmap", "device"),
    ],
)
def test_loops_are_chosen_by_the_network_and_the_library(
    small_data, student, convolutions, how, loop
):
    settings = dict(seeds=2, batch_size=32, epochs=1, devices=dict(convolutions=convolutions))
    data = dict(name="arrays", path=str(small_data))
    settings |= dict(optimizer=dict(learning_rate=0.1), objective=dict(ce=dict(name="ce.CE")))
    config = dict(data=data, student=student, **settings)
    setup = prepare(spell_out(complete(ConfigDict(config))))
    one_by_one = any(isinstance(updates, _OneByOne) for updates in setup.updates.values())
    assert setup.seeds_how == how and one_by_one == (loop == "host")


@needs_onednn
@pytest.mark.slow
def test_a_run_by_onednn_in_loops_equals_one_by_xla(unoptimized):
    """Two seeds and a teacher of two networks, 9 updates: loops, seeds and members are gone over in
    other ways, and the weights agree.
    """
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (72, 8, 8, 3), np.uint8), np.arange(72) % 3
    runs = {}
    for name in ("xla", "onednn"):
        options = dict(seeds=2, batch_size=24, epochs=3, convolutions=name, progress=False)
        options |= dict(student=kd.models.CNN(3, widths=(4, 8)), data=(image, label))
        teacher = kd.distill(teacher=None, **options)
        runs[name] = kd.distill(teacher=teacher, **options).variables
    first, second = map(jax.tree.leaves, runs.values())
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
