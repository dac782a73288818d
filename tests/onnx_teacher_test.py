"""A teacher that is an ONNX file: its logits on every view of every image, or its refusal."""

from pathlib import Path

import jax
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra onnx: uv sync --extra onnx")
pytest.importorskip("onnxruntime", reason="needs the extra onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import kd  # noqa: E402
from kd import build  # noqa: E402
from kd import config as configs  # noqa: E402
from kd.cli.main import main  # noqa: E402
from kd.config import ConfigDict  # noqa: E402
from kd.config.identity import config_hash  # noqa: E402
from kd.data.augment import make_augment  # noqa: E402
from kd.data.base import Dataset, Split  # noqa: E402
from kd.errors import InputError  # noqa: E402
from kd.init import state_key  # noqa: E402
from kd.runs.workdir import Workdir  # noqa: E402
from kd.train import external, onnx_model  # noqa: E402
from kd.train.program import seed_keys  # noqa: E402

ROOT = Path(__file__).parents[1]
CLASSES, SHAPE = 3, (4, 6, 3)
W = np.random.default_rng(0).normal(size=(72, CLASSES)).astype(np.float32)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The working directory with `own.npz`; its data set."""
    monkeypatch.chdir(tmp_path)
    r = np.random.default_rng(0)
    image = r.normal(size=(30, *SHAPE)).astype(np.float32)
    label = (np.arange(30) % CLASSES).astype(np.int32)
    splits = dict(x_train=image[:20], y_train=label[:20], x_test=image[20:], y_test=label[20:])
    np.savez("own.npz", **splits)
    moments = (0.0,) * 3, (1.0,) * 3
    return Dataset(Split(image[:20], label[:20]), Split(image[20:], label[20:]), CLASSES, *moments)


def config_of(**teacher):
    c = ConfigDict()
    c.data = dict(name="arrays", path=str(Path("own.npz").absolute()))
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(kd=dict(name="kd.KD"))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.batch_size = 10
    for key in ("augment", "epochs", "seeds", "second_view"):
        if key in teacher:
            c[key] = teacher.pop(key)
    c.teacher = {"onnx": "net.onnx"} | teacher
    return build.spell_out(configs.complete(c))


def nodes(layout="NHWC"):
    """The flattened image times W, whatever the layout of the input."""
    turn = [helper.make_node("Transpose", ["x"], ["t"], perm=(0, 2, 3, 1))]
    start = ["t"] if layout == "NCHW" else ["x"]
    return (turn if layout == "NCHW" else []) + [
        helper.make_node("Flatten", start, ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "W"], ["z"]),
    ]


def write(
    dims=("b", *SHAPE),
    operations=None,
    outputs=(("z", TensorProto.FLOAT, ("b", CLASSES)),),
    dtype=TensorProto.FLOAT,
    path="net.onnx",
    domains=(),
    w=W,
    **options,
):
    graph = helper.make_graph(
        nodes() if operations is None else operations,
        "net",
        [helper.make_tensor_value_info("x", dtype, dims)],
        [helper.make_tensor_value_info(*output) for output in outputs],
        [numpy_helper.from_array(w, "W")],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 1) for name in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, path, **options)


def answers(teacher, index, epoch=0):
    batch = {"image": None, "index": np.asarray(index), "epoch": epoch}
    return np.asarray(teacher.teacher.apply(teacher.frozen, (), batch).logits)


@pytest.mark.parametrize(
    ("layout", "dims"),
    [
        ("NHWC", ("b", *SHAPE)),
        ("NHWC", (7, *SHAPE)),
        ("NHWC", (64, *SHAPE)),
        ("NCHW", ("b", 3, 4, 6)),
        ("NCHW", (1, 3, "h", 6)),
    ],
)
def test_batches_and_layouts(data, layout, dims):
    """Any number of images, or a fixed one that is filled up; channels last or first."""
    outputs = (("z", TensorProto.FLOAT, (dims[0], CLASSES)),)
    write(dims, nodes(layout), outputs)
    teacher = external.load(config_of(), data)
    expected = data.train.image.reshape(20, -1) @ W
    np.testing.assert_allclose(answers(teacher, [3, 19]), expected[[3, 19]], rtol=1e-4, atol=1e-5)
    test = data.test.image.reshape(10, -1) @ W
    np.testing.assert_allclose(teacher.evaluated[0], test, rtol=1e-4, atol=1e-5)
    assert teacher.origin["source"] == "net.onnx" and teacher.external and not teacher.stacks
    assert teacher.origin["sha256"] == config_of().teacher.digest


@pytest.mark.slow
def test_pixels_and_another_size(data, monkeypatch):
    """uint8 pixels as the data have them; another size and normalisation, by `teacher.input`."""
    pixels = np.random.default_rng(1).integers(0, 256, (20, *SHAPE)).astype(np.uint8)
    moments = (0.3, 0.4, 0.5), (0.2, 0.3, 0.4)
    dataset = Dataset(
        Split(pixels, data.train.label), Split(pixels[:10], data.test.label), CLASSES, *moments
    )
    cast = [helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT)]
    rest = nodes()
    rest[0].input[0] = "c"
    write(("b", *SHAPE), cast + rest, dtype=TensorProto.UINT8)
    teacher = external.load(config_of(), dataset)
    expected = pixels.reshape(20, -1).astype(np.float32) @ W
    np.testing.assert_allclose(answers(teacher, range(20)), expected, rtol=1e-3, atol=1e-2)
    with pytest.raises(InputError, match=r"config.teacher.input: net.onnx takes pixels, uint8"):
        external.check(config_of(input=dict(mean=0.5)), dataset)
    write(("b", 3, 2, 5), nodes("NCHW"), w=W[:30])
    with pytest.raises(InputError, match=r"is given \[b, 4, 6, 3\]. Say what it takes: config.te"):
        external.check(config_of(), dataset)
    teacher = external.load(config_of(input=dict(mean=0.5, std=0.5)), dataset)
    small = jax.image.resize(pixels / np.float32(255), (20, 2, 5, 3), "linear", antialias=True)
    expected = ((np.asarray(small) - 0.5) / 0.5).reshape(20, -1) @ W[:30]
    np.testing.assert_allclose(answers(teacher, range(20)), expected, rtol=1e-3, atol=1e-4)
    assert teacher.origin["input"]["size"] == [2, 5]
    write(("b", 3, 2, 3), nodes("NCHW"), w=W[:18])
    with pytest.raises(InputError, match=r"takes images \[b, 3, 2, 3\], which does not say where"):
        external.check(config_of(input=dict(mean=0.5, std=0.5)), dataset)


@pytest.mark.slow
def test_views_that_repeat(data):
    """Each student's views of each epoch of the window, augmented as the student sees them."""
    write()
    c = config_of(augment="noise(0.5)", cache_window=2, epochs=4, seeds=2)
    teacher = external.load(c, data)
    augment = make_augment(c.augment, data.mean, data.std, window=2)
    for seed, key in enumerate(seed_keys(0, 2)):
        of_student = teacher._replace(frozen=jax.tree.map(lambda x, i=seed: x[i], teacher.frozen))
        for epoch in (0, 1, 3):
            batch = {"image": data.train.image, "index": np.arange(20), "epoch": epoch}
            seen = np.asarray(augment(state_key(key), batch)["image"])
            got = answers(of_student, range(20), epoch)
            np.testing.assert_allclose(got, seen.reshape(20, -1) @ W, rtol=1e-4, atol=1e-4)
    assert teacher.per_student and teacher.frozen["logits"].shape == (2, 2, 20, CLASSES)
    top = external.load(config_of(cache="top2", cache_dir="cached"), data)
    assert Path("cached/all.npz").exists() and top.frozen["classes"].shape == (1, 20, 2)
    again = external.load(config_of(cache="top2", cache_dir="cached"), data)
    np.testing.assert_array_equal(again.frozen["log_p"], top.frozen["log_p"])


REFUSED = {
    "augment": (dict(augment="noise(0.1)"), r"config.augment = .*config.teacher.cache_window = 10"),
    "views": (dict(second_view="noise(0.1)"), "config.second_view = .* shows two views"),
    "cache": (dict(cache="float16"), "Name one in config.teacher.cache_dir"),
    "missing": (dict(onnx="none.onnx"), "config.teacher.onnx: there is no file 'none.onnx'"),
    "layout": (dict(layout="NHCW"), "config.teacher.layout"),
    "output": (dict(output="y"), "unknown output of the ONNX file 'y'"),
    "input": (dict(input=8), "config.teacher.input: expected a dict"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_is_refused(data, case):
    write()
    settings, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as error:
        external.check(config_of(**settings), data)
    assert "\n" not in str(error.value)


def test_a_layout_that_two_readings_fit_is_asked_for(data):
    """Square images of as many channels, or an input of any size."""
    write(("b", "", "", ""), outputs=(("z", TensorProto.FLOAT, ("b", CLASSES)),))
    with pytest.raises(InputError, match=r"config.teacher.layout = 'NCHW' .as PyTorch exports"):
        external.check(config_of(), data)
    teacher = external.load(config_of(layout="NHWC"), data)
    expected = data.train.image.reshape(20, -1) @ W
    np.testing.assert_allclose(answers(teacher, [3]), expected[[3]], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"images \[\?, 4, 6, 3\] and is given \[b, 3, 4, 6\]"):
        write(("b", 4, 6, 3))
        external.check(config_of(layout="NCHW"), data)


add = lambda name, *inputs, **options: helper.make_node(name, list(inputs), ["z"], **options)
FILES = {
    "operation": (
        dict(operations=[add("Magic", "x", domain="mine")], domains=("mine",)),
        "ONNX Runtime .* cannot run net.onnx: .*Magic",
    ),
    "unknown": (dict(operations=[add("NoSuchThing", "x")]), "cannot run net.onnx"),
    "type": (dict(dtype=TensorProto.INT64), "takes INT64; expected images, one of FLOAT"),
    "text": (dict(dtype=TensorProto.STRING), "takes STRING"),
    "rank": (dict(dims=("b", 72)), r"takes \[\?, 72\] and the examples of the data are"),
    "size": (dict(dims=("b", 4, 6, 1)), r"is given \[b, 4, 6, 3\]. Say what it takes: config.tea"),
    "classes": (
        dict(outputs=(("z", TensorProto.FLOAT, ("b", 5)),)),
        r"output 'z' of net.onnx is FLOAT \[\?, 5\]; expected logits, \[b, 3\]",
    ),
    "labels": (dict(outputs=(("z", TensorProto.INT64, ("b",)),)), "is INT64"),
    "outputs": (
        dict(
            outputs=(
                ("z", TensorProto.FLOAT, ("b", 3)),
                ("flat", TensorProto.FLOAT, ("b", 72)),
            )
        ),
        r"has the outputs z \[\?, 3\], flat \[\?, 72\]. Name the logits in config.teacher.output",
    ),
    "NaN": (
        dict(operations=[*nodes()[:1], helper.make_node("MatMul", ["flat", "W"], ["y"]),
                         helper.make_node("Log", ["y"], ["z"])]),
        "NaN, infinite",
    ),
    "probabilities": (
        dict(operations=[*nodes()[:1], helper.make_node("MatMul", ["flat", "W"], ["y"]),
                         helper.make_node("Softmax", ["y"], ["z"])]),
        "are probabilities",
    ),
    "of the batch": (
        dict(operations=[*nodes()[:1], helper.make_node("MatMul", ["flat", "W"], ["y"]),
                         helper.make_node("ReduceMean", ["y"], ["m"], axes=[0]),
                         helper.make_node("Sub", ["y", "m"], ["z"])]),
        "depends on its batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_teach_is_refused(data, case):
    settings, words = FILES[case]
    write(**settings)
    with pytest.raises(InputError, match=words) as error:
        external.check(config_of(), data)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_model(data):
    write()
    content = Path("net.onnx").read_bytes()
    for damaged in (b"", b"\x80\x04pickle", b"PK\x03\x04", content[: len(content) // 2]):
        Path("net.onnx").write_bytes(damaged)
        with pytest.raises(InputError, match=r"config.teacher.onnx: ") as error:
            external.check(config_of(), data)
        assert "\n" not in str(error.value)


def test_weights_beside_the_file(data):
    """In its directory alone; they are recorded, and are missed."""
    options = dict(save_as_external_data=True, location="w.bin", size_threshold=0)
    write(**options)
    teacher = external.load(config_of(), data)
    expected = data.train.image.reshape(20, -1) @ W
    np.testing.assert_allclose(answers(teacher, [3]), expected[[3]], rtol=1e-4, atol=1e-5)
    assert list(teacher.origin["external"]) == ["w.bin"]
    Path("w.bin").rename("elsewhere.bin")
    with pytest.raises(InputError, match=r"keeps 'W' in 'w.bin', which cannot be read: No such"):
        external.check(config_of(), data)
    Path("inside").mkdir()
    model = onnx.load("net.onnx", load_external_data=False)
    for place in ("../elsewhere.bin", str(Path("elsewhere.bin").absolute()), "link.bin", ""):
        model.graph.initializer[0].external_data[0].value = place
        onnx.save(model, "inside/net.onnx")
        Path("inside/link.bin").unlink(missing_ok=True)
        Path("inside/link.bin").symlink_to(Path("elsewhere.bin").absolute())
        with pytest.raises(InputError, match=r"which is not in its directory"):
            external.check(config_of(onnx="inside/net.onnx"), data)


def test_another_file_is_another_run(data):
    write()
    config = config_of()
    Path("moved.onnx").write_bytes(Path("net.onnx").read_bytes())
    assert config_hash(config_of(onnx="moved.onnx").to_dict()) == config_hash(config.to_dict())
    write(w=2 * W)
    assert config_hash(config_of().to_dict()) != config_hash(config.to_dict())
    with pytest.raises(InputError, match=r"config.teacher.digest: net.onnx has the sha256"):
        external.check(config, data)


def test_without_the_package_one_is_told_how_to_get_it(data, monkeypatch):
    write()
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    with pytest.raises(InputError, match=r"needs onnxruntime, not installed here. .*'onnx'"):
        onnx_model.load(config_of(), data)


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_an_exported_run_teaches_as_the_run(finished, small_data, capsys):
    """The file of `kd export`, which takes pixels: one student, up to the error of the export."""
    run = "runs/small-teacher"
    loose = ["--gate", "agreement=0.9", "--gate", "accuracy_drop=0.1"]
    assert main(["export", run, "--format", "onnx", "--seed", "0", "--out", "out", *loose]) == 0
    Path("out/model.onnx").rename("net.onnx")
    c = ConfigDict(config_of().to_dict())
    c.data.path, c.epochs, c.augment = str(small_data), 2, "crop(1)"
    c.teacher = dict(onnx="net.onnx", cache_window=2)
    by_file = kd.run(c, "by_file")
    c.teacher = dict(run=run, members=0, cache_window=2)
    by_run = kd.run(c, "by_run")
    np.testing.assert_allclose(
        by_file.predictions["logits"], by_run.predictions["logits"], rtol=1e-3, atol=1e-4
    )
    assert "net.onnx (sha256" in by_file.table() and "net.onnx" not in by_run.table()


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_example_trains(data, capsys):
    """`configs/examples/onnx_teacher.py` on the real digits; a file of another size as one line."""
    w = np.random.default_rng(0).normal(size=(3 * 32 * 32, 10)).astype(np.float32)
    outputs = (("z", TensorProto.FLOAT, ("b", 10)),)
    write((1, 3, 32, 32), nodes("NCHW"), outputs, w=w, path="teacher.onnx")
    run = ["run", "--config", str(ROOT / "configs/examples/onnx_teacher.py"), "--workdir", "w"]
    short = ["--config.epochs=2", "--config.teacher.cache_window=1"]
    assert main([*run, *short]) == 0
    assert "every student learned from teacher.onnx (sha256" in capsys.readouterr().out
    assert Workdir("w").predictions()["member_logits"].shape == (1, 360, 10)
    other = [*run[:-1], "x", *short]
    assert main([*other, "--config.teacher.input.size=16"]) == 2
    error = capsys.readouterr().err
    assert "takes images [1, 3, 32, 32]" in error and len(error.strip().splitlines()) == 1
    assert main([*other[:-1], "--config.teacher.cache_window=0"]) == 2
    assert "config.teacher.cache_window = 10" in capsys.readouterr().err
    assert not Path("x").exists()
