"""Two augmented views of each image in one batch: the batch, the step, errors, several devices."""

import json
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd import teachers
from kd.cli import main
from kd.data.augment import make_augment
from kd.init import make_init
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.mlkd import MLKD
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.step import make_step

pytestmark = pytest.mark.usefixtures("unoptimized_module")

B = 16
UNIT = (0.0,), (1.0,)
IMAGE = np.random.default_rng(0).integers(0, 255, (B, 6, 6, 1), dtype=np.uint8)
BATCH = {
    "image": jnp.asarray(IMAGE),
    "label": jnp.arange(B) % 3,
    "index": jnp.arange(B) + 5,
    "epoch": jnp.int32(2),
}
WEAK, STRONG = "crop(1)", "crop(2)|cutout(3)"
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
BOTH = make_augment(WEAK, *UNIT, second=STRONG)


@pytest.mark.slow
def test_the_two_views_of_an_image_are_neighbours_in_the_batch(key):
    chains = BOTH, make_augment(WEAK, *UNIT), make_augment(WEAK, *UNIT, second=WEAK)
    shown = jit(lambda key, batch: [chain(key, batch) for chain in chains])
    both, alone, same = shown(key, BATCH)
    np.testing.assert_array_equal(both["image"][::2], alone["image"])
    np.testing.assert_array_equal(both["views"], [0, 1] * B)
    for name in ("label", "index"):
        np.testing.assert_array_equal(both[name], np.repeat(BATCH[name], 2))
    strong = both["image"][1::2]
    assert np.all(np.sum(np.abs(strong) < 1e-6, axis=(1, 2, 3)) >= 4)  # cut out
    # Another draw than the first view's, even by the same operations.
    twice = same["image"]
    assert np.mean(np.all(twice[::2] == twice[1::2], axis=(1, 2, 3))) < 0.5


class Apart(nn.Module):
    """The squared distance of student and teacher for each row of a batch of both views."""

    def __call__(self, view):
        assert view.batch["views"].shape == view.batch["label"].shape == (2 * B,)
        return jnp.sum((view.student.logits - view.teacher.logits) ** 2, axis=-1)


@pytest.mark.slow
def test_student_and_teacher_see_both_views_in_one_step(key):
    """A student equal to its teacher has distance zero in every row, whatever the augmentation
    draws.
    """
    net = MLP(3, widths=(5,))
    weights = net.init(key, jnp.zeros((1, 6, 6, 1)))
    parts = net, Weighted({"apart": Apart()}, {"apart": 1.0}), teachers.frozen(net)
    parts = *parts, optax.sgd(0.1), BOTH
    frozen = {"teacher": weights, "tables": {}}
    state = jit(make_init(*parts))(key, frozen, BATCH, {"student": weights})
    _, metrics = jit(make_step(*parts))(state, frozen, BATCH)
    assert metrics["apart"] == 0 and metrics["grad_norm"] == 0


@pytest.mark.slow
def test_eight_devices_equal_one(key):
    net = MLP(3, widths=(5,))
    frozen = {"teacher": net.init(key, jnp.zeros((1, 6, 6, 1))), "tables": {}}
    term = Weighted({"mlkd": MLKD()}, {"mlkd": 1.0})
    parts = net, term, teachers.frozen(net), optax.sgd(0.1), BOTH
    state = make_init(*parts)(jax.random.key(1), frozen, BATCH)
    step = jax.jit(make_step(*parts))
    alone = step(state, frozen, BATCH)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    put = lambda x: NamedSharding(mesh, PartitionSpec(*["data"] * (x.ndim > 0)))
    split = {name: jax.device_put(x, put(x)) for name, x in BATCH.items()}
    everywhere = NamedSharding(mesh, PartitionSpec())
    together = step(*jax.device_put((state, frozen), everywhere), split)
    for a, b in zip(*map(jax.tree.leaves, (together[1], alone[1])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


MLKD_RUN = ["--config.objective.kd.name=mlkd.MLKD", "--config.teacher.members=0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (MLKD_RUN, "objective.kd compares two views"),
        (["--config.second_view=crop(1)"], "no term of config.objective looks"),
        (
            [*MLKD_RUN, "--config.second_view=c", "--config.objective.ce.name=crd.CRD"],
            "must be in a batch once",
        ),
        ([*MLKD_RUN, "--config.second_view=corp(1)"], "'crop'"),
    ],
)
def test_a_second_view_that_does_not_fit_the_objective_is_refused(
    small_config, capsys, arguments, words
):
    assert main.main(["run", "--config", "small.py", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not Workdir("runs/small").path.exists()


@pytest.mark.campaign
def test_a_run_of_two_views(small_config):
    """MLKD by the command; pmap on four devices gives the same logits."""
    arguments = ["run", "--config", "small.py", *MLKD_RUN]
    arguments += ["--config.second_view=crop(1)|cutout(3)", "--config.batch_size=20"]
    assert main.main(arguments) == 0
    devices = ["--config.devices.transform=pmap", "--config.devices.data=4"]
    assert main.main([*arguments, *devices, "--workdir", "pmap"]) == 0
    runs = Workdir("runs/small"), Workdir("pmap")
    one, several = (run.predictions()["logits"] for run in runs)
    np.testing.assert_allclose(one, several, atol=1e-4)
    rows = [row for row in read_rows(runs[0]) if row["kind"] == "train"]
    assert all(np.isfinite(row["kd"]).all() for row in rows)
    assert json.loads(Path("runs/small/config.json").read_text())["second_view"]
