"""What does not fit is refused before a teacher is trained; and what methods need reaches every
config that uses them.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd
from configs import cifar100, ensembles, imagenet
from configs.methods import CLIP_NORM, DROP_LAST, METHODS, SECOND_VIEW
from kd import registry
from kd.cli.main import main
from kd.data.base import Dataset, Split, class_tables
from kd.errors import InputError
from kd.models.mlp import MLP
from kd.objective import PerTeacher, Weighted
from kd.objectives.crd import CRD, draw_negatives
from kd.objectives.ctkd import CTKD
from kd.objectives.kd import distill_kl
from kd.train.checks import check_classes
from kd.types import Mixture, Outputs, View


def refused(path, capsys, student="", teacher="", objective="", *arguments):
    """What the command prints, and trains nothing: `small.py` with lines of a test's own."""
    text = path.read_text()
    line = 'c.objective.kd = dict(name="kd.KD", temperature=2.0)'
    assert line in text
    own = "\n        ".join(filter(None, (student, teacher, objective or line)))
    path.write_text(text.replace(line, own))
    assert main(["run", "--config", "small.py", *arguments]) == 2
    assert not list(Path("runs").rglob("result.json"))
    return capsys.readouterr().err


CNN = 'c.student = dict(name="cnn.CNN", widths=(4, 8))'
END2 = 'c.objective = dict(end2=dict(name="end2.END2", hold=0, epochs=0))'
CLIPPED = "\n        c.optimizer.clip_norm = 10.0"
HYDRA = 'c.objective = dict(hydra=dict(name="hydra.Hydra"))'
HEADS = 'c.student = dict(name="hydra.Hydra", student=c.student.to_dict(), heads=2)'
ONE = "c.teacher.members = (0,)"


@pytest.mark.parametrize(
    ("student", "teacher", "objective", "says"),
    [
        (CNN, ONE, 'c.objective = dict(fsp=dict(name="fsp.FSP"))', "no pair of 'stem'"),
        (
            "c.student.widths = (8, 6)",
            ONE,
            'c.objective = dict(at=dict(name="at.AT", features=("stage1", "stage2")))',
            "stage2",
        ),
        ("", ONE, END2 + CLIPPED, "several members"),
        (HEADS, ONE, HYDRA, "several members"),
        (HEADS.replace("=2", "=3"), "", HYDRA, "3 heads and 2 teachers"),
        ("", "", HYDRA, "a single head"),
        (
            "",
            "c.teacher.update(cache=True, members=(0,))\n        c.augment = ''",
            'c.objective.rkd = dict(name="rkd.RKD")',
            "pooled",
        ),
        ("", "", 'c.objective.srrl = dict(name="srrl.SRRL")', "an averaged ensemble has none"),
        ("", "", 'c.objective.mutual = dict(name="mutual.Mutual")', "cohort"),
        ("", 'c.teacher.reduce = "each"', 'c.objective.ofd = dict(name="ofd.OFD")', "stage"),
        ("", "", END2, "config.optimizer.clip_norm = 10.0"),
    ],
)
def test_it_is_refused_before_the_teacher_is_trained(
    small_config, capsys, student, teacher, objective, says
):
    assert says in refused(small_config, capsys, student, teacher, objective)


def test_other_examples_are_refused_before_the_teacher_is_trained(small_config, capsys):
    """A teacher of all images would have learned from those that are held out of its student."""
    says = refused(small_config, capsys, "c.holdout = 0.2")
    assert "will be evaluated on other examples (test)" in says and says.count("\n") == 1


def test_fsp_of_unequal_widths_is_refused_before_the_teacher_is_trained(small_config, capsys):
    text = small_config.read_text()
    small_config.write_text(text.replace('"mlp.MLP", widths=(8,)', '"cnn.CNN", widths=(4, 8)'))
    fsp = 'c.objective = dict(fsp=dict(name="fsp.FSP", features=("stage1", "stage2")))'
    said = refused(small_config, capsys, "c.student.widths = (4, 6)", ONE, fsp)
    assert "FSP needs equal channels" in said


def test_a_last_batch_that_cannot_be_trained_on_is_refused_before_the_teacher_is(
    small_config, capsys
):
    """100 images in batches of 99: BatchNorm of the last has one value per channel."""
    text = small_config.read_text()
    cnn = 'c.student = dict(name="cnn.CNN", widths=(4, 4, 4, 4))'
    small_config.write_text(text.replace("c.batch_size = 32", "c.batch_size = 32 if arg else 99"))
    assert "one value per channel" in refused(small_config, capsys, cnn)


# ------------------------------------------------------------------ what methods need


@pytest.mark.parametrize("config", [cifar100, imagenet, ensembles])
@pytest.mark.parametrize("method", sorted({*CLIP_NORM, *DROP_LAST, *SECOND_VIEW}))
def test_what_a_method_needs_reaches_every_config(config, method):
    if config is ensembles and method not in ("kd", "end2", "hydra"):
        return
    c = config.get_config(f"method={method}")
    assert c.get("optimizer").get("clip_norm", 0.0) == CLIP_NORM.get(method, 0.0)
    assert c.get("drop_last", False) == (method in DROP_LAST)
    assert bool(c.get("second_view", "")) == (method in SECOND_VIEW)


def test_what_objectives_declare_is_what_methods_set():
    """A config by hand is held to what the configs of this repository set."""
    for name, section in METHODS.items():
        for spec in section.values():
            maker = registry.find("kd.objectives", spec["name"])
            assert getattr(maker, "clip_norm", None) == CLIP_NORM.get(name)
            assert getattr(maker, "one_size", False) <= (name in DROP_LAST)


# ------------------------------------------------------------------ classes that are there


def test_negatives_need_two_classes_with_images():
    label = np.full(12, 3)
    tables = class_tables(label, 5)
    draw = lambda tables: draw_negatives(jax.random.key(0), jnp.full(4, 3), tables, 6)
    with pytest.raises(InputError, match="two classes"):
        draw(tables)
    other = draw(class_tables(np.array([3] * 11 + [1]), 5))
    assert (np.asarray(other) == 11).all()


@pytest.mark.parametrize("lifted", [False, True])
def test_a_run_on_one_class_is_refused_where_negatives_are_drawn(lifted):
    objective = Weighted({"crd": PerTeacher(CRD()) if lifted else CRD()}, {"crd": 1.0})

    def data(*label):
        split = Split(np.zeros((len(label), 2), np.float32), np.array(label, np.int32))
        return Dataset(split, split, num_classes=5, mean=(0.0,), std=(1.0,))

    with pytest.raises(InputError, match=r"crd: CRD draws .* 3 training images are of 1"):
        check_classes(objective, data(3, 3, -1, 3))
    check_classes(objective, data(3, 1))


def test_crd_on_one_class_is_refused_by_command_and_in_a_notebook(small_config, capsys):
    crd = 'c.objective.crd = dict(name="crd.CRD", num_negatives=4)'
    change = "c.train_classes, c.batch_size = (3,), 4"
    assert "objective.crd: CRD draws images" in refused(small_config, capsys, "", change, crd)
    split = Split(np.ones((8, 4), np.float32), np.full(8, 3, np.int32))
    with pytest.raises(InputError, match="CRD draws images"):
        kd.distill(
            teacher=np.zeros((8, 4), np.float32),
            student=MLP(4, (3,)),
            data=Dataset(split, split, num_classes=4, mean=(0.0,) * 4, std=(1.0,) * 4),
            objective={"crd": (1.0, CRD())},
            batch_size=4,
            progress=False,
        )


# ------------------------------------------------------------------ CTKD


@pytest.mark.slow
def test_ctkd_averages_an_ensemble_at_the_learned_temperature():
    """The mean of softened probabilities, written out: at T = 1 it would be another."""
    random = np.random.default_rng(0)
    student, *members = jnp.asarray(random.standard_normal((4, 6, 5)) * 3, jnp.float32)
    weights = jnp.array([0.5, 0.3, 0.2])
    batch = {"label": jnp.zeros(6, jnp.int32), "epoch": jnp.int32(3)}
    teacher = Mixture(jnp.stack(members), weights)
    view = View(Outputs(student), teacher, batch, {}, jnp.int32(0))
    theta = {"params": {"theta": jnp.float32(0.3)}}
    found = jax.jit(CTKD().apply)(theta, view)
    t = 1.0 + 20.0 / (1 + np.exp(-0.3))
    q = np.einsum("m,mbc->bc", weights, jax.nn.softmax(jnp.stack(members) / t))
    expected = distill_kl(student, t * jnp.log(q), t)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    at_one = distill_kl(student, teacher.at(1.0), t)
    assert np.abs(np.asarray(found - at_one)).max() > 0.01
