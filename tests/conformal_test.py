"""Split conformal prediction: thresholds by hand, coverage on exchangeable data, and what an export
says of them, in Python and in C.
"""

import contextlib
import json
import math
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.data.base import Split
from kd.errors import InputError
from kd.export import c_predict, c_source, interpreter, run_c, tflite
from kd.export.source import open_run
from kd.metrics import conformal
from kd.report import run as reports
from kd.report.sections import coverage as section
from kd.runs import coverage, held_out
from kd.runs.workdir import Workdir

LEVELS = conformal.parse_levels("90,95,99")


@pytest.mark.parametrize(
    ("n", "level", "place"),
    [(9, "90", 9), (8, "90", 9), (19, "95", 19), (99, "99", 99), (98, "99", 99), (1000, "90", 901)],
)
def test_the_rank_is_exact_where_floats_round(n, level, place):
    """(n + 1) level is an integer for 9, 19 and 99 images: 10 * 0.9 and 100 * 0.99 exactly."""
    (asked,) = conformal.parse_levels(level)
    assert conformal.rank(n, asked) == place
    assert (n >= conformal.fewest(asked)) == (place <= n)
    scores = np.arange(n, dtype=float)[::-1]
    assert conformal.quantile(scores, asked) == (place - 1 if place <= n else math.inf)


def test_sets_and_answers_by_hand():
    logits = np.array([[5, 3, 0], [2, 2, 1], [0, 4, 7], [9, 1, 1]], np.int8)
    label = np.array([0, 1, 1, 2])
    assert conformal.gaps(logits).tolist() == [[0, 2, 5], [0, 0, 1], [7, 3, 0], [0, 8, 8]]
    assert conformal.set_scores(logits, label).tolist() == [0, 0, 3, 8]
    assert conformal.margins(logits).tolist() == [2, 0, 3, 8]
    # Right, wrong by a tie, wrong by three, wrong by eight.
    assert conformal.answer_scores(logits, label).tolist() == [0, 0, 3, 8]
    assert conformal.sets(logits, 2).sum(axis=1).tolist() == [2, 3, 1, 1]
    assert conformal.sets(logits, math.inf).all()
    assert conformal.answers(logits, 2).tolist() == [-1, -1, 2, 0]
    assert conformal.answers(logits, math.inf).tolist() == [-1] * 4
    (half,) = conformal.calibrate(logits, label, [Fraction(1, 2)])
    assert (half.rank, half.set, half.answer) == (3, 3, 3)
    measured = conformal.measure(logits, label, half)
    assert measured["coverage"] == 0.75 and measured["coverage_by_class"] == [1, 1, 0]
    assert measured["size"] == 8 / 4 and measured["sizes"] == [1, 2, 1]
    assert measured["answered"] == 0.25 == measured["wrong"] and measured["wrong_of_answers"] == 1
    assert measured["wrong_without"] == 0.75
    (all_,) = conformal.calibrate(logits, label, [Fraction(9, 10)])
    assert all_.set == all_.answer == math.inf and all_.assured == 1
    everything = conformal.measure(logits, label, all_)
    assert everything["coverage"] == 1 and everything["size"] == 3
    assert everything["answered"] == 0 and everything["wrong_of_answers"] is None


def test_logits_that_are_no_numbers_are_covered_and_never_answered():
    logits = np.array([[np.nan, 1, 2], [np.inf, np.inf, 0], [3, 0, 1]], np.float32)
    label = np.array([1, 0, 0])
    assert conformal.set_scores(logits, label).tolist() == [np.inf, np.inf, 0]
    assert conformal.sets(logits, 0).sum(axis=1).tolist() == [3, 2, 1]
    assert conformal.answers(logits, 0).tolist() == [-1, -1, 0]


@pytest.mark.parametrize("text", ["", "0", "100", "90,101", "ninety", "90;95", "nan", "1/0"])
def test_other_levels_are_refused(text):
    with pytest.raises(InputError, match="above 0 and below 100"):
        conformal.parse_levels(text)


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("n", [19, 200])
def test_the_coverage_is_what_was_asked_for_on_exchangeable_data(n, integers):
    """Over 300 calibration sets, of a poor network: the mean coverage is at least the level, for
    floats at most 1 / (n + 1) more; wrong answers are at most the rest; and the assured coverage
    fails for at most 5 % of the calibration sets.
    """
    random = np.random.default_rng(0)
    level, draws, new = Fraction(9, 10), 300, 400
    coverage_of, wrong, failed = [], [], 0
    for _ in range(draws):
        label = random.integers(4, size=n + new)
        logits = random.normal(size=(n + new, 4)) + 1.2 * np.eye(4)[label]
        if integers:
            logits = np.rint(4 * logits).astype(np.int8)
        (threshold,) = conformal.calibrate(logits[:n], label[:n], [level])
        measured = conformal.measure(logits[n:], label[n:], threshold)
        coverage_of.append(measured["coverage"])
        wrong.append(measured["wrong"])
        failed += measured["coverage"] < threshold.assured - 0.03  # of 400 images: two deviations
    error = 4 * np.std(coverage_of) / math.sqrt(draws)
    assert np.mean(coverage_of) >= 0.9 - error
    assert integers or np.mean(coverage_of) <= 0.9 + 1 / (n + 1) + error
    assert np.mean(wrong) <= 0.1 + 4 * np.std(wrong) / math.sqrt(draws)
    assert failed <= 0.05 * draws + 4 * math.sqrt(0.05 * draws)


def test_the_assured_coverage_is_a_quantile_of_a_binomial():
    """P(Beta(k, n + 1 - k) <= p) = P(Binomial(n, p) >= k)."""
    for n, place in ((19, 19), (100, 91), (500, 496)):
        for networks in (1, 5):
            p = conformal.assured(n, place, networks)
            tail = sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(place, n + 1))
            assert tail == pytest.approx(0.05 / networks)


PROGRAM = """#include <stdio.h>
#include "kd_predict.h"
int main(void) {
    int8_t out[KD_CLASSES];
    uint8_t set[KD_CLASSES];
    while (fread(out, 1, sizeof out, stdin) == sizeof out) {
        for (int t = 0; t < 256; ++t) {
            const int count = kd_predict_set(out, t, set);
            printf("%d %d", count, kd_predict_or_abstain(out, t));
            for (int k = 0; k < KD_CLASSES; ++k) printf(" %d", set[k]);
            printf("\\n");
        }
    }
    return 0;
}
"""

LEVEL = {"set": 3.0, "answer": 2.0, "level": 0.9}
TOO_FEW = {"set": None, "answer": None, "level": 0.995}
MEASURED = dict.fromkeys(("coverage", "size", "answered", "wrong", "wrong_without"), 0.5)


@pytest.mark.parametrize(
    ("compiler", "name"),
    [(["gcc", "-std=c11"], "kd"), (["g++", "-std=c++17", "-xc++"], "digits")],
)
def test_sets_and_answers_in_c_are_those_here(compiler, name, tmp_path):
    """For all thresholds 0 to 255 and outputs with ties and at both ends of int8."""
    if not shutil.which(compiler[0]):
        pytest.skip(f"no {compiler[0]}")
    rows = [{**level, "test": {"images": 7, **MEASURED}} for level in (LEVEL, TOO_FEW)]
    seen = {"runs/teacher": 12}
    known = {"seen_by": seen, "file": {"images": 9, "kernels": "*/ of", "levels": rows}}
    c_predict.write(tmp_path, "the */ title", known, name)
    header = (tmp_path / f"{name}_predict.h").read_text()
    capital = name.upper()
    assert f"#define {capital}_SET_90 3\n#define {capital}_ANSWER_90 2\n" in header
    assert f"#define {capital}_SET_99_5 255\n#define {capital}_ANSWER_99_5 255\n" in header
    assert name == "kd" or "kd" not in header.lower()
    assert "Too few images" in header and "runs/teacher, which was trained on 12" in header
    model = f"#include <stdint.h>\n#define {capital}_CLASSES 3\n"
    (tmp_path / f"{name}_model.h").write_text(model)
    (tmp_path / "main.c").write_text(c_source.prefixed(PROGRAM, name))
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{tmp_path}"]
    program = tmp_path / "program"
    subprocess.run([*compiler, *flags, str(tmp_path / "main.c"), "-o", str(program)], check=True)
    random = np.random.default_rng(0)
    logits = np.concatenate(
        [random.integers(-128, 128, (40, 3)), random.integers(-2, 3, (40, 3)), [[-128, 127, 127]]]
    ).astype(np.int8)
    printed = subprocess.run([str(program)], input=logits.tobytes(), capture_output=True).stdout
    said = np.array([line.split() for line in printed.decode().splitlines()], int)
    said = said.reshape(len(logits), 256, 5)
    for t in range(256):
        expected = conformal.sets(logits, t)
        assert np.array_equal(said[:, t, 2:], expected)
        assert np.array_equal(said[:, t, 0], expected.sum(axis=1))
        assert np.array_equal(said[:, t, 1], conformal.answers(logits, t))


def test_an_export_without_validation_images_is_refused_by_the_key(finished, capsys):
    command = ["export", "runs/small", "--format", "stablehlo", "--coverage", "90"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "config.validation" in error and error.count("\n") == 1
    assert not Path("runs/small/export").exists()
    assert section.measure(reports.read(Workdir("runs/small"))) == {"conformal": None}


def test_runs_that_saw_the_validation_images_are_named(by_hand, monkeypatch):
    """A teacher on the same split saw none; one with other settings is compared image by image, as
    is the teacher's teacher; what is gone or was imported is not known.
    """
    image = np.arange(10, dtype=np.uint8).reshape(10, 1)
    split = lambda *rows: Split(image[list(rows)], np.zeros(len(rows), np.int32))
    config = {"data": {"name": "digits"}, "validation": 0.2, "holdout": 0.0}
    taught = lambda *runs: {"groups": [{"run": str(run.path), "members": [0]} for run in runs]}
    monkeypatch.setattr(held_out, "as_today", dict)
    first = by_hand("first", ["1"], config | {"validation": 0.0})
    same = by_hand("same", ["1"], config, teacher=taught(first))
    gone = Workdir(same.path.parent / "gone")
    imported = by_hand("imported", ["1"], config, imported={"checkpoint": "x"})
    student = by_hand("student", ["1"], config, teacher=taught(same, gone, imported))
    trains = {str(first.path): split(0, 1, 2, 3, 4, 8, 9)}
    data = lambda workdir: type("Data", (), {"train": trains[str(workdir.path)]})
    monkeypatch.setattr(held_out, "measured_data", data)
    seen = held_out.seen_by(student, split(8, 9, 7))
    assert seen == {str(first.path): 2, str(gone.path): None, str(imported.path): None}
    text = coverage.caution(seen)
    assert text.startswith("The coverage is not guaranteed, only measured: it builds on")
    assert "trained on 2 of these images" in text and text.count("is not known here") == 2
    assert "weights were imported" in coverage.caution(held_out.seen_by(imported, split(7)))
    assert held_out.seen_by(same, split(7)) == {} and coverage.caution({}) == ""


def test_a_report_has_the_thresholds_of_every_seed(by_hand, monkeypatch):
    random = np.random.default_rng(0)
    run = by_hand("run", random.normal(size=(2, 30, 3)))
    arrays = run.predictions()
    held = {
        "validation_logits": random.normal(size=(2, 20, 3)),
        "validation_label": arrays["label"][:20],
    }
    monkeypatch.setattr(section, "_seen_by", lambda run: {"runs/t": 3})
    content = section.measure(reports.read(run)._replace(arrays=arrays | held))
    for i, network in enumerate(content["conformal"]["networks"]):
        ninety, _, most = network["levels"]
        scores = np.sort(
            conformal.set_scores(held["validation_logits"][i], held["validation_label"])
        )
        assert (ninety["rank"], ninety["set"], most["set"]) == (19, scores[18], None)
        kept = conformal.sets(arrays["logits"][i], scores[18])[:, 0]
        assert ninety["test"]["coverage"] == kept.mean()
        assert ninety["test"]["coverage_by_class"] == [kept.mean(), None, None]
    table, _, classes, note = section.show(content)
    assert [row[0] for row in table.grid] == ["network", *["student, mean of 2"] * 3]
    assert len(classes.grid) == 2
    assert "99 % needs at least 99 validation images, and there are 20 images" in note.text
    assert "runs/t, which was trained on 3 of these" in note.text
    (sentence,) = section.conclude(content)
    assert sentence.startswith("Sets that are to have the label for 95 %")
    assert "config.validation = 0.1" in section.show({"conformal": None})[0].text


def test_the_means_of_several_networks():
    one = {"x": 1, "y": [1.0, None], "sizes": [3]}
    two = {"x": 2, "y": [2.0, None], "sizes": [1, 2]}
    assert section.mean([one, two]) == {"x": 1.5, "y": [1.5, None], "sizes": [2, 1]}


LOOSE = ["--gate", "agreement=0.5", "--gate", "accuracy_drop=0.5"]


@pytest.fixture(scope="module")
def validated(small_run, tmp_path_factory, unoptimized_module):
    """A directory with a run that has 30 validation images, that no one was trained on."""
    home = tmp_path_factory.mktemp("validated")
    text = (small_run[0] / "small.py").read_text()
    (home / "small.py").write_text(
        text.replace("c.seeds = 2", "c.seeds = 1\n    c.validation = 0.3")
    )
    with contextlib.chdir(home):
        assert main(["run", "--config", "small.py", "--config.epochs=1"]) == 0
    return home


@pytest.mark.slow
def test_an_archive_has_the_thresholds_of_the_student(validated, monkeypatch):
    monkeypatch.chdir(validated)
    command = ["export", "runs/small", "--format", "stablehlo", *LOOSE, "--coverage", "50,99"]
    assert main(command) == 0
    folder = Path("runs/small/export/stablehlo")
    known = json.loads((folder / "report.json").read_text())["conformal"]
    stored = Workdir("runs/small").predictions()
    pairs = [(stored[f"{k}logits"][0], stored[f"{k}label"]) for k in ("validation_", "")]
    levels = conformal.parse_levels("50,99")
    assert known == {
        "candidates": 1,
        "seen_by": {},
        "class_names": [],
        "student": conformal.describe(*pairs, levels),
    }
    assert [row["rank"] for row in known["student"]["levels"]] == [16, 31]
    card = (folder / "model_card.md").read_text()
    assert "## Prediction sets and abstention" in card and "| the student | 50 |" in card
    assert "99 % needs at least 99 validation images, and there are 30 images" in card


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["bakenn", "none"])
def test_the_header_of_an_export_has_the_thresholds_of_its_integers(
    kernels, validated, tmp_path, monkeypatch
):
    """The thresholds are those of the outputs that the exported kernels (or LiteRT's) give for the
    validation images, and the coverage that of the sets in C on the test images.
    """
    monkeypatch.chdir(validated)
    monkeypatch.setattr(tflite, "FEWEST", 50)  # 70 training images are left
    assert main(["export", "runs/small", "--format", "c", "--kernels", kernels, *LOOSE]) == 0
    folder = Path("runs/small/export/c")
    report = json.loads((folder / "report.json").read_text())
    source = open_run(Workdir("runs/small"))
    content = (folder / "model.tflite").read_bytes()

    def outputs(split):
        inputs = tflite.inputs(source, content, split.image)
        if kernels == "none":
            return interpreter.run(content, inputs)
        return run_c.outputs(folder, inputs, 10)

    calibration = outputs(source.dataset.validation)
    thresholds = conformal.calibrate(calibration, source.dataset.validation.label, LEVELS)
    rows = report["conformal"]["file"]["levels"]
    header = (folder / "kd_predict.h").read_text()
    test = source.dataset.test
    for row, t in zip(rows, thresholds, strict=True):
        assert row["set"] == (t.set if math.isfinite(t.set) else None)
        name = f"{100 * row['level']:g}"
        assert f"#define KD_SET_{name} {c_predict.threshold(row['set'])}\n" in header
        assert f"#define KD_ANSWER_{name} {c_predict.threshold(row['answer'])}\n" in header
        assert row["test"] == conformal.measure(outputs(test), test.label, t)
    assert "kd_predict.h" in report["files"]
    if kernels == "bakenn":
        sources = [*folder.glob("*.c"), *folder.glob("kernels/*.c")]
        program = tmp_path / "check"
        flags = ["-std=c11", "-O1", f"-I{folder}"]
        subprocess.run(["gcc", *flags, *map(str, sources), "-o", str(program)], check=True)
        printed = subprocess.run([str(program)], capture_output=True, text=True)
        assert printed.returncode == 0 and ", 0 changed" in printed.stdout
        said = example(folder, sources, tmp_path)
        header = (folder / "kd_predict.h").read_text()
        of_none = re.sub(r"(#define KD_ANSWER_95) .*", r"\1 255", header)  # nothing is so sure
        (folder / "kd_predict.h").write_text(of_none)
        assert example(folder, sources, tmp_path) == ["I do not know"] * len(said)
        (folder / "kd_predict.h").write_text(header.replace("KD_ANSWER_95", "KD_ANSWER_94"))
        always = example(folder, sources, tmp_path)
        assert all(a in (b, "I do not know") for a, b in zip(said, always, strict=True))
        assert "I do not know" not in always


def example(folder, sources, tmp_path):
    """What the example of an export prints for its golden vectors."""
    program, check = tmp_path / "example", folder / "kd_check.c"
    files = [folder / "example" / "main.c", *(file for file in sources if file != check)]
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{folder}"]
    subprocess.run(["gcc", *flags, *map(str, files), "-o", str(program)], check=True)
    printed = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    return printed.stdout.splitlines()
