"""LiteRT: a `.tflite` file, in float32 or int8."""

from pathlib import Path
from typing import Any

from kd import ranges
from kd.errors import InputError
from kd.export.formats import Format, Option, Settings
from kd.export.gates import Limit
from kd.ranges import Range

INT8 = Option("int8", "quantize to 8 bits; C always is", default=False)
CALIBRATION = Option(
    "calibration",
    "training images to measure int8 ranges on; default: 1000",
    arguments={"type": int, "metavar": "N"},
)
IMAGES = Option(
    "images",
    "images for the slow checks, by reference kernels and TFLM; default: 1000",
    default=1000,
    arguments={"type": int, "metavar": "N"},
    check=lambda images: ranges.check("--images", ranges.Count, images),
)

CAVEAT = (
    "Nothing here was timed on a microcontroller, and its results there are equal up to one unit "
    "of the output only where its kernels pass the golden vectors."
)


def check(settings: Settings) -> None:
    """Raises InputError where float32 is to be calibrated."""
    if settings["calibration"] is not None and not settings["int8"]:
        raise InputError(
            f"--calibration {settings['calibration']}: only int8 has ranges to measure, and this "
            "export is float32. Leave it out, or add --int8."
        )


def write(source: Any, directory: Path, settings: Settings) -> Any:
    """Writes `model.tflite`."""
    from kd.export import tflite

    file = tflite.convert(source, settings["int8"], settings["calibration"])
    return tflite_written(source, file, directory, settings)


def tflite_written(source: Any, file: Any, directory: Path, settings: Settings) -> Any:
    """Writes and measures a `kd.export.tflite.TFLite`."""
    from kd.export import checks, conformal, graph, kernel_faults, lower, tflite_checks

    (directory / "model.tflite").write_bytes(file.content)
    comparison = tflite_checks.compare(source, file, settings["images"])
    first, last = graph.ends(file.content)
    meaning = "pixel - 128" if lower.front(source).pixels else "raw values"
    report: dict[str, Any] = {
        "input": _tensor(first) | {"meaning": meaning},
        "output": _tensor(last),
        "operations": [op.name for op in graph.operations(file.content)],
        "flash_bytes": len(file.content),
        "calibration": {"images": file.calibrated} if file.calibrated else None,
        "checks": comparison.checks,
    }
    int8 = last.dtype == "INT8"
    if warnings := kernel_faults.warnings(file.content):
        report["warnings"] = warnings
    if int8 and settings.get("kernels", "none") == "none":  # else of the kernels that are generated
        report |= conformal.of_reference(source, settings, file.content, comparison.outputs)
    return checks.Written(report, comparison.figures, comparison.golden, int8)


def _tensor(tensor: Any) -> dict[str, Any]:
    described = {"shape": list(tensor.shape), "dtype": tensor.dtype.lower()}
    if tensor.scale:
        described |= {"scale": tensor.scale, "zero_point": tensor.zero}
    return described


FORMAT = Format(
    help="a .tflite file",
    card="a LiteRT (`.tflite`) file",
    write=write,
    extra="tflite",
    options=(INT8, CALIBRATION, IMAGES),
    check=check,
    suffix=lambda settings: "-int8" if settings["int8"] else "",
    limits={
        "tflm_error": Limit(1e-5, False, "TFLM against LiteRT's reference kernels, as float_error"),
        "tflm_lsb": Limit(1.0, False, "TFLM against LiteRT's reference kernels, in output units"),
        "tflm_agreement": Limit(
            0.985, True, "fraction of images to which TFLM gives LiteRT's class", range=Range(0, 1)
        ),
    },
    caveats=(CAVEAT,),
)
