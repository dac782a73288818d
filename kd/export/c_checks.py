"""Generates the kernels of a C export, and runs them: on this machine, and on the target."""

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int8

from kd.export import c_predict, check_program, graph, kernels, probes, run_c
from kd.export.c_source import Header
from kd.export.checks import Written
from kd.export.formats import Settings
from kd.export.source import Source
from kd.export.target import boards, build, emulator
from kd.export.tflite import TFLite

PROBE_MACS = 200_000_000
"""Multiply-accumulates of all probes in the emulator; of a large network it runs fewer."""


class Checked(NamedTuple):
    """What was measured.

    Attributes:
      checks: entries of `checks` in `report.json`.
      figures: for the gates.
      target: entry `target` of `report.json`; None where no target was named.
      conformal: entry `conformal` likewise; None without validation images.
    """

    checks: dict[str, Any]
    figures: dict[str, float]
    target: dict[str, Any] | None = None
    conformal: dict[str, Any] | None = None


def ends(content: bytes) -> tuple[int, int]:
    """Bytes of the input and of the output of an int8 file."""
    first, last = graph.ends(content)
    return math.prod(first.shape), math.prod(last.shape)


def check(
    source: Source,
    file: TFLite,
    directory: Path,
    settings: Settings,
    written: Written,
    header: Header,
) -> Checked:
    """Writes the kernels and the check program beside the C sources, and measures both.

    Raises:
      InputError: there are no kernels for the network, or it does not fit the target.
      RunError: they do not compile or do not run.
    """
    golden, name = written.golden, header.name
    chosen = probes.choose(file.content, golden.input)
    report: dict[str, Any] = {"probes": chosen.report()}
    calibrate = partial(c_predict.calibrate, source, file.content, directory, settings, header)
    if settings["kernels"] == "none":
        sets = calibrate(written.report.get("conformal"))
        _write(directory, chosen.numbers, chosen.outputs, False, name)
        return Checked(report, {}, conformal=sets)
    memory = kernels.generate(file, directory / "kernels", name)
    inputs = np.stack([probes.make(number, golden.input) for number in chosen.numbers])
    everything = np.concatenate([golden.input.reshape(len(golden.input), *inputs[0].shape), inputs])
    computed = run_c.outputs(directory, everything, chosen.outputs.shape[1], name)
    of_probes = computed[len(golden.input) :]
    report["probes"]["lsb"] = int(np.abs(of_probes.astype(int) - chosen.outputs).max())
    sets = calibrate()
    _write(directory, chosen.numbers, of_probes, True, name)
    worst = run_c.check(directory)
    report["kernels"] = {
        "arena_bytes": memory.arena,
        "constant_bytes": memory.constants,
        "vectors": len(golden.label),
        "lsb": worst,
        "compiler": Path(run_c.compiler()).name,
    }
    figures = {"c_lsb": float(worst)}
    if settings["target"] is None:
        return Checked(report, figures, None, sets)
    costs = source.result if source.peer is None else source.result["peers"][source.peer]
    few = min(len(inputs), PROBE_MACS // max(1, costs["macs"]))
    vectors = len(golden.input) + few
    target = on_target(
        directory,
        name,
        boards.board(settings["target"]),
        everything[:vectors],
        computed[:vectors],
        len(golden.input),
        settings["emulate"],
    )
    if settings["emulate"]:
        figures["target_lsb"] = float(target["ran"]["lsb"])
    return Checked(report, figures, target, sets)


def on_target(
    directory: Path,
    name: str,
    board: boards.Board,
    inputs: Int8[np.ndarray, "n ..."],
    expected: Int8[np.ndarray, "n c"],
    timed: int,
    emulate: bool,
) -> dict[str, Any]:
    """Compiles the kernels of an export for a board, and runs them there: the entry `target` of
    `report.json`.

    Args:
      directory: of the export.
      name: prefix of its symbols.
      board: what to compile for.
      inputs: vectors.
      expected: outputs of the same kernels on this machine.
      timed: vectors, the first ones, whose instructions are counted; the others are probes.
      emulate: whether to run them.

    Raises:
      InputError: the network does not fit the board's memory.
      RunError: the program does not compile, faults or does not end.
    """
    sizes = inputs[0].size, expected.shape[1]
    sources = sorted((directory / "kernels").glob("*.c"))
    with tempfile.TemporaryDirectory() as scratch:
        function = f"{name}_invoke"
        program = build.build(sources, function, sizes, board, timed, Path(scratch))
        report = program.report(board, emulate)
        if emulate:
            measured = emulator.run(program.elf, inputs, expected.shape[1], board)
            report["ran"] = {
                "vectors": timed,
                "probes": len(inputs) - timed,
                "lsb": int(np.abs(measured.outputs.astype(int) - expected).max()),
                "instructions": measured.instructions,
                "stack": measured.stack,
            }
    return report


def _write(directory: Path, numbers: list[int], outputs: Any, exact: bool, name: str) -> None:
    """Writes `kd_check.c`, last of the C files: it holds the hashes of the others."""
    files = check_program.hashes(directory, name)
    text = check_program.source(numbers, outputs, exact, files, name)
    (directory / f"{name}_check.c").write_text(text)
