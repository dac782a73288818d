"""MLPerf Tiny's image classification network against its published figures."""

import jax
import jax.numpy as jnp
import pytest

from configs import mlperf_tiny
from kd import config
from kd.models import cost
from kd.models.initializers import he_normal
from kd.models.resnet_tiny import ResNet8

IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(lambda x: ResNet8().init(jax.random.key(0), x), IMAGE)


def test_parameters_are_those_of_the_published_log(shapes):
    """mlcommons/tiny, image_classification/Logs/training_log.txt: total, trainable and
    non-trainable, and of three layers.
    """
    params = shapes["params"]
    assert cost.parameters(shapes) == 78_186
    assert cost.count(shapes["batch_stats"]) == 480
    assert cost.count(shapes) == 78_666
    assert cost.count(params["block2"]["shortcut"]) == 544
    assert cost.count(params["block3"]["conv2"]) == 36_928
    assert cost.count(params["head"]) == 650


def test_it_makes_12_5_million_multiply_accumulates(shapes):
    """By hand: the stem, two convolutions in stage 1, three in stages 2 and 3, which are of the
    same cost, and the classifier.
    """
    stem = 32 * 32 * 27 * 16
    first = 2 * 32 * 32 * 9 * 16 * 16
    later = 16 * 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
    found = cost.macs(lambda v, x: ResNet8().apply(v, x, train=False), shapes, IMAGE)
    assert found == stem + first + 2 * later + 640 == 12_501_632


def test_stages_halve_the_map(shapes):
    look = lambda v, x: ResNet8().apply(v, x, train=False)
    outputs = jax.eval_shape(look, shapes, IMAGE)
    sizes = {name: x.shape[1:] for name, x in outputs.features.items()}
    assert sizes["stem"] == sizes["stage1"] == (32, 32, 16)
    assert sizes["stage2"] == sizes["stage2_pre"] == (16, 16, 32)
    assert sizes["stage3"] == (8, 8, 64)
    assert sizes["pooled"] == (64,)


def test_kernels_start_as_kerass():
    drawn = he_normal(jax.random.key(0), (3, 3, 16, 64))
    deviation = (2 / 144) ** 0.5
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.02)
    assert float(jnp.abs(drawn).max()) <= 2 * deviation / 0.8796


def test_the_three_runs_belong_together():
    student = config.load("configs/mlperf_tiny.py:epochs=60,seeds=2")
    teacher = config.load(student.teacher.config)
    labels = config.load(student.compare["student from labels"])
    assert student.student.name == labels.student.name == "resnet_tiny.ResNet8"
    assert teacher.student.name == "wrn.wrn_40_2"
    assert (student.seeds, teacher.seeds, labels.seeds) == (2, 1, 2)
    assert {c.epochs for c in (student, teacher, labels)} == {60}
    assert {c.data.name for c in (student, teacher, labels)} == {"cifar10"}
    assert teacher.seed != student.seed
    with pytest.raises(ValueError, match="expected student"):
        mlperf_tiny.get_config("role=pupil")
