"""Students that learn together: deep mutual learning by hand, in turns and at once, and what a run
leaves of its peers.
"""

import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import build, teachers
from kd.cli.main import main
from kd.config import ConfigDict
from kd.data.base import Dataset, Split
from kd.errors import InputError
from kd.export import run_end
from kd.init import make_init
from kd.models import peers
from kd.models.cohort import Cohort, MixedCohort
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.dist import DIST
from kd.objectives.dkd import DKD
from kd.objectives.mutual import Mutual, mutual_kl
from kd.objectives.nkd import NKD
from kd.objectives.sp import SP
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.tables.evaluate import evaluate
from kd.tables.metric_call import parse
from kd.train.alternating import alternate
from kd.types import Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

CLASSES, B = 4, 6
LINEAR = {"name": f"{__name__}.Linear"}


class Linear(nn.Module):
    """Softmax regression, of which gradients are written out below."""

    num_classes: int

    @nn.compact
    def __call__(self, image, train: bool = False):
        return Outputs(nn.Dense(self.num_classes, name="head")(image))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def batch():
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.standard_normal((B, 3)), jnp.float32),
        "label": jnp.arange(B) % CLASSES,
        "index": jnp.arange(B),
        "epoch": jnp.zeros((), jnp.int32),
    }


@pytest.mark.slow
def test_each_peer_learns_from_the_mean_over_the_others():
    """KL of each other's prediction to its own, three peers, T = 2; gradients by hand: T (p_i -
    p_j) / 2 over the others.
    """
    z = np.random.default_rng(1).standard_normal((3, 2, CLASSES))
    p = softmax(z / 2)
    kl = lambda q, p: (q * np.log(q / p)).sum(-1)
    expected = [4 * sum(kl(p[j], p[i]) for j in range(3) if j != i) / 2 for i in range(3)]
    np.testing.assert_allclose(mutual_kl(jnp.asarray(z), 2.0), expected, atol=1e-5)
    slope = jax.grad(lambda z: mutual_kl(z, 2.0).sum())(jnp.asarray(z))
    by_hand = [2 * sum(p[i] - p[j] for j in range(3) if j != i) / 2 for i in range(3)]
    np.testing.assert_allclose(slope, by_hand, atol=1e-5)


def mutual_learning(student, tx, mutual_weight=1.0):
    objective = Weighted({"ce": CE(), "mutual": Mutual()}, {"ce": 1.0, "mutual": mutual_weight})
    build = student, objective, teachers.none(), tx
    frozen = {"teacher": (), "tables": {}}
    state = jax.jit(make_init(*build))(jax.random.key(0), frozen, batch())
    step = jax.jit(alternate(make_step(*build), student, teachers.none()))
    return state, lambda state: step(state, frozen, batch())


def kernels(student, state):
    """Weights [3, c] and biases [c] of each peer."""
    heads = [peers.variables_of(student, state.student, i)["params"]["head"] for i in (0, 1)]
    return [(np.asarray(h["kernel"], float), np.asarray(h["bias"], float)) for h in heads]


@pytest.mark.parametrize(
    ("kind", "alternate"),
    [("vmapped", False), pytest.param("vmapped", True, marks=pytest.mark.slow), ("mixed", True)],
)
@pytest.mark.slow
def test_two_updates_of_linear_peers_are_those_of_the_paper(kind, alternate):
    """Softmax regressions with momentum, in NumPy: all at once, or as in Algorithm 1 one after the
    other.
    """
    rate, momentum = 0.5, 0.9
    student = (
        Cohort(LINEAR, CLASSES, 2, alternate)
        if kind == "vmapped"
        else MixedCohort((LINEAR, LINEAR), CLASSES, alternate)
    )
    state, step = mutual_learning(student, optax.sgd(rate, momentum))
    own = kernels(student, state)
    assert not np.allclose(own[0][0], own[1][0])  # each starts with weights of its own
    trace = [(0.0, 0.0), (0.0, 0.0)]
    x, y = np.asarray(batch()["image"], float), np.eye(CLASSES)[batch()["label"]]
    for _ in range(2):
        state, metrics = step(state)
        seen = list(own)
        for i in (0, 1):
            p, q = (softmax(x @ w + b) for w, b in (seen[i], seen[1 - i]))
            slope = ((p - y) + (p - q)) / B
            trace[i] = tuple(
                g + momentum * m for g, m in zip((x.T @ slope, slope.sum(0)), trace[i], strict=True)
            )
            own[i] = tuple(v - rate * m for v, m in zip(own[i], trace[i], strict=True))
            if alternate:
                seen[i] = own[i]
    for found, expected in zip(kernels(student, state), own, strict=True):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert int(state.step) == 2 and metrics["loss"].shape == ()


@pytest.mark.slow
def test_without_mutual_learning_a_peer_is_a_student_of_its_own():
    student = Cohort({"name": "mlp.MLP", "widths": (5,)}, CLASSES)
    state, step = mutual_learning(student, optax.sgd(0.5), mutual_weight=0.0)
    start = [peers.variables_of(student, state.student, i) for i in (0, 1)]
    for _ in range(2):
        state, _ = step(state)
    for i, variables in enumerate(start):
        alone = MLP(CLASSES, (5,)), Weighted({"ce": CE()}, {"ce": 1.0}), teachers.none()
        init = make_init(*alone, optax.sgd(0.5))
        frozen = {"teacher": (), "tables": {}}
        own = jax.jit(init)(jax.random.key(0), frozen, batch())
        own = own.replace(params={"student": variables["params"], "objective": {}})
        step = jax.jit(make_step(*alone, optax.sgd(0.5)))
        for _ in range(2):
            own, _ = step(own, frozen, batch())
        found = peers.variables_of(student, state.student, i)["params"]
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, own.params["student"]
        )


def test_one_student_cannot_learn_mutually():
    outputs = Outputs(jnp.zeros((B, CLASSES)))
    with pytest.raises(InputError, match=r"cohort\.Cohort"):
        Mutual().apply({}, View(outputs, None, batch(), {}, jnp.int32(0)))


@pytest.mark.parametrize("term", [SP(), DIST()])
def test_what_compares_examples_is_not_for_a_cohort(term):
    for shape in ((2, B, CLASSES), (B, CLASSES)):
        peers = 2 if len(shape) == 3 else 0
        teacher = Outputs(jnp.ones(shape), {"stage1": jnp.ones(shape)}, peers)
        features = {"stage1": jnp.ones((2, B, 3))}
        student = Outputs(jnp.ones((2, B, CLASSES)), features, peers=2)
        view = View(student, teacher, batch(), {}, jnp.int32(0))
        with pytest.raises(InputError, match=r"config\.objective\.own gives no loss"):
            Weighted({"own": term}, {"own": 1.0}).apply({}, view)


@pytest.mark.parametrize("term", [DKD(warmup_epochs=0), NKD()])
@pytest.mark.slow
def test_a_peer_learns_from_a_teacher_as_if_alone(term):
    random = np.random.default_rng(2)
    student, teacher = jnp.asarray(random.standard_normal((2, 2, B, CLASSES)), jnp.float32)
    of = lambda s, t: term.apply({}, View(Outputs(s), Outputs(t), batch(), {}, jnp.int32(0)))
    alone = [of(*pair) for pair in zip(student, teacher, strict=True)]
    np.testing.assert_allclose(of(student, teacher), alone, rtol=1e-5)


def test_a_cohort_is_not_trained_or_exported_on_eight_bits():
    """The files would hold the logits of all peers side by side."""
    section = {"name": "cohort.MixedCohort", "members": (LINEAR, LINEAR)}
    with pytest.raises(InputError, match="is several networks"):
        build.make_model({**section, "quantize": "int8"}, CLASSES)
    cohort = build.make_model(section, CLASSES)
    split = Split(np.zeros((B, 3), np.float32), np.zeros(B, np.int32))
    dataset = Dataset(split, split, CLASSES, (0.0,), (1.0,))
    with pytest.raises(InputError, match="--peer I"):
        run_end.check(ConfigDict(), dataset, cohort)


def test_a_table_may_ask_for_a_peer_or_for_both_together():
    """Two seeds of two peers, two images of class 0. Where peers differ the surer decides: 0.98 and
    0.05 have the mean 0.51.
    """
    sure, wrong, barely = [4.0, 0.0], [0.0, 3.0], [1.0, 0.0]
    logits = [[sure, wrong], [wrong, barely], [sure, barely], [wrong, sure]]
    label, k = np.array([0, 0]), np.array(2)
    predictions = {"logits": np.array(logits), "label": label, "peers": k}
    of = lambda text: evaluate(parse(text), predictions)
    assert of("accuracy(peer=0)") == [50, 100] and of("accuracy(peer=1)") == [50, 50]
    assert of("accuracy") == [50, 75] and of("errors") == [1, 0.5]
    assert of("accuracy(together=True)") == [50, 100]
    with pytest.raises(InputError, match="peer: expected 0 or more"):
        parse("accuracy(peer=-1)")


COHORT = """
    c.student = dict(name="cohort.MixedCohort", members=(
        dict(name="mlp.MLP", widths=(8,)), dict(name="mlp.MLP", widths=(4,))))
    c.objective.mutual = dict(name="mutual.Mutual")
    if arg != "teacher":
"""


@pytest.mark.slow
def test_peers_are_networks_of_the_run(small_config, small_data, capsys):
    """Their predictions are stored one after the other; tables tell them apart; a run can learn
    from those of one kind.
    """
    text = small_config.read_text().replace('    if arg != "teacher":\n', COHORT)
    small_config.write_text(text)
    assert main(["run", "--config", "small.py:teacher"]) == 0
    cohort_run = Workdir("runs/small-teacher")
    printed = capsys.readouterr().out
    assert "student, peer 0" in printed and "ensemble of its 2 peers" in printed
    stored, result = cohort_run.predictions(), cohort_run.read("result.json")
    assert stored["logits"].shape == (4, 40, 10) and stored["peers"] == 2
    sizes = [64 * w + w + 10 * w + 10 for w in (8, 4)]
    assert [cost["parameters"] for cost in result["peers"]] == sizes
    right = 100 * (stored["logits"].argmax(-1) == stored["label"]).mean(-1)
    assert result["final"]["accuracy"] == pytest.approx(list(right / 100))
    of = lambda text: evaluate(parse(text), stored)
    assert of("accuracy(peer=1)") == pytest.approx([right[1], right[3]])
    assert of("accuracy") == pytest.approx([right[:2].mean(), right[2:].mean()])
    with pytest.raises(InputError, match="no peer 2"):
        of("accuracy(peer=2)")
    which = ["--seed", "1", "--peer", "1", "--out", "out"]
    assert main(["export", "runs/small-teacher", "--format", "stablehlo", *which]) == 0
    report = json.loads(Path("out/report.json").read_text())
    assert report["parameters"] == sizes[1]
    assert report["checks"]["test"]["accuracy"] == pytest.approx(right[3] / 100)
    capsys.readouterr()
    student = ["--config.student.name=mlp.MLP", "--config.student.widths=(8,)"]
    text = small_config.read_text().replace(
        '    if arg != "teacher":\n', '    del c.objective["mutual"]\n    if True:\n'
    )
    (small_config.parent / "taught.py").write_text(text)
    command = ["run", "--config", "taught.py", *student]
    assert main(command) == 2
    assert "(0, 2) or (1, 3)" in capsys.readouterr().err
    assert main([*command, "--config.teacher.members=(1, 3)"]) == 0
    taught = Workdir("runs/taught").read("result.json")["teacher"]
    assert taught["members"] == [1, 3]
    assert f"{sizes[1]:,}" in capsys.readouterr().out
    foreign = ["--foreign", "arrays", "--foreign_path", str(small_data)]
    assert main(["uncertainty", "runs/taught", *foreign]) == 0
    assert "ensemble of 2" in capsys.readouterr().out
