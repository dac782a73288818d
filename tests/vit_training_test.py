"""Vision transformers in runs: seeds at once, resumed, in parts, on devices, in bfloat16."""

from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("unoptimized_module")

STUDENT = 'c.student = dict(name="vit.ViT", patch=4, width=8, depth=2, heads=2, drop_path=0.3)'
DEIT = STUDENT.replace("vit.ViT", "vit.DeiT")


def logits(name):
    return Workdir(name).predictions()["logits"]


@pytest.fixture
def configured(finished):
    """Writes `vit.py`: students of the finished run's teachers."""

    def write(student=STUDENT):
        text = Path("small.py").read_text()
        Path("vit.py").write_text(text.replace('c.student = dict(name="mlp.MLP", widths=(8,))', f"""
    if arg != "teacher":
        {student}
    else:
        c.student = dict(name="mlp.MLP", widths=(8,))
"""))  # fmt: skip

    return write


def run(name, *settings):
    assert main(["run", "--config", "vit.py", "--workdir", name, *settings]) == 0


@pytest.mark.campaign
@pytest.mark.parametrize("student", [STUDENT, DEIT])
def test_resumed_equals_uninterrupted_with_stochastic_depth(configured, stopped_at, student):
    configured(student)
    with stopped_at(step=6):
        run("cut")
    assert not Workdir("cut").finished
    run("cut")
    run("at_once")
    np.testing.assert_array_equal(logits("cut"), logits("at_once"))


@pytest.mark.campaign
@pytest.mark.parametrize("how", ["vmap", "map", "unroll"])
def test_seeds_at_once_equal_seeds_alone(configured, how):
    configured()
    run("both", f"--config.seeds_how={how}")
    run("second", "--config.seeds=1", "--config.seed=1")
    np.testing.assert_allclose(logits("both")[1], logits("second")[0], atol=1e-4)


@pytest.mark.campaign
def test_a_run_on_a_mesh_equals_the_run_on_one_device(configured):
    """With stochastic depth: which branches are left out does not depend on the devices."""
    configured()
    run("one")
    run("mesh", "--config.devices.teacher=2", "--config.devices.data=4")
    np.testing.assert_allclose(logits("mesh"), logits("one"), atol=1e-4)


@pytest.mark.campaign
def test_a_run_in_parts_equals_the_run(configured):
    configured(STUDENT.replace("0.3", "0.0"))
    run("parts", "--config.accumulate=4")
    run("at_once")
    np.testing.assert_allclose(logits("parts"), logits("at_once"), atol=1e-4)


@pytest.mark.campaign
def test_half_precision_learns_what_full_does(configured):
    configured()
    run("half", "--config.precision=bfloat16")
    run("full")
    assert 0 < np.abs(logits("half") - logits("full")).max() < 0.1
