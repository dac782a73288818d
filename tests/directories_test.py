"""Directories that replace an earlier one: what is in place after a kill at any moment."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from kd.files import directories
from kd.files.directories import replacing


def write(out: Path, text: str) -> None:
    with replacing(out) as building:
        (building / "a").write_text(text)
        (building / "b").write_text(text)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def content(out: Path) -> str:
    assert (out / "a").read_text() == (out / "b").read_text()
    return (out / "a").read_text()


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def way(request, monkeypatch) -> bool:
    """Whether two directories can be exchanged in one step."""
    if not request.param:
        monkeypatch.setattr(directories, "exchange", lambda one, other: False)
    return request.param


def test_a_directory_replaces_an_earlier_one_and_leaves_nothing_else(tmp_path, way):
    out = tmp_path / "x/export"
    write(out, "1")
    write(out, "2")
    assert content(out) == "2" and names(tmp_path / "x") == ["export"]


def test_on_an_error_the_earlier_one_stays(tmp_path, way):
    out = tmp_path / "export"
    write(out, "1")
    with pytest.raises(KeyError), replacing(out) as building:
        (building / "a").write_text("2")
        raise KeyError
    assert content(out) == "1" and names(tmp_path) == ["export"]


def killed(out: Path, moment: int, exchanges: bool) -> None:
    """Replaces `out`, and is killed at the start of the system call number `moment`."""
    count = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    Path.rename, shutil.rmtree = counted(Path.rename), counted(shutil.rmtree)
    os.mkdir, Path.write_text = counted(os.mkdir), counted(Path.write_text)
    directories.exchange = counted(directories.exchange if exchanges else lambda a, b: False)
    write(out, "2")


@pytest.mark.filterwarnings("ignore")  # of fork beside threads
@pytest.mark.parametrize("moment", range(1, 9))
def test_a_kill_at_any_moment_leaves_a_complete_directory_and_a_rerun_tidies_up(
    tmp_path, way, moment
):
    out = tmp_path / "export"
    write(out, "1")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=killed, args=(out, moment, way))
    process.start()
    process.join()
    if way:
        assert content(out) in "12"
    directories.recover(out)
    assert content(out) in "12" and names(tmp_path) == ["export"]
    write(out, "3")
    assert content(out) == "3" and names(tmp_path) == ["export"]


def test_what_another_process_writes_stays(tmp_path, way):
    out = tmp_path / "export"
    with replacing(out) as building:
        (building / "a").write_text("1")
        (building / "b").write_text("1")
        write(out, "2")
        assert building.exists() and content(out) == "2"
    assert content(out) == "1" and names(tmp_path) == ["export"]


def test_other_hidden_directories_stay(tmp_path):
    for name in (".export-settings", ".export-earlier", ".export-abcdefgh", ".other-abcdefgh.part"):
        (tmp_path / name).mkdir()
    before = names(tmp_path)
    write(tmp_path / "export", "1")
    assert names(tmp_path) == sorted([*before, "export"])


def test_an_export_that_an_earlier_version_left_aside_comes_back(tmp_path):
    earlier = tmp_path / ".litert-int8-ab_d1fgh-earlier"
    earlier.mkdir()
    (earlier / "report.json").write_text(json.dumps({}))
    directories.recover(tmp_path / "litert-int8")
    assert names(tmp_path) == ["litert-int8"]
