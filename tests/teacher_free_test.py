"""Distillation without a teacher network, by hand: mean of weights, virtual teacher, past
predictions.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import teachers
from kd.cli.main import main
from kd.init import make_init
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.objectives.pskd import PSKD
from kd.objectives.tfkd import VirtualTeacher
from kd.optim import make_schedule
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.types import Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

CLASSES = 3


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def view(logits, index=(0, 1), epoch=0):
    batch = {"label": jnp.array([2, 0]), "index": jnp.array(index), "epoch": jnp.int32(epoch)}
    outputs = Outputs(jnp.asarray(logits, jnp.float32))
    return View(outputs, None, batch, {"order": jnp.arange(4)}, jnp.int32(0))


def test_the_virtual_teacher_by_hand():
    """softmax of (0.005, 0.005, 0.99) / 20 and of (0.99, 0.005, 0.005) / 20, and KL to the
    student's unsoftened prediction.
    """
    logits = np.array([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]])
    q = softmax(np.array([[0.005, 0.005, 0.99], [0.99, 0.005, 0.005]]) / 20)
    expected = (q * np.log(q / softmax(logits))).sum(-1)
    found = VirtualTeacher().apply({}, view(logits))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_past_predictions_are_the_targets_of_the_next_epoch():
    """Images 0 and 3 are seen, then 3 and 1: of these 3 has a past, and 1 has its label."""
    objective = PSKD()
    first = np.array([[1.0, 0.0, -1.0], [0.2, 0.4, 0.0]])
    variables = objective.init(jax.random.key(0), view(first, (0, 3)))
    loss, memory = objective.apply(variables, view(first, (0, 3)), mutable="memory")
    labels = -np.log(softmax(first))[[0, 1], [2, 0]]
    np.testing.assert_allclose(loss, labels, rtol=1e-5)
    second = np.array([[0.0, 2.0, 1.0], [1.0, 1.0, 3.0]])
    loss, memory = objective.apply(memory, view(second, (3, 1), 1), mutable="memory")
    log_p = np.log(softmax(second))
    expected = [-(softmax(first[1]) * log_p[0]).sum(), -log_p[1, 0]]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    stored = memory["memory"]["log_p"]
    np.testing.assert_allclose(stored[3], log_p[0], atol=1e-6)
    np.testing.assert_allclose(stored[0], np.log(softmax(first[0])), atol=1e-6)
    np.testing.assert_array_equal(stored[2], 0)


def test_the_weight_of_past_predictions_grows_by_the_epoch():
    """0.8 (e + 1) / E: the same within an epoch, and 0.8 in the last."""
    share = make_schedule({"name": "by_epoch", "end": 0.8}, 10, 4)
    found = [round(float(share(step)), 6) for step in (0, 9, 10, 39)]
    assert found == [0.2, 0.2, 0.4, 0.8]
    rest = make_schedule({"name": "by_epoch", "start": 1.0, "end": 0.2}, 10, 4)
    assert float(share(25) + rest(25)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("decay", "keep"),
    [(0.9, (1 / 2, 2 / 3)), pytest.param(0.25, (0.25, 0.25), marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_the_mean_teacher_follows_its_student(decay, keep):
    """After update t it keeps min(decay, 1 - 1 / (t + 1)) of itself: at first it is the plain mean
    of all weights so far.
    """
    student, teacher = MLP(CLASSES, ()), teachers.ema(MLP(CLASSES, ()), decay)
    objective = Weighted({"ce": CE(), "kd": KD(1.0)}, {"ce": 1.0, "kd": 1.0})
    parts = student, objective, teacher, optax.sgd(0.5)
    frozen = {"teacher": (), "tables": {}}
    image = jax.random.normal(jax.random.key(1), (4, 5))
    batch = {"image": image, "label": jnp.array([0, 1, 2, 0])}
    state = jax.jit(make_init(*parts))(jax.random.key(0), frozen, batch)
    step = jax.jit(make_step(*parts), donate_argnums=0)
    kernel = lambda tree: np.asarray(tree["params"]["head"]["kernel"])
    mean = kernel(state.student).copy()
    assert np.array_equal(kernel(state.teacher["mean"]), mean)
    for share in keep:
        state, metrics = step(state, frozen, batch)
        mean = share * mean + (1 - share) * kernel(state.student)
        np.testing.assert_allclose(kernel(state.teacher["mean"]), mean, atol=1e-6)
    assert metrics["kd"] > 0  # the student has moved away from its mean


@pytest.mark.slow
def test_a_resumed_run_keeps_its_mean_teacher(small_config, capsys, monkeypatch):
    """Interrupted after the first epoch and resumed, it equals the uninterrupted run; predictions
    of the mean are stored and its accuracy printed.
    """
    from kd.train import loop

    text = small_config.read_text().replace(
        'c.teacher = dict(config="small.py:teacher")', 'c.teacher = dict(name="ema", decay=0.9)'
    )
    small_config.write_text(text)
    assert main(["run", "--config", "small.py", "--workdir", "whole"]) == 0
    assert "mean of its weights" in capsys.readouterr().out
    record = loop._record
    with monkeypatch.context() as patch:

        def stop(call, *rest):
            record(call, *rest)
            if call.step >= 3:
                raise KeyboardInterrupt

        patch.setattr(loop, "_record", stop)
        assert main(["run", "--config", "small.py", "--workdir", "cut"]) == 130
    assert main(["run", "--config", "small.py", "--workdir", "cut"]) == 0
    whole, cut = Workdir("whole"), Workdir("cut")
    for name in ("logits", "teacher_logits"):
        found = [run.predictions()[name] for run in (whole, cut)]
        np.testing.assert_array_equal(*found)
    stored = whole.predictions()["teacher_logits"]
    final = whole.read("result.json")["final"]
    right = (stored.argmax(-1) == whole.predictions()["label"]).mean(-1)
    assert final["teacher_accuracy"] == pytest.approx(list(right))
    assert min(final["agreement"]) > 0 and final["kl"][0] > 0
    assert (
        main(["run", "--config", "small.py", "--config.teacher.decay=1.5", "--workdir", "bad"]) == 2
    )
    assert "decay" in capsys.readouterr().err
