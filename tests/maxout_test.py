"""Maxout networks: sizes of FitNets' two, units and pooling by hand, the experiment's runs."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.cli.main import main
from kd.errors import InputError
from kd.models import maxout
from kd.tables import experiment, plan

pytestmark = pytest.mark.usefixtures("unoptimized_module")

ROOT = Path(__file__).parents[1]


def shapes(net, side=28):
    image = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image)
    return variables["params"], jax.eval_shape(net.apply, variables, image)


@pytest.mark.parametrize(
    ("make", "weights", "width"),
    [(maxout.fitnet_mnist_teacher, 360816, 48), (maxout.fitnet_mnist, 29944, 16)],
)
def test_the_networks_of_fitnets_have_the_paper_s_size(make, weights, width):
    """About 361 and 30 thousand; by hand without biases, such as 8 x 8 x 96 + 8 x 8 x 48 x 96 +
    5 x 5 x 48 x 48 + 3 x 3 x 24 x 10. The guided layer has the places of the hint.
    """
    params, out = shapes(make(num_classes=10))
    assert sum(math.prod(layer["kernel"].shape) for layer in params.values()) == weights
    assert out.features["stage2"].shape == (1, 4, 4, width)
    assert out.features["stage3"].shape[1:3] == (3, 3) and out.logits.shape == (1, 10)


def test_a_unit_is_the_largest_of_its_pieces_and_the_last_window_may_be_short():
    """A kernel of 1 x 1, pieces x and -x: |x|; windows of 2 with stride 2 over three places."""
    net = maxout.Maxout(num_classes=2, widths=(1,), kernels=(1,), paddings=(0,), pools=(2,))
    params = {
        "conv1": {"kernel": jnp.array([1.0, -1.0]).reshape(1, 1, 1, 2), "bias": jnp.zeros(2)},
        "head": {"kernel": jnp.zeros((4, 2)), "bias": jnp.zeros(2)},
    }
    image = jnp.array([[1.0, -5.0, 2.0], [0.0, 3.0, -4.0], [-6.0, 1.0, 0.5]])
    out = jax.jit(net.apply)({"params": params}, image.reshape(1, 3, 3, 1))
    np.testing.assert_array_equal(out.features["stage1"][0, ..., 0], [[5, 4], [6, 0.5]])


def test_weights_begin_in_their_range():
    net = maxout.Maxout(10, (4,), (3,), (1,), (2,), initial=0.005)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    kernel = variables["params"]["conv1"]["kernel"]
    assert 0.004 < float(jnp.abs(kernel).max()) <= 0.005


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(), "map before conv2 is 1 x 1, too small|kernel of 8"),
        (dict(pools=(2, 2)), "one number for each"),
        (dict(pools=(4, 4, 0)), "the last of pools is not 0"),
    ],
)
def test_wrong_sizes_teach(settings, message):
    with pytest.raises(InputError, match=message):
        shapes(maxout.Maxout(num_classes=10, **settings), side=6)


def test_the_experiment_trains_hints_first_and_has_the_paper_s_numbers(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    found = experiment.load("experiments/fitnets_mnist.py")
    assert [c.paper.value for c in found.cells()] == [0.55, 1.9, 0.65, 0.51]
    runs = plan.make(found, tmp_path)
    last = next(run for run in runs.values() if run.config.init.config)
    roles = [need.partition("role=")[2].partition(",")[0] for need in last.needs]
    assert roles == ["teacher", "hint"]
    assert [*runs[last.needs[1]].config.objective] == ["fitnet"]


@pytest.mark.campaign
def test_fitnets_in_miniature(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT)
    command = ["table", "experiments/fitnets_mnist.py:smoke", "--runs", str(tmp_path)]
    assert main(command) == 0
    assert "missing" not in capsys.readouterr().out
