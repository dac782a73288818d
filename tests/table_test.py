"""`kd table`: what it prints, what it runs and in which order, what it refuses. Most runs here are
made up by a quick program.
"""

import contextlib
import csv
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.runs.workdir import Workdir
from kd.tables import (
    cell_text,
    command,
    document,
    experiment,
    gather,
    jobs,
    metrics,
    plan,
    published,
)

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    a = dict(part.split("=") for part in (arg or "").split(",") if part)
    role, seeds = a.get("role", "labels"), int(a.get("seeds", 2))
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.seeds = seeds
    c.holdout = float(a.get("holdout", 0))
    c.batch_size = 32
    c.epochs = int(a.get("epochs", 2))
    c.student = dict(name="mlp.MLP", widths=(16 if role == "teacher" else 8,))
    c.optimizer = ConfigDict(dict(name="sgd", learning_rate=0.1))
    if role == "bad":  # each update multiplies the weights by -1e12
        c.optimizer.update(learning_rate=1e12, weight_decay=1.0)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.checkpoint = dict(seconds=0.0)
    if role in ("student", "orphan"):
        of = "bad" if role == "orphan" else "teacher"
        c.teacher = dict(config=f"mini.py:role={of}" + (f",seeds={seeds}" if seeds != 2 else ""))
        c.objective.kd = dict(name="kd.KD", temperature=float(a.get("T", 2)))
    return c
"""

EXPERIMENT = """
def get_experiment(arg=None):
    rows = {
        "teacher": dict(args=dict(role="teacher"), paper=2),
        "labels": dict(args=dict(role="labels"), paper=6, budget=3),
        "student": dict(args=dict(role="student"), paper=3, at_most=5),
        "student, T = 9": dict(args=dict(role="student", T=9), paper=dict(value=3, unsure=True)),
        "gap closed": dict(gap=("labels", "student", "teacher"), at_least=0.7),
    }
    if arg == "bad":
        wrong = dict(broken=dict(args=dict(role="bad")), orphan=dict(args=dict(role="orphan")))
        rows = wrong | rows
    return dict(
        title="Mini", config="mini.py", metric="errors", source="Nobody 1999, Table 1",
        tables=[dict(title="Main", rows=rows)],
    )
"""

FAKE = '''
"""Stands in for `kd run`: checks for the teacher, logs when it ran, writes given errors."""
import json, signal, sys, time
from pathlib import Path
import numpy as np
from kd import config as configs

value = lambda name: sys.argv[sys.argv.index(name) + 1]
reference, root = value("--config"), value("--runs")
config, where = configs.load(reference), configs.default_workdir(reference, root)
note = lambda word: Path("order.txt").open("a").write(f"{word} {reference}\\n")
note("begin")
teacher = config.teacher.get("config", "")
assert not teacher or (configs.default_workdir(teacher, root) / "result.json").exists()
if "role=bad" in reference:
    print("a warning\\nkd run: the loss is not finite\\n  at step 3", file=sys.stderr)
    sys.exit(1)
if Path("busy").exists():
    Path("busy").unlink()
    print(f"kd run: {where} is in use by another process. Wait for it.", file=sys.stderr)
    sys.exit(2)
if Path("stops").exists():
    sys.exit(0)
where.mkdir(parents=True, exist_ok=True)
if Path("hang").exists():
    def stop(*_):
        time.sleep(2.5)  # longer than a command without runs may take to stop
        note("stopped")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    (where / "metrics.jsonl").write_text("")
    note("hangs")
    time.sleep(60)
role = reference.partition("role=")[2].partition(",seeds")[0]
errors = json.loads(Path("errors.json").read_text())[role]
logits, label = np.zeros((len(errors), 40, 2), np.float32), np.zeros(40, np.int32)
for seed, wrong in enumerate(errors):
    logits[seed, :wrong, 1] = 1
with (where / "predictions.npz").open("wb") as file:
    np.savez(file, logits=logits, label=label)
(where / "config.json").write_text(json.dumps(config.to_dict()))
split = "validation" if config.holdout else "test"
result = dict(split=split, examples=round(400 * config.holdout) or 40, seconds=60.0, bytes=99)
result |= dict(seeds=list(range(len(errors))), config_hash="c" * 12, git_commit="d" * 40)
result |= dict(hardware=dict(platform="cpu", cores=2, machine="x86_64"))
result |= dict(final=dict(nll=[0.5] * len(errors)))
result |= dict(best_test=dict(accuracy=[0.5] * len(errors)))
(where / "result.json").write_text(json.dumps(result))
note("end")
'''

ERRORS = {"teacher": [1, 3], "labels": [6, 6], "student": [3, 4], "student,T=9": [5, 5]}


def at_home(path, data, patch):
    """A working directory with a config, an experiment, and a quick program in place of `kd`."""
    patch.chdir(path)
    patch.setattr(jobs, "COMMAND", (sys.executable, "fake.py"))
    patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    Path("mini.py").write_text(CONFIG.replace("{data}", str(data)))
    Path("mini_table.py").write_text(EXPERIMENT)
    Path("fake.py").write_text(FAKE)
    Path("errors.json").write_text(json.dumps(ERRORS))


@pytest.fixture
def home(tmp_path, small_data, monkeypatch):
    at_home(tmp_path, small_data, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def finished_home(tmp_path_factory, small_data):
    """Such a directory with all its runs finished, and what was printed."""
    path, printed = tmp_path_factory.mktemp("home"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        at_home(path, small_data, patch)
        assert kd() == 0
    return path, printed.getvalue()


@pytest.fixture
def done(home, finished_home):
    """`home` with its runs finished; what was printed."""
    for name in ("runs", "order.txt"):
        subprocess.run(["cp", "-r", finished_home[0] / name, "."], check=True)
    return finished_home[1]


def kd(*arguments, file="mini_table.py"):
    return main(["table", file, *arguments])


def order():
    return Path("order.txt").read_text().split("\n")[:-1]


def rows_of(markdown):
    """Cells of the lines of the first table by their first."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    cells = [[c.strip() for c in line[2:-2].split(" | ")] for line in lines]
    return {line[0]: line[1:] for line in reversed(cells)}


def test_every_sign_of_the_table_by_hand(done):
    """Differences in units of the standard error: teacher 0 / 1, labels 0 of std 0, student 0.5 /
    0.5.
    """
    rows = rows_of(done)
    assert rows["teacher"][:5] == ["2.0 ± 1.4", "errors", "2", "2", "+0.0"]
    assert rows["student"][:5] == ["3.5 ± 0.7", "errors", "2", "3", "+0.5"]
    assert rows["student"][6] == "≤ 5: met"
    # Unsure: in brackets, without difference or mark.
    assert rows["student, T = 9"][:6] == ["5.0 ± 0.0", "errors", "2", "[3]", "", ""]
    # (6 - 3.5) / (6 - 2); the paper's (6 - 3) / (6 - 2). By seed (0.375 * 6 - b + 0.625 c) / 4 is
    # -1 / 32 and 1 / 32.
    assert rows["gap closed"][0] == "0.62 (s.e. 0.03)"
    assert rows["gap closed"][3:5] == ["0.75", "−0.12"]
    assert rows["gap closed"][6] == "≥ 0.7: not met"
    assert "✱" not in " ".join(rows["teacher"] + rows["student"])
    assert "Nobody 1999, Table 1" in done and "could not verify" in done
    run = rows["`mini.py:role=labels`"]
    assert run == ["labels", "60 s", "3 min", "2 cores, x86_64", "dddddddddd"]


def test_a_difference_of_more_than_two_standard_errors_is_marked(done, capsys):
    student = Workdir("runs/mini-role=student")
    predictions = student.predictions()
    predictions["logits"][:, :, 1] = np.arange(40) < np.array([[5], [6]])
    student.write("predictions.npz", predictions)
    assert kd("--print") == 0
    rows = rows_of(capsys.readouterr().out)
    # 5.5 - 3 = 2.5 with a standard error of 0.5.
    assert rows["student"][3:6] == ["3", "+2.5", "✱"]


def test_the_share_of_no_gap_is_no_number(done, capsys):
    teacher, labels = (Workdir(f"runs/mini-role={role}") for role in ("teacher", "labels"))
    labels.write("predictions.npz", teacher.predictions())
    assert kd("--print") == 0
    rows = rows_of(capsys.readouterr().out)
    assert rows["gap closed"][0] == "–" and rows["gap closed"][3:5] == ["0.75", ""]
    assert rows["gap closed"][6] == "≥ 0.7: open"


def test_a_number_of_a_paper_has_all_its_digits():
    texts = [cell_text.number(x) for x in (1234567, 2.5e6, 71.1, -0.0, -82.4568, 0.1 + 0.2)]
    assert texts == ["1234567", "2500000", "71.1", "0", "−82.4568", "0.3"]


def test_missing_cells_say_so(home, capsys):
    assert kd("--print") == 0
    rows = rows_of(capsys.readouterr().out)
    assert all(rows[name][0] == "missing" for name in ("teacher", "labels", "student"))
    assert rows["gap closed"][0] == "missing" and rows["teacher"][3] == "2"
    assert rows["`mini.py:role=teacher`"][1] == "missing"
    assert not Path("runs").exists()


def test_csv_has_the_numbers_in_full(done, capsys):
    assert kd("--print", "--csv") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    student = next(line for line in lines if line["row"] == "student")
    assert student["values"] == "3 4" and student["mean"] == "3.5"
    assert float(student["error"]) == pytest.approx(0.5)
    assert student["config"] == "mini.py:role=student" and student["marked"] == "0"
    assert student["source"] == "Nobody 1999, Table 1" and student["met"] == "1"
    assert Path("runs/mini_table.csv").read_text().startswith("table,row")
    assert Path("runs/mini_table.md").read_text() == done


def test_a_shared_teacher_is_trained_once_and_first(done):
    names = ("teacher", "labels", "student", "student,T=9")
    lines = [f"{word} mini.py:role={name}" for name in names for word in ("begin", "end")]
    assert order() == lines
    assert kd() == 0
    assert order() == lines


def test_jobs_run_side_by_side_but_for_what_they_wait_for(home, capsys):
    assert kd("--jobs", "3") == 0
    lines = order()
    assert len(lines) == 8 and len(set(lines)) == 8
    end = lines.index("end mini.py:role=teacher")
    for student in ("role=student", "role=student,T=9"):
        assert lines.index(f"begin mini.py:{student}") > end
    told = capsys.readouterr().err.splitlines()
    taught = next(line for line in told if line.startswith("runs/mini-role=teacher: "))
    assert told.index("[2/4] mini.py:role=labels") < told.index(taught)


@pytest.mark.slow
def test_the_same_run_under_two_names_is_trained_once(home, capsys):
    """The experiment says seeds=2, the student's config leaves its default out when it names the
    teacher.
    """
    text = EXPERIMENT.replace('metric="errors"', 'metric="errors", seeds=2')
    Path("mini_table.py").write_text(text)
    assert kd("--only", "student*") == 0
    assert "begin mini.py:role=teacher" in order() and len(order()) == 6
    assert rows_of(capsys.readouterr().out)["teacher"][0] == "2.0 ± 1.4"


def test_a_failed_cell_is_reported_and_the_rest_go_on(done, capsys):
    Path("runs/mini-role=student").rename("elsewhere")
    capsys.readouterr()
    assert kd(file="mini_table.py:bad") == 1
    printed = capsys.readouterr()
    assert rows_of(printed.out)["student"][0] == "3.5 ± 0.7"
    assert rows_of(printed.out)["broken"][0] == "missing"
    words = "FAILED mini.py:role=bad: the loss is not finite at step 3"
    assert words in printed.err.splitlines()
    assert "mini.py:role=bad, which it needs, failed" in printed.err
    assert not any("orphan" in line for line in order())


def test_only_runs_what_is_asked_for(home, capsys):
    assert kd("--only", "labels") == 0
    assert order() == ["begin mini.py:role=labels", "end mini.py:role=labels"]
    rows = rows_of(capsys.readouterr().out)
    assert rows["labels"][0] == "6.0 ± 0.0" and rows["student"][0] == "missing"


def test_a_pattern_without_wildcards_is_a_text(home):
    Path("mini_table.py").write_text(EXPERIMENT.replace('"student, T = 9"', '"student [hot]"'))
    loaded = experiment.load("mini_table.py")
    rows = lambda pattern: [cell.row for cell in command.select(loaded, pattern)]
    assert rows("[hot]") == rows("Student [") == rows("*t [[]*") == ["student [hot]"]


def test_dry_run_tells_the_order_and_an_estimate(home, capsys):
    assert kd("--dry_run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mini.py:role=teacher: of unknown length")
    assert lines[1] == "mini.py:role=labels: 3 min (its budget)"
    assert lines[-1] == "4 runs to do, one at a time 3 min, and 3 runs of unknown length".replace(
        "3 min", "3 min"
    )
    assert not Path("runs").exists()
    assert kd("--only", "labels") == 0
    capsys.readouterr()
    # Two seeds took 60 s, four are expected to take twice that.
    assert kd("--dry_run", "--seeds", "4", "--only", "labels") == 0
    lines = capsys.readouterr().out.splitlines()
    found = "2 min (from finished runs of the same config)"
    assert lines[0] == f"mini.py:role=labels,seeds=4: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_it_passes_the_signal_on_and_goes_on_where_it_was(home, capsys, times):
    """A real SIGTERM to a real process while two runs are on: both hear of it, and nothing is left
    behind.

    Under `timeout` and `uv run` it comes twice, in a moment: one request still, in which the runs
    have the time to save.
    """
    Path("hang").touch()
    code = (
        "import sys; from kd.cli import main; from kd.tables import jobs; jobs.COMMAND = "
        "(sys.executable, 'fake.py'); sys.exit(main.main())"
    )
    command = [sys.executable, "-c", code, "table", "mini_table.py", "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    hangs = lambda: [x for x in order() if "hangs" in x] if Path("order.txt").exists() else []
    while len(hangs()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(times):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "The same command resumes" in error, error
    assert sum(line.startswith("stopped") for line in order()) == 2
    Path("hang").unlink()
    assert kd("--dry_run") == 0
    assert "mini.py:role=labels, resumed" in capsys.readouterr().out
    assert kd() == 0
    assert rows_of(capsys.readouterr().out)["student"][0] == "3.5 ± 0.7"


@pytest.mark.slow
def test_a_run_that_another_process_holds_is_waited_for(home, capsys):
    run = plan.make(experiment.load("mini_table.py"), "runs")["mini.py:role=labels"]
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from kd.runs.workdir import Workdir\nwith "
            f"Workdir({str(run.workdir)!r}).lock():\n open('held', 'w').close(); time.sleep(1.5)",
        ]
    )
    while not Path("held").exists():
        time.sleep(0.02)
    assert kd("--only", "labels") == 0
    assert held.wait() == 0
    assert "in use by another process: waiting" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_another_table_began_in_the_same_moment_is_waited_for(home):
    """Neither had locked the directory yet: this one's run is refused, and tried again."""
    Path("busy").touch()
    assert kd("--only", "student") == 0
    assert order().count("begin mini.py:role=teacher") == 2
    assert order().count("end mini.py:role=teacher") == 1


def test_a_run_that_saved_and_stopped_is_not_taken_for_a_finished_one(home, capsys):
    Path("stops").touch()
    assert kd("--only", "student") == 1
    error = capsys.readouterr().err
    assert "FAILED mini.py:role=teacher: stopped before its end" in error
    assert "mini.py:role=teacher, which it needs, failed" in error


def test_a_log_that_cannot_be_written_fails_its_run_alone(home, capsys):
    Path("runs/mini-role=labels.log").mkdir(parents=True)
    assert kd() == 1
    printed = capsys.readouterr()
    assert "FAILED mini.py:role=labels: it could not be started" in printed.err
    assert rows_of(printed.out)["student"][0] == "3.5 ± 0.7"


def test_printing_imports_no_jax(done, home):
    assert kd("--publish") == 0
    code = (
        "import sys; from kd.cli.main import main; status = main(sys.argv[1:])\n"
        "assert not {'jax', 'flax', 'matplotlib'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "table", "mini_table.py", "--print"]
    printed = subprocess.run(command, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == done


def test_published_results_print_the_same_table_without_the_runs(done, capsys):
    assert kd("--publish") == 0
    Path("runs").rename("elsewhere")
    assert "results/mini_table.json: 4 of 4 cells" in capsys.readouterr().err
    assert kd("--print") == 0
    assert capsys.readouterr().out == done
    page = "a\n<!-- table: mini_table -->\nold\n<!-- /table -->\nb\n"
    Path("README.md").write_text(page)
    assert kd("--print", "--into", "README.md") == 0
    text = Path("README.md").read_text()
    above, runs = done.split("\n\n| run |")  # which open at a click in a document
    runs = (
        '<details markdown="1">\n<summary>Runs (4): time, budget, hardware, commit</summary>\n\n'
        f"| run |{runs}\n</details>\n"
    )
    table = f"<!-- table: mini_table -->\n{above}\n\n{runs}<!-- /table -->"
    assert text == f"a\n{table}\nb\n"
    assert gather.as_published(page, "mini_table.py") == text
    assert kd("--print", "--into", "mini.py") == 2
    # What was published stays when the next publication has other runs.
    capsys.readouterr()
    assert kd("--publish") == 0
    assert "4 of 4 cells" in capsys.readouterr().err


BALANCED_ACCURACY = '''
"""Mean over the classes of the percentage of correct predictions."""

import numpy as np

from kd.tables.metric import PerNetwork


def mean_recall(network):
    right = [1 - np.mean(network.wrong[network.label == k]) for k in np.unique(network.label)]
    return 100 * np.mean(right)


metric = PerNetwork(mean_recall, unit="% balanced", digits=1)
'''

MINE = """
def recall(network):
    return (1 - network.wrong[network.label == 0].mean()).round(3)

def broken(network):
    return network.nothing
"""


def test_a_new_metric_is_one_file_or_a_function_by_its_path(done, capsys, monkeypatch):
    """Printed from the runs, published, and printed from the published results alone."""
    Path("folder").mkdir()
    Path("folder/mean_recall.py").write_text(BALANCED_ACCURACY)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(Path("folder").resolve())])
    Path("mine.py").write_text(MINE)
    columns = {
        "balanced": {"metric": "mean_recall"},
        "mine": {"metric": "mine.recall(of=0)", "digits": 3, "unit": "recall"},
    }
    table = {"columns": columns, "rows": {"student": {"args": {"role": "student"}}}}
    written = {"config": "mini.py", "tables": [table]}
    Path("two.py").write_text(f"get_experiment = lambda arg=None: {written!r}")
    student = Workdir("runs/mini-role=student")
    predictions = student.predictions()  # 3 and 4 of the first images are wrong
    predictions["label"][20:] = 1  # and now all of the second half
    student.write("predictions.npz", predictions)
    capsys.readouterr()
    assert kd("--publish", file="two.py") == 0
    printed = capsys.readouterr().out
    # 17 / 20 and 16 / 20 of class 0 are right, and none of class 1.
    assert rows_of(printed)["student"] == ["41.2 ± 1.8", "0.825 ± 0.035"]
    assert "| balanced (% balanced) | mine (recall) |" in printed
    assert kd("--print", "--runs", "none", file="two.py") == 0
    assert capsys.readouterr().out == printed
    content = Path("two.py").read_text()
    for name in ("mine.recall", "mean_recall"):
        Path("two.py").write_text(content.replace(name, name[:-1]))
        assert f"Did you mean '{name.removeprefix('mine.')}'" in refused(capsys, file="two.py")
    Path("two.py").write_text(content.replace("mine.recall", "mine.broken"))
    assert kd(file="two.py") == 1
    assert "the metric mine.broken fails: AttributeError" in capsys.readouterr().err


def refused(capsys, *arguments, file="mini_table.py"):
    capsys.readouterr()
    assert kd(*arguments, file=file) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("kd table: ") and "\n" not in error
    return error


def test_results_that_are_no_file_are_refused(home, capsys):
    Path("results/mini_table.json").mkdir(parents=True)
    assert "results/mini_table.json cannot be read: Is a directory" in refused(capsys, "--print")


def test_edited_results_are_refused(done, capsys):
    kd("--publish")
    path = Path("results/mini_table.json")
    text = path.read_text()
    path.write_text(text.replace("3.0", "2.0"))
    assert "was edited by hand" in refused(capsys, "--print")
    assert "was edited by hand" in refused(capsys, "--publish")
    path.write_text(text[:-20])
    assert "is damaged" in refused(capsys, "--print")


def test_published_results_of_another_config_are_refused(done, capsys):
    """The teacher's config changes: the student's, which does not, is another run too."""
    kd("--publish", "--only", "student")
    Path("runs").rename("elsewhere")
    changed = Path("mini.py").read_text().replace("(16 if", "(17 if")
    Path("mini.py").write_text(changed)
    error = refused(capsys, "--print")
    assert "mini.py:role=teacher was published for another config" in error
    runs = plan.make(experiment.load("mini_table.py"), "elsewhere-too")
    content = json.loads(Path("results/mini_table.json").read_text())["runs"]
    for reference, same in (("labels", True), ("student", False)):
        key = f"mini.py:role={reference}"
        assert (runs[key].identity == content[key]["identity"]) == same


def test_a_run_of_another_config_is_refused(done, capsys):
    changed = Path("mini.py").read_text().replace("batch_size = 32", "batch_size = 16")
    Path("mini.py").write_text(changed)
    error = refused(capsys)
    assert "belongs to another config: batch_size is 32 there and 16 here" in error
    assert Path("runs/mini-role=labels/result.json").exists()


def retrained(**weights):
    """The runs say which weights they and those that they were trained from had, as `kd run`
    does.
    """
    for name, own in weights.items():
        path = Path(f"runs/mini-role={name}/result.json")
        result = json.loads(path.read_text()) | {"weights": own}
        path.write_text(json.dumps(result))
    path = Path("runs/mini-role=student/result.json")
    of_teacher = {"run": "elsewhere", "members": [0, 1], "run_weights": "old"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher": of_teacher}))


def test_students_of_a_teacher_that_was_trained_anew_are_refused(done, capsys):
    """What the old one taught is neither shown nor published."""
    retrained(teacher="old")
    assert kd("--print") == 0
    retrained(teacher="new")
    words = (
        "runs/mini-role=student was trained from a run in runs/mini-role=teacher that had other "
        "weights"
    )
    capsys.readouterr()
    assert kd() == 1
    printed = capsys.readouterr()
    assert words in printed.err
    rows = rows_of(printed.out)
    assert rows["student"][0] == "missing" and rows["teacher"][0] == "2.0 ± 1.4"
    assert words in refused(capsys, "--publish")
    assert not Path("results").exists()


def test_publishing_in_part_never_puts_a_student_beside_another_teacher(done, capsys):
    """Its numbers stay where its run is gone, but not where its teacher was trained anew."""
    retrained(teacher="old")
    assert kd("--publish") == 0
    shutil.rmtree("runs/mini-role=student")
    capsys.readouterr()
    assert kd("--publish") == 0
    assert "4 of 4 cells" in capsys.readouterr().err
    path = Path("runs/mini-role=teacher/result.json")
    path.write_text(path.read_text().replace('"old"', '"new"'))
    error = refused(capsys, "--publish")
    assert "mini.py:role=student, which was trained from another run" in error
    assert kd("--print") == 0
    printed = capsys.readouterr()
    assert rows_of(printed.out)["student"][0] == "missing"
    assert "not shown: results/mini_table.json: the published mini.py:role=student" in printed.err


def test_results_from_before_weights_were_known_are_held_to_the_teacher_s_numbers(done, capsys):
    assert kd("--publish") == 0
    path = Path("results/mini_table.json")
    content = published.read(path)
    for entry in content["runs"].values():
        del entry["trained_from"], entry["weights"]
    path.write_text(json.dumps(content | {"checksum": published.checksum_of(content)}))
    for name in ("student", "student,T=9"):
        shutil.rmtree(f"runs/mini-role={name}")
    assert kd("--publish") == 0
    teacher = Workdir("runs/mini-role=teacher")
    predictions = teacher.predictions()
    predictions["logits"][:, :5, 1] = 1
    teacher.write("predictions.npz", predictions)
    assert "the table would mix the two" in refused(capsys, "--publish")


def test_publishing_loses_nothing(done, capsys):
    assert kd("--publish") == 0
    path = Path("results/mini_table.json")
    text = path.read_text()
    assert "Leave --seeds out" in refused(capsys, "--publish", "--seeds", "3")
    config = Path("mini.py").read_text()
    Path("mini.py").write_text(config.replace("batch_size = 32", "batch_size = 16"))
    error = refused(capsys, "--publish", "--runs", "other")
    assert "by another config" in error and "would be lost" in error
    assert path.read_text() == text
    # An ordinary run says what it does not show.
    Path("errors.json").write_text(json.dumps({"labels": [1, 1]}))
    assert kd("--only", "labels", "--runs", "other") == 0
    printed = capsys.readouterr()
    assert "not shown: results/mini_table.json: mini.py:role=teacher" in printed.err
    assert rows_of(printed.out)["labels"][0] == "1.0 ± 0.0"
    Path("mini.py").write_text(config)
    table_file = Path("mini_table.py")
    table_file.write_text(table_file.read_text().replace("T=9", "T=8"))
    assert kd("--publish") == 0
    gone = "removed, because it is no longer part of the experiment: mini.py:role=student,T=9"
    assert gone in capsys.readouterr().err
    path.unlink()
    assert "nothing to publish" in refused(capsys, "--publish", "--runs", "none")
    assert not path.exists()


def test_a_damaged_run_is_missing_and_told_of(done, capsys):
    """The rest is printed, and the failures of this time too."""
    Path("runs/mini-role=labels/predictions.npz").write_bytes(b"PK torn")
    capsys.readouterr()
    assert kd(file="mini_table.py:bad") == 1
    printed = capsys.readouterr()
    rows = rows_of(printed.out)
    assert rows["labels"][0] == "missing" and rows["student"][0] == "3.5 ± 0.7"
    failed = [x for x in printed.err.splitlines() if x.startswith("FAILED")]
    assert len(failed) == 3 and "predictions.npz cannot be read" in " ".join(failed)
    for text in ("[]", '{"seconds": '):
        Path("runs/mini-role=labels/result.json").write_text(text)
        assert kd("--dry_run") == 0
        capsys.readouterr()
        assert kd("--print") == 1
        assert "result.json is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_a_file_in_the_place_of_a_run_fails_it(home, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, "-m", "kd"))
    Path("runs").mkdir()
    Path("runs/mini-role=labels").touch()
    assert kd("--only", "labels") == 1
    assert "FAILED mini.py:role=labels: " in capsys.readouterr().err
    Path("file").touch()
    assert "is a file" in refused(capsys, "--runs", "file")
    assert "--into nowhere.md" in refused(capsys, "--into", "nowhere.md")


def test_a_default_that_is_new_makes_no_result_another(done, monkeypatch):
    before = plan.make(experiment.load("mini_table.py"), "runs")
    from kd import config as configs

    usual = configs.default

    def with_more():
        c = usual()
        c.shiny = 0.5
        return c

    monkeypatch.setattr(configs, "default", with_more)
    after = plan.make(experiment.load("mini_table.py"), "runs")
    assert {r.identity for r in before.values()} == {r.identity for r in after.values()}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('config="mini.py"', 'config="mini_config.py"', "no config file"),
        ('config="mini.py", ', "", "no config. Set config='FILE.py' in the experiment, the t"),
        (', source="Nobody 1999, Table 1"', "", "2 has no source"),
        ('metric="errors"', 'metric="erors"', "Did you mean 'errors'"),
        ("budget=3", "bugdet=3", "Did you mean 'budget'"),
        ("paper=2", "paper='2'", "expected a number"),
        ('metric="errors"', 'metric="errors(bias=1)"', "set config.validation"),
        ('metric="errors"', 'metric="exported_bytes"', "set config.export"),
        ("paper=2", "paper=(2, 3)", "2 paper numbers for 1 columns"),
        ('gap=("labels"', 'gap=("lables"', "Did you mean 'labels'"),
        ('gap=("labels"', 'gap=(["labels"]', "row in the gap of row 'gap closed'"),
        ('dict(title="Main"', 'dict(against="bites", title="Main"', "`against` of table 'Main'"),
        ("paper=2", "select='best_test'", "say that in `why`"),
        ("at_most=5", "cells={'T': {}}", "unknown column of row"),
        ("return dict(", "return dict(*1, ", "TypeError"),
        ("rows=rows", "rows=[]", "rows = [], expected dict"),
        ("rows=rows", "rows={}", "no cells"),
        (
            'tables=[dict(title="Main", rows=rows)]',
            "tables=None",
            "tables = None, expected list or tuple",
        ),
        (
            'args=dict(role="labels")',
            "args=['role']",
            "row 'labels': args = ['role'], expected dict",
        ),
        ("budget=3", "budget='3'", "budget = '3', expected int or float"),
        ("paper=2", "paper=float('nan')", "expected a number"),
        ('source="Nobody 1999, Table 1"', 'source=" "', "2 has no source"),
        ("paper=2", "paper=dict(value=2, source=None)", "2 has no source"),
        ("paper=2", "paper=dict(value=2, source=5)", "2 has no source"),
        ('"labels": dict', "5: dict", "is called 5, expected a str"),
        ("at_least=0.7", "paper=0.9", "Leave paper out"),
        ("unsure=True", "unsure='no'", "expected True or False"),
        ("rows=rows)]", "rows=rows)] * 2", "two tables are called 'Main'"),
    ],
)
def test_wrong_experiments_teach(home, capsys, old, new, words):
    text = Path("mini_table.py").read_text()
    assert old in text
    Path("mini_table.py").write_text(text.replace(old, new, 1))
    assert words in refused(capsys)
    assert not Path("runs").exists()


def test_wrong_commands_teach(home, capsys):
    assert "matches no cell" in refused(capsys, "--only", "nothing like it")
    assert "no experiment file" in refused(capsys, file="none.py")
    assert "--jobs" in refused(capsys, "--jobs", "0")
    assert "--out mini.py is a file" in refused(capsys, "--out", "mini.py")
    assert "Leave --seeds out" in refused(capsys, "--check", "--seeds", "3")


CONTRASTS = """
def get_experiment(arg=None):
    role = lambda name, **more: dict(args=dict(role=name), **more)
    return dict(title="C", config="mini.py", source="x", tables=[dict(
        title="Against labels", metric="errors",
        columns={"errors": {}, "minus labels": dict(contrast="labels"),
                 "share": dict(over="labels", at_most=0.5)},
        rows={"labels": role("labels"), "student": role("student"),
              "teacher": role("teacher", paper=None)},
    ), dict(
        title="One difference", metric="accuracy",
        rows={"labels": role("labels", paper=80), "gain": role("student", contrast="labels",
              at_least=6, paper=90), "student": role("student")},
    ), dict(
        title="By seeds", metric="errors(ensemble=True)",
        rows={"labels": role("labels"), "gain": role("student", contrast="labels")},
    )])
"""


def test_contrasts_have_an_interval_and_a_verdict(done, capsys):
    """Wrong are the first examples: 6 and 6 with labels, 3 and 4 of the student, so that both are
    wrong on 3 or 4 of 40 and labels alone on 2 or 3.
    """
    Path("contrasts.py").write_text(CONTRASTS)
    assert kd("--print", "--csv", file="contrasts.py") == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    by_row = {(line["table"], line["row"], line["column"]): line for line in lines}
    student = by_row["Against labels", "student", "minus labels"]
    assert float(student["mean"]) == -2.5 and student["metric"] == "errors - labels"
    assert float(student["low"]) < -2.5 < float(student["high"])
    assert ("Against labels", "labels", "minus labels") not in by_row
    share = by_row["Against labels", "student", "share"]
    assert share["metric"] == "ratio" and share["unit"] == "" and share["met"] == "0"
    assert float(share["mean"]) == pytest.approx(3.5 / 6)
    gain = by_row["One difference", "gain", ""]
    assert float(gain["mean"]) == 6.25 and gain["met"] == "1" and float(gain["paper"]) == 10
    assert float(gain["low"]) == pytest.approx(-float(student["high"]) / 0.4)
    alone = by_row["By seeds", "gain", ""]
    assert alone["verdict"] and float(alone["mean"]) == -2

    assert kd("--print", "--out", "drawn", file="contrasts.py") == 0
    printed = capsys.readouterr().out
    low, high = (f"{float(student[end]):+z.1f}".replace("-", "−") for end in ("low", "high"))
    assert f"| −2.5 [{low}, {high}]" in printed
    assert "Holm" in printed and "minus labels" in printed
    names = {"contrasts-differences.png", "contrasts-differences1.png"}
    assert names <= {path.name for path in Path("drawn").iterdir()}


def test_only_means_have_a_number_of_seeds_in_a_grid(done, capsys):
    """A difference or a ratio is one number, whatever number of seeds it is computed from."""
    more = '"errors": {}, "of all": dict(metric="errors(ensemble=True)"),'
    Path("contrasts.py").write_text(CONTRASTS.replace('"errors": {},', more))
    assert kd("--print", file="contrasts.py") == 0
    student = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("| student |"))
    _, _, errors, ensemble, difference, ratio, _ = student.split("|")
    assert ", n = 2" in errors and ", n = 1" in ensemble
    assert "[" in difference and "n =" not in difference + ratio


def test_published_contrasts_print_the_same_without_the_runs(done, capsys):
    Path("contrasts.py").write_text(CONTRASTS)
    assert kd("--publish", file="contrasts.py") == 0
    printed = capsys.readouterr().out
    shutil.rmtree("runs/mini-role=labels")
    assert kd("--publish", file="contrasts.py") == 0  # the student is there, the labels are not
    assert capsys.readouterr().out == printed
    shutil.rmtree("runs")
    assert kd("--print", file="contrasts.py") == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'contrast="labels"',
            'contrast="lables"',
            "contrast='lables' is no row. Did you mean 'labels'",
        ),
        ('contrast="labels"', "contrast=3", "contrast = 3, expected str"),
        ('contrast="labels"', 'contrast="labels", over="labels"', "Leave out one of them"),
        ('over="labels"', 'over="lables"', "over='lables' is no row. Did you mean 'labels'"),
        ('"student": role("student"),', '"g": dict(gap=("labels", "x", "x")),', "row in the gap"),
        (
            'rows={"labels": role("labels", paper=80)',
            'rows={"labels": role("labels", contrast="student")',
            "has no number of a run there",
        ),
        (
            '"student": role("student")},\n    ), dict(\n        title="By seeds"',
            '"g": role("labels", contrast="g")},\n    ), dict(\n        title="By seeds"',
            "row 'g': it is compared with itself",
        ),
        (
            'contrast="labels",\n              at_least',
            'contrast="labels", metric="errors",\n              at_least',
            "errors (errors) is compared with accuracy (%) of 'labels'",
        ),
        (
            'contrast="labels",\n              at_least',
            'contrast="labels", metric="ece",\n              at_least',
            "ece (%) is compared with accuracy (%) of 'labels'",
        ),
    ],
)
def test_wrong_contrasts_teach(home, capsys, old, new, words):
    assert old in CONTRASTS
    Path("contrasts.py").write_text(CONTRASTS.replace(old, new, 1))
    assert words in refused(capsys, file="contrasts.py")


def test_a_grid_has_the_paper_below_each_number(done, capsys):
    """Columns add their arguments to the row's; a cell may be left out, and one may be selected as
    its paper did.
    """
    Path("grid.py").write_text(
        "def get_experiment(arg=None):\n    return dict(title='Grid', config='mini.py', "
        "metric='errors', source='x', tables=[dict(\n        against='bytes',\n        "
        "columns={'plain': {}, 'hot': dict(args=dict(T=9))},\n        rows={'student': "
        "dict(args=dict(role='student'), paper=(3, 1)),\n              'labels': "
        "dict(args=dict(role='labels'), cells={'hot': None}, metric='accuracy',\n                  "
        "           select='best_test', why='the paper did so', paper=(50, None))})])\n"
    )
    assert kd("--out", "figures", file="grid.py") == 0
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert rows["student"] == [
        "3.5 ± 0.7 errors<br>paper 3, +0.5",
        "5.0 ± 0.0 errors ✱<br>paper 1, +4.0",
    ]
    assert rows["labels"] == ["50.00 ± 0.00 %<br>paper 50, +0.00", "–"]
    assert "Best epoch on the test set in labels, plain: the paper did so." in printed
    assert Path("figures/grid-bytes.png").stat().st_size > 1000


HELD_OUT = """
def get_experiment(arg=None):
    rows = {
        "labels": dict(args=dict(role="labels")),
        "chosen": dict(args=dict(role="labels", holdout=0.1), source="x"),
    }
    return dict(title="Choices", config="mini.py", metric="errors", tables=[dict(rows=rows)])
"""


def test_held_out_images_are_told_from_the_test_set(done, capsys):
    """A legend where all numbers are of them, a word beside each where others are not; and no
    number of a paper beside.
    """
    file = Path("choices.py")
    errors = json.loads(Path("errors.json").read_text()) | {"labels,holdout=0.1": [1, 2]}
    Path("errors.json").write_text(json.dumps(errors))
    file.write_text(HELD_OUT)
    assert kd(file="choices.py") == 0
    printed = capsys.readouterr().out
    rows = rows_of(printed)
    assert rows["labels"][0] == "6.0 ± 0.0"
    assert rows["chosen (held out)"][0] == "1.5 ± 0.7"
    assert "held out: on 40 held-out training images, not on the test set." in printed
    file.write_text(HELD_OUT.replace("return", "del rows['labels']; return"))
    assert kd("--publish", file="choices.py") == 0
    text = capsys.readouterr().out
    assert rows_of(text)["chosen"][0] == "1.5 ± 0.7"
    assert "epoch. On 40 held-out training images, not on the test set." in text
    assert "|  | ours |  | n |\n" in text  # without the columns of a paper
    page = "<!-- table: choices -->\n<!-- /table -->"
    above, runs = text.split("\n\n| run |")
    filled = gather.as_published(page, "choices.py")
    assert above in filled and runs in filled
    more = "rows['more'] = dict(args=dict(role='labels', holdout=0.2)); return"
    file.write_text(HELD_OUT.replace("return", more))
    errors["labels,holdout=0.2"] = [1, 1]
    Path("errors.json").write_text(json.dumps(errors))
    assert kd(file="choices.py") == 0
    assert "held out: on 40 or 80 held-out training" in capsys.readouterr().out
    file.write_text(HELD_OUT.replace('source="x"', 'source="x", paper=3'))
    error = refused(capsys, file="choices.py")
    assert "paper's number 3 is from its test set, and mini.py:role=labels" in error


@pytest.mark.slow
def test_learning_curves_are_drawn(done, capsys):
    row = '{"kind": "test", "step": 1, "epoch": 0, "seconds": 1, "accuracy": [0.5, 1.0]}\n'
    metrics = Path("runs/mini-role=labels/metrics.jsonl")
    metrics.write_text(row)
    assert kd("--print", "--out", "figures") == 0
    assert not Path("figures/mini_table.png").exists()  # a point is no curve
    metrics.write_text(row + row.replace('"epoch": 0', '"epoch": 1'))
    assert kd("--print", "--out", "figures") == 0
    assert Path("figures/mini_table.png").stat().st_size > 1000
    assert kd("--publish") == 0
    assert Path("results/mini_table.png").stat().st_size > 1000
    shutil.rmtree("runs/mini-role=labels")
    Path("results/mini_table.png").write_text("with more curves")
    assert kd("--publish") == 0
    assert Path("results/mini_table.png").read_text() == "with more curves"


def test_a_large_table_is_a_few_lines(home):
    """Seven pairs by fourteen methods, one missing in the paper."""
    pairs = {f"pair {i}": dict(args=dict(pair=i)) for i in range(7)}
    methods = {
        f"method {i}": dict(args=dict(method=i), paper=(70.5,) * 6 + (None,)) for i in range(14)
    }
    Path("large.py").write_text(
        "get_experiment = lambda arg=None: dict(config='x.py', source='y', seeds=5, "
        f"tables=[dict(columns={pairs}, rows={methods})])"
    )
    cells = experiment.load("large.py").cells()
    assert len(cells) == 98 and sum(c.paper is None for c in cells) == 14
    assert cells[-1].reference == "x.py:method=13,pair=6,seeds=5"
    assert experiment.load("large.py", seeds=1).cells()[0].reference[-7:] == "seeds=1"


@pytest.mark.campaign
def test_real_runs_with_a_failure_a_kill_and_a_resume(home, capsys, monkeypatch):
    """`kd run` itself: the table is killed while it trains; the same command ends it, with the
    numbers of one that was not.
    """
    monkeypatch.undo()
    monkeypatch.chdir(home)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    text = Path("mini.py").read_text().replace('a.get("epochs", 2)', '"60"')
    Path("mini.py").write_text(text)

    def start(runs):
        command = [sys.executable, "-m", "kd", "table", "mini_table.py:bad"]
        return subprocess.Popen(
            [*command, "--jobs", "2", "--runs", runs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    whole, error = start("whole").communicate(timeout=500)
    assert "FAILED mini.py:role=bad: the loss or its gradient is not finite" in error
    assert "missing" not in whole.split("| broken")[0]
    for number in (signal.SIGTERM, signal.SIGINT):
        process = start("cut")
        deadline = time.monotonic() + 120
        seen = len(list(Path("cut").glob("*/metrics.jsonl"))) if Path("cut").exists() else 0
        while time.monotonic() < deadline and process.poll() is None:
            if len(list(Path("cut").glob("*/metrics.jsonl"))) > seen:
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 130, error
    process = start("cut")
    cut, error = process.communicate(timeout=500)
    assert process.returncode == 1, error
    assert rows_of(cut)["student"] == rows_of(whole)["student"]
    assert rows_of(cut)["teacher"] == rows_of(whole)["teacher"]


def test_one_table_of_several_stands_in_a_document(done, capsys):
    """Without the experiment's title and the runs; a marker of a table that is not there is told of
    before anything runs.
    """
    text = Path("mini_table.py").read_text()
    second = text.replace("rows=rows)]", "rows=rows), dict(title='More', rows=rows)]")
    Path("mini_table.py").write_text(second)
    page = (
        "<!-- table: mini_table: Main -->\n<!-- /table -->\n<!-- table: mini_table -->\n<!-- "
        "/table -->\n"
    )
    Path("page.md").write_text(page)
    assert kd("--print", "--into", "page.md") == 0
    capsys.readouterr()
    one, whole, _ = Path("page.md").read_text().split("<!-- /table -->\n")
    assert rows_of(one)["student"] == rows_of(done)["student"]
    assert one.count("*Main*") == whole.count("*Main*") == whole.count("*More*") == 1
    assert "*More*" not in one and "`mini.py" not in one
    assert "Paper: Nobody 1999, Table 1." in one
    Path("page.md").write_text(page.replace("Main", "Mian"))
    error = refused(capsys, "--into", "page.md", "--runs", "none")
    assert "Did you mean 'mini_table: Main'" in error and not Path("none").exists()


def test_markers_are_required(done, capsys):
    Path("page.md").write_text("<!-- table: mini -->\n<!-- /table -->\n")
    words = "no markers: expected a line <!-- table: mini_table --> and below it <!-- /table -->"
    assert words in refused(capsys, "--print", "--into", "page.md")
    Path("page.md").write_text("<!-- table: mini_table -->\nno end\n")
    assert words in refused(capsys, "--print", "--into", "page.md")
    text = "<!-- table: mini_table -->\nno end\n<!-- table: x -->\n<!-- /table -->\n"
    Path("page.md").write_text(text)
    error = refused(capsys, "--print", "--into", "page.md")
    assert "has no end before the next table begins" in error
    assert Path("page.md").read_text() == text


@pytest.mark.slow
def test_a_document_keeps_its_link_its_mode_and_its_ends_of_lines(home, capsys):
    real, link = Path("real.md"), Path("page.md")
    real.write_bytes(b"a\r\n<!-- table: mini_table -->\r\n<!-- /table -->\r\nz\r\n")
    real.chmod(0o640)
    link.symlink_to(real)
    assert kd("--print", "--into", "page.md") == 0
    content = real.read_bytes()
    assert b"**Mini**\r\n" in content and content.count(b"\n") == content.count(b"\r\n")
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o640


def test_a_document_that_cannot_be_filled_whole_is_left_as_it_is(home, capsys, monkeypatch):
    """It is read-only; or the last of two places has no end."""
    page = Path("page.md")
    page.write_text("<!-- table: mini_table -->\n<!-- /table -->\n<!-- table: mini_table -->\nz\n")
    before = page.read_text()
    assert "has no end" in refused(capsys, "--into", "page.md")
    page.write_text(before + "<!-- /table -->\n")
    monkeypatch.setattr(document.os, "access", lambda *_: False)
    assert "--into page.md: it is read-only" in refused(capsys, "--into", "page.md")
    assert page.read_text().startswith(before) and not Path("runs").exists()


def test_a_run_that_others_look_for_under_two_names_is_planned_under_both(home):
    """`kd run` keeps a directory for each: the second is not left to be trained unseen by the first
    student of it.
    """
    text = Path("mini.py").read_text()
    twice = text.replace(
        '(f",seeds={seeds}" if seeds != 2 else "")', '(",seeds=2" if "T" in a else "")'
    )
    Path("mini.py").write_text(twice)
    assert kd() == 0
    for name in ("role=teacher", "role=teacher,seeds=2"):
        assert order().count(f"begin mini.py:{name}") == 1
        assert Workdir(f"runs/mini-{name}").finished


def test_what_was_published_is_an_estimate(done, capsys):
    assert kd("--publish") == 0
    assert kd("--dry_run", "--runs", "none") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "mini.py:role=labels: 60 s (as published)" in lines
