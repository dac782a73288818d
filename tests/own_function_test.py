"""A teacher that is a function or a module of the user's own: its answers, or its refusal."""

import dataclasses
import re
import shutil
import sys
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import build
from kd import config as configs
from kd.cli.main import main
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.base import Dataset, Split
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.teachers import input_view
from kd.train import external
from kd.weights import variables

ROOT = Path(__file__).parents[1]
MODULE = """
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

W = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
flat = lambda images: images.reshape(len(images), -1)

def logits(images):
    return flat(images) @ jnp.asarray(W)

linear = nnx.Linear(16, 3, use_bias=False, rngs=nnx.Rngs(0))
linear.kernel[...] = jnp.asarray(W)

def of_nnx(images):
    return linear(flat(images))

def of_nnx_twice(images):
    return 2 * linear(flat(images))

def by_numpy(images):
    return np.asarray(images).reshape(len(images), -1) @ W

def means(images):
    return jnp.stack([images.mean((1, 2, 3)), images[:, 0, 1, 0], images[:, -1, -1, 0]], -1)

def means_by_numpy(images):
    assert isinstance(images, np.ndarray)
    return np.stack([images.mean((1, 2, 3)), images[:, 0, 1, 0], images[:, -1, -1, 0]], -1)

def of_four_classes(images):
    return jnp.zeros((len(images), 4))

def no_array(images):
    return "logits"

def centred(images):
    z = logits(images)
    return z - z.mean(0, keepdims=True)

def random(images):
    return by_numpy(images) + np.random.normal(size=(len(images), 3))

def probabilities(images):
    return jax.nn.softmax(logits(images))

def not_a_number(images):
    return logits(images) / 0

def fails(images):
    raise RuntimeError("no weights\\nat all")

class Net(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.Dense(4, name="hidden")(flat(image))
        return nn.Dense(self.num_classes, name="head")(nn.relu(x))

net = Net(3)
"""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The working directory with `my_teacher.py`; a data set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_teacher", raising=False)
    Path("my_teacher.py").write_text(MODULE)
    r = np.random.default_rng(0)
    image = r.normal(size=(30, 4, 4, 1)).astype(np.float32)
    label = (np.arange(30) % 3).astype(np.int32)
    np.savez(
        "own.npz", x_train=image[:20], y_train=label[:20], x_test=image[20:], y_test=label[20:]
    )
    return Dataset(Split(image[:20], label[:20]), Split(image[20:], label[20:]), 3, (0.0,), (1.0,))


def config_of(**teacher):
    c = ConfigDict()
    c.data = dict(name="arrays", path=str(Path("own.npz").absolute()))
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(kd=dict(name="kd.KD"))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.batch_size = 10
    c.teacher = teacher
    return build.spell_out(configs.complete(c))


def answers(teacher, image, index):
    batch = {"image": jnp.asarray(image[index]), "index": np.asarray(index), "epoch": 0}
    return np.asarray(teacher.teacher.apply(teacher.frozen, (), batch).logits)


def test_a_function_answers_in_the_step_or_once(data):
    """That of NumPy, which jax cannot trace, is evaluated on all images."""
    import my_teacher

    image, index = data.train.image, [3, 1]
    expected = my_teacher.by_numpy(image)
    for name, stacks in (("logits", 1), ("of_nnx", 1), ("by_numpy", 0)):
        teacher = external.load(config_of(apply=f"my_teacher.{name}"), data)
        np.testing.assert_allclose(answers(teacher, image, index), expected[index], rtol=1e-4)
        assert len(teacher.stacks) == stacks and teacher.external
        assert teacher.origin == {"source": f"my_teacher.{name}", "members": [0]}
    np.testing.assert_allclose(teacher.evaluated[0], my_teacher.by_numpy(data.test.image))
    c = config_of(apply="my_teacher.by_numpy").unlock()
    c.augment = "noise(0.1)"
    with pytest.raises(InputError, match=r"which jax cannot trace, is evaluated before.*window"):
        external.check(c, data)


def test_a_module_of_equinox(data):
    """As a function, in the step."""
    pytest.importorskip("equinox")
    Path("my_equinox.py").write_text(
        "import equinox as eqx\nimport jax\n"
        "network = eqx.nn.MLP(16, 3, 8, 1, key=jax.random.key(0))\n"
        "def logits(images):\n"
        "    return jax.vmap(network)(images.reshape(len(images), -1))\n"
    )
    teacher = external.load(config_of(apply="my_equinox.logits"), data)
    import my_equinox

    expected = my_equinox.logits(data.train.image)[np.array([3, 1])]
    np.testing.assert_allclose(answers(teacher, data.train.image, [3, 1]), expected, rtol=1e-4)
    assert len(teacher.stacks) == 1


def test_cached_views_of_a_function(data):
    """Traced or not, its logits are those of the views that repeat; a file on disk is shared."""
    import my_teacher

    def stored(name, **teacher):
        c = config_of(apply=f"my_teacher.{name}", **teacher).unlock()
        c.augment, c.epochs = "noise(0.1)", 3
        teacher = external.load(c, data)
        assert teacher.per_student and not teacher.stacks
        return np.asarray(teacher.frozen["logits"])

    window = dict(cache_window=2)
    by_numpy, traced = stored("by_numpy", **window), stored("logits", cache=True, **window)
    assert traced.shape == (1, 2, 20, 3)
    np.testing.assert_allclose(by_numpy, traced, rtol=1e-4, atol=1e-5)
    assert np.abs(traced[0, 0] - traced[0, 1]).max() > 0.01
    place = dict(cache="float32", cache_dir="cached")
    np.testing.assert_array_equal(stored("logits", **place, **window), traced)
    with pytest.raises(InputError, match="another teacher"):
        stored("of_nnx_twice", **place, **window)
    plain = external.load(config_of(apply="my_teacher.logits", cache=True), data)
    expected = my_teacher.by_numpy(data.train.image)
    np.testing.assert_allclose(answers(plain, data.train.image, [3]), expected[[3]], rtol=1e-4)
    with pytest.raises(InputError, match=r"Name one in config.teacher.cache_dir"):
        external.check(config_of(apply="my_teacher.logits", cache="float16"), data)


def test_directories_that_hold_no_variables(data):
    """None of Orbax's checkpoints, several, or a damaged one."""
    import my_teacher
    import orbax.checkpoint

    tree = my_teacher.net.init(jax.random.key(0), data.train.image[:1])
    Path("empty").mkdir()
    for step in ("1", "2"):
        with orbax.checkpoint.StandardCheckpointer() as writer:
            writer.save(Path("steps").absolute() / step, tree)
    shutil.copytree("steps/1", "damaged")
    Path("damaged/_METADATA").write_text("{")
    for name, words in (
        ("empty", "has no checkpoints of Orbax; expected one"),
        ("steps", "has 2 checkpoints of Orbax .steps/1, steps/2."),
        ("damaged", "holds no checkpoint that Orbax can read"),
    ):
        c = config_of(apply="my_teacher.Net", variables=name)
        with pytest.raises(InputError, match=words) as error:
            external.check(c, data)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["msgpack", "npz", "safetensors", "params.msgpack", "orbax"])
def test_a_module_with_its_variables(data, form):
    import my_teacher
    import safetensors.numpy

    tree = my_teacher.net.init(jax.random.key(0), data.train.image[:1])
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flat = {"/".join(k.key for k in path): np.asarray(x) for path, x in leaves}
    path = f"net.{form}"
    if form == "npz":
        np.savez(path, **flat)
    elif form == "safetensors":
        dotted = {k.replace("/", "."): v for k, v in flat.items()}
        safetensors.numpy.save_file(dotted, path)
    elif form == "orbax":
        import orbax.checkpoint

        with orbax.checkpoint.StandardCheckpointer() as writer:
            writer.save(Path(path).absolute(), tree)
    else:
        stored = tree["params"] if "params" in form else tree
        Path(path).write_bytes(flax.serialization.to_bytes(stored))
    expected = my_teacher.net.apply(tree, data.train.image[[3, 1]])
    for name in ("net", "Net"):
        c = config_of(apply=f"my_teacher.{name}", variables=path)
        teacher = external.load(c, data)
        np.testing.assert_allclose(answers(teacher, data.train.image, [3, 1]), expected, rtol=1e-5)
        assert teacher.origin["sha256"] == c.teacher.digest
    before = config_hash(c.to_dict())
    (shutil.copytree if form == "orbax" else shutil.copyfile)(path, "moved")
    assert config_hash(config_of(apply="my_teacher.Net", variables="moved").to_dict()) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("of_four_classes", r"returns \(2, 4\) for 2 images; expected logits \[2, 3\]"),
        ("no_array", r"returns str, which is no array of numbers, for 8 images"),
        ("centred", "what it says of an image depends on its batch"),
        ("random", "depends on its batch, or is random"),
        ("probabilities", "are probabilities"),
        ("not_a_number", "NaN, infinite"),
        ("fails", "jax cannot trace it: RuntimeError: no weights. Expected"),
        ("net", "without variables. Name their file"),
        ("W", "module my_teacher has no class or function 'W'"),
        ("logit", "Did you mean 'logits'"),
        ("np.zeros", "importing my_teacher.np fails"),
    ],
)
def test_a_function_that_cannot_teach_is_refused(data, name, words):
    with pytest.raises(InputError, match=words) as error:
        external.check(config_of(apply=f"my_teacher.{name}"), data)
    assert "\n" not in str(error.value)


def test_names_that_are_no_teachers(data):
    for name, words in (
        ("logits", "expected the dotted path"),
        ("os.system", "no teacher function"),
        ("no_such.logits", "no module 'no_such'"),
    ):
        with pytest.raises(InputError, match=words):
            external.check(config_of(apply=name), data)
    np.savez("x.npz", a=np.zeros(1))
    with pytest.raises(InputError, match="is for a Flax linen module"):
        external.check(config_of(apply="my_teacher.logits", variables="x.npz"), data)
    for key in ("reduce", "members"):
        value = {"reduce": "logits", "members": 1}[key]
        with pytest.raises(InputError, match=f"config.teacher.{key}"):
            config_of(apply="my_teacher.logits", **{key: value})


def test_files_that_hold_no_variables(data):
    import pickle

    for content, words in (
        (pickle.dumps({"params": 1}), "is a pickle, which is not read because it could run code"),
        (pickle.dumps({"params": 1}, 0), "is a pickle"),
        (b"", "holds no variables"),
        (b"PK\x03\x04 cut short", "holds no variables that can be read"),
        (b"\xff" * 40, "holds no variables"),
        (
            flax.serialization.to_bytes({"params": {"head": {"kernel": np.zeros(3)}}}),
            "lacks params",
        ),
        (flax.serialization.to_bytes([1, 2]), "holds no variables|lacks"),
    ):
        Path("net.file").write_bytes(content)
        c = config_of(apply="my_teacher.Net", variables="net.file")
        with pytest.raises(InputError, match=words) as error:
            external.check(c, data)
        assert "\n" not in str(error.value)
    zeros = lambda *shape: np.zeros(shape, np.float32)
    whole = {
        "hidden": {"kernel": zeros(16, 4), "bias": zeros(4)},
        "head": {"kernel": zeros(4, 3), "bias": zeros(3)},
    }
    wider = {**whole, "head": {"kernel": zeros(4, 5), "bias": zeros(3)}}
    for tree, words in (
        (wider, r"params/head/kernel is \[4, 5\] in net.file and \[4, 3\]"),
        ({**whole, "tail": zeros(1)}, "has and the module does not params/tail"),
    ):
        Path("net.file").write_bytes(flax.serialization.to_bytes(tree))
        c = config_of(apply="my_teacher.Net", variables="net.file")
        with pytest.raises(InputError, match=words):
            external.check(c, data)


def test_paths_of_variables():
    x, y = np.zeros(1), np.zeros(2)
    assert variables.nested({"a/b": x, "a/c.d": y}) == {"a": {"b": x, "c.d": y}}
    assert variables.nested({"a.b": x}) == {"a": {"b": x}}
    for names in ({"a": x, "a/b": y}, {"a/b": y, "a": x}):
        with pytest.raises(ValueError, match="array"):
            variables.nested(names)


def test_a_teacher_has_an_input_of_its_own(data):
    """Pixels, resized, coloured, normalised as the teacher was trained."""
    shape, mean, std = (4, 4, 1), (0.5,), (0.25,)
    pixels = np.repeat(np.linspace(0, 1, 4, dtype=np.float32), 4).reshape(1, *shape)
    image = (pixels - 0.5) / np.float32(0.25)
    same = input_view.make({}, shape, mean, std)
    np.testing.assert_allclose(same(image), image, atol=1e-6)
    raw = input_view.make(dict(mean=0.0, std=1.0), shape, mean, std)
    np.testing.assert_allclose(raw(image), pixels, atol=1e-6)
    section = dict(size=(8, 4), mean=(0.0, 0.5, 1.0), std=(1.0, 2.0, 4.0))
    seen = np.asarray(input_view.make(section, shape, mean, std)(image))
    assert seen.shape == (1, 8, 4, 3)
    rows = jax.image.resize(pixels[0, :, 0, 0], (8,), "linear")
    for channel in range(3):
        expected = (rows - section["mean"][channel]) / section["std"][channel]
        np.testing.assert_allclose(seen[0, :, 1, channel], expected, atol=1e-6)
    grey = input_view.make(dict(mean=0.0, std=1.0), (2, 2, 3), (0.0,) * 3, (1.0,) * 3)
    grey = dataclasses.replace(grey, channels=1, mean=(0.0,), std=(1.0,))
    np.testing.assert_allclose(grey(np.ones((1, 2, 2, 3), np.float32)), np.ones((1, 2, 2, 1)))


@pytest.mark.slow
def test_functions_and_modules_see_it(data):
    import my_teacher

    seen = jax.image.resize(data.train.image, (20, 8, 8, 1), "linear")
    section = dict(size=8)
    for name in ("means", "means_by_numpy"):
        c = config_of(apply=f"my_teacher.{name}", input=section)
        teacher = external.load(c, data)
        expected = my_teacher.means_by_numpy(np.asarray(seen))
        got = answers(teacher, data.train.image, [3, 1])
        np.testing.assert_allclose(got, expected[[3, 1]], atol=1e-5)
    tree = my_teacher.net.init(jax.random.key(0), seen[:1])
    Path("net.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    c = config_of(apply="my_teacher.Net", variables="net.msgpack", input=section)
    got = answers(external.load(c, data), data.train.image, [3, 1])
    np.testing.assert_allclose(got, my_teacher.net.apply(tree, seen[jnp.array([3, 1])]), rtol=1e-4)
    c = config_of(apply="my_teacher.Net", variables="net.msgpack")
    with pytest.raises(
        InputError, match=r"hidden/kernel is \[64, 4\] in net.msgpack and \[16, 4\]"
    ):
        external.check(c, data)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (dict(sise=8), "unknown key of config.teacher.input 'sise'.*'size'"),
        (dict(size=0), "input.size: expected a number of pixels"),
        (dict(size=(8,)), "input.size: expected"),
        (dict(size=10**6), "1 to 4096, got 1000000"),
        (dict(size="8"), "input.size: expected"),
        (dict(std=(0.0,)), "input.std: expected finite numbers above 0"),
        (dict(mean=("a",)), "input.mean: expected finite numbers"),
        (dict(mean=(0.0, 0.0)), "has 2 channels and the data have 1"),
        (dict(mean=(0.0,) * 3, std=(1.0,) * 2), "input.std: expected 3 numbers"),
    ],
)
def test_a_section_of_input_that_cannot_be_is_refused(section, words):
    with pytest.raises(InputError, match=words):
        input_view.make(section, (4, 4, 1), (0.0,), (1.0,))


def test_an_input_is_a_section(data):
    with pytest.raises(InputError, match=r"config.teacher.input: expected a dict .* got 224"):
        external.check(config_of(apply="my_teacher.logits", input=224), data)


def test_series_have_no_size():
    with pytest.raises(InputError, match=r"examples \[9, 2\], and only images"):
        input_view.make(dict(size=8), (9, 2), (0.0,), (1.0,))


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_example_trains_and_reports(data, capsys):
    """`configs/examples/own_function.py` on the real digits: the class whose mean is nearest."""
    Path("my_teacher.py").write_text(
        "import jax.numpy as jnp\nfrom kd.data import digits\n"
        "TRAIN = digits.load()\n"
        "MEANS = jnp.stack([jnp.asarray(TRAIN.train.image[TRAIN.train.label == k] / 255.0).mean(0) "
        "for k in range(10)])\n"
        "MEANS = (MEANS - TRAIN.mean[0]) / TRAIN.std[0]\n"
        "def logits(images):\n"
        "    return -((images[:, None] - MEANS[None]) ** 2).sum((2, 3, 4)) / 8\n"
    )
    run = ["run", "--config", str(ROOT / "configs/examples/own_function.py"), "--workdir", "w"]
    assert main([*run, "--config.epochs=10"]) == 0
    printed = capsys.readouterr().out
    assert "every student learned from my_teacher.logits" in printed
    assert re.search(r"^teacher +[89]\d\.", printed, re.M)
    assert Workdir("w").predictions()["member_logits"].shape == (1, 360, 10)
    assert Workdir("w").read("result.json")["final"]["agreement"][0] > 0.8
    assert main(["report", "w", "--out", "page"]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_example_of_an_input_trains(data, capsys):
    """`configs/examples/teacher_input.py`: a small module that sees 32 x 32 coloured pixels."""
    import my_teacher

    tree = my_teacher.Net(10).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    Path("net.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    run = ["run", "--config", str(ROOT / "configs/examples/teacher_input.py"), "--workdir", "w"]
    assert main([*run, "--config.epochs=2"]) == 0
    assert "every student learned from my_teacher.Net (sha256" in capsys.readouterr().out
    assert Workdir("w").read("config.json")["teacher"]["input"]["size"] == 32
    assert main([*run, "--config.epochs=2", "--config.teacher.input.size=64"]) == 2
    assert "belongs to another config" in capsys.readouterr().err
