"""ONNX: a model for ONNX Runtime and other engines, in float32 or int8, and for verifiers."""

from pathlib import Path
from typing import Any

from kd import __version__
from kd.errors import InputError
from kd.export.formats import Format, Option, Settings, litert
from kd.export.gates import Limit
from kd.ranges import Range

FILE = "model.onnx"

FOR = Option(
    "for",
    "what the file is for; verification: a float32 input, as tools that prove properties take it",
    arguments={"choices": ("verification",)},
)


def check(settings: Settings) -> None:
    """Raises InputError for settings that do not go together."""
    litert.check(settings)
    if settings["for"] and settings["int8"]:
        raise InputError(
            "--for verification is of float32 networks. Leave out --int8; `kd verify RUN "
            "--int8` verifies the integers."
        )


def suffix(settings: Settings) -> str:
    """What the settings add to the name of the default directory."""
    return "-int8" if settings["int8"] else "-verification" if settings["for"] else ""


def write(source: Any, directory: Path, settings: Settings) -> Any:
    """Writes `model.onnx`."""
    import hashlib

    from kd.export import checks, graph, lower, provenance, tflite
    from kd.export.onnx import comparison, model, translation

    file = tflite.convert(source, settings["int8"], settings["calibration"])
    entry = translation.Entry(lower.front(source).pixels, bool(settings["for"]))
    digest = hashlib.sha256(file.content).hexdigest()
    metadata = {
        "kd": __version__,
        "run": str(source.workdir),
        "result": provenance.identity(source.workdir),
        "seed": str(source.seed),
        "tflite_sha256": digest,
    }
    name = source.config["student"]["name"]
    translated = translation.translate(file.content, file.named, entry, name, metadata)
    content = translated.content
    (directory / FILE).write_bytes(content)
    compared = comparison.compare(source, translated, file, entry.dtype, settings["images"])
    described = model.facts(content)
    shape = list(source.dataset.train.image.shape[1:])
    classes = graph.ends(file.content)[1].shape[-1]
    meaning = "pixels, 0 to 255" if entry.pixels else "raw values"
    report = {
        "input": {"shape": ["b", *shape], "dtype": str(entry.dtype), "meaning": meaning},
        "output": {"shape": ["b", classes], "dtype": "float32"},
        "operations": described["operations"],
        "flash_bytes": len(content),
        "calibration": {"images": file.calibrated} if file.calibrated else None,
        "checks": compared.checks,
        "onnx": {"opset": described["opset"], "tflite_sha256": digest},
    }
    int8 = graph.ends(file.content)[1].dtype == "INT8"
    return checks.Written(report, compared.figures, compared.golden, int8, compared.notes)


FORMAT = Format(
    help="an .onnx file",
    card="an ONNX model",
    write=write,
    extra="onnx",
    options=(litert.INT8, litert.CALIBRATION, litert.IMAGES, FOR),
    check=check,
    suffix=suffix,
    limits={
        "onnx_constants": Limit(
            0.0,
            False,
            "weights, biases and their scales of the LiteRT file that the ONNX file does not have "
            "bit for bit",
            slack=0.0,
        ),
        "onnx_lsb": Limit(
            1.0,
            False,
            "each layer by itself, given LiteRT's integers: ONNX Runtime with exact sums against "
            "LiteRT's reference kernels, in units of the layer's output",
        ),
        "onnx_rounding": Limit(
            0.01,
            False,
            "LiteRT's integers against the real results of each layer of the ONNX file, beyond "
            "what LiteRT's rounding explains, in units of the layer's output",
        ),
        "onnx_agreement": Limit(
            0.985,
            True,
            "fraction of images with the class of LiteRT's reference kernels",
            range=Range(0, 1),
        ),
    },
    caveats=(
        "Other engines than ONNX Runtime, and other processors, were not tried: run the golden "
        "vectors there.",
    ),
)
