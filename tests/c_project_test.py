"""The C project of an export: two networks in one program, on the host and on the target.

Tests with CMake, the cross-compiler or QEMU skip where these are not installed.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kd.cli.main import main
from kd.errors import RunError
from kd.export import reading, selection
from kd.export.target import boards, tools

LOOSE = ["--gate", "agreement=0.9", "--gate", "accuracy_drop=0.1"]
RUNS = {"cat": "runs/small", "dog": "runs/small-teacher"}
pytestmark = pytest.mark.slow
cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")
emulates = pytest.mark.skipif(
    bool(tools.missing(emulator=True)), reason="no gcc-arm-none-eabi and qemu-system-arm"
)

TOP = """cmake_minimum_required(VERSION 3.16)
project(both C)
add_subdirectory(cat)
add_subdirectory(dog)
add_executable(both main.c cat/cat_golden.c dog/dog_golden.c)
target_link_libraries(both PRIVATE cat_network dog_network)
if(CMAKE_SYSTEM_NAME STREQUAL "Generic")
    target_sources(both PRIVATE cat/port/start.c)
    target_link_options(both PRIVATE -T${CMAKE_CURRENT_SOURCE_DIR}/cat/port/mps2.ld -nostartfiles
        --specs=nano.specs --specs=rdimon.specs)
endif()
"""

BOTH = """#include <stdio.h>
#include <stdlib.h>
#include "cat_golden.h"
#include "dog_golden.h"
int main(void) {
    int worst = 0;
    int8_t out[CAT_OUTPUT_SIZE + DOG_OUTPUT_SIZE];
    for (int i = 0; i < CAT_GOLDEN_COUNT; ++i) {
        if (cat_invoke(cat_golden_inputs[i], out)) return 1;
        if (dog_invoke(dog_golden_inputs[i], out + CAT_OUTPUT_SIZE)) return 1;
        for (int k = 0; k < CAT_OUTPUT_SIZE; ++k) {
            const int a = abs(out[k] - cat_golden_outputs[i][k]);
            const int b = abs(out[CAT_OUTPUT_SIZE + k] - dog_golden_outputs[i][k]);
            worst = a > worst ? a : worst;
            worst = b > worst ? b : worst;
        }
    }
    printf("worst %d, %s %s\\n", worst, cat_labels[0], dog_labels[0]);
    return 0;
}
"""


@pytest.fixture(scope="module")
def home(small_run, tmp_path_factory):
    """A directory with exports `cat` and `dog` of two networks."""
    home = tmp_path_factory.mktemp("two")
    shutil.copytree(small_run[0] / "runs", home / "runs")
    emulated = [] if tools.missing(emulator=True) else ["--target", "cortex-m4", "--run"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name, run in RUNS.items():
            named = ["--name", name, "--out", name, *LOOSE, "--waive", "agreement"]
            assert main(["export", run, "--format", "c", *named, *emulated]) == 0
    return home


def printed(*command, cwd=None, status=0):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def built(source, into, *settings):
    """Builds a CMake project; warnings are errors."""
    settings = ("-DCMAKE_C_FLAGS_RELEASE=-O2 -Wall -Wextra -Werror", *settings)
    printed("cmake", "-S", source, "-B", into, "-DCMAKE_BUILD_TYPE=Release", *settings)
    printed("cmake", "--build", into)
    return into


def qemu(program, cpu="cortex-m4"):
    """What a program prints on a board; it has to return 0."""
    board = ["-M", boards.board(cpu).machine, "-display", "none", "-monitor", "none"]
    board += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    return printed(tools.EMULATOR, *board, "-kernel", program)


def test_all_symbols_and_files_begin_with_the_name(home, tmp_path):
    files = [p.name for p in (home / "cat").rglob("*.[ch]") if p.parent.name != "port"]
    assert [name for name in files if not name.startswith("cat_")] == ["main.c"]
    sources = [*(home / "cat").glob("cat_[mg]*.c"), *(home / "cat" / "kernels").glob("*.c")]
    printed("gcc", "-c", *sources, cwd=tmp_path)
    symbols = re.findall(
        r" [A-Z] (\w+)", printed("nm", "-g", "--defined-only", *tmp_path.iterdir())
    )
    assert "cat_invoke" in symbols and "cat_model_data" in symbols
    assert [name for name in symbols if not name.startswith("cat_")] == []
    words = "".join(p.read_text() for p in (home / "cat").rglob("*.[ch]"))
    assert not re.search(r"\b(kd_|KD_|bknn_|BKNN_)", words)


@cmake
def test_two_networks_in_one_program(home, tmp_path):
    for name in RUNS:
        shutil.copytree(home / name, tmp_path / name)
    (tmp_path / "CMakeLists.txt").write_text(TOP)
    (tmp_path / "main.c").write_text(BOTH)
    folder = built(tmp_path, tmp_path / "build")
    assert re.match(r"worst [01], 0 0\n", printed(folder / "both"))
    if not tools.missing(emulator=True):
        toolchain = "-DCMAKE_TOOLCHAIN_FILE=cat/cmake/arm-none-eabi.cmake"
        folder = built(tmp_path, tmp_path / "build-arm", toolchain)
        assert qemu(folder / "both") == printed(tmp_path / "build" / "both")


@cmake
def test_the_project_builds_checks_itself_and_runs_its_example(home, tmp_path):
    folder = built(home / "cat", tmp_path / "build")
    told = printed(folder / "cat_check")
    assert "16 vectors, largest difference" in told and "11 files compared" in told
    labels = printed(folder / "cat_example").split()
    assert len(labels) == 16 and set(labels) <= set("0123456789")


@cmake
@emulates
@pytest.mark.parametrize("cpu", boards.BOARDS)
def test_the_project_builds_for_each_target_and_runs_there(home, tmp_path, cpu):
    setting = "-DCMAKE_TOOLCHAIN_FILE=cmake/arm-none-eabi.cmake"
    folder = built(home / "cat", tmp_path / "build", setting, f"-DCAT_CPU={cpu}")
    told = qemu(folder / "cat_check.elf", cpu)
    assert "16 vectors, largest difference" in told and "probes, difference 0" in told
    assert len(qemu(folder / "cat_example.elf", cpu).split()) == 16


@emulates
def test_the_target_is_in_the_report_the_card_and_the_readme(home):
    report = json.loads((home / "cat" / "report.json").read_text())
    target = report["target"]
    assert target["ran"]["lsb"] == 0 and target["ran"]["vectors"] == 16
    assert target["ran"]["probes"] == report["checks"]["probes"]["vectors"]
    assert 0 < target["ran"]["stack"] <= target["stack_bound"] and not target["stack_unknown"]
    assert target["flash"]["total"] >= report["checks"]["kernels"]["constant_bytes"]
    assert target["ram"] >= report["checks"]["kernels"]["arena_bytes"]
    assert {g["name"]: g["passed"] for g in report["gates"]}["target_lsb"]
    words = f"{target['ran']['instructions']:,} instructions an inference, which are not cycles"
    assert words in (home / "cat" / "model_card.md").read_text()
    readme = (home / "cat" / "README.md").read_text()
    assert f"| instructions of the kernels | flash | {target['flash']['code']:,} |" in readme
    assert not re.search(r"@[A-Z]+@|\bkd_", readme)


@emulates
def test_runs_are_selected_by_what_the_target_takes(home, tmp_path, monkeypatch, capsys):
    shutil.copytree(home / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    names = list(RUNS.values())
    for name, run in RUNS.items():  # exports of these runs, in their usual place
        shutil.copytree(home / name, Path(run) / "export" / "c")
    read = reading.read

    def slower(directory):  # both networks have one architecture
        report = read(directory)
        report["target"]["ran"]["instructions"] += 100 * ("teacher" in str(directory))
        return report

    monkeypatch.setattr(reading, "read", slower)
    reports = [reading.read(Path(run) / "export" / "c") for run in names]
    small, large = (report["target"]["ran"]["instructions"] for report in reports)
    assert small < large
    limit = str((small + large) // 2)
    assert main(["select", "--instructions", limit, *names]) == 0
    told = capsys.readouterr().out
    assert f"small-teacher: seed {reports[1]['seed']}" in told
    assert f"OUT, {large - int(limit):,} too many of instructions" in told
    assert told.splitlines()[-1] == "runs/small"
    assert main(["select", "--stack", "10", *names]) == 1
    assert "bytes too many of stack" in capsys.readouterr().err
    assert not list(tmp_path.glob("runs/*/export/c-*"))

    # Another processor has other figures: measured in a directory of its own.
    asked = []

    def export(options):
        asked.append(options)
        raise RunError("not now")

    monkeypatch.setattr(selection.command, "export", export)
    limits = ["--instructions", limit, "--target", "cortex-m3"]
    assert main(["select", *limits, "runs/small"]) == 1
    (options,) = asked
    assert options.settings == {"target": "cortex-m3", "emulate": True}
    assert options.directory == Path("runs/small/export/c-cortex-m3")
