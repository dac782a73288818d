"""`kd select`: the finished run whose int8 student fits a device; `preference` says which."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd import ranges
from kd.errors import InputError, RunError
from kd.export import command, directory, formats, gates, provenance, reading, requirements
from kd.export.preference import Candidate, choose, distinct
from kd.files.escaping import plain
from kd.metrics.limits import at_least
from kd.runs.workdir import Workdir

TARGET = "cortex-m4"
"""Where stack and instructions are measured if nothing else is said."""

UNITS = {"": 1, "B": 1, "KB": 1024, "KIB": 1024, "MB": 1024**2, "MIB": 1024**2}
COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits of a device.

    Attributes:
      flash: bytes for the `.tflite` file; None for no limit.
      arena: bytes of RAM for TFLM's arena; None for no limit.
      min_accuracy: of the int8 student, in [0, 1].
      stack: bytes of stack that an inference of the C program uses; None for no limit.
      instructions: of an inference; None for no limit.
      target: processor on which these two are measured.
    """

    flash: int | None = None
    arena: int | None = None
    min_accuracy: float = 0.0
    stack: int | None = None
    instructions: int | None = None
    target: str = TARGET

    @property
    def on_target(self) -> bool:
        """Whether the C program has to run on the target."""
        return self.stack is not None or self.instructions is not None


def size(text: str) -> int:
    """Bytes of a text such as "64KB"; a KB is 1024 bytes, as on devices. Raises InputError."""
    return _number(text, UNITS, "a size: give bytes, or a size such as 64KB or 1.5MB")


def count(text: str) -> int:
    """The number of a text such as "20000", "20k" or "1.5M". Raises InputError."""
    return _number(text, COUNTS, "a number: give one such as 20000, 20k or 1.5M")


def _number(text: str, units: Mapping[str, int], expected: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in units:
        raise InputError(f"{text!r} is not {expected}.")
    value = float(match[1]) * units[match[2].upper()]
    if not value < 2**63:
        raise InputError(f"{ranges.short(text)} is more than any device has.")
    return int(value)


def act(runs: Sequence[str], budget: Budget) -> str:
    """The lines that the command prints: a line for each run, why others are left out, the reason,
    and the chosen run.

    Raises:
      InputError: `min_accuracy` is not in [0, 1], or no directory is a run.
      RunError: no run fits, or those that fit cannot be compared; it has a line for each run.
    """
    ranges.check("--min_accuracy", ranges.Fraction, budget.min_accuracy)
    requirements.require("tflite", "kd select")
    if budget.on_target:
        formats.settings("c", _on_target(budget))  # all that it needs is installed
    if not any((Workdir(run).path / "config.json").exists() for run in runs):
        raise InputError(f"{', '.join(runs)}: no run directory, for none has a config.json.")
    candidates = [measure(run, budget) for run in distinct(runs)]
    fitting = [c for c in candidates if not c.why]
    lines = [_line(c) for c in candidates]
    if not fitting:
        raise RunError("\n".join(["none of the runs fits:", *lines]))
    try:
        choice = choose(fitting)
    except InputError as error:
        raise RunError("\n".join([f"nothing is chosen: {error}", *lines])) from error
    lines += [plain(f"left out: {c.run}: {why}") for c, why in choice.left_out]
    return "\n".join([*lines, plain(f"chosen: {choice.reason}"), plain(choice.best.run)])


def measure(run: str, budget: Budget) -> Candidate:
    """A run's int8 student compared with the budget; exports it where that was not done yet."""
    try:
        report = _report(run, budget)
    except RunError as error:
        figures = " ".join(line.strip() for line in str(error).splitlines()[1:])
        return Candidate(run, f"its int8 export fails: {figures or error}")
    except InputError as error:
        return Candidate(run, f"no int8 export: {error}")
    checks = report["checks"]
    flash, arena = report["flash_bytes"], checks["tflm"]["arena_bytes"]
    accuracy = checks[report["split"]]["accuracy"]
    reasons = []
    if budget.flash is not None and flash > budget.flash:
        reasons.append(f"{flash - budget.flash:,} bytes too many of flash")
    if budget.arena is not None and arena > budget.arena:
        reasons.append(f"{arena - budget.arena:,} bytes too many of arena")
    ran = report["target"]["ran"] if budget.on_target else {}
    for name, unit in (("stack", "bytes"), ("instructions", "")):
        limit = getattr(budget, name)
        if limit is not None and ran[name] > limit:
            words = f"{ran[name] - limit:,} {unit} too many".replace("  ", " ")
            reasons.append(f"{words} of {name}")
    if not at_least(accuracy, budget.min_accuracy):
        reasons.append(f"accuracy {100 * (budget.min_accuracy - accuracy):z.2f} points too low")
    figures = {gate["name"]: gate["value"] for gate in report["gates"]}
    by_default = gates.judge(figures, formats.limits(), ())
    validation = checks.get("validation", {}).get("accuracy")
    if report["split"] == "validation":
        validation = accuracy
    return Candidate(
        run,
        ", ".join(reasons),
        report["seed"],
        flash,
        arena,
        accuracy,
        validation,
        [verdict.name for verdict in by_default if not verdict.passed],
        report.get("peer"),
        ran.get("stack"),
        ran.get("instructions"),
    )


def _on_target(budget: Budget) -> dict[str, Any]:
    """Settings of the C export that measures on the target."""
    return {"target": budget.target, "emulate": True}


def _report(run: str, budget: Budget) -> dict[str, Any]:
    """Content of the int8 export's `report.json`; exports where it is missing or out of date.

    Where the C program has to run on the target, the export is a C export for it, in a directory of
    its own unless that of `kd export --format c` is one already.

    Raises:
      InputError: the export is damaged; it is not replaced.
    """
    options = command.Options(run, "litert", settings={"int8": True})
    places = [options.directory]
    if budget.on_target:
        options = command.Options(run, "c", settings=_on_target(budget))
        place = options.directory.with_name(f"c-{budget.target}")
        places = [place, options.directory]
        options = dataclasses.replace(options, out=str(place))
    for place in places:
        report = _current(place, Workdir(run))
        measured = (report or {}).get("target", {})
        fits = measured.get("cpu") == budget.target and "ran" in measured
        if report is not None and (fits or not budget.on_target):
            return report
    return command.export(options)


def _current(export: Path, workdir: Workdir) -> dict[str, Any] | None:
    """Content of an export's `report.json`; None where it is missing or out of date.

    Raises:
      InputError: the export is damaged.
    """
    directory.recover(export)
    if not ((export / directory.MARK).is_file() and workdir.finished):
        return None
    report = reading.read(export)
    current = {"result": provenance.identity(workdir), "versions": provenance.versions()}
    if reading.SEAL not in report or {key: report.get(key) for key in current} != current:
        return None
    reading.verify(export, report, "model.tflite")
    return report


def _line(c: Candidate) -> str:
    if not c.flash:
        return plain(f"  {c.run}: OUT, {c.why}")
    figures = (
        f"seed {c.seed}, {c.flash:,} bytes, arena {c.arena:,}, accuracy {100 * c.accuracy:z.2f} %"
        + (f", stack {c.stack:,} bytes" if c.stack is not None else "")
        + (f", {c.instructions:,} instructions" if c.instructions is not None else "")
        + (f", validation {100 * c.validation:z.2f} %" if c.validation is not None else "")
        + (f", BEYOND the usual {', '.join(c.beyond)}" if c.beyond else "")
    )
    state = f"OUT, {c.why}" if c.why else "fits"
    return plain(f"  {c.run}: {figures}: {state}")
