"""A teacher that nothing learns from is refused, by what the traced objective reads."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kd
from kd import build, teachers
from kd.cli.main import main
from kd.config import ConfigDict
from kd.errors import InputError
from kd.models.mlp import MLP
from kd.objective import PerTeacher, Weighted
from kd.objectives.ce import CE
from kd.objectives.crd import CRD
from kd.objectives.dkd import DKD
from kd.objectives.hydra import Hydra
from kd.objectives.kd import KD, HardLabel, distill_kl
from kd.objectives.rkd import RKD
from kd.optim import make_schedule
from kd.train import evidence
from kd.train.rehearsal import rehearse
from kd.train.run_teacher import RunTeacher
from kd.types import Mixture, Outputs, View

B, C, M = 8, 5, 3


def shape(*axes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(axes, dtype)


def reads(objective, teacher=None):
    """The arrays of a teacher that an objective learns from, by what `View` calls them."""
    student = Outputs(shape(B, C), {"pooled": shape(B, 7), "heads": shape(B, M, C)})
    teacher = teacher or Outputs(shape(B, C), {"pooled": shape(B, 6)})
    index = shape(B, dtype=jnp.int32)
    batch = {"label": index, "index": index, "epoch": shape(dtype=jnp.int32)}
    tables = {"order": shape(40, dtype=jnp.int32)}
    tables |= {name: shape(C, dtype=jnp.int32) for name in ("start", "count")}
    lead = (M,) if isinstance(teacher, Outputs) and len(teacher.logits.shape) == 3 else ()
    head = {"head": shape(*lead, 7, C)}
    view = View(student, teacher, batch, tables, shape(dtype=jnp.int32), head)
    key = {"params": jax.random.key(0), "objective": jax.random.key(0)}
    variables = jax.eval_shape(lambda view: objective.init(key, view), view)
    silent = evidence.silent_terms(objective, 100)
    found = evidence.teacher_reads(objective, evidence.Seen(view, variables), silent)
    return {path for path, is_read in found.items() if is_read}


def weighted(weight, term):
    return Weighted({"ce": CE(), "own": term}, {"ce": 1.0, "own": weight})


class Entropy(nn.Module):
    """Reads the teacher, and tells the student nothing of it."""

    def __call__(self, view):
        return jnp.sum(view.teacher.logits**2, -1)


class Stopped(nn.Module):
    def __call__(self, view):
        student, teacher = view.student.logits, view.teacher.logits
        return jax.lax.stop_gradient(distill_kl(student, teacher, 4.0))


class FromWeights(nn.Module):
    """Learns from the teacher's variables alone."""

    def __call__(self, view):
        return jnp.sum(view.student.logits @ view.teacher_variables["head"].T, -1)


LOGITS, POOLED = "['teacher'].logits", "['teacher'].features['pooled']"


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (weighted(0.5, KD()), {LOGITS}),
        (weighted(0.5, HardLabel()), {LOGITS}),  # by way of an index
        (weighted(0.5, RKD()), {POOLED}),
        (weighted(0.5, CRD(num_negatives=4, dim=3)), {POOLED}),
        (weighted(0.5, DKD(alpha=0.0)), {LOGITS}),
        (weighted(0.5, FromWeights()), {"['teacher_variables']['head']"}),
        (weighted(make_schedule({"name": "linear", "over": 1.0}, 200, 2), KD()), {LOGITS}),
        (weighted(lambda step: jnp.where(step == 33, 1.0, 0.0), KD()), {LOGITS}),
        (Weighted({"ce": CE()}, {"ce": 1.0}), set()),
        (weighted(0.0, KD()), set()),
        (weighted(-0.0, RKD()), set()),
        (weighted(lambda step: 0.0 * step, KD()), set()),
        (weighted(lambda step: jnp.where(step == 133, 1.0, 0.0), KD()), set()),  # later than ends
        (weighted(make_schedule({"name": "linear", "value": 0.0, "over": 1.0}, 9, 9), KD()), set()),
        (weighted(0.5, RKD(distance=0.0, angle=0.0)), set()),
        (weighted(0.5, DKD(alpha=0.0, beta=0.0)), set()),
        (weighted(0.5, Entropy()), set()),
        (weighted(0.5, Stopped()), set()),
    ],
)
def test_what_an_objective_learns_from(objective, expected):
    assert reads(objective) == expected


def test_members_and_their_weights_are_read():
    mixture = Mixture(shape(M, B, C), shape(M))
    both = {"['teacher'].members", "['teacher'].weights"}
    assert reads(weighted(0.5, KD()), mixture) == both
    assert reads(weighted(0.5, Hydra()), mixture) == both
    assert reads(weighted(0.0, KD()), mixture) == set()
    each = Outputs(shape(M, B, C))
    assert reads(weighted(0.5, PerTeacher(KD())), each) == {LOGITS}
    assert reads(weighted(0.0, PerTeacher(KD())), each) == set()


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize(
    "change",
    [
        "--config.objective.kd.weight=0.0",
        "--config.objective.kd.name=ce.CE",
    ],
)
def test_a_run_whose_teacher_nothing_looks_at_is_refused(small_config, change, capsys):
    """Before its teacher is trained; the second leaves only terms of the labels."""
    text = small_config.read_text()
    if "name=" in change:
        small_config.write_text(text.replace('name="kd.KD", temperature=2.0', 'name="ce.CE"'))
    arguments = [] if "name=" in change else [change]
    assert main(["run", "--config", "small.py", *arguments]) == 2
    said = capsys.readouterr().err
    assert "no term of config.objective learns from the teacher" in said
    assert "Leave the teacher out" in said
    assert not list(small_config.parent.glob("runs/*/result.json"))


DATA = np.arange(16 * 4, dtype=np.float32).reshape(16, 4) % 7, np.arange(16) % 4

SHAPES = jax.eval_shape(lambda image: MLP(4, (3,)).init(jax.random.key(0), image), DATA[0])


@pytest.mark.parametrize(
    "teacher",
    [
        np.ones((16, 4), np.float32),
        np.ones((3, 16, 4), np.float32),
        lambda image: image,
        (MLP(4, (3,)), jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), SHAPES)),
        teachers.ema(MLP(4, (3,))),
    ],
)
def test_plain_objects_that_nothing_looks_at_are_refused(teacher):
    settings = dict(student=MLP(4, (3,)), data=DATA, epochs=1, batch_size=8, progress=False)
    objective = {"ce": (1.0, CE()), "kd": (0.0, KD())}
    with pytest.raises(InputError, match="learns from the teacher"):
        kd.distill(teacher=teacher, objective=objective, **settings)


@pytest.mark.parametrize(
    ("key", "changes", "section"),
    [
        ("weights", dict(member_weights=(0.7, 0.3)), {}),
        ("reduce", dict(reduce="logits"), {}),
        ("cache", {}, dict(cache="float16")),
    ],
)
def test_settings_of_outputs_that_nothing_reads_are_refused(key, changes, section):
    """Where the objective learns from the teacher's variables alone."""
    found = {"['teacher'].logits": False, "['teacher_variables']['head']": True}
    teacher = RunTeacher(teachers.none(), ())._replace(**changes)
    config = ConfigDict({"teacher": {"cache": False} | section})
    with pytest.raises(InputError, match=rf"config\.teacher\.{key}: no term"):
        evidence.check_settings(found, teacher, config)
    evidence.check_settings({**found, "['teacher'].logits": True}, teacher, config)


TWO_RUNS = """
    if arg == "first":
        c.teacher, c.epochs = dict(config="small.py:teacher"), 1
        c.objective = dict(kd=dict(name="kd.KD"))
    elif arg == "second":
        c.teacher, c.init = dict(config="small.py:teacher"), dict(config="small.py:first")
    elif arg == "other":
        c.teacher, c.init = dict(config="small.py:teacher"), dict(config="small.py:teacher")
    return c
"""


def test_the_second_of_two_runs_may_leave_the_teacher_to_the_first(small_config):
    """Cross entropy alone, from a student that has learned from the same teacher, as FSP and AB
    do; another start does not make the teacher one's own.
    """
    text = small_config.read_text().replace('if arg != "teacher"', "if arg is None")
    small_config.write_text(text.rstrip().removesuffix("return c").rstrip() + TWO_RUNS)
    rehearse(build.load_config("small.py:second"), "runs")
    with pytest.raises(InputError, match="learns from the teacher"):
        rehearse(build.load_config("small.py:other"), "runs")


def test_an_objective_whose_weights_are_all_zero_is_refused():
    with pytest.raises(InputError, match="would learn nothing"):
        kd.distill(
            teacher=None,
            student=MLP(4, (3,)),
            data=DATA,
            batch_size=8,
            objective={"ce": (0.0, CE())},
            progress=False,
        )


class Softmax(nn.Module):
    num_classes: int = 4

    @nn.compact
    def __call__(self, image, train: bool = False):
        return nn.softmax(nn.Dense(self.num_classes)(image.reshape(len(image), -1)))


@pytest.mark.usefixtures("unoptimized")
def test_a_student_of_probabilities_is_warned_of_before_it_trains():
    """Once, whatever the number of seeds; the student of logits is not."""
    settings = dict(teacher=None, data=DATA, epochs=1, batch_size=8, seeds=2, progress=False)
    with pytest.warns(UserWarning, match="Softmax returns probabilities") as warned:
        kd.distill(student=Softmax(), optimizer=optax.sgd(0.1), **settings)
    assert len(warned) == 1
