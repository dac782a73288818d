"""The limits of `config.acceptance` on scores of the classes; the verdict shows them."""

from typing import Any

from kd.metrics import acceptance
from kd.report.run import Run

TITLE = "Limits"
ORDER = 12


def measure(run: Run) -> dict[str, Any]:
    """`limits`: each with its text, and whether it is met, and surely so."""
    section = run.config.get("acceptance") or {}
    names = run.result["class_names"]
    judged = acceptance.judge(section, run.logits, run.label, run.target, names)
    return {"limits": [limit._asdict() for limit in judged]}
