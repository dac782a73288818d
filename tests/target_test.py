"""The C program on its processors: what it needs, where it stops, and that it is the same program.

Tests with the cross-compiler, CMake or QEMU skip where these are not installed.
"""

import re
import shutil

import numpy as np
import pytest

from kd.cli.main import main
from kd.errors import InputError, RunError
from kd.export import c_source, selection
from kd.export.target import boards, build, emulator, stack, tools

pytestmark = pytest.mark.slow
LOOSE = ["--gate", "agreement=0.9", "--gate", "accuracy_drop=0.1"]
M4 = boards.board("cortex-m4")
COMPILES = not tools.missing(emulator=False)
RUNS = not tools.missing(emulator=True)
compiles = pytest.mark.skipif(not COMPILES, reason="no gcc-arm-none-eabi with newlib")
emulates = pytest.mark.skipif(not RUNS, reason="no gcc-arm-none-eabi and qemu-system-arm")
cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")

ADDS = """#include <stdint.h>
static const int8_t table[100] = {1, 2, 3};
static int32_t sums[25];
static int64_t divided(int64_t a, int64_t b) { return a / b; }
int net_invoke(const int8_t *in, int8_t *out);
int net_invoke(const int8_t *in, int8_t *out) {
    sums[in[0] & 15] += table[in[1] & 63];
    out[0] = (int8_t)divided(sums[0], in[2] | 1);
    out[1] = (int8_t)(in[0] + in[1]);
    return 0;
}
"""


@pytest.fixture
def network(tmp_path):
    """Builds a network of one function from its C source, for a board."""

    def make(text, board=M4, ends=(3, 2), timed=1):
        source = tmp_path / "net.c"
        source.write_text(text)
        into = tmp_path / "built"
        into.mkdir()
        return build.build([source], "net_invoke", ends, board, timed, into)

    return make


def failure(capsys, *arguments, status=2):
    """What `kd` prints where it exits with `status`."""
    assert main(list(arguments)) == status
    return capsys.readouterr().err


def test_bad_targets_and_names_are_refused_before_the_run_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    export = ("export", "no/run", "--format", "c")
    told = failure(capsys, *export, "--target", "cortex-m5")
    assert "unknown target 'cortex-m5'" in told
    assert "cortex-m3, cortex-m4, cortex-m7" in told
    assert "--run: on which processor?" in failure(capsys, *export, "--run")
    told = failure(capsys, *export, "--target", "cortex-m4", "--kernels", "none")
    assert "nothing to compile" in told
    for name in ("9lives", "Digits", "my-net", "", "a" * 41, "_x", "int main(void)", "ä"):
        assert "small letter" in failure(capsys, *export, f"--name={name}"), name
    told = failure(capsys, "export", "no/run", "--format", "litert", "--name", "digits")
    assert "takes no --name" in told
    told = failure(capsys, "export", "no/run", "--format", "litert", "--int8", "--run")
    assert "takes no --run" in told
    told = failure(capsys, "select", "--target", "cortex-m3", "no/run")
    assert "only --stack and --instructions" in told
    told = failure(capsys, "select", "--stack", "1KB", "--target", "z80", "no/run")
    assert "no run directory" in told or "unknown target" in told
    assert "is not a number" in failure(capsys, "select", "--instructions", "many", "no/run")
    assert not list(tmp_path.iterdir())


def test_missing_tools_are_named_with_the_line_that_installs_them(monkeypatch, capsys):
    monkeypatch.setattr(tools.shutil, "which", lambda name: None if "arm" in name else name)
    export = ("export", "no/run", "--format", "c", "--target", "cortex-m7")
    told = failure(capsys, *export, "--run")
    assert "--target cortex-m7 --run needs arm-none-eabi-gcc, qemu-system-arm" in told
    assert "apt-get install gcc-arm-none-eabi qemu-system-arm" in told
    assert "qemu" not in failure(capsys, *export)
    monkeypatch.setattr(tools.shutil, "which", lambda name: name)
    monkeypatch.setattr(tools, "_first", lambda command: "nano.specs")
    assert "apt-get install libnewlib-arm-none-eabi" in failure(capsys, *export)


def test_the_prefix_is_that_of_words_alone():
    text = "kd_invoke KD_SIZE -DKD_EXACT=0 akd_x #kd_model.h skdKD_ kd KD_ADD(name)"
    made = c_source.prefixed(text, "cat")
    assert made == "cat_invoke CAT_SIZE -DCAT_EXACT=0 akd_x #cat_model.h skdKD_ kd CAT_ADD(name)"
    assert c_source.prefixed(text, "kd") == text


def test_the_bound_of_the_stack_is_that_of_the_deepest_calls(tmp_path):
    node = 'node: {{ title: "{0}" label: "{0}\\nnet.c:1:2\\n{1}" }}\n'.format
    edge = 'edge: {{ sourcename: "{0}" targetname: "{1}" label: "net.c:3:4" }}\n'.format
    external = 'node: { title: "memcpy" label: "memcpy\\n<built-in>" shape : ellipse }\n'
    first, second = tmp_path / "a.ci", tmp_path / "b.ci"
    first.write_text(
        node("top", "8 bytes (static)")
        + node("net.c:left", "100 bytes (static)")
        + edge("top", "net.c:left")
        + edge("top", "right")
    )
    second.write_text(
        node("right", "16 bytes (dynamic,bounded)")
        + node("leaf", "200 bytes (static)")
        + edge("right", "leaf")
        + external
        + edge("leaf", "memcpy")
    )
    assert stack.bound([first, second], "top") == (224, ["memcpy"])
    assert stack.bound([first, second], "net.c:left") == (100, [])
    second.write_text(second.read_text() + edge("leaf", "top"))
    assert stack.bound([first, second], "top").bytes is None
    second.write_text(node("right", "16 bytes (dynamic)"))
    assert stack.bound([first, second], "top").bytes is None


def test_counts_by_hand():
    assert [selection.count(text) for text in ("20000", "20k", "1.5 M")] == [20000, 20000, 1500000]


@compiles
def test_sizes_are_those_of_the_objects_and_their_library(network):
    sizes = network(ADDS).sizes
    assert (sizes.constants, sizes.ram, sizes.initial) == (100, 100, 0)
    assert 40 < sizes.code < 200
    assert 100 < sizes.runtime < 2000  # the division of 64 bits
    assert sizes.flash == sizes.code + sizes.constants + sizes.runtime


@compiles
def test_a_network_that_does_not_fit_is_told_with_the_linkers_figures(network):
    small = M4._replace(flash=512, ram=1 << 20)
    with pytest.raises(InputError) as error:
        network(ADDS, small)
    told = str(error.value)
    assert re.search(r"[\d,]+ bytes too many for 512 bytes of FLASH", told) and "\n" not in told


@compiles
def test_arrays_that_do_not_fit_ram_are_told_too(network):
    text = ADDS.replace("sums[25]", "sums[1250000]").replace("& 15", "* 10000")
    with pytest.raises(InputError, match=r"too many for 4,194,304 bytes of RAM"):
        network(text)


@emulates
@pytest.mark.parametrize("cpu", boards.BOARDS)
def test_a_loop_of_known_length_takes_its_instructions(network, cpu):
    """1,000 turns of two instructions, whatever surrounds them."""
    loop = '__asm__ volatile("1: subs %0, #1\\n\\tbne 1b" : "+l"(n) : : "cc");'
    text = ADDS.replace("sums[in", f"int n = 1000 + 1000 * (in[0] == 1); {loop}\n    sums[in")
    inputs = np.array([[0, 0, 1], [0, 5, 7]], np.int8)
    program = network(text, boards.board(cpu), timed=2)
    measured = emulator.run(program.elf, inputs, 2, boards.board(cpu))
    assert 2000 < measured.instructions < 2150
    assert measured.outputs[:, 1].tolist() == [0, 5]
    again = emulator.run(program.elf, inputs[:1], 2, boards.board(cpu))
    longer = emulator.run(program.elf, inputs[:1] + np.int8(1), 2, boards.board(cpu))
    assert abs(longer.instructions - again.instructions - 2000) < 60
    assert program.stack.bytes is not None


@emulates
def test_a_stack_is_measured_and_never_above_its_bound(network):
    text = ADDS.replace(
        "sums[in", "volatile int8_t deep[400];\n    deep[3] = 1;\n    sums[deep[3] * in"
    )
    text = text.replace("static int64_t", "int64_t divided(int64_t a, int64_t b);\nint64_t")
    text = text.replace("divided(sums[0], in[2] | 1)", "(sums[0] / 3)")
    program = network(text)
    measured = emulator.run(program.elf, np.zeros((1, 3), np.int8), 2, M4)
    assert program.stack.unknown == []
    assert 0 < measured.stack <= program.stack.bytes
    assert program.stack.bytes >= 400


@emulates
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ('*(volatile int *)0xE0000000u = 1; __asm__ volatile("udf #0");', "fault at 0x"),
        ("if (in[0] == 0) return 1;", "does not return 0"),
    ],
    ids=["fault", "failure"],
)
def test_what_goes_wrong_in_the_emulator_is_told_with_its_last_lines(network, cause, words):
    program = network(ADDS.replace("sums[in", f"{cause}\n    sums[in"))
    with pytest.raises(RunError, match=rf"QEMU \(mps2-an386, cortex-m4\) ended with .*{words}"):
        emulator.run(program.elf, np.zeros((2, 3), np.int8), 2, M4)


@emulates
def test_a_program_without_end_is_stopped(network):
    program = network(
        ADDS.replace("sums[in", 'while (in[0] == 0) __asm__ volatile("nop");\n    sums[in')
    )
    with pytest.raises(
        RunError, match=r"did not end within 1 seconds; its last lines: loop 2000000"
    ):
        emulator.run(program.elf, np.zeros((2, 3), np.int8), 2, M4, seconds=1)
