"""C: an int8 LiteRT file as an array for C11 and C++17, with generated kernels."""

import re
from pathlib import Path
from typing import Any

from kd import __version__
from kd.errors import InputError
from kd.export.formats import Format, Option, Settings
from kd.export.formats.litert import CALIBRATION, CAVEAT, IMAGES, INT8, tflite_written
from kd.export.gates import Limit
from kd.export.target import boards


def check_name(name: str) -> None:
    """Raises InputError where a name cannot begin the symbols of C."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise InputError(
            f"--name {name[:100]!r}: expected the beginning of C symbols and files: a small "
            "letter, then up to 39 small letters, digits and underscores, such as digits."
        )


def check_target(name: str) -> None:
    """Raises InputError for an unknown processor."""
    boards.board(name)


KERNELS = Option(
    "kernels",
    "C11 kernels to write beside the array, and to run here; default: bakenn",
    default="bakenn",
    arguments={"choices": ("bakenn", "none")},
)
NAME = Option(
    "name",
    "beginning of all symbols and files, so that two networks go into one program; default: kd",
    arguments={"metavar": "NAME"},
    check=check_name,
)
TARGET = Option(
    "target",
    f"compile the kernels for a processor and measure them: {', '.join(boards.BOARDS)}",
    arguments={"metavar": "CPU"},
    check=check_target,
)
EMULATE = Option(
    "emulate",
    "run them on the target in QEMU, where their outputs must be the same integers",
    default=False,
    flag="run",
)


def check(settings: Settings) -> None:
    """Raises InputError for settings that do not go together, and where bakenn, a compiler or a
    tool for the target is missing.
    """
    from kd.export import requirements

    cpu = settings["target"]
    if settings["emulate"] and cpu is None:
        raise InputError(
            f"--run: on which processor? Add --target with one of {', '.join(boards.BOARDS)}."
        )
    if settings["kernels"] == "none" and cpu is not None:
        raise InputError(
            f"--target {cpu}: with --kernels none there is nothing to compile for it. Leave one of "
            "the two out."
        )
    if settings["kernels"] == "bakenn":
        requirements.require("mcu", "--format c")
        from kd.export import run_c  # which imports packages of the extra

        run_c.compiler()
    if cpu is not None:
        from kd.export.target import tools

        tools.check(f"--target {cpu}{' --run' * settings['emulate']}", settings["emulate"])


def write(source: Any, directory: Path, settings: Settings) -> Any:
    """Writes `model.tflite`, the C sources, and under `kernels` an implementation of them; around
    them a CMake project.
    """
    from kd.export import c_checks, c_project, c_source, card, lower, tflite

    name = settings["name"] or c_source.PREFIX
    file = tflite.convert(source, True, settings["calibration"])
    written = tflite_written(source, file, directory, settings)
    report, figures = written.report, written.figures
    network = card.network({"seed": source.seed, "peer": source.peer})
    header = c_source.Header(
        lower.front(source).pixels,
        source.result["class_names"],
        report["checks"]["tflm"]["arena_bytes"],
        f"{source.workdir}, {network}, by kd {__version__}",
        name,
    )
    c_source.write(directory, file.content, header, written.golden.input, written.golden.output)
    report["operators"] = c_source.operators(file.content)
    if settings["name"]:
        report["name"] = name
    checked = c_checks.check(source, file, directory, settings, written, header)
    report["checks"] |= checked.checks
    if checked.target is not None:
        report["target"] = checked.target
    if checked.conformal is not None:
        report["conformal"] = checked.conformal
    project = c_project.Network(
        name,
        header.title,
        header.pixels,
        c_checks.ends(file.content),
        len(file.content),
        header.arena,
        report["checks"].get("kernels"),
        checked.target,
    )
    c_project.write(directory, project)
    return written._replace(figures=figures | checked.figures)


FORMAT = Format(
    help="int8 as C",
    card="a LiteRT file as a C array, with C11 kernels where they were asked for",
    write=write,
    extra="tflite",
    options=(INT8, CALIBRATION, IMAGES, KERNELS, NAME, TARGET, EMULATE),
    check=check,
    limits={
        "c_lsb": Limit(1.0, False, "the C program against the golden vectors, in output units"),
        "target_lsb": Limit(
            0.0, False, "the C program in the emulator against this machine, in output units", 0.0
        ),
    },
    caveats=(CAVEAT,),
)
