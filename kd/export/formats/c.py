"""C: an int8 LiteRT file as an array for C11 and C++17, with generated kernels."""

from pathlib import Path
from typing import Any

from kd import __version__
from kd.export.formats import Format, Option, Settings
from kd.export.formats.litert import CALIBRATION, CAVEAT, IMAGES, INT8, tflite_written
from kd.export.gates import Limit

KERNELS = Option(
    "kernels",
    "C11 kernels to write beside the array, and to run here; default: bakenn",
    default="bakenn",
    arguments={"choices": ("bakenn", "none")},
)


def check(settings: Settings) -> None:
    """Raises InputError where kernels are to be generated and bakenn or a compiler is missing."""
    from kd.export import requirements

    if settings["kernels"] == "bakenn":
        requirements.require("mcu", "--format c")
        from kd.export import run_c  # which imports packages of the extra

        run_c.compiler()


def write(source: Any, directory: Path, settings: Settings) -> Any:
    """Writes `model.tflite`, the C sources, and under `kernels` an implementation of them."""
    import numpy as np

    from kd.export import c_source, card, lower, probes, run_c, tflite

    file = tflite.convert(source, True, settings["calibration"])
    written = tflite_written(source, file, directory, settings)
    report, figures = written.report, written.figures
    network = card.network({"seed": source.seed, "peer": source.peer})
    header = c_source.Header(
        lower.front(source).pixels,
        source.result["class_names"],
        report["checks"]["tflm"]["arena_bytes"],
        f"{source.workdir}, {network}, by kd {__version__}",
    )
    golden = written.golden
    c_source.write(directory, file.content, header, golden.input, golden.output)
    report["operators"] = c_source.operators(file.content)
    chosen = probes.choose(file.content, golden.input)
    report["checks"]["probes"] = chosen.report()
    if settings["kernels"] == "none":
        _write_check(directory, chosen.numbers, chosen.outputs, exact=False)
        return written
    from kd.export import kernels

    memory = kernels.generate(file, directory / "kernels")
    inputs = np.stack([probes.make(number, golden.input) for number in chosen.numbers])
    computed = run_c.outputs(directory, inputs, chosen.outputs.shape[1])
    distance = np.abs(computed.astype(int) - chosen.outputs).max()
    report["checks"]["probes"]["lsb"] = int(distance)
    _write_check(directory, chosen.numbers, computed, exact=True)
    worst = run_c.check(directory)
    report["checks"]["kernels"] = {
        "arena_bytes": memory.arena,
        "constant_bytes": memory.constants,
        "vectors": len(golden.label),
        "lsb": worst,
        "compiler": Path(run_c.compiler()).name,
    }
    return written._replace(figures=figures | {"c_lsb": float(worst)})


def _write_check(directory: Path, numbers: list[int], outputs: Any, exact: bool) -> None:
    """Writes `kd_check.c`, last of the C files: it holds the hashes of the others."""
    from kd.export import check_program

    text = check_program.source(numbers, outputs, exact, check_program.hashes(directory))
    (directory / check_program.NAME).write_text(text)


FORMAT = Format(
    help="int8 as C",
    card="a LiteRT file as a C array, with C11 kernels where they were asked for",
    write=write,
    extra="tflite",
    options=(INT8, CALIBRATION, IMAGES, KERNELS),
    check=check,
    limits={
        "c_lsb": Limit(1.0, False, "the C program against the golden vectors, in output units")
    },
    caveats=(CAVEAT,),
)
