"""Runs on eight bits by `kd run` and `kd export`: how they start, go on and end, and what their
files say.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import teachers
from kd.cli.main import main
from kd.export import fake_quant, graph, interpreter
from kd.export.converter import convert
from kd.export.lower import Lowered, portable
from kd.init import make_init
from kd.metrics import scores
from kd.models.cnn import CNN
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.quantize.student import Quantized
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.step import make_step

OWN = """
    if arg == "int8":
        c.student.quantize = "int8"
        c.init = dict(config="small.py:teacher")
        c.optimizer.learning_rate = 0.02
"""

COMMAND = ["run", "--config", "small.py:int8"]


@pytest.fixture
def config(finished: str, small_config: Path) -> Path:
    """`small.py` with `:int8`, which starts from its finished teacher and learns from it."""
    text = small_config.read_text()
    small_config.write_text(text.replace("    return c", f"{OWN}    return c"))
    return small_config


def refused(capsys, *arguments: str) -> str:
    """What `kd` says where it exits with 2."""
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


@pytest.mark.campaign
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(config, stopped_at):
    with stopped_at(step=6):
        assert main([*COMMAND, "--workdir", "cut"]) == 0
    cut, whole = Workdir("cut"), Workdir("whole")
    assert not cut.finished
    for run in (cut, whole):
        assert main([*COMMAND, "--workdir", str(run)]) == 0
    logits = [run.predictions()["logits"] for run in (cut, whole)]
    np.testing.assert_array_equal(*logits)
    seen = [load_networks(run).variables["quant_stats"] for run in (cut, whole)]
    jax.tree.map(np.testing.assert_array_equal, *seen)
    np.testing.assert_array_equal(seen[0]["updates"], [12, 12])
    # It began where the teacher ended, and its logits are on grids of 256 points.
    before = Workdir("runs/small-teacher").predictions()["logits"]
    assert np.abs(logits[0] - before).max() < np.abs(before).max()
    assert all(len(np.unique(of_seed)) <= 256 for of_seed in logits[0])


@pytest.mark.slow
def test_seeds_together_equal_each_alone():
    image = jax.random.normal(jax.random.key(1), (16, 6))
    batch = {"image": image, "label": jnp.arange(16) % 3, "index": jnp.arange(16)}
    parts = (
        Quantized(MLP(3, (8,))),
        Weighted({"ce": CE()}, {"ce": 1.0}),
        teachers.none(),
        optax.sgd(0.1),
    )
    frozen = {"teacher": (), "tables": {}}
    init, step = make_init(*parts), make_step(*parts)

    def three(key):
        state = init(key, frozen, batch)
        for _ in range(3):
            state, _ = step(state, frozen, batch)
        return state.student

    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    together = jax.jit(jax.vmap(three))(keys)
    alone = [jax.jit(three)(key) for key in keys]
    alone = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(close, together, alone)


def test_what_it_starts_from_must_be_said_and_fit(config, capsys):
    said = refused(capsys, *COMMAND, "--config.init.config=")
    assert "config.student.quantize" in said and "config.init = dict(config=" in said
    said = refused(capsys, *COMMAND, "--config.student.quantize=int4")
    assert "int4" in said and "int8" in said
    said = refused(capsys, *COMMAND, "--config.student.widths=(9,)")
    assert "config.init" in said and "[9, 10] here and [8, 10] there" in said
    assert not Path("runs/small-int8").exists()


def lowered(student, variables, example):
    """The `.tflite` file of a student on eight bits."""
    network = fake_quant.annotated(student, variables, example)
    export = jax.export.export(
        jax.jit(network), platforms=["cpu"], disabled_checks=fake_quant.CHECKS
    )
    with portable():
        return convert(Lowered(export(example).mlir_module(), scales=True))


@pytest.mark.slow
def test_the_file_computes_on_the_trained_grids():
    """Stride 2, and a negative gain of BatchNorm: LiteRT's reference kernels against JAX, in units
    of the output.
    """
    student = Quantized(CNN(10, (4, 8)))
    image = jax.random.normal(jax.random.key(1), (64, 12, 12, 1))
    variables = jax.jit(student.init)(jax.random.key(0), image)
    for i, name in enumerate(("norm1_0", "norm2_0")):
        norm, stats = variables["params"][name], variables["batch_stats"][name]
        norm["scale"] = norm["scale"].at[i].set(-0.7)
        stats["mean"], stats["var"] = stats["mean"] + 0.1, stats["var"] * 0.5

    @jax.jit
    def seen(variables):
        apply = lambda v, **how: student.apply(v, image, **how)
        _, moved = apply(variables, train=True, mutable=["quant_stats"])
        return moved, apply({**variables, **moved}).logits

    moved, expected = seen(variables)
    variables = {**variables, **moved}
    example = jax.ShapeDtypeStruct((1, 12, 12, 1), jnp.float32)
    content = lowered(student, variables, example)
    graph.check_integers(content)
    names = [op.name for op in graph.operations(content)]
    assert names == ["DEPTHWISE_CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED"]
    first, last = graph.ends(content)
    for end, (low, high) in (
        (first, image_range(image)),
        (last, moved["quant_stats"]["ranges"][-1]),
    ):
        np.testing.assert_allclose(end.scale, (high - low) / 255, rtol=1e-5)
    integers = np.clip(np.rint(np.asarray(image) / first.scale) + first.zero, -128, 127)
    outputs = interpreter.run(content, integers.astype(np.int8)).astype(np.float32)
    error = np.abs((outputs - last.zero) * last.scale - expected) / last.scale
    assert error.max() < 1.5 and error.mean() < 0.5
    assert (outputs.argmax(1) == expected.argmax(1)).mean() > 0.9


def image_range(image):
    return float(image.min()), float(image.max())


def test_a_student_on_eight_bits_is_not_packed_without_its_ranges(finished, capsys):
    run = Workdir("runs/small")
    config = run.read("config.json")
    config["student"]["quantize"] = "int8"
    run.write("config.json", config)
    told = refused(capsys, "pack", "runs/small", "--out", "small.safetensors")
    assert "`kd export RUN --format litert --int8` writes all of it" in told
    assert told.count("\n") == 1 and not Path("small.safetensors").exists()


@pytest.mark.slow
def test_a_run_keeps_what_its_files_say_and_kd_export_says_the_same(config, capsys):
    assert main([*COMMAND, "--config.export=int8", "--workdir", "student"]) == 0
    run = Workdir("student")
    stored, result = run.predictions(), run.read("result.json")
    files = [run.path / "exported" / f"seed{i}.tflite" for i in (0, 1)]
    assert [len(f.read_bytes()) for f in files] == result["exported"]["bytes"]
    own, others = stored["exported_logits"], stored["logits"]
    accuracy = scores.accuracy(own, stored["label"])
    assert accuracy.tolist() == result["exported"]["accuracy"]
    steps = [graph.ends(f.read_bytes())[1].scale for f in files]
    assert np.abs(own - others).max() <= 1.01 * max(steps)

    loose = ["--gate", "agreement=0.9", "--gate", "accuracy_drop=0.1"]
    assert main(["export", "student", "--format", "litert", "--int8", "--seed", "1", *loose]) == 0
    folder = Path("student/export/litert-int8")
    assert (folder / "model.tflite").read_bytes() == files[1].read_bytes()
    report = json.loads((folder / "report.json").read_text())
    assert report["calibration"] is None
    assert "that the student was trained with" in (folder / "model_card.md").read_text()
    capsys.readouterr()
    form = ["export", "student", "--format", "litert"]
    assert "add --int8" in refused(capsys, *form)
    told = refused(capsys, *form, "--int8", "--calibration", "200")
    assert "trained on eight bits and brings its ranges" in told


def test_a_missing_extra_is_told_before_anything_is_trained(config, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused(capsys, *COMMAND, "--config.export=int8")
    assert "the extra 'tflite': " in said and said.count("\n") == 1
    assert not Path("runs/small-int8").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_a_batch_that_is_split_under_pmap_moves_the_ranges_as_a_whole_one(config):
    for name, own in (
        ("one", []),
        ("eight", ["--config.devices.data=8", "--config.devices.transform=pmap"]),
    ):
        drop = "--config.drop_last=true"
        assert main([*COMMAND, drop, "--workdir", name, *own]) == 0
    one, eight = (load_networks(Workdir(n)).variables for n in ("one", "eight"))
    ranges = [v["quant_stats"]["ranges"] for v in (one, eight)]
    np.testing.assert_allclose(*ranges, atol=1e-4)
    logits = [Workdir(n).predictions()["logits"] for n in ("one", "eight")]
    assert np.mean(np.abs(logits[0] - logits[1])) < 0.02 * np.abs(logits[0]).max()


@pytest.mark.slow
def test_colour_has_its_normalisation_in_front():
    """Means and deviations of their own for each channel, which no single scale can hold."""
    from kd.data.base import Dataset, Split
    from kd.export import tflite
    from kd.export.source import Source, logits

    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (200, 12, 12, 3), np.uint8), np.arange(200) % 10)
    dataset = Dataset(
        split,
        split,
        10,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.25, 0.3),
        class_names=tuple(map(str, range(10))),
    )
    student = Quantized(CNN(10, (4, 8)))
    mean, std = np.float32(dataset.mean), np.float32(dataset.std)
    image = jnp.asarray((split.image / np.float32(255) - mean) / std)
    variables = jax.jit(student.init)(jax.random.key(0), image)
    see = lambda v: student.apply(v, image, train=True, mutable=["quant_stats"])[1]
    moved = jax.jit(see)(variables)
    config = {"student": {"quantize": "int8"}, "eval_batch_size": 100}
    source = Source(Workdir(""), config, {}, student, {**variables, **moved}, 0, "", dataset)
    content = tflite.integers(source).content
    outputs = interpreter.run(content, tflite.inputs(source, content, split.image))
    step = graph.ends(content)[1].scale
    error = np.abs(tflite.as_logits(content, outputs) - logits(source, split.image))
    assert error.max() < 3 * step and error.mean() < step
