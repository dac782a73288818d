"""What a reader should conclude from a report, in sentences."""

from typing import Any


def conclude(content: dict[str, Any], limits: dict[str, float]) -> list[str]:
    """Sentences for the top of the page; `limits` are those of `config.acceptance`, empty where none are set."""
    lines = []
    taught = content.get("teacher")
    if taught is None:
        lines.append("This run has no teacher: there is nothing it could have lost.")
    else:
        loss = taught["loss"]
        value, low, high = (100 * loss[k] for k in ("value", "low", "high"))
        if limits:
            drop, floor = 100 * limits["max_drop"], 100 * limits["min_agreement"]
            agreement = 100 * taught["agreement"]
            met = value <= drop and agreement >= floor
            lines.append(
                f"Acceptance {'MET' if met else 'NOT MET'}: loss {value:.2f} of at most {drop:.2f} points, "
                f"agreement {agreement:.2f} % of at least {floor:.2f} %."
            )
            if low <= drop < high:
                lines.append("The interval of the loss reaches across the limit.")
        else:
            lines.append("The config sets no acceptance limits, so there is no verdict.")  # fmt: skip
        shown = "a loss is shown" if low > 0 else "a gain is shown" if high < 0 else "neither loss nor gain is shown"  # fmt: skip
        lines.append(
            f"Loss against the teacher: {value:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}]: {shown}."
        )
        worse = [row["name"] for row in content["classes"] if row["worse"]]
        lines.append(f"Classes where the student is worse than its teacher: {', '.join(worse) or 'none'}.")  # fmt: skip
    for name, gain in content["gains"].items():
        if gain is None:
            lines.append(f"Gain over '{name}': unknown, its run is not finished.")
            continue
        value, low, high = (100 * gain[k] for k in ("value", "low", "high"))
        shown = "a gain is shown" if low > 0 else "no gain is shown"
        lines.append(
            f"Gain over '{name}': {value:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}]: {shown}."
        )
    if content["calibration"]["temperature"] is None:
        lines.append("No held-out data (config.validation = 0), so no temperature was fitted.")  # fmt: skip
    return lines
