"""An export that was damaged, changed or edited is not consumed; the archive carries its hash."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.errors import InputError
from kd.export import archive, reading

LOOSE = ["--gate", "agreement=0.9", "--gate", "accuracy_drop=0.1"]
DAMAGES = {
    "flipped": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "flipped at the end": lambda content: content[:-1] + bytes([content[-1] ^ 16]),
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "exchanged": lambda content: b"of another run" * 100,
    "longer": lambda content: content + b"\0",
    "removed": lambda content: None,
}
EDITS = {
    "accuracy": lambda r: r["checks"]["test"].update(accuracy=1.0),
    "arena": lambda r: r["checks"]["tflm"].update(arena_bytes=1),
    "flash": lambda r: r.update(flash_bytes=1),
    "seed": lambda r: r.update(seed=7),
    "gates": lambda r: r["gates"].clear(),
    "hash": lambda r: r["files"]["model.tflite"].update(sha256="0" * 64),
    "files": lambda r: r["files"].clear(),
    "more": lambda r: r.update(note="mine"),
}


def change(path: Path, damage) -> None:
    content = damage(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.fixture
def export(tmp_path) -> Path:
    """An export written by hand, with a report of its files."""
    from kd.export import provenance

    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(bytes(range(200)))
    (folder / "model_card.md").write_text("card")
    report = {
        "format": "litert",
        "seed": 0,
        "flash_bytes": 200,
        "checks": {"test": {"accuracy": 0.5}, "tflm": {"arena_bytes": 100}},
        "gates": [{"name": "agreement", "value": 1.0}],
        "files": provenance.files(folder),
    }
    (folder / "report.json").write_text(json.dumps(reading.sealed(report), indent=2))
    return folder


def test_what_is_as_it_was_written_is_read(export):
    report = reading.read(export, ["model.tflite", "model_card.md"])
    assert report["checks"]["tflm"]["arena_bytes"] == 100
    assert reading.sealed(report) == report


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["model.tflite", "report.json"])
def test_a_damaged_file_is_refused_in_a_line(export, name, damage):
    change(export / name, DAMAGES[damage])
    with pytest.raises(InputError, match=r"is damaged|is no export") as error:
        reading.read(export, ["model.tflite"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_figure_is_refused(export, edit):
    report = json.loads((export / "report.json").read_text())
    EDITS[edit](report)
    (export / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match="is damaged"):
        reading.read(export, ["model.tflite"])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"files":' * 50_000, "[]", "7", "\udcff", '{"files": 3}'], ids=range(6)
)
def test_a_report_that_is_none_is_refused(export, text):
    (export / "report.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match="is damaged"):
        reading.read(export)


def test_the_order_and_indentation_of_a_report_do_not_matter(export):
    report = json.loads((export / "report.json").read_text())
    (export / "report.json").write_text(json.dumps(dict(reversed(report.items()))))
    assert reading.read(export) == report


@pytest.fixture
def selected(finished, capsys) -> Path:
    """The int8 export of `runs/small`, which `kd select` has chosen."""
    assert main(["export", "runs/small", "--format", "litert", "--int8", *LOOSE]) == 0
    assert main(["select", "runs/small"]) == 0
    assert "fits" in capsys.readouterr().out
    return Path("runs/small/export/litert-int8")


@pytest.mark.slow
def test_select_chooses_nothing_that_was_damaged_or_edited(selected, capsys):
    shutil.copytree(selected, "kept")
    cases = [("model.tflite", damage) for damage in DAMAGES.values()]
    cases += [("report.json", damage) for damage in DAMAGES.values() if damage(b"1")]
    for edit in EDITS.values():

        def edited(content, edit=edit):
            report = json.loads(content)
            edit(report)
            return json.dumps(report).encode()

        cases.append(("report.json", edited))
    for name, damage in cases:
        shutil.rmtree(selected)
        shutil.copytree("kept", selected)
        change(selected / name, damage)
        assert main(["select", "runs/small"]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert "OUT, no int8 export" in lines[1] and "is damaged" in lines[1] and len(lines) == 2
    (selected / "report.json").unlink()
    assert main(["select", "runs/small"]) == 1
    assert "holds other things than an export" in capsys.readouterr().err


@pytest.mark.slow
def test_select_measures_a_report_without_a_hash_anew(selected, capsys):
    report = json.loads((selected / "report.json").read_text())
    del report[reading.SEAL]
    report["gates"][1]["value"] = 0.0
    (selected / "report.json").write_text(json.dumps(report))
    assert main(["export", "runs/small", "--format", "litert", "--int8", *LOOSE]) == 0
    assert json.loads((selected / "report.json").read_text())["gates"][1]["value"] > 0


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """A small archive: a sum with weights."""
    import jax
    import jax.numpy as jnp

    (b,) = jax.export.symbolic_shape("b")
    weights = jnp.asarray(np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3))
    call = jax.jit(lambda x: x.astype(jnp.float32) @ weights)
    exported = jax.export.export(call)(jax.ShapeDtypeStruct((b, 16), jnp.uint8))
    content = bytes(exported.serialize())
    file = tmp_path_factory.mktemp("archive") / "model.stablehlo"
    file.write_bytes(content + archive._hash(content))
    return file


def test_an_archive_runs_and_jax_alone_reads_it(program):
    import jax

    image = np.arange(32, dtype=np.uint8).reshape(2, 16)
    alone = jax.export.deserialize(bytearray(program.read_bytes())).call(image)
    assert np.array_equal(archive.open_archive(program)(image), alone)
    with pytest.raises(InputError, match="cannot be read"):
        archive.open_archive(program.parent / "other")


def test_every_damage_of_an_archive_is_noticed(program, tmp_path):
    content = program.read_bytes()
    random = np.random.default_rng(0)
    file = tmp_path / "model.stablehlo"
    for place in [*random.integers(0, len(content), 150), *range(len(content) - 80, len(content))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << random.integers(8)
        file.write_bytes(flipped)
        with pytest.raises(InputError, match="is damaged"):
            archive.open_archive(file)
    for size in (0, 1, 50, 200, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(InputError, match="damage"):
            archive.open_archive(file)
