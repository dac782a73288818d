"""The examples of CONTRIBUTING.md work as they stand: each is one file or one function."""

import importlib
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import registry
from kd.types import Outputs, View

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
BLOCKS = dict(re.findall(r"```python\n# (?:in )?(kd/\S+)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """Puts an example where its first line says, beside the package's own files."""
    added = []

    def put(file: str) -> str:
        package, _, name = file.removesuffix(".py").replace("/", ".").rpartition(".")
        (tmp_path / Path(file).name).write_text(BLOCKS[file])
        module = importlib.import_module(package)
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path)])
        added.append((module, name))
        return name

    yield put
    monkeypatch.undo()
    for module, name in added:
        sys.modules.pop(f"{module.__name__}.{name}", None)
        vars(module).pop(name, None)


def namespace(file: str) -> dict:
    """Names of a module of kd with those that an example adds to it."""
    names = dict(vars(importlib.import_module(file.removesuffix(".py").replace("/", "."))))
    exec(BLOCKS[file], names)
    return names


def test_a_loss(plug_in):
    plug_in("kd/objectives/huber.py")
    loss = registry.make(registry.find("kd.objectives", "huber.Huber"), {"delta": 2.0}, "huber")
    student, teacher = Outputs(jnp.ones((4, 3))), Outputs(jnp.zeros((4, 3)))
    view = View(student, teacher, {"label": jnp.zeros(4, int)}, {}, jnp.zeros((), int))
    np.testing.assert_allclose(loss.apply({}, view), np.full(4, 0.5))


def test_a_network(plug_in):
    plug_in("kd/models/tiny.py")
    network = registry.find("kd.models", "tiny.Tiny")(num_classes=3, width=5)
    image = jnp.zeros((2, 4, 4, 1))
    variables = network.init(jax.random.key(0), image)
    assert network.apply(variables, image).logits.shape == (2, 3)


def test_a_data_set(plug_in):
    from kd import data
    from kd.data import survey

    plug_in("kd/data/stripes.py")
    dataset = data.load("stripes", size=20)
    assert (len(dataset.train.label), len(dataset.test.label)) == (20, 10)
    assert dataset.train.image.shape == (20, 8, 8, 1)
    assert not list(survey.all_remarks(dataset))  # such as test images that are in the training


def test_an_augmentation():
    invert = namespace("kd/data/augmentations.py")["invert"]
    image = jnp.full((2, 2, 1), 5, jnp.uint8)
    assert invert(jax.random.key(0), image, 1.0).tolist() == [[[250]] * 2] * 2
    assert invert(jax.random.key(0), image).dtype == image.dtype


def test_an_optimizer_and_a_schedule():
    names = namespace("kd/optim.py")
    state = names["lion"](0.1).init({"w": jnp.ones(2)})
    assert state is not None
    assert names["inverse_root"](1.0)(4.0, 10.0) == 0.5


def test_a_reduction(monkeypatch):
    from kd.teachers import reduction

    monkeypatch.setattr(reduction, "REDUCTIONS", dict(reduction.REDUCTIONS))
    namespace("kd/teachers/reduction.py")
    median = reduction.find("median")
    logits = np.array([[[0.0, 1.0]], [[1.0, 1.0]], [[5.0, 1.0]]], np.float32)
    np.testing.assert_array_equal(median(logits, None).logits, [[1.0, 1.0]])
    np.testing.assert_array_equal(median.reference(logits, None), [[1.0, 1.0]])


def test_a_kind_of_teacher(plug_in):
    from kd.models.mlp import MLP
    from kd.teachers.kind import Context, find

    plug_in("kd/teachers/smoothed_labels.py")
    kind = find("smoothed")
    teacher = kind(Context(student=MLP(4), num_classes=4), smoothing=0.4)
    logits = teacher.apply((), (), {"label": jnp.array([1])}).logits
    np.testing.assert_allclose(jnp.exp(logits), [[0.1, 0.7, 0.1, 0.1]], rtol=1e-6)


def test_an_export_format(plug_in):
    from kd.export import formats

    name = plug_in("kd/export/formats/numpy_weights.py")
    assert name in formats.names() and formats.load(name).help


def test_a_section_of_a_report(plug_in):
    from kd.report import sections

    name = plug_in("kd/report/sections/confidence.py")
    section = next(s for s in sections.load() if s.name == name)
    run = SimpleNamespace(logits=np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]])))
    assert section.show(section.measure(run))[0].text == "The mean confidence is 65.0 %."


def test_a_metric(plug_in):
    from kd.tables.metric import Network

    name = plug_in("kd/tables/metrics/confidence.py")
    metric = importlib.import_module(f"kd.tables.metrics.{name}").metric
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    assert metric(Network(logits, np.array([0, 1]))) == pytest.approx(65.0)


def test_an_engine(plug_in, tmp_path):
    from kd import engines
    from kd.runs.workdir import Workdir

    engine = engines.load(plug_in("kd/engines/polite.py"), engines.Settings(str(tmp_path)))
    assert isinstance(engine, engines.Starts)
    command = (sys.executable, "-S", "-c", "import os; assert os.nice(0) > 0")
    work = engines.Work("a.py", Workdir(tmp_path / "a"), (), command)
    assert engine.shown([work]) == ["nice kd run --config a.py"]
    task = engine.start(work)
    while (ended := task.poll()) is None:
        time.sleep(0.01)
    assert ended.status == 0, Path(f"{work.workdir}.log").read_text()


def test_a_verb(plug_in, tmp_path, capsys):
    from kd.cli.main import main

    plug_in("kd/cli/size.py")
    run = tmp_path / "run"
    run.mkdir()
    (run / "result.json").write_text('{"parameters": 1210}')
    assert main(["size", str(run)]) == 0
    assert capsys.readouterr().out == "1210\n"


def test_every_example_is_tested():
    tested = set(re.findall(r'"(kd/[\w/]+\.py)"', Path(__file__).read_text()))
    assert tested == BLOCKS.keys()
