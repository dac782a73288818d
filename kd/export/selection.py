"""`kd select`: the best finished run whose student fits a device, and why each other one does
not.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from typing import Any

from kd.errors import InputError, RunError
from kd.export import command, directory, gates, provenance, requirements
from kd.runs.workdir import Workdir

UNITS = {"": 1, "B": 1, "KB": 1024, "KIB": 1024, "MB": 1024**2, "MIB": 1024**2}


@dataclasses.dataclass(frozen=True)
class Budget:
    """Bytes of flash for the `.tflite` file and of RAM for TFLM's arena, None for any, and an
    accuracy in [0, 1] of int8.
    """

    flash: int | None = None
    arena: int | None = None
    min_accuracy: float = 0.0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run after it was measured: `why` it fell out, empty where it fits."""

    run: str
    why: str
    seed: int = 0
    flash: int = 0
    arena: int = 0
    accuracy: float = 0.0
    validation: float | None = None
    beyond: Sequence[str] = ()  # gates whose default it fails, waived or set otherwise


def size(text: str) -> int:
    """Bytes of a text such as "64KB" (of 1024 bytes, as devices have them). Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in UNITS:
        raise InputError(f"{text!r} is no size: give bytes, or such as 64KB or 1.5MB.")
    return int(float(match[1]) * UNITS[match[2].upper()])


def act(runs: Sequence[str], budget: Budget) -> str:
    """The table of all runs and the choice. Raises RunError, with the same, where none fits, and
    InputError where none is a run.
    """
    if not 0 <= budget.min_accuracy <= 1:
        raise InputError(
            f"--min_accuracy: expected a share in [0, 1], such as 0.9, got {budget.min_accuracy:g}."
        )
    requirements.require("tflite", "kd select")
    if not any((Workdir(run).path / "config.json").exists() for run in runs):
        raise InputError(f"{', '.join(runs)}: no run directory, for none has a config.json.")
    candidates = [measured(run, budget) for run in dict.fromkeys(runs)]
    fitting = [c for c in candidates if not c.why]
    lines = [_line(c) for c in candidates]
    if not fitting:
        raise RunError("\n".join(["none of the runs fits:", *lines]))
    by_validation = all(c.validation is not None for c in fitting)
    share = lambda c: c.validation if by_validation else c.accuracy
    best = max(fitting, key=lambda c: (share(c), -c.flash))
    if len(fitting) == 1:
        reason = "the only one that fits"
    elif by_validation:
        reason = (
            "the most accurate on the validation images that the runs kept; of equals, the smallest"
        )
    else:
        reason = (
            "the most accurate on the images that it is judged by, for not all runs kept "
            "validation images (config.validation): expect less of it on new ones; of equals, the "
            "smallest"
        )
    return "\n".join([*lines, f"chosen: {reason}", best.run])


def measured(run: str, budget: Budget) -> Candidate:
    """A run's int8 student against the budget; it is exported where that was not done yet."""
    try:
        report = _report(run)
    except RunError as error:
        told = " ".join(line.strip() for line in str(error).splitlines()[1:])
        return Candidate(run, f"its int8 export fails: {told or error}")
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
    if accuracy < budget.min_accuracy:
        reasons.append(f"accuracy {100 * (budget.min_accuracy - accuracy):.2f} points too low")
    figures = {gate["name"]: gate["value"] for gate in report["gates"]}
    usual = gates.judge(figures, gates.LIMITS, ())
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
        [verdict.name for verdict in usual if not verdict.passed],
    )


def _report(run: str) -> dict[str, Any]:
    """Content of the int8 export's report, made now where there is none of what the run is
    today.
    """
    options = command.Options(run, "litert", int8=True)
    path, workdir = options.folder / directory.MARK, Workdir(run)
    if path.is_file() and workdir.finished:
        found = json.loads(path.read_text())
        now = {"result": provenance.identity(workdir), "versions": provenance.versions()}
        if {key: found.get(key) for key in now} == now:
            return found
    return command.export(options)


def _line(c: Candidate) -> str:
    if not c.flash:
        return f"  {c.run}: OUT, {c.why}"
    figures = (
        f"seed {c.seed}, {c.flash:,} bytes, arena {c.arena:,}, accuracy {100 * c.accuracy:.2f} %"
        + (f", validation {100 * c.validation:.2f} %" if c.validation is not None else "")
        + (f", BEYOND the usual {', '.join(c.beyond)}" if c.beyond else "")
    )
    state = f"OUT, {c.why}" if c.why else "fits"
    return f"  {c.run}: {figures}: {state}"
