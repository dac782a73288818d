"""`kd export`: writes a finished run's student in one of the formats, checks and describes it."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd.devices import compilation
from kd.errors import InputError
from kd.export import (
    card,
    conformal,
    directory,
    formats,
    gates,
    provenance,
    reading,
    requirements,
)
from kd.export.source import open_run
from kd.export.target import boards
from kd.files.escaping import plain
from kd.names import trust
from kd.runs import certificates
from kd.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Options:
    """What to export, and how; see `kd export --help`.

    Attributes:
      run: directory of a finished run.
      format: name of a file of `kd.export.formats`.
      out: directory to write; None is `export/FORMAT` in the run directory.
      seed: one of the run's seeds; None chooses.
      peer: one of a cohort's students; None chooses.
      gate: limits, each as `name=value`.
      waive: names of gates that may fail.
      coverage: per cent of coverage of prediction sets, as "90,95,99"; None is these where the run
        kept validation images.
      settings: options of the format by name; missing ones have their defaults.
    """

    run: str
    format: str
    out: str | None = None
    seed: int | None = None
    peer: int | None = None
    gate: Sequence[str] = ()
    waive: Sequence[str] = ()
    coverage: str | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> "Options":
        """Options from the parsed arguments of `kd export`."""
        names = ("run", "format", "out", "seed", "peer", "gate", "waive", "coverage")
        return cls(**{name: arguments[name] for name in names}, settings=arguments)

    @property
    def directory(self) -> Path:
        """Directory that the export is written to."""
        if self.out is not None:
            return Path(self.out)
        if "://" in self.run:
            raise InputError("a run in a bucket needs --out, a local directory.")
        suffix = formats.load(self.format).suffix(formats.settings(self.format, self.settings))
        return Path(self.run) / "export" / f"{self.format}{suffix}"


def export(options: Options) -> dict[str, Any]:
    """Writes an export, and returns the content of its `report.json`.

    Raises:
      InputError: the options, the run or the network do not allow it; nothing was written.
      RunError: a gate failed; what was written has been removed.
    """
    start = time.monotonic()
    chosen = formats.load(options.format)
    settings = formats.settings(options.format, options.settings)
    if chosen.extra:
        requirements.require(chosen.extra, f"--format {options.format}")
    limits = gates.settings(formats.limits(), options.gate, options.waive)
    directory.check(options.directory)
    source = open_run(Workdir(options.run), options.seed, options.peer)
    settings["coverage"] = conformal.levels(source, options.coverage)
    # Compiled programs are code: those in a directory that a stored config names are not read.
    cached = source.config["compilation_cache"] != "none"
    compilation.configure_cache("default" if cached else "none")
    with directory.complete(options.directory) as building:
        written = chosen.write(source, building, settings)
        gates.check(options.gate, written.figures, f"--format {options.format}")
        verdicts = gates.judge(written.figures, limits, options.waive)
        gates.enforce(verdicts, written.notes)
        np.savez(building / "golden.npz", **written.golden._asdict())
        report = provenance.describe(source)
        digests = [entry["sha256"] for entry in provenance.files(building).values()]
        if proofs := certificates.of_network(source.workdir, source.variables, digests):
            report["certificates"] = proofs
        report |= {"format": options.format, "int8": written.int8, **written.report}
        if settings["coverage"]:
            student = {"student": conformal.of_student(source, settings["coverage"])}
            known = conformal.of_images(source) | student
            report["conformal"] = known | report.get("conformal", {})
        report["gates"] = [verdict._asdict() for verdict in verdicts]
        with trust.stored(source.workdir):
            (building / directory.CARD).write_text(card.markdown(report, source.config))
        report["files"] = provenance.files(building)
        report["seconds"] = round(time.monotonic() - start, 2)
        report = reading.sealed(report)
        (building / directory.MARK).write_text(json.dumps(report, indent=2) + "\n")
    return report


def act(options: Options) -> str:
    """Exports, and returns the lines that the command prints."""
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
        f"{size}; accuracy {100 * checked['accuracy']:z.2f} % on {checked['images']:,} "
        f"{report['split']} images, the network itself {100 * checked['float_accuracy']:z.2f} %"
    )
    if "target" in report:
        lines.append(boards.summary(report["target"]))
    return "\n".join(map(plain, [*lines, options.directory]))
