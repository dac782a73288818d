"""The verdict of a report and the sentences at the top of its page."""

from collections.abc import Iterator
from typing import Any

from kd.metrics import acceptance
from kd.metrics.intervals import Interval
from kd.metrics.limits import UNCERTAIN, at_least, at_most
from kd.report import sections
from kd.report.format import short
from kd.runs import conclusion

STATES = {
    "met": "Acceptance met",
    "undecided": "Acceptance met, not certain",
    "not met": "Acceptance not met",
    "none": "No verdict",
}
"""States of a verdict, and how a page shows them."""

MANY = 12
"""More classes than this are counted and not named."""


def conclude(content: dict[str, Any]) -> dict[str, Any]:
    """`verdict` (`state` and `text`) and `conclusions` (sentences) from the content of one run."""
    lines = list(_sentences(content))
    for section in sections.load():
        lines += section.conclude(content)
    return {"verdict": _verdict(content), "conclusions": lines}


def conclude_many(content: dict[str, Any]) -> list[str]:
    """Sentences for the top of a report; for several runs, how they differ."""
    runs = content["runs"]
    if len(runs) == 1:
        return runs[0]["conclusions"]
    lines = []
    for run in runs:
        value, low, high = (100 * v for v in run["interval_95"])
        lines.append(
            f"{short(run['run'])}: accuracy {value:z.2f} %, 95 % interval "
            f"[{low:z.2f}, {high:z.2f}]."
        )
    first = short(runs[0]["run"])
    lines += [f"{short(pair['run'])} over {first}: {_gain(pair)}" for pair in content["pairs"]]
    front = [short(p["name"]) for p in content["points"] if p["front"]]
    lines.append(f"No other network here is as accurate in fewer bytes than: {', '.join(front)}.")
    return lines


def _verdict(content: dict[str, Any]) -> dict[str, str]:
    limits, teacher = content["acceptance"], content.get("teacher")
    rows = content.get("limits", [])
    if teacher is None and rows and not acceptance.asks_teacher(limits):
        text = _sentence([row["text"] for row in rows])
        failed = [row for row in rows if not row["met"]]
        sure = any(row["certain"] for row in failed) or all(row["certain"] for row in rows)
        state = "not met" if failed else "met" if sure else "undecided"
        return {"state": state, "text": text + ("" if sure else f" {UNCERTAIN}.")}
    if teacher is None:
        return {
            "state": "none",
            "text": (
                "This run has no teacher, and so no loss against it; the network is called student "
                "below."
            ),
        }
    if not limits:
        return {
            "state": "none",
            "text": "The config sets no limits (config.acceptance), so there is no verdict.",
        }
    loss = teacher["loss"]
    drop, floor = limits["max_drop"], limits["min_agreement"]
    kept = {k: at_most(loss[k], drop) for k in ("value", "low", "high")}
    agrees = at_least(teacher["agreement"], floor)
    texts = [
        f"loss {100 * loss['value']:z.2f} of at most {100 * drop:z.2f} points",
        f"agreement {100 * teacher['agreement']:z.2f} % of at least {100 * floor:z.2f} %",
    ]
    text = _sentence([*texts, *(row["text"] for row in rows)])
    if not (kept["value"] and agrees and all(row["met"] for row in rows)):
        failed = [row for row in rows if not row["met"]]
        unsure = kept["low"] and agrees and not any(row["certain"] for row in failed)
        return {"state": "not met", "text": text + (f" {UNCERTAIN}." if unsure else "")}
    if kept["high"] and not all(row["certain"] for row in rows):
        return {"state": "undecided", "text": f"{text} {UNCERTAIN}."}
    if kept["high"]:
        return {"state": "met", "text": text}
    doubt = (
        f" {UNCERTAIN}: on {content['examples']:,} images it may as well be "
        f"{100 * loss['high']:z.2f} points. More test images or seeds would decide."
    )
    return {"state": "undecided", "text": text + doubt}


def _sentence(texts: list[str]) -> str:
    text = ", ".join(texts)
    return f"{text[0].upper()}{text[1:]}."


def _sentences(content: dict[str, Any]) -> Iterator[str]:
    """Accuracy or loss, cost, agreement, classes and gains."""
    teacher = content.get("teacher")
    if teacher is None:
        value, low, high = (100 * v for v in content["interval_95"])
        yield (
            f"It predicts {value:z.2f} % of {content['examples']:,} images right, 95 % interval "
            f"[{low:z.2f}, {high:z.2f}]."
        )
    else:
        yield _loss(content, teacher)
        size = teacher["networks"]
        whom = f"the {size} networks of its teacher" if size > 1 else "its teacher"
        if teacher["costs"]:
            yield compare_costs(content["costs"]["student"], teacher["costs"], whom)
        agreement = 100 * teacher["agreement"]
        yield f"It predicts its teacher's class on {agreement:z.2f} % of the images."
        yield _worse_classes(content["classes"])
    for name, gain in content["gains"].items():
        if gain is None:
            yield f"Gain over '{name}': unknown, its run is not finished."
        else:
            yield f"Gain over '{name}': {_gain(gain)}"
    if teacher is not None and "member_costs" in teacher:
        yield _conclusion(content, teacher)


def _conclusion(content: dict[str, Any], teacher: dict[str, Any]) -> str:
    """The sentence of the closing table, see `kd.runs.conclusion`."""
    interval = lambda entry: Interval(*(entry[key] for key in Interval._fields))
    compared = [
        conclusion.Compared(name, interval(gain), gain["costs"], gain["seeds"])
        for name, gain in content["gains"].items()
        if gain is not None and not gain["taught"]
    ]
    taught = conclusion.Taught(
        interval(teacher["loss"]), teacher["member_costs"], teacher["paired"]
    )
    costs = content["costs"]
    peers = [cost for name, cost in costs.items() if name.startswith("student, peer ")]
    seeds = len(content["seeds"]) // max(len(peers), 1)
    return conclusion.sentence(peers or [costs["student"]], seeds, compared, taught)


def _loss(content: dict[str, Any], teacher: dict[str, Any]) -> str:
    value, low, high = (100 * teacher["loss"][k] for k in ("value", "low", "high"))
    whom = "its own teacher, seed by seed" if teacher["paired"] else "the teacher"
    return (
        f"Loss against {whom}: {value:+z.2f} points ({100 * teacher['accuracy']:z.2f} % to "
        f"{100 * content['accuracy']:z.2f} %), {_interval(low, high)}."
    )


def _worse_classes(classes: list[dict[str, Any]]) -> str:
    worse = [row for row in classes if row["worse"]]
    names = ", ".join(row["name"] for row in worse) or "none"
    if len(worse) > MANY:
        names = f"{len(worse)} of {len(classes)}"
    text = f"Classes where the student is worse than its teacher: {names}."
    significant = [row["name"] for row in worse if row["loss_95"][0] > 0]
    if significant:
        more = " and others" if len(significant) > MANY else ""
        return f"{text} Significantly so: {', '.join(significant[:MANY])}{more}."
    return f"{text} No difference of a single class is significant." if worse else text


def _interval(low: float, high: float) -> str:
    """An interval in points, and what it says."""
    text = f"95 % interval [{low:+z.2f}, {high:+z.2f}]"
    if low <= 0 <= high:
        return f"{text}: not significant, for it includes zero"
    return f"{text}: significant, for it excludes zero"


def _gain(gain: dict[str, Any]) -> str:
    value, low, high = (100 * gain[k] for k in ("value", "low", "high"))
    return f"{value:+z.2f} points, {_interval(low, high)}."


def compare_costs(student: dict[str, int], teacher: dict[str, int], whom: str) -> str:
    """A sentence on the student's bytes and multiply-accumulates against those of its teacher."""
    (bytes_text, than), (macs_text, also_than) = (
        _ratio(student[key], teacher[key], unit)
        for key, unit in (("bytes", "bytes"), ("macs", "multiply-accumulates"))
    )
    if than == also_than:
        return f"It takes {bytes_text} and {macs_text} {than} {whom}."
    return f"It takes {bytes_text} {than}, and {macs_text} {also_than}, {whom}."


def _ratio(student: int, teacher: int, unit: str) -> tuple[str, str]:
    """An amount relative to the teacher's, and the conjunction that follows it."""
    if student == teacher:
        return f"as many {unit}", "as"
    if max(student, teacher) < 1.05 * min(student, teacher):  # would read "1.0 times"
        return f"about as many {unit}", "as"
    if student > teacher:
        return f"{_times(student, teacher)} as many {unit}", "as"
    return f"{_times(teacher, student)} fewer {unit}", "than"


def _times(large: float, small: float) -> str:
    ratio = large / small
    return f"{ratio:z,.0f} times" if ratio >= 10 else f"{ratio:z.1f} times"
