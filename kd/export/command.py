"""`kd export`: a finished run's student as files for a device, checked before they are called
done.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd import __version__
from kd.devices import compilation
from kd.errors import InputError
from kd.export import card, directory, gates, provenance, requirements, run_c
from kd.export.source import Source, open_run, pixels
from kd.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user asks for; see `kd export --help`."""

    run: str
    format: str = "litert"
    int8: bool = False
    out: str | None = None
    seed: int | None = None
    peer: int | None = None
    calibration: int | None = None  # that of kd.export.litert
    images: int = 1000
    gate: Sequence[str] = ()
    waive: Sequence[str] = ()
    kernels: str = "bakenn"

    @property
    def integers(self) -> bool:
        """Whether the network is to be int8, as that of C always is."""
        return self.int8 or self.format == "c"

    @property
    def folder(self) -> Path:
        """Where the export is to lie."""
        if self.out is not None:
            return Path(self.out)
        if "://" in self.run:
            raise InputError("a run in a bucket needs --out, a local directory.")
        int8 = "-int8" if self.int8 and self.format != "c" else ""
        return Path(self.run) / "export" / f"{self.format}{int8}"


def export(options: Options) -> dict[str, Any]:
    """Writes the export, and returns the content of its `report.json`.

    Raises:
      InputError: what is asked for cannot be; nothing was written.
      RunError: a gate failed; what was written is gone.
    """
    began = time.monotonic()
    _check(options)
    limits = gates.settings(options.gate, options.waive)
    directory.check(options.folder)
    source = open_run(Workdir(options.run), options.seed, options.peer)
    if options.calibration is not None and source.quantized:
        raise InputError(
            f"--calibration {options.calibration}: the student of {source.workdir} was trained on "
            "eight bits and brings its ranges. Leave it out."
        )
    compilation.configure_cache(source.config["compilation_cache"])
    with directory.whole(options.folder) as folder:
        make = _archive if options.format == "stablehlo" else _deployed
        content, figures = make(source, options, folder)
        gates.check(options.gate, figures, f"--format {options.format}")
        verdicts = gates.judge(figures, limits, options.waive)
        gates.enforce(verdicts)
        asked = {"format": options.format, "int8": options.integers}
        report = provenance.of(source) | asked | content
        report["gates"] = [verdict._asdict() for verdict in verdicts]
        text = card.markdown(report, source.config)
        (folder / directory.CARD).write_text(text)
        report["files"] = provenance.files(folder)
        report["seconds"] = round(time.monotonic() - began, 2)
        text = json.dumps(report, indent=2) + "\n"
        (folder / directory.MARK).write_text(text)
    return report


def act(options: Options) -> str:
    """Exports, and says what came of it."""
    report = export(options)
    lines = [
        f"{card.network(report)}: {report['seed_chosen']}",
        *(str(gates.Verdict(**verdict)) for verdict in report["gates"]),
    ]
    size = f"{report['flash_bytes']:,} bytes"
    if "tflm" in report["checks"]:
        size += f", TFLM arena {report['checks']['tflm']['arena_bytes']:,} bytes"
    checked = report["checks"][report["split"]]
    lines.append(
        f"{size}; accuracy {100 * checked['accuracy']:.2f} % on {checked['images']:,} "
        f"{report['split']} images, the network itself {100 * checked['float_accuracy']:.2f} %"
    )
    return "\n".join([*lines, str(options.folder)])


def _check(options: Options) -> None:
    if options.format == "stablehlo" and options.int8:
        raise InputError(
            "--format stablehlo is the archive of the network as it was trained. For int8: "
            "--format litert or c."
        )
    if options.calibration is not None and not options.integers:
        raise InputError(
            f"--calibration {options.calibration}: only int8 has ranges to measure, and this "
            "export is float32. Leave it out, or add --int8."
        )
    if options.images < 1:
        raise InputError(f"--images: expected 1 or more, got {options.images}.")
    if options.format != "stablehlo":
        requirements.require("tflite", f"--format {options.format}")
    if options.format == "c" and options.kernels == "bakenn":
        requirements.require("mcu", "--format c")
        run_c.compiler()


def _archive(
    source: Source, options: Options, folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    from kd.export import checks, stablehlo

    split, size = source.dataset.test, source.config["eval_batch_size"]
    image = pixels(split, np.arange(len(split.label)))
    content = stablehlo.serialize(source)
    found = stablehlo.run(content, image, size)
    target = stablehlo.original(source, image, size)
    compared = checks.compare(found, target, split.label)
    (folder / "model.stablehlo").write_bytes(content)
    few = checks.spread(len(split.label), checks.GOLDEN)
    # In one batch of their own, for the last bits are those of a batch's size: as who reads them
    # will call the program.
    shown = image[few]
    said = stablehlo.run(content, shown, len(few))
    logits = stablehlo.original(source, shown, len(few))
    golden = checks.Golden(shown, shown, said, logits, split.label[few])
    np.savez(folder / "golden.npz", **golden._asdict())
    shape = ["b", *image.shape[1:]]
    report = {
        "input": {"shape": shape, "dtype": str(image.dtype), "meaning": "as stored"},
        "output": {"shape": ["b", found.shape[1]], "dtype": "float32"},
        "operations": [],
        "flash_bytes": len(content),
        "calibration": None,
        "checks": {source.result["split"]: compared},
    }
    lost = checks.lost(source, target, compared)
    return report, {"archive_error": compared["error_max"]} | lost


def _deployed(
    source: Source, options: Options, folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    from kd.export import checks, graph, litert, lower

    if options.integers:
        given = options.calibration
        count = litert.CALIBRATION if given is None else given
        made = litert.integers(source, count)
    else:
        made = litert.floats(source)
    content = made.content
    (folder / "model.tflite").write_bytes(content)
    found = checks.measure(source, content, options.images)
    np.savez(folder / "golden.npz", **found.golden._asdict())
    report: dict[str, Any] = {
        "input": _end(graph.ends(content)[0]),
        "output": _end(graph.ends(content)[1]),
        "operations": [op.name for op in graph.operations(content)],
        "flash_bytes": len(content),
        "calibration": {"images": made.calibrated} if made.calibrated else None,
        "checks": found.report,
    }
    report["input"]["meaning"] = "pixel - 128" if lower.front(source).pixels else "raw values"
    if options.format == "c":
        return _as_c(source, options, folder, made, report, found)
    return report, found.figures


def _as_c(
    source: Source, options: Options, folder: Path, made: Any, report: dict[str, Any], found: Any
) -> tuple[dict[str, Any], dict[str, float]]:
    from kd.export import c, lower

    which = card.network({"seed": source.seed, "peer": source.peer})
    title = f"{source.workdir}, {which}, by kd {__version__}"
    facts = c.Facts(
        lower.front(source).pixels,
        source.result["class_names"],
        found.report["tflm"]["arena_bytes"],
        title,
    )
    c.write(folder, made.content, facts, found.golden.input, found.golden.output)
    report["operators"] = c.operators(made.content)
    if options.kernels == "none":
        return report, found.figures
    from kd.export import kernels

    memory = kernels.generate(made, folder / "kernels")
    worst = run_c.check(folder)
    report["checks"]["kernels"] = {
        "arena_bytes": memory.arena,
        "constant_bytes": memory.constants,
        "vectors": len(found.golden.label),
        "lsb": worst,
        "compiler": Path(run_c.compiler()).name,
    }
    return report, found.figures | {"c_lsb": float(worst)}


def _end(end: Any) -> dict[str, Any]:
    told = {"shape": list(end.shape), "dtype": end.dtype.lower()}
    return told | ({"scale": end.scale, "zero_point": end.zero} if end.scale else {})
