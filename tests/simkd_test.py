"""SimKD: the deployed network, what it inherits, what it costs, and its steps under jit, seeds and
eight devices.
"""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from configs import cifar100
from kd import teachers
from kd.cli.main import main
from kd.data import digits
from kd.errors import InputError
from kd.features import final_map
from kd.init import make_init
from kd.models import cost, simkd
from kd.models.cnn import CNN
from kd.models.wrn import WideResNet, wrn_16_2, wrn_40_2
from kd.objective import PerTeacher, Weighted
from kd.objectives.simkd import SimKD
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.step import make_step
from kd.types import Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

STUDENT = {"name": "cnn.CNN", "widths": (4,)}
TEACHER = {"name": "cnn.CNN", "widths": (4, 6)}
NET = simkd.SimKD(student=STUDENT, teacher=TEACHER, num_classes=3)
BIG = CNN(3, (4, 6))
IMAGE = jnp.asarray(np.random.default_rng(0).standard_normal((16, 8, 8, 1)), "float32")
BATCH = {"image": IMAGE, "label": jnp.arange(16) % 3, "index": jnp.arange(16)}
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def frozen(seed: int = 0) -> dict:
    return {"teacher": BIG.init(jax.random.key(seed), IMAGE), "tables": {}}


def parts(objective=None, teacher=None) -> tuple:
    term = objective or SimKD()
    total = Weighted({"simkd": term}, {"simkd": 1.0})
    # Weight decay, which must not reach the classifier.
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))
    return NET, total, teacher or teachers.frozen(BIG), tx


@pytest.mark.slow
def test_the_classifier_is_the_teachers_and_stays_so():
    weights = frozen()
    init, step = jit(make_init(*parts())), jit(make_step(*parts()))
    state = init(jax.random.key(1), weights, BATCH)
    losses = []
    for _ in range(3):
        state, metrics = step(state, weights, BATCH)
        losses.append(float(metrics["loss"]))
    assert losses[2] < losses[0]
    head = weights["teacher"]["params"]["head"]
    inherited = state.student["inherited"]["head"]
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(inherited[name], head[name])
    outputs = NET.apply(state.student, IMAGE)
    expected = outputs.features["pooled"] @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(outputs.logits, expected, atol=1e-5)
    pooled = np.asarray(outputs.features["projected"]).mean((1, 2))
    np.testing.assert_allclose(outputs.features["pooled"], pooled, atol=1e-6)


@pytest.mark.slow
def test_a_student_that_starts_from_another_run_has_its_own_teachers_classifier():
    before, weights = frozen(), frozen(seed=5)
    init = jit(make_init(*parts()))
    first = init(jax.random.key(1), before, BATCH)
    state = init(jax.random.key(2), weights, BATCH, {"student": first.student})
    jax.tree.map(np.testing.assert_array_equal, state.params, first.params)
    head = weights["teacher"]["params"]["head"]
    inherited = state.student["inherited"]["head"]
    np.testing.assert_array_equal(inherited["kernel"], head["kernel"])


@pytest.mark.slow
def test_the_projector_is_that_of_the_paper():
    """1 x 1, 3 x 3 with zeros around, 1 x 1, each with BatchNorm (fresh statistics: a factor) and
    ReLU, in NumPy.
    """
    variables = NET.init(jax.random.key(3), IMAGE)
    outputs = NET.apply(variables, IMAGE)
    x = np.asarray(outputs.features["stage1"])
    x = x.reshape(16, 4, 2, 4, 2, 4).mean((2, 4))  # to the teacher's 4 x 4
    for i in range(3):
        kernel = np.asarray(variables["params"][f"conv{i}"]["kernel"])
        side = len(kernel) // 2
        wide = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
        x = sum(
            wide[:, i : i + 4, j : j + 4] @ kernel[i, j]
            for i in range(len(kernel))
            for j in range(len(kernel))
        )
        x = np.maximum(x / np.sqrt(1 + 1e-5), 0)
    np.testing.assert_allclose(outputs.features["projected"], x, atol=1e-5)


def test_what_is_deployed_is_counted_by_hand():
    """Convolution and BatchNorm of the student; 1 x 1, 3 x 3, 1 x 1 with theirs at half the
    teacher's width; its classifier.
    """
    one = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    variables = jax.eval_shape(NET.init, jax.random.key(0), one)
    body, narrow, head = 9 * 4 + 8, 3, 6 * 3 + 3
    projector = 4 * narrow + 9 * narrow**2 + narrow * 6 + 2 * (narrow + narrow + 6)
    assert cost.parameters(variables) == body + projector + head
    assert "head" not in variables["params"]["student"]
    # The student's map of 8 x 8 is pooled to the teacher's 4 x 4: a [4, 8] matrix on each side.
    pooling = 4 * 8 * 8 * 4 + 4 * 4 * 8 * 4
    expected = 64 * 9 * 4 + pooling + 16 * (4 * 3 + 9 * 9 + 3 * 6) + 6 * 3
    assert cost.macs(lambda v, x: NET.apply(v, x), variables, one) == expected


def test_the_loss_by_hand():
    """The teacher's map [2, 2] after ReLU has mean 1.5; against 1 that is 0.25 for one place and
    one channel.
    """
    pre = jnp.asarray([[-1.0, 2.0], [4.0, 0.0]]).reshape(1, 2, 2, 1)
    teacher = Outputs(
        jnp.zeros((1, 2)), {"stage1": 9 * pre, "stage1_pre": pre, "pooled": jnp.zeros((1, 1))}
    )
    student = Outputs(jnp.zeros((1, 2)), {"projected": jnp.ones((1, 1, 1, 1))})
    view = View(student, teacher, {}, {}, jnp.asarray(0))
    np.testing.assert_allclose(SimKD().apply({}, view), [0.25])
    same = Outputs(student.logits, {"projected": jax.nn.relu(pre)})
    loss = lambda x: jnp.sum(
        SimKD().apply({}, view.replace(student=same.replace(features={"projected": x})))  # pyrefly: ignore
    )
    value, grad = jax.value_and_grad(loss)(same.features["projected"])
    assert value == 0 and not np.any(grad)  # equal maps are stationary


@pytest.mark.slow
def test_a_wide_residual_network_reads_the_mean_of_its_final_map():
    """So that a projector that matched the map exactly would have the teacher's logits."""
    image = jnp.ones((2, 8, 8, 3)) * jnp.linspace(-1, 1, 8)[None, :, None, None]
    net = WideResNet(10, 1, num_classes=5)
    outputs = jit(net.init_with_output)(jax.random.key(0), image)[0]
    pooled = np.asarray(final_map(outputs)).mean((1, 2))
    np.testing.assert_allclose(pooled, outputs.features["pooled"], atol=1e-6)


def test_parameters_of_the_papers_pair():
    """wrn_40_2 to wrn_16_2: the student less its classifier, the projector, the teacher's
    classifier.
    """
    net = simkd.SimKD(
        student={"name": "wrn.wrn_16_2"}, teacher={"name": "wrn.wrn_40_2"}, num_classes=100
    )
    one = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), one)
    head = 128 * 100 + 100
    student = jax.eval_shape(wrn_16_2().init, jax.random.key(0), one)
    projector = 128 * 64 + 9 * 64**2 + 64 * 128 + 2 * (64 + 64 + 128)
    assert cost.parameters(shapes) == cost.parameters(student) - head + projector + head
    teacher = jax.eval_shape(wrn_40_2().init, jax.random.key(0), one)["params"]
    assert shapes["inherited"]["head"]["kernel"].shape == teacher["head"]["kernel"].shape


def three(step, state, weights, batch):
    """State and metrics after three steps."""
    for _ in range(3):
        state, metrics = step(state, weights, batch)
    return state, metrics


@pytest.mark.slow
def test_seeds_at_once_and_eight_devices_are_one_alone():
    weights = frozen()
    init, raw = make_init(*parts()), make_step(*parts())
    init = jit(init)
    states = [init(jax.random.key(i), weights, BATCH) for i in (1, 2)]
    alone = [three(jit(raw), state, weights, BATCH) for state in states]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    together = three(jit(jax.vmap(raw, (0, None, None))), stacked, weights, BATCH)
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    put = lambda tree, *axes: jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*axes)))
    split = three(jit(raw), put(states[0]), put(weights), put(BATCH, "data"))
    first = jax.tree.map(lambda x: x[0], together)
    for ours in (first, split):
        for a, b in zip(
            jax.tree.leaves(ours[0].student), jax.tree.leaves(alone[0][0].student), strict=True
        ):
            np.testing.assert_allclose(a, b, atol=3e-6)
        np.testing.assert_allclose(ours[1]["loss"], alone[0][1]["loss"], rtol=1e-5)


def test_three_teachers_are_the_mean_of_each():
    """Of the objective; a student can inherit from one alone, and says so."""
    rng = np.random.default_rng(1)
    maps = jnp.asarray(rng.standard_normal((3, 4, 2, 2, 6)), jnp.float32)
    student = Outputs(jnp.zeros((4, 3)), {"projected": maps[0] + 1})
    of = lambda teacher: View(student, teacher, {}, {}, jnp.asarray(0))
    outputs = Outputs(jnp.zeros((3, 4, 3)), {"stage1": maps})
    lifted = PerTeacher(SimKD()).apply({}, of(outputs))
    each = [SimKD().apply({}, of(Outputs(student.logits, {"stage1": m}))) for m in maps]
    np.testing.assert_allclose(lifted, np.mean(each, axis=0), rtol=1e-6)
    members = teachers.stack([frozen(i)["teacher"] for i in range(2)])
    init = make_init(*parts(PerTeacher(SimKD()), teachers.ensemble(BIG, "each")))
    with pytest.raises(InputError, match="must be one network"):
        init(jax.random.key(0), {"teacher": members, "tables": {}}, BATCH)


def test_what_does_not_fit_is_told():
    with pytest.raises(InputError, match="the run has none"):
        init = make_init(*parts(teacher=teachers.none()))
        init(jax.random.key(0), {"teacher": (), "tables": {}}, BATCH)
    view = View(Outputs(jnp.zeros((1, 2))), Outputs(jnp.zeros((1, 2))), {}, {}, 0)
    with pytest.raises(InputError, match="Wrap it"):
        SimKD().apply({}, view)
    mobile = {"name": "mobilenet.MobileNetV2"}
    net = simkd.SimKD(student=mobile, teacher=mobile, num_classes=3)
    with pytest.raises(InputError, match="reads 1280 channels"):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(InputError, match="expected 1 to 6, the channels"):
        NET.clone(factor=0).init(jax.random.key(0), IMAGE)


def test_the_recipe_reaches_it():
    c = cifar100.get_config("teacher=wrn_40_2,student=wrn_16_2,method=simkd")
    assert c.student.to_dict() == dict(
        name="simkd.SimKD", student=dict(name="wrn.wrn_16_2"), teacher=dict(name="wrn.wrn_40_2")
    )
    assert list(c.objective) == ["simkd"]


CONFIG = """
def student(c):
    student, teacher = dict(name="cnn.CNN", widths=(4,)), dict(name="cnn.CNN", widths=(4, 6))
    c.student = dict(name="simkd.SimKD", student=student, teacher=teacher)
    c.objective = dict(simkd=dict(name="simkd.SimKD"))
"""


@pytest.mark.slow
def test_a_run_reports_what_it_deploys_and_keeps_it(small_config: Path):
    text = small_config.read_text()
    text = text.replace('"mlp.MLP", widths=(8,)', '"cnn.CNN", widths=(4, 6)')
    text = text.replace(
        '        c.objective.kd = dict(name="kd.KD", temperature=2.0)\n',
        "        c.teacher.members = (0,)\n        student(c)\n",
    )
    small_config.write_text(CONFIG + text.replace("c.epochs = 3", "c.epochs = 1"))
    assert main(["run", "--config", "small.py"]) == 0
    result = json.loads(Path("runs/small/result.json").read_text())
    net = simkd.SimKD(student=STUDENT, teacher=TEACHER, num_classes=10)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert result["parameters"] == cost.parameters(shapes)
    assert result["bytes"] == cost.nbytes(shapes)
    ours = load_networks(Workdir("runs/small")).variables["inherited"]["head"]
    theirs = load_networks(Workdir("runs/small-teacher")).variables["params"]["head"]
    for i in range(2):
        np.testing.assert_array_equal(ours["kernel"][i], theirs["kernel"][0])


@pytest.mark.slow
def test_one_epoch_on_512_digits():
    """Finite, and the student comes nearer to the teacher's maps."""
    train = digits.load().train
    image = jnp.asarray(train.image[:512] / 255, jnp.float32)
    weights = frozen()
    init, step = jit(make_init(*parts())), jit(make_step(*parts()))
    losses = []
    for rows in np.random.default_rng(0).permutation(512).reshape(8, 64):
        batch = {"image": image[rows], "label": jnp.asarray(train.label[rows])}
        if not losses:
            state = init(jax.random.key(0), weights, batch)
        state, metrics = step(state, weights, batch)
        assert all(np.isfinite(value) for value in metrics.values()), metrics
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-2:]) < losses[0]
