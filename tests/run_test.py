"""`kd run` from end to end on a few real digits: files written, runs reused, errors."""

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
import pytest

from kd import data
from kd.cli import main
from kd.errors import InputError
from kd.metrics import scores
from kd.runs import update_time
from kd.runs.record import read_rows
from kd.runs.workdir import InUse, Workdir


def kd(*arguments):
    return main.main(["run", *map(str, arguments)])


STUDENT, TEACHER = Workdir("runs/small"), Workdir("runs/small-teacher")


def test_one_command_trains_the_teacher_and_then_the_student(finished):
    for run in (STUDENT, TEACHER):
        names = {p.name for p in run.path.iterdir() if not p.name.startswith(".")}
        assert names == {
            "config.json",
            "origin.json",
            "metrics.jsonl",
            "checkpoints",
            "predictions.npz",
            "result.json",
        }
    result = STUDENT.read("result.json")
    assert result["seeds"] == [0, 1] and result["steps"] == 12
    assert result["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert result["bytes"] == 4 * result["parameters"]
    assert result["macs"] == 64 * 8 + 8 * 10
    assert result["jax_version"] == jax.__version__
    assert len(result["config_hash"]) == 12 and result["seconds"] > 0
    assert result["hardware"]["platform"] == "cpu"
    assert result["teacher"]["run"] == "runs/small-teacher"
    assert "ensemble of 2" in finished and "runs/small" in finished


def test_the_result_is_computed_from_the_stored_predictions(finished):
    own, taught = STUDENT.predictions(), TEACHER.predictions()
    assert own["logits"].shape == (2, 40, 10)
    target = scores.mean_probs(taught["logits"])
    found = scores.evaluate(own["logits"], own["label"], target)
    assert STUDENT.read("result.json")["final"] == found
    rows = [row for row in read_rows(STUDENT) if row["kind"] == "test"]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[-1]["accuracy"] == found["accuracy"]
    best = STUDENT.read("result.json")["best_test"]
    assert best["accuracy"] == np.max([row["accuracy"] for row in rows], 0).tolist()
    assert STUDENT.read("result.json")["update_processor_seconds"] > 0


def test_the_record_has_each_step_once(finished):
    rows = [row for row in read_rows(STUDENT) if row["kind"] == "train"]
    assert [row["updates"] for row in rows] == [2, 1, 1] * 3
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 7, 8, 10, 11, 12]
    assert all(len(row["loss"]) == len(row["kd"]) == 2 for row in rows)


def test_the_time_of_an_update_leaves_out_what_is_no_update(monkeypatch):
    """Dispatches of 2, 2 and 1 updates, and an evaluation of 7 seconds after the second."""
    clock = iter([10.0, 14.0, 21.0, 23.5])
    monkeypatch.setattr(update_time.time, "process_time", lambda: next(clock))
    taken = update_time.UpdateTime()
    assert taken.median is None
    for updates in (2, 2, 0, 1):
        taken.add(updates)
    assert taken.median == pytest.approx((2.0 + 2.5) / 2)


def test_a_second_run_trains_nothing_and_prints_the_same(finished, small_config, capsys, tmp_path):
    before = snapshot(tmp_path / "runs")
    assert kd("--config", small_config) == 0
    assert capsys.readouterr().out == finished
    assert snapshot(tmp_path / "runs") == before


@pytest.mark.slow
def test_seeds_of_a_run_equal_runs_of_one_seed(finished, small_config):
    """Student 1 of the run is the run with seed 1 alone."""
    arguments = ["--config.seeds=1", "--config.seed=1", "--workdir", "alone"]
    assert kd("--config", small_config, *arguments) == 0
    together = STUDENT.predictions()["logits"][1]
    alone = Workdir("alone").predictions()["logits"][0]
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_teacher_members_can_be_selected_and_paired_with_students(finished, small_config):
    for members, expected in (("1", [1]), ("paired", [0, 1])):
        directory = f"members-{members}"
        arguments = [f"--config.teacher.members={members}", "--workdir", directory]
        assert kd("--config", small_config, *arguments) == 0
        assert Workdir(directory).read("result.json")["teacher"]["members"] == expected


@pytest.mark.slow
@pytest.mark.parametrize("members", ["paired", "all", "1"])
@pytest.mark.usefixtures("unoptimized")
def test_cached_teacher_logits_train_the_same_student(finished, small_config, members):
    text = small_config.read_text().replace('c.augment = "crop(1)"', 'c.augment = ""')
    Path("still.py").write_text(
        text.replace('config="small.py:teacher"', 'run="runs/small-teacher"')
    )
    arguments = ["--config", "still.py", f"--config.teacher.members={members}"]
    for name, cache in (("live", "false"), ("once", "true")):
        options = [f"--config.teacher.cache={cache}", "--workdir", name]
        assert kd(*arguments, *options) == 0
    live, once = (Workdir(name).predictions()["logits"] for name in ("live", "once"))
    np.testing.assert_allclose(live, once, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_a_config_can_name_a_network_of_the_working_directory(small_config, tmp_path):
    (tmp_path / "mine_nets.py").write_text(
        "import flax.linen as nn\nfrom kd.types import Outputs\n"
        "class Linear(nn.Module):\n"
        "    num_classes: int\n"
        "    @nn.compact\n"
        "    def __call__(self, image, train=False):\n"
        "        x = image.reshape(image.shape[0], -1)\n"
        "        return Outputs(nn.Dense(self.num_classes)(x))\n"
    )
    text = small_config.read_text().replace(
        'dict(name="mlp.MLP", widths=(8,))', 'dict(name="mine_nets.Linear")'
    )
    small_config.write_text(text)
    assert kd("--config", f"{small_config}:teacher") == 0
    assert Workdir("runs/small-teacher").read("result.json")["parameters"] == 650


@pytest.mark.campaign
@pytest.mark.usefixtures("unoptimized")
def test_the_small_convolutional_network_learns_time_series(small_config, tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    wave = np.sin(np.arange(32) * (label[:, None] + 1) / 3)[..., None]
    series = (wave + 0.1 * rng.standard_normal((60, 32, 1))).astype(np.float32)
    np.savez(
        tmp_path / "series.npz",
        x_train=series[:45],
        y_train=label[:45],
        x_test=series[45:],
        y_test=label[45:],
    )
    text = small_config.read_text().replace(
        'dict(name="mlp.MLP", widths=(8,))', 'dict(name="cnn.CNN", widths=(4, 8))'
    )
    small_config.write_text(with_data(text, "series.npz"))
    assert kd("--config", f"{small_config}:teacher", "--config.epochs=25") == 0
    accuracy = Workdir("runs/small-teacher").read("result.json")["final"]["accuracy"]
    assert min(accuracy) > 0.8


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_holdout_evaluates_on_held_out_examples(small_config):
    arguments = ["--config.holdout=0.2", "--config.eval_every=2"]
    assert kd("--config", f"{small_config}:teacher", *arguments) == 0
    run = Workdir("runs/small-teacher")
    result = run.read("result.json")
    assert result["split"] == "validation" and result["examples"] == 20
    assert "best_validation" in result and "best_test" not in result
    assert [r["epoch"] for r in read_rows(run) if r["kind"] == "validation"] == [1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_validation_and_train_classes_do_not_change_the_test_set(small_config, small_data):
    """The student never sees a 3, nor what is kept for validation; both other splits have all
    classes.
    """
    arguments = ["--config.validation=0.2", "--config.train_classes=(0,1,2,4)"]
    assert kd("--config", f"{small_config}:teacher", *arguments) == 0
    found = Workdir("runs/small-teacher").predictions()
    assert found["logits"].shape == (2, 40, 10)
    assert found["validation_logits"].shape == (2, 20, 10)
    assert set(found["validation_label"]) == set(range(10))
    with np.load(small_data) as data:
        label = data["y_train"]
        np.testing.assert_array_equal(found["label"], data["y_test"])
    kept = [(label == k).sum() - (found["validation_label"] == k).sum() for k in range(10)]
    steps = -(-sum(kept[k] for k in (0, 1, 2, 4)) // 32)
    assert Workdir("runs/small-teacher").read("result.json")["steps"] == 3 * steps


def test_print_config_prints_and_stops(small_config, capsys, tmp_path):
    assert kd("--config", small_config, "--config.seeds=7", "--print_config") == 0
    printed = capsys.readouterr().out
    assert "seeds: 7" in printed and "momentum: 0.9" in printed
    assert not (tmp_path / "runs").exists()


def snapshot(directory):
    return {
        str(p.relative_to(directory)): p.read_bytes()
        for p in sorted(directory.rglob("*"))
        if p.is_file()
    }


def with_data(text, path):
    """Returns the text of `small.py` with another data file."""
    lines = text.splitlines()
    found = next(i for i, line in enumerate(lines) if "c.data" in line)
    lines[found] = f"    c.data = dict(name='arrays', path='{path}')"
    return "\n".join(lines)


def refused(capsys, *arguments, status=2):
    """The words on stderr of a command that is refused without a traceback."""
    assert kd(*arguments) == status
    error = capsys.readouterr().err
    assert "kd run: " in error and "Traceback" not in error
    return error[error.index("kd run: ") :]


def test_a_workdir_of_another_config_is_refused_with_the_difference(
    finished, small_config, capsys, tmp_path
):
    before = snapshot(tmp_path / "runs")
    given = ["--config.epochs=4", "--workdir", "runs/small"]
    error = refused(capsys, "--config", small_config, *given)
    assert "epochs: 4 here, 3 there" in error and "student" not in error
    assert snapshot(tmp_path / "runs") == before


@pytest.mark.usefixtures("finished", "unoptimized")
@pytest.mark.slow
def test_an_override_needs_no_workdir_of_its_own(small_config, capsys):
    """The run is beside the config's, which stays as it is, and is found again."""
    before = snapshot(Path("runs/small"))
    command = ["--config", str(small_config), "--config.epochs=1"]
    assert kd(*command) == 0
    told = capsys.readouterr()
    run = Workdir("runs/small--epochs=1")
    assert run.finished and run.read("config.json")["epochs"] == 1
    assert "this run is runs/small--epochs=1" in told.err and str(run.path) in told.out
    assert snapshot(Path("runs/small")) == before
    result = snapshot(Path(run.path))
    assert kd(*command) == 0 and snapshot(Path(run.path)) == result
    assert kd("--config", str(small_config), "--config.tensorboard=true") == 0
    assert not Path("runs/small--tensorboard=true").exists()


def test_a_directory_that_is_no_run_is_refused(small_config, capsys, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    error = refused(capsys, "--config", small_config, "--workdir", "thesis")
    assert "not a run directory" in error
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_a_workdir_that_cannot_be_a_directory_is_refused(small_config, capsys):
    Path("file").write_text("precious")
    main = ["--config", f"{small_config}:teacher", "--workdir"]
    assert "is a file" in refused(capsys, *main, "file")
    assert "cannot be made" in refused(capsys, *main, "file/run")
    assert Path("file").read_text() == "precious"


def test_damaged_predictions_are_reported(finished, small_config, capsys):
    path = TEACHER.path / "predictions.npz"
    path.write_bytes(path.read_bytes()[:1000])
    assert "predictions.npz cannot be read" in refused(capsys, "--config", small_config)


def test_a_teacher_with_other_classes_is_refused(finished, small_config, capsys):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8)
    label = np.arange(40) % 4
    np.savez("four.npz", x_train=image, y_train=label, x_test=image, y_test=label)
    path = Path("four.py")
    path.write_text(with_data(small_config.read_text(), "four.npz"))
    error = refused(capsys, "--config", path)
    assert "num_classes 10, the data here have 4" in error
    assert not Workdir("runs/four").path.exists()


@pytest.mark.slow
def test_resuming_with_a_changed_teacher_is_refused(finished, small_config, capsys):
    (STUDENT.path / "result.json").unlink()
    origin = STUDENT.read("origin.json")
    origin["teacher"]["weights"] = "0" * 16
    STUDENT.write("origin.json", origin)
    error = refused(capsys, "--config", small_config)
    assert "the teacher changed since the run began" in error


@pytest.mark.slow
def test_a_finished_student_of_a_retrained_teacher_is_refused(finished, small_config, capsys):
    """The teacher's config changes and its directory is removed, as the message about it says; the
    student's is not.
    """
    text = small_config.read_text()
    assert (
        STUDENT.read("result.json")["teacher"]["run_weights"]
        == TEACHER.read("result.json")["weights"]
    )
    shutil.rmtree(TEACHER.path)
    assert kd("--config", small_config) == 0  # the same teacher again
    shutil.rmtree(TEACHER.path)
    other = 'c.seed = 8 if arg == "teacher" else 0\n    if arg != "teacher":'
    small_config.write_text(text.replace('if arg != "teacher":', other))
    before = STUDENT.read("result.json")
    error = refused(capsys, "--config", small_config)
    assert "runs/small was trained from a run in runs/small-teacher" in error
    assert STUDENT.read("result.json") == before


@pytest.mark.slow
def test_resuming_refuses_changed_data_and_accepts_moved_runs(
    finished, small_config, small_data, capsys
):
    (STUDENT.path / "result.json").unlink()
    moved = ["--config", small_config, "--runs", str(Path("runs").absolute())]
    assert kd(*moved) == 0
    (STUDENT.path / "result.json").unlink()
    arrays = dict(np.load(small_data))
    arrays["x_train"] = arrays["x_train"][::-1]  # with the same mean and std
    Path("data").mkdir()
    np.savez("data/small.npz", **arrays)
    origin = STUDENT.read("origin.json")
    config = STUDENT.read("config.json")
    config["data"]["path"] = "data/small.npz"
    STUDENT.write("config.json", config)
    small_config.write_text(with_data(small_config.read_text(), "data/small.npz"))
    teacher = ["--config.teacher.run=runs/small-teacher", "--config.teacher.config="]
    config["teacher"] |= {"run": "runs/small-teacher", "config": ""}
    STUDENT.write("config.json", config)
    error = refused(capsys, "--config", small_config, *teacher)
    assert "the data changed since the run began" in error
    assert STUDENT.read("origin.json") == origin


WHOLES = """
import flax.linen as nn
import jax.numpy as jnp

class Wholes(nn.Module):
    def __call__(self, view):
        return view.student.logits.mean(-1) + jnp.zeros(32)  # whatever the batch
"""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.data.path=none.npz"], "none.npz"),
        (["--config.teacher.run=nowhere", "--config.teacher.config="], "nowhere"),
        (["--config.teacher.members=5"], "members 0 to 1"),
        (["--config.train_classes=(3,12)"], "no training images of class 12"),
        (["--config.teacher.members=paired", "--config.seeds=3"], "has 2"),
        (["--config.teacher.members=paired", "--config.seeds=3", "--runs=fresh"], "has 2"),
        (["--config.teacher.reduce=confidence", "--config.teacher.members=1"], "learns from one"),
        (
            ["--config.teacher.reduce=confidence", "--config.teacher.members=1", "--runs=fresh"],
            "learns from one",
        ),
        (["--config.devices.data=64"], "needs 64 devices"),
        (["--config.devices.data=3"], "a multiple of 3"),
        (["--config.devices.teacher=4"], "2 members"),
        (["--config.devices.teacher=2", "--config.teacher.members=0"], "devices.data"),
        (["--config.augment=corp(1)"], "'crop'"),
        (["--config.teacher.cache=true"], "no two epochs"),
        (["--config.objective.kd.name=fitnet.FitNot"], "objective"),
        (
            ["--config.optimizer.weight_decay=1", "--config.optimizer.decay=kernal$"],
            "student/head/bias",
        ),
        (["--config.objective.kd.name=wholes.Wholes"], "4 examples in place of 32"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(
    finished, small_config, capsys, tmp_path, arguments, words
):
    before = snapshot(tmp_path / "runs")
    Path("wholes.py").write_text(WHOLES)
    error = refused(capsys, "--config", small_config, "--workdir", "new", *arguments)
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "new").exists() and not (tmp_path / "fresh").exists()
    assert snapshot(tmp_path / "runs") == before


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_a_last_update_that_is_too_large_gives_no_result(small_config, capsys):
    """No loss sees it: the run would end with networks whose logits are not finite."""
    sizes = ["--config.student.widths=8,8,8,8", "--config.epochs=1", "--config.batch_size=100"]
    steps = ["--config.optimizer.learning_rate=1e12", "--config.optimizer.weight_decay=1e12"]
    error = refused(capsys, "--config", f"{small_config}:teacher", *sizes, *steps, status=1)
    assert "logits of trained network 0 are not finite for 40 of 40 images" in error
    run = Workdir("runs/small-teacher")
    assert not run.finished and not (run.path / "predictions.npz").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    small_config, capsys
):
    arguments = ["--config.optimizer.learning_rate=1e12", "--config.epochs=5"]
    error = refused(capsys, "--config", f"{small_config}:teacher", *arguments, status=1)
    assert "not finite for seed" in error and "at step" in error
    run = Workdir("runs/small-teacher")
    assert not run.finished
    steps = [int(p.name) for p in run.checkpoints.iterdir() if p.name.isdigit()]
    bad = int(error.split("at step ")[1].split(":")[0])
    assert all(step < bad for step in steps)


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_two_processes_do_not_train_in_one_directory(small_config, capsys):
    run = Workdir("runs/small-teacher")
    with run.lock():
        error = refused(capsys, "--config", f"{small_config}:teacher", "--no_wait")
    assert "in use by another process" in error
    assert kd("--config", f"{small_config}:teacher") == 0


def test_a_directory_is_locked_before_its_setup_and_leaves_nothing_behind(
    small_config, capsys, monkeypatch
):
    """Two of a kind would both read data and compile, and one of them in vain."""
    from kd.train import run as train

    def prepare(*_, **__):
        with pytest.raises(InUse), run.lock():
            pass
        raise InputError("no such setup")

    run = Workdir("new/run")
    monkeypatch.setattr(train, "prepare", prepare)
    error = refused(capsys, "--config", f"{small_config}:teacher", "--workdir", "new/run")
    assert "no such setup" in error and not Path("new").exists()


def test_a_run_that_another_process_trains_is_waited_for_with_one_line(
    small_config, capsys, monkeypatch
):
    """The other one ends after five looks; its lock file and directory vanish with it."""
    from kd.train import run as train

    looks, run = [], Workdir("busy")
    with ExitStack() as other, ExitStack() as ours:
        other.enter_context(run.lock())
        with pytest.raises(InUse):
            train._lock(run, wait=False, stack=ours)

        def look(seconds):
            looks.append(seconds)
            if len(looks) == 5:
                other.close()

        monkeypatch.setattr(train.time, "sleep", look)
        train._lock(run, wait=True, stack=ours)
        with pytest.raises(InUse), run.lock():
            pass
    words = "in use by another process: waiting"
    assert len(looks) == 5 and capsys.readouterr().err.count(words) == 1


@pytest.mark.campaign
def test_eight_runs_that_share_a_missing_teacher_train_it_once(small_config):
    """One trains it, the others wait with a line; all end well."""
    command = [sys.executable, "-m", "kd", "run", "--config", "small.py"]
    runs = [
        subprocess.Popen(
            [*command, "--workdir", f"student{i}", f"--config.seed={i}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(8)
    ]
    errors = [run.communicate(timeout=600)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 8, errors
    trained = [error for error in errors if re.search(r"small-teacher \(.*\): epoch", error)]
    waited = [error for error in errors if "small-teacher is in use by another process" in error]
    assert len(trained) == 1 and waited and not set(trained) & set(waited), errors


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_each_batch_shape_is_compiled_once(small_config):
    """Two shapes (32 and the last 4 of 100), compiled once each over three epochs of several
    dispatches.
    """
    from kd import config as configs
    from kd.build import spell_out
    from kd.train import run as train
    from kd.train import setup as setups
    from kd.train.places import Place

    config = spell_out(configs.load("small.py:teacher"))
    setup = setups.prepare(config)
    run = Workdir("run")
    with run.lock():
        train._train(setup, run, Place())
    assert sorted(setup.updates) == [4, 32]
    assert [u._cache_size() for u in setup.updates.values()] == [1, 1]


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_the_result_names_the_commit_at_the_start_of_the_run(small_config):
    """A commit made during the run does not change it."""
    from kd import config as configs
    from kd.build import spell_out
    from kd.train import run as train
    from kd.train import setup as setups
    from kd.train.places import Place

    def commit():
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        main = ["git", *who, "commit", "--allow-empty", "-qm", "x"]
        subprocess.run(main, check=True)
        head = ["git", "rev-parse", "HEAD"]
        return subprocess.check_output(head, text=True).strip()

    subprocess.run(["git", "init", "-q"], check=True)
    trained = commit()
    setup = setups.prepare(spell_out(configs.load("small.py:teacher")))
    assert commit() != trained
    run = Workdir("run")
    with run.lock():
        train._train(setup, run, Place())
    assert run.read("result.json")["git_commit"] == trained


def test_missing_data_are_reported_before_the_teacher_is_trained(small_config, capsys, tmp_path):
    text = with_data(small_config.read_text(), "small.npz")
    small_config.write_text(
        text.replace("if arg !=", "if arg == 'teacher':\n        1 / 0\n    if arg !=")
    )
    error = refused(capsys, "--config", small_config)
    assert "small.npz" in error and not (tmp_path / "runs").exists()


def test_the_error_for_an_unprepared_set_names_the_command_that_prepares_it(small_config, capsys):
    lines = small_config.read_text().splitlines()
    data = "    c.data = dict(name='cifar10', data_dir='nowhere')"
    changed = [data if "c.data" in line else line for line in lines]
    small_config.write_text("\n".join(changed))
    error = refused(capsys, "--config", "small.py:teacher")
    assert "kd prepare cifar10" in error


@pytest.mark.usefixtures("unoptimized")
@pytest.mark.slow
def test_tensorboard_shows_the_recorded_curves(small_config):
    arguments = ["--config.tensorboard=true", "--config.epochs=1"]
    assert kd("--config", "small.py:teacher", *arguments) == 0
    events = list((TEACHER.path / "tensorboard").iterdir())
    assert len(events) == 1 and b"test/accuracy" in events[0].read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_command_line_can_change_a_name_and_set_the_new_settings(small_config):
    arguments = ["--config.student.name=cnn.CNN", "--config.student.widths=(3,)"]
    arguments += ["--config.optimizer.name=adam", "--config.epochs=1"]
    assert kd("--config", "small.py:teacher", *arguments) == 0
    config = TEACHER.read("config.json")
    assert config["student"]["name"] == "cnn.CNN" and config["student"]["depth"] == 1
    assert config["optimizer"]["learning_rate"] == 0.1  # kept from the file's sgd
    assert "momentum" not in config["optimizer"]


def test_a_run_stored_before_a_key_existed_still_belongs_to_its_config(
    finished, small_config, tmp_path
):
    config = STUDENT.read("config.json")
    del config["loop"], config["student"]["dropout"]
    STUDENT.write("config.json", config)
    before = snapshot(tmp_path / "runs")
    assert kd("--config", small_config) == 0
    assert snapshot(tmp_path / "runs") == before


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--config.augment=crop(-1)", "padding"),
        ("--config.devices.data=64", "needs 64 devices"),
        ("--config.student.widths=(-3,)", "config.student"),
        ("--config.student.widths=('a',)", "expected int"),
        ("--config.optimizer.decay=(", "regular expression"),
        ("--config.objective.kd.name=semckd.SemCKD", "batches of one size"),
        ("--config.objective.kd.name=rkd.RKD --config.batch_size=33", "2 examples or"),
        ("--config.objective.kd.name=cc.CC --config.batch_size=99", "drop_last"),
    ],
)
def test_errors_of_the_student_are_reported_before_the_teacher_is_trained(
    small_config, capsys, tmp_path, argument, words
):
    error = refused(capsys, "--config", "small.py", *argument.split())
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_teacher_that_may_have_seen_the_held_out_images_is_refused(
    finished, small_config, capsys, tmp_path
):
    """It was trained on all of train, of which this run holds out a part."""
    arguments = ["--config.holdout=0.2", "--workdir", "new"]
    error = refused(capsys, "--config", "small.py", *arguments)
    assert "config.holdout" in error and not (tmp_path / "new").exists()


def test_a_reprinted_table_says_that_its_data_are_gone_or_have_changed(
    finished, small_config, small_data, capsys, tmp_path
):
    """The table itself stays as it was."""
    mine = tmp_path / "mine.npz"
    shutil.copy(small_data, mine)
    small_config.write_text(small_config.read_text().replace(str(small_data), str(mine)))
    for path in Path("runs").rglob("config.json"):
        path.write_text(path.read_text().replace(str(small_data), str(mine)))
    capsys.readouterr()

    def printed():
        data._load.cache_clear()
        assert kd("--config", small_config) == 0
        return capsys.readouterr().out

    table = printed()
    assert "measured on" not in table
    with np.load(mine) as arrays:
        changed = {**arrays, "x_test": 255 - arrays["x_test"]}
    np.savez(mine, **changed)
    assert printed().startswith(table)
    assert "measured on have changed" in printed()
    mine.unlink()
    assert "measured on are gone" in printed() and printed().startswith(table)
