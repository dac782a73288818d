"""What the progress of a run shows: on a terminal, in a file, and in which order runs come."""

import io
import os
import re

import pytest

from kd.build import load_config, spell_out
from kd.config import default_workdir
from kd.runs import progress
from kd.runs.progress import Progress, duration
from kd.runs.workdir import Workdir
from kd.train.places import places


class Screen(io.StringIO):
    """A terminal of so many columns."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        return [line.removesuffix("\x1b[K") for line in re.split(r"[\r\n]+", self.getvalue())]


@pytest.fixture
def clock(monkeypatch):
    """A list whose first element is the time."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(monkeypatch, columns: int) -> str:
    """The last drawing on a terminal of so many columns."""
    monkeypatch.setattr(progress, "_columns", lambda stream: columns)
    screen = Screen()
    bar = Progress("d", 3000, 0, screen, steps_per_epoch=30, place="2 of 3: student", seeds=5)
    bar.update(30, **{"train loss": 0.31234, "train accuracy": 0.9512, "test accuracy": 0.931})
    for step in range(1493, 1501):
        bar.update(step)
    bar.close()
    return screen.lines()[-2]


def test_a_wide_terminal_names_what_every_number_is_of(monkeypatch, clock):
    line = shown(monkeypatch, 160)
    assert re.match(r" 50 % █+░+ 2 of 3: student \| epoch 50 of 100 \| ", line)
    assert line.endswith(
        "mean of 5 seeds, train loss 0.3123, accuracy 95.12 %; test accuracy 93.10 %"
    )


@pytest.mark.parametrize("columns", [8, 20, 40, 60, 80, 100, 120])
def test_a_narrow_terminal_keeps_one_line_that_begins_with_the_per_cent(
    monkeypatch, clock, columns
):
    line = shown(monkeypatch, columns)
    assert len(line) < columns and line.startswith(" 50 %")
    if columns == 100:
        assert line.endswith("accuracy: train 95.12 %, test 93.10 %")


def test_a_wide_name_takes_two_columns_a_character(monkeypatch, clock):
    monkeypatch.setattr(progress, "_columns", lambda stream: 20)
    screen = Screen()
    Progress("学生学生学生学生学生", 10, 0, screen).close()
    assert progress._width(screen.lines()[-2]) < 20


def test_the_time_to_go_leaves_compilation_out(clock):
    """A minute until the first update, another until the second, then a second for each step."""
    stream = io.StringIO()
    bar = Progress("d", 100, 0, stream, every=0.0)
    for step, clock[0] in enumerate([60.0, 120.0, *(120.0 + i for i in range(1, 9))], 1):
        bar.update(step)
    bar.close()
    lines = stream.getvalue().splitlines()
    assert "left" not in lines[1]  # too few intervals to tell
    assert lines[-1] == "d: step 10 of 100, 10 %, 1 min 30 s left"


def test_a_resumed_run_counts_its_time_from_where_it_resumed(clock):
    stream = io.StringIO()
    bar = Progress("d", 100, 50, stream, every=0.0, steps_per_epoch=10)
    for step in range(51, 71):
        clock[0] += 2.0
        bar.update(step)
    bar.close()
    assert stream.getvalue().splitlines()[-1] == "d: epoch 7 of 10, 70 %, 1 min 0 s left"


def test_a_file_gets_ever_fewer_lines(clock):
    """Ten hours, an update a second."""
    stream = io.StringIO()
    bar = Progress("d", 36000, 0, stream)
    for second in range(36000):
        clock[0] = float(second)
        bar.update(second)
    assert 100 < len(stream.getvalue().splitlines()) < 200
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_what_is_not_known_is_not_shown(clock):
    """Neither the length, nor a test, nor labels, nor a finite loss."""
    stream = io.StringIO()
    bar = Progress("d", None, 0, stream)
    bar.update(3, **{"train loss": float("nan")})
    bar.close()
    assert stream.getvalue() == "d: step 3\n"
    screen = Screen()
    Progress("d", None, 0, screen).close()
    assert screen.lines()[-2].strip() == "d | step 0"


def test_a_stopped_run_is_not_shown_as_done(clock):
    stream = io.StringIO()
    bar = Progress("d", 1000, 0, stream, steps_per_epoch=10)
    bar.update(999)
    bar.close()
    assert "99 %" in stream.getvalue() and "took" not in stream.getvalue()


def test_a_terminal_without_utf_8_or_control_codes_gets_what_it_can_show(monkeypatch, clock):
    screen = Screen()
    screen.encoding = "ascii"
    Progress("d", 2, 1, screen).close()
    assert "#" in screen.getvalue() and screen.getvalue().isascii()
    monkeypatch.setitem(os.environ, "TERM", "dumb")
    dumb = Screen()
    Progress("d", 2, 1, dumb).close()
    assert dumb.getvalue() == "d: step 1 of 2, 50 %\n"


def test_names_move_no_cursor(clock):
    screen = Screen()
    Progress("a\x1b[2Jb", 2, 0, screen, place="1 of 2: \x07").close()
    assert "\x1b[2J" not in screen.getvalue() and "\x07" not in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_runs_of_a_command_are_counted_in_the_order_of_their_training(tmp_path):
    """A finished run is no part of what is left; a single one has no place."""
    reference = "configs/digits.py"
    config = spell_out(load_config(reference))
    compared = {
        label: (load_config(other), Workdir(default_workdir(other, tmp_path)))
        for label, other in config.compare.items()
    }
    workdir = Workdir(tmp_path / "digits")
    found = places(config, workdir, compared, tmp_path)
    assert [place.text for place in found.values()] == [
        "1 of 3: teacher",
        "2 of 3: student",
        "3 of 3: student from labels",
    ]
    assert found[str(workdir)].command == ""  # a config from no file
    assert next(iter(found.values())).command == "kd run --config configs/digits.py:role=teacher"
    teacher, student, other = found
    assert student == str(workdir)
    for directory in (teacher, other):
        Workdir(directory).path.mkdir(parents=True)
        (Workdir(directory).path / "result.json").write_text("{}")
        found = places(config, workdir, compared, tmp_path)
        left = ["1 of 2: student", "2 of 2: student from labels"] if directory == teacher else [""]
        assert [place.text for place in found.values()] == left
