"""Exports finished runs and writes what was measured into the page on exports.

    uv run python -m benchmarks.exports onnx docs/export.md RUN...
    uv run python -m benchmarks.exports target docs/export.md RUN...

`onnx` writes each student as ONNX, in float32 and in int8. `target` writes C for three Cortex-M
processors, once with the loops as bakenn generates them and once with kd's, and runs both in QEMU.
The class may differ from the network's more often than an export allows (`--waive`), since runs may
be trained for a minute only; all other gates hold. Exports go to RUN/export/figures; those that are
there already are read, not made again.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.record import markdown
from kd.errors import InputError
from kd.export import kernels, reading
from kd.export.command import Options, export
from kd.export.target import boards
from kd.runs.workdir import Workdir

WAIVED = ("accuracy_drop", "agreement", "onnx_agreement")
"""Gates that depend on how well a network was trained."""

type Export = Callable[..., Mapping[str, Any]]
"""`report.json` of an export of a run: (run, format, name, settings)."""


def exported(run: str, form: str, name: str, **settings: Any) -> Mapping[str, Any]:
    """Exports a run into RUN/export/figures/NAME where that is missing, and returns its
    `report.json`.
    """
    out = Path(run) / "export" / "figures" / name
    if out.exists():
        return reading.read(out)
    print(f"{run}: {form} {settings}", file=sys.stderr, flush=True)
    return export(Options(run, form, str(out), waive=WAIVED, settings=settings))


def onnx(runs: Sequence[str], make: Export = exported) -> list[list[str]]:
    """The table of ONNX files: a row for each run."""
    head = [
        *("network", "test accuracy %", "float32: error", "bytes", "s"),
        *("int8: layers, units", "beyond rounding", "network, units", "same class %", "defaults"),
        *("bytes", "s"),
    ]
    lines = [head]
    for run in runs:
        real = make(run, "onnx", "onnx")
        int8 = make(run, "onnx", "onnx-int8", int8=True)
        gates = {g["name"]: g["value"] for r in (real, int8) for g in r["gates"]}
        measured = int8["checks"]["onnx"]
        defaults = [measured[f"default_{key}"] == measured[key] for key in ("lsb", "equal")]
        lines.append(
            [
                _network(run),
                f"{100 * real['checks'][real['split']]['float_accuracy']:.1f}",
                _small(gates["float_error"]),
                f"{real['flash_bytes']:,}",
                f"{real['seconds']:.0f}",
                f"{gates['onnx_lsb']:.0f}",
                _small(gates["onnx_rounding"]),
                f"{measured['lsb']:.0f}",
                f"{100 * measured['agreement']:.2f}",
                "the same" if all(defaults) else f"{measured['default_lsb']:.0f} units",
                f"{int8['flash_bytes']:,}",
                f"{int8['seconds']:.0f}",
            ]
        )
    return lines


def target(runs: Sequence[str], make: Export = exported) -> list[list[str]]:
    """The table of C programs on the target: a row for each run, processor and kind of loops."""
    head = [
        *("network", "processor", "loops", "vectors and probes equal", "instructions"),
        *("for each product", "flash", "RAM", "stack, measured and bound", "s"),
    ]
    lines = [head]
    for run in runs:
        for cpu in boards.BOARDS:
            for loops in ("bakenn's", "kd's"):
                settings = {"target": cpu, "emulate": True}
                with mock.patch.object(kernels, "generate", LOOPS[loops]):
                    report = make(run, "c", f"{cpu}-{loops[:2]}", **settings)
                lines.append(_on_target(run, cpu, loops, report))
    return lines


LOOPS = {
    "bakenn's": partial(kernels.generate, generated_loops=True),
    "kd's": kernels.generate,
}
"""How the C files are generated."""


def _on_target(run: str, cpu: str, loops: str, report: Mapping[str, Any]) -> list[str]:
    part = report["target"]
    ran = part["ran"]
    tried = ran["vectors"] + ran["probes"]
    return [
        _network(run),
        cpu.replace("cortex-m", "Cortex-M"),
        loops,
        f"{tried} of {tried}" if ran["lsb"] == 0 else f"differ by {ran['lsb']} units",
        f"{ran['instructions']:,}",
        f"{ran['instructions'] / report['macs']:.1f}",
        f"{part['flash']['total']:,} B",
        f"{part['ram']:,} B",
        f"{ran['stack']:,}, {part['stack_bound']:,} B",
        f"{report['seconds']:.0f}",
    ]


def _small(number: float) -> str:
    return "0" if number == 0 else f"{number:.1e}".replace("e-0", "e-")


def _network(run: str) -> str:
    config = Workdir(run).read("config.json")
    return f"`{config['student']['name']}`, {config['data']['name']}"


def main(kind: str, page: str, *runs: str) -> None:
    """Writes the table `onnx` or `target` between its markers in a page."""
    tables = {"onnx": onnx, "target": target}
    if kind not in tables or not runs:
        raise InputError(f"expected onnx or target, a page and runs, got {kind} and {runs}.")
    table = markdown(tables[kind](runs))
    path = Path(page)
    path.write_text(embedded(path.read_text(), kind, table))


def embedded(text: str, kind: str, table: str) -> str:
    """The page with a table between `<!-- table of exports: KIND -->` and `<!-- /table -->`."""
    before, begin, rest = text.partition(f"<!-- table of exports: {kind} -->\n")
    _, end, after = rest.partition("<!-- /table -->")
    if not (begin and end):
        raise InputError(f"no markers: expected <!-- table of exports: {kind} --> and its end.")
    return f"{before}{begin}{table}{end}{after}"


if __name__ == "__main__":
    main(*sys.argv[1:])
