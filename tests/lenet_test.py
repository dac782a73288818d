"""LeNet-5 and the students of two papers: sizes by hand, a pass by hand, the experiments' runs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.cli.main import main
from kd.errors import InputError
from kd.models import cost, lenet
from kd.tables import experiment, plan

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("make", "parameters", "macs"),
    [
        # 25 x 6 + 6, 25 x 6 x 16 + 16, 401 x 120, 121 x 84, 85 x 10; MACs of 784 and 100 places.
        (lenet.lenet5, 61706, 784 * 150 + 100 * 2400 + 400 * 120 + 120 * 84 + 840),
        (lenet.lenet5_half, 35820, 784 * 75 + 100 * 600 + 200 * 120 + 120 * 84 + 840),
        (lenet.lenet5_half_all, 15738, 784 * 75 + 100 * 600 + 200 * 60 + 60 * 42 + 420),
    ],
)
def test_the_networks_have_the_papers_sizes(make, parameters, macs):
    net, image = make(), jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    assert cost.parameters(variables) == parameters
    assert cost.macs(net.apply, variables, image) == macs
    features = jax.eval_shape(net.apply, variables, image).features
    assert features["stage1"].shape[1:3] == (14, 14) and features["stage2"].shape[1:3] == (5, 5)
    assert features["pooled"].shape == (1, make().units[-1])


def test_a_pass_by_hand():
    """A kernel that copies its middle pixel, pooling, and one unit that sums: the sum of maxima."""
    net = lenet.LeNet(num_classes=2, widths=(1,), units=(1,))
    kernel = jnp.zeros((5, 5, 1, 1)).at[2, 2].set(1.0)
    params = {
        "conv1": {"kernel": kernel, "bias": jnp.zeros(1)},
        "dense1": {"kernel": jnp.ones((4, 1)), "bias": jnp.array([0.5])},
        "head": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.zeros(2)},
    }
    image = jnp.array([[1, -1, 2, 0], [0, 3, -4, 1], [-6, -1, 0, 0], [-2, -3, 0, 5.0]])
    out = jax.jit(net.apply)({"params": params}, image.reshape(1, 4, 4, 1))
    np.testing.assert_array_equal(out.features["stage1"][0, ..., 0], [[3, 2], [0, 5]])
    np.testing.assert_array_equal(out.logits, [[10.5, -21]])


def test_images_that_are_too_small_are_refused():
    with pytest.raises(InputError, match="at least 16 x 16"):
        jax.eval_shape(lenet.LeNet().init, jax.random.key(0), jnp.zeros((1, 12, 12, 1)))


@pytest.mark.parametrize(
    ("name", "papers", "temperature"),
    [
        ("zskd2019_lenet", [99.34, 98.92, 99.25, 90.84, 89.43, 89.66], 20.0),
        ("dafl2019_mnist", [98.91, 98.65, 98.91], 1.0),
    ],
)
def test_the_experiments_have_the_papers_numbers(monkeypatch, tmp_path, name, papers, temperature):
    monkeypatch.chdir(ROOT)
    found = experiment.load(f"experiments/{name}.py")
    assert [cell.paper.value for cell in found.cells() if cell.paper] == papers
    runs = plan.make(found, tmp_path)
    distilled = [run.config for run in runs.values() if "kd" in run.config.objective]
    assert {c.objective.kd.temperature for c in distilled} == {temperature}
    weights = {c.objective.ce.weight for c in distilled if "ce" in c.objective}
    assert weights == ({0.3} if name == "zskd2019_lenet" else set())
    of_papers = [c.reference for c in found.cells() if c.paper and "role=kd" in c.reference]
    assert all([*runs[r].config.objective] == ["kd"] for r in of_papers)  # no labels


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["zskd2019_lenet", "dafl2019_mnist"])
def test_they_run_in_miniature(monkeypatch, tmp_path, capsys, name):
    monkeypatch.chdir(ROOT)
    assert main(["table", f"experiments/{name}.py:smoke", "--runs", str(tmp_path)]) == 0
    assert "missing" not in capsys.readouterr().out
