"""The files that make the C sources of an export a project: CMake, an example, a README."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kd.export.c_source import prefixed
from kd.files.escaping import markdown

HERE = Path(__file__).parent
PORT = HERE.parent / "target"

PIXELS = "Input: raw pixels less 128, KD_FROM_PIXEL(pixel), row by row, channels last"
VALUES = (
    "Input: each value / KD_INPUT_SCALE + KD_INPUT_ZERO_POINT, rounded, row by row, channels last"
)


class Network(NamedTuple):
    """What the files say of a network.

    Attributes:
      name: prefix of its symbols and files.
      title: where it comes from.
      pixels: whether its input is pixels.
      ends: bytes of its input and output.
      model: bytes of the array in `kd_model.c`.
      arena: bytes of TFLM's arena on a 64-bit host.
      kernels: of `report.json`; None where there are no generated kernels.
      target: the entry of `report.json`; None where it was not compiled for one.
    """

    name: str
    title: str
    pixels: bool
    ends: tuple[int, int]
    model: int
    arena: int
    kernels: Mapping[str, Any] | None
    target: Mapping[str, Any] | None


def write(directory: Path, network: Network) -> None:
    """Writes the files of the project into an export's directory, after its C sources."""
    name = network.name
    sources = sorted(path.name for path in (directory / "kernels").glob("*.c"))
    meaning = PIXELS if network.pixels else VALUES
    kernels = "\n".join(f"    kernels/{file}" for file in sources)
    texts = {
        "CMakeLists.txt": _text("CMakeLists.txt").replace("@KERNELS@", kernels or '    ""'),
        "cmake/arm-none-eabi.cmake": _text("arm-none-eabi.cmake"),
        "example/main.c": _text("main.c").replace("@INPUT@", meaning),
        "README.md": _readme(network, meaning),
        "port/start.c": (PORT / "start.c").read_text(),
        "port/mps2.ld": (PORT / "mps2.ld").read_text(),
    }
    for path, text in texts.items():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(prefixed(text, name))


def _text(name: str) -> str:
    return (HERE / name).read_text()


def _readme(network: Network, meaning: str) -> str:
    invoke = "`kernels/` has `kd_invoke`, generated for this network; it needs no heap."
    files = "`kd_model.c` and all of `kernels/`"
    if network.kernels is None:
        invoke = (
            "**There are no kernels here: `kd_invoke` is yours to write**, on an interpreter for "
            "the array `kd_model_data`. With CMake: `-DKD_KERNELS=FILE.c`."
        )
        files = "`kd_model.c` and your `kd_invoke`"
    text = _text("README.md").replace("@INVOKE@", invoke).replace("@FILES@", files)
    code = {word: f"`{word}`" for word in ("KD_FROM_PIXEL(pixel)", "KD_INPUT_SCALE")}
    code["KD_INPUT_ZERO_POINT"] = "`KD_INPUT_ZERO_POINT`"
    for word, marked in code.items():
        meaning = meaning.replace(word, marked)
    text = text.replace("@INPUT@", f"{meaning}.").replace("@MEMORY@", _memory(network))
    text = text.replace("@ENDS@", f"{network.ends[0]:,} and {network.ends[1]:,}")
    return text.replace("@NAME@", network.name).replace("@TITLE@", markdown(network.title))


def _memory(network: Network) -> str:
    """The memory map: a table of what lies where."""
    rows = []
    if network.target is not None:
        flash, target = network.target["flash"], network.target
        rows = [
            ("instructions of the kernels", "flash", flash["code"]),
            ("weights and other constants", "flash", flash["constants"]),
            ("first values of variables", "flash", flash["initial"]),
            ("the compiler's runtime library", "flash", flash["runtime"]),
            ("arena and other variables", "RAM", target["ram"]),
        ]
        if "ran" in target:
            rows.append(("stack, measured in the emulator", "RAM", target["ran"]["stack"]))
        if target["stack_bound"] is not None:
            without = ", ".join(target["stack_unknown"])
            rows.append(
                (
                    f"stack, at most{' without ' + without if without else ''}",
                    "RAM",
                    target["stack_bound"],
                )
            )
    elif network.kernels is not None:
        rows = [
            ("weights and other constants", "flash", network.kernels["constant_bytes"]),
            ("arena", "RAM", network.kernels["arena_bytes"]),
        ]
    rows.append(
        (
            "`kd_model_data`, the file for an interpreter; a linker that drops unused sections "
            "leaves it out",
            "flash",
            network.model,
        )
    )
    if network.kernels is None:
        rows.append(("arena of TFLM on a 64-bit host", "RAM", network.arena))
    lines = ["| what | where | bytes |", "| --- | --- | ---: |"]
    lines += [f"| {what} | {where} | {size:,} |" for what, where, size in rows]
    if network.target is not None:
        target = network.target
        lines += ["", f"Compiled for {target['cpu']} by {target['compiler']} with -O2."]
    elif network.kernels is not None:
        lines += [
            "",
            "Instructions and stack depend on the processor: `kd export RUN --format c --target "
            "cortex-m4 --run` measures them.",
        ]
    return "\n".join(lines)
