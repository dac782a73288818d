"""The public API: `kd.run`, `kd.load` and `kd.distill` on plain objects."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kd
from kd import teachers
from kd.models.mlp import MLP
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.predict import evaluator
from kd.train import objects

CONFIG = """
from ml_collections import ConfigDict

def get_config(role="student"):
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.seeds = 2
    c.epochs = 3
    c.batch_size = 32
    c.steps_per_call = 4
    c.optimizer = dict(name="adam", learning_rate=3e-3)
    c.student = dict(name="mlp.MLP", widths=(8,))
    c.objective = dict(ce=dict(name="ce.CE"))
    if role == "student":
        c.teacher = dict(config="{config}:teacher")
        c.objective = dict(
            ce=dict(name="ce.CE", weight=0.1), kd=dict(name="kd.KD", weight=0.9, temperature=4.0)
        )
    return c
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with arrays and a config; 3 classes, whose images differ in brightness."""
    folder = tmp_path_factory.mktemp("api")
    rng = np.random.default_rng(0)
    label = np.arange(110) % 3
    image = np.clip(rng.normal(60 + 60 * label[:, None, None], 40, (110, 4, 4)), 0, 255)
    image = image.astype(np.uint8)[..., None]
    np.savez(
        folder / "data.npz",
        x_train=image[:80],
        y_train=label[:80],
        x_test=image[80:],
        y_test=label[80:],
    )
    config = folder / "small.py"
    config.write_text(CONFIG.format(data=folder / "data.npz", config=config))
    return folder


@pytest.fixture(scope="module")
def student(folder):
    return kd.run(str(folder / "small.py"), runs=folder / "runs")


@pytest.fixture(scope="module")
def teacher(student, folder):
    return kd.load(folder / "runs" / "small-teacher")


@pytest.fixture(scope="module")
def data(folder):
    arrays = np.load(folder / "data.npz")
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def distill(data, **settings):
    train, test = data
    settings = dict(student=MLP(3, (8,)), optimizer=optax.adam(3e-3), epochs=3) | settings
    settings = dict(batch_size=32, steps_per_call=4, progress=False) | settings
    return kd.distill(data=train, test=test, **settings)


def test_a_run_has_its_config_results_and_networks(finished, small_data):
    student = kd.run("small.py")
    with np.load(small_data) as arrays:
        image, label = arrays["x_test"], arrays["y_test"]
    assert student.config.seeds == 2 and len(student.networks) == 2
    assert np.array_equal(student.logits(image), student.predictions["logits"])
    accuracy = student.networks.accuracy(image, label)
    np.testing.assert_allclose(accuracy, student.result["final"]["accuracy"], rtol=1e-6)
    alone, together = student.networks[1].logits(image), student.logits(image)
    np.testing.assert_allclose(alone, together[1:], atol=1e-5)
    assert "distilled student" in student.table() and "Run(" in repr(student)


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_a_finished_run_is_read_and_overrides_name_a_run_of_their_own(student, folder):
    again = kd.run(str(folder / "small.py"), runs=folder / "runs")
    assert again.result == student.result
    other = kd.run(str(folder / "small.py"), runs=folder / "runs", seeds=1)
    assert other.path.name == "small--seeds=1" and len(other.networks) == 1
    with pytest.raises(kd.InputError, match="epochs"):
        kd.run(str(folder / "small.py"), runs=folder / "runs", epoch=1)


@pytest.mark.slow
def test_distill_and_run_are_the_same_step(student, teacher, data):
    """Equal bits: both go through the same parts, setup and compiled step."""
    objective = {"ce": (0.1, CE()), "kd": (0.9, KD(4.0))}
    same = distill(data, teacher=teacher, objective=objective, seeds=2)
    ours, theirs = jax.tree.leaves(same.variables), jax.tree.leaves(student.networks.variables)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert np.array_equal(same.logits(data[1][0]), student.predictions["logits"])
    assert same.scores == student.result["final"]


class Plain(nn.Module):
    """A stranger's network: another flag, and an array in place of Outputs."""

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(3)(nn.Dropout(0.1, deterministic=deterministic)(x))


class MeanLabel(nn.Module):
    """The mean label of a batch as a term, which no parameter changes."""

    @nn.compact
    def __call__(self, view):
        mean = view.batch["label"].astype(jnp.float32).mean()
        return 0.0 * view.student.logits.sum() + mean, {"mean_label": mean}


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_sampling_is_an_option(data):
    """Of 40 images 4 are of class 1: a tenth of a batch, or a half of it."""
    label = np.where(np.arange(40) < 4, 1, 0)
    rare = (data[0][0][:40], label), (data[1][0], data[1][1] % 2)
    means = {}
    for sampling in ("shuffled", "balanced"):
        settings = dict(batch_size=40, steps_per_call=1, epochs=1, student=MLP(2, (4,)))
        student = distill(rare, teacher=None, objective=MeanLabel(), sampling=sampling, **settings)
        (means[sampling],) = (
            row["mean_label"] for row in student.history if row["kind"] == "train"
        )
    assert np.allclose(means["shuffled"], 0.1) and np.allclose(means["balanced"], 0.5)
    with pytest.raises(kd.InputError, match="Did you mean 'balanced'"):
        distill(data, teacher=None, sampling="balance")


def check_kinds(teacher, data, names):
    """The first member of a run, given in several ways, teaches the same."""
    (image, _), (test, _) = data
    first = teacher.networks[0]
    model, variables = first.model, jax.tree.map(lambda x: x[0], first.variables)
    function = lambda x: model.apply(variables, x, train=False).logits
    kinds = {
        "networks": first,
        "module": (model, variables),
        "function": function,
        "numpy": lambda x: np.asarray(function(jnp.asarray(np.ascontiguousarray(x)))),
        "logits": first.logits(image)[0],
    }
    logits = [distill(data, teacher=kinds[name], epochs=1).logits(test) for name in names]
    for name, other in zip(names, logits, strict=True):
        np.testing.assert_allclose(other, logits[0], atol=1e-4, err_msg=name)
    return logits[0]


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_networks_a_function_and_logits_teach_the_same(teacher, data):
    logits = check_kinds(teacher, data, ("networks", "function", "logits"))
    alone = distill(data, teacher=None, epochs=1)
    assert np.abs(alone.logits(data[1][0]) - logits).max() > 1e-2


@pytest.mark.slow
def test_a_module_and_a_numpy_function_teach_the_same(teacher, data):
    check_kinds(teacher, data, ("networks", "module", "numpy"))


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
@pytest.mark.parametrize("reduce", ["probs", "logits", "each"])
def test_logits_of_members_are_an_ensemble(teacher, data, reduce):
    stored = teacher.logits(data[0][0])
    assert stored.shape == (2, 80, 3)
    cached = distill(data, teacher=stored, reduce=reduce, epochs=1).logits(data[1][0])
    live = distill(data, teacher=teacher, reduce=reduce, epochs=1).logits(data[1][0])
    np.testing.assert_allclose(cached, live, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_any_linen_module_is_a_student(teacher, data):
    trained = distill(data, teacher=teacher, student=Plain(), epochs=1, seeds=2)
    assert set(trained.variables["params"]) == {"Dense_0", "Dense_1"}
    assert trained.logits(data[1][0]).shape == (2, 30, 3)
    assert [row["kind"] for row in trained.history][-1] == "test"
    follower = distill(data, teacher=trained)  # and the students are a teacher again
    assert len(follower) == 1


def test_grey_images_need_no_channel(data):
    (image, label), _ = data
    dataset = objects.make_dataset((image[..., 0], label), None, None)
    assert np.array_equal(dataset.train.image, image) and len(dataset.mean) == 1


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_a_mean_teacher_follows_the_student(data):
    student = MLP(3, (8,))
    trained = distill(data, teacher=teachers.ema(student, 0.9), student=student)
    assert np.isfinite(trained.logits(data[1][0])).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(teacher=np.zeros((80, 4))), r"\[80, 4\]; expected \[80, 3\]"),
        (dict(teacher=np.zeros((80, 3)), augment="crop(1)"), "leave augment out"),
        (dict(teacher=np.full((80, 3), np.nan)), "NaN"),
        (dict(teacher=lambda x: jnp.zeros((len(x), 4))), r"expected logits \[2, 3\]"),
        (dict(teacher=Plain()), "pair"),
        (dict(teacher=3), "expected a kd.Run"),
        (dict(teacher=None, student=3), "Flax linen module"),
        (dict(teacher=None, objective={}), "empty"),
        (dict(teacher=None, objective={"ce": CE()}), "pair"),
        (dict(teacher=None, epochs=0), "epochs"),
        (dict(teacher="nowhere"), "no run directory"),
    ],
)
def test_objects_that_do_not_fit_are_refused(data, settings, words):
    with pytest.raises(kd.InputError, match=words):
        distill(data, **settings)


TRACED = []


class Traced(nn.Module):
    """A linear student that notes the sizes of the batches that its updates are traced on."""

    @nn.compact
    def __call__(self, image, train=False):
        TRACED.append((train, len(image)))
        return nn.Dense(3)(image.reshape(len(image), -1))


@pytest.mark.parametrize("loop", ["device", "host"])
def test_an_update_is_traced_once_for_each_size_of_a_batch(data, unoptimized, loop):
    """Not once more for the check of the last batch, nor for the shapes of its metrics."""
    TRACED.clear()
    distill(data, teacher=None, student=Traced(), epochs=2, loop=loop)
    assert sorted(size for train, size in TRACED if train) == [16, 32]
    assert TRACED.count((False, 30)) == 1  # all evaluations


def test_networks_are_traced_once_for_all_calls(unoptimized):
    """And for all objects of one architecture, such as a part of them."""
    image = np.random.default_rng(0).random((6, 2, 2, 1), np.float32)
    init = lambda key: Traced().init(key, image)
    variables = jax.vmap(init)(jax.random.split(jax.random.key(0), 2))
    networks = kd.Networks(Traced(), variables, (2, 2, 1), 3, (0.0,), (1.0,))
    TRACED.clear()
    logits = networks.logits(image)
    assert np.array_equal(networks.logits(image), logits)
    assert np.array_equal(networks[:2].logits(image), logits)
    assert TRACED == [(False, 6)]
    settings = ("default", 6, "vmap")
    first = evaluator(Traced(), (0.0,), (1.0,), *settings)
    assert evaluator(Traced(), [0.0], [1.0], *settings) is first
    assert evaluator(Traced(), (0.0,), (2.0,), *settings) is not first
