"""What a reader should conclude from a report, in sentences: a verdict, and a list that goes on top
of the page.
"""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from kd.metrics.intervals import at_least, at_most

STATES = {
    "met": "Acceptance MET",
    "undecided": "Acceptance MET, not certain",
    "not met": "Acceptance NOT MET",
    "none": "No verdict",
}
"""Of a verdict, with the words that a page shows."""

MANY = 12
"""Classes beyond which they are counted and not named."""

SURE = 5.0
"""Points between mean confidence and accuracy from which a network is called too sure of itself, or
too little.
"""


def conclude(content: dict[str, Any]) -> dict[str, Any]:
    """`verdict` (`state` and `text`) and `conclusions` (the sentences that follow it) of one run's
    content.
    """
    return {"verdict": _verdict(content), "conclusions": list(_sentences(content))}


def conclude_many(content: dict[str, Any]) -> list[str]:
    """Sentences for the top of a report; of several runs, what sets them apart."""
    runs = content["runs"]
    if len(runs) == 1:
        return runs[0]["conclusions"]
    lines = []
    for run in runs:
        value, low, high = (100 * v for v in run["interval_95"])
        lines.append(
            f"{short(run['run'])}: {value:.2f} % right, 95 % interval [{low:.2f}, {high:.2f}]."
        )
    first = short(runs[0]["run"])
    lines += [f"{short(pair['run'])} over {first}: {_gain(pair)}" for pair in content["pairs"]]
    front = [short(p["name"]) for p in content["points"] if p["front"]]
    lines.append(f"No other network here is as accurate in fewer bytes than: {', '.join(front)}.")
    return lines


def short(name: str) -> str:
    """A run's directory without what leads to it; an ensemble keeps its first words."""
    head, colon, path = name.rpartition(": ")
    return f"{head}{colon}{PurePath(path).name}"


def _verdict(content: dict[str, Any]) -> dict[str, str]:
    limits, taught = content["acceptance"], content.get("teacher")
    if taught is None:
        return {
            "state": "none",
            "text": (
                "This run has no teacher: there is nothing it could have lost, and the network is "
                "called student below."
            ),
        }
    if not limits:
        return {
            "state": "none",
            "text": "The config sets no limits (acceptance), so there is no verdict.",
        }
    loss = taught["loss"]
    drop, floor = limits["max_drop"], limits["min_agreement"]
    kept = {k: at_most(loss[k], drop) for k in ("value", "low", "high")}
    agrees = at_least(taught["agreement"], floor)
    text = (
        f"Acceptance {{}}: loss {100 * loss['value']:.2f} of at most {100 * drop:.2f} points, "
        f"agreement {100 * taught['agreement']:.2f} % of at least {100 * floor:.2f} %."
    )
    if not (kept["value"] and agrees):
        doubt = (
            " The interval of the loss reaches across the limit." if kept["low"] and agrees else ""
        )
        return {"state": "not met", "text": text.format("NOT MET") + doubt}
    if kept["high"]:
        return {"state": "met", "text": text.format("MET")}
    doubt = (
        f" The interval of the loss reaches across the limit: on {content['examples']:,} images it "
        f"may as well be {100 * loss['high']:.2f} points. More test images would tell."
    )
    return {"state": "undecided", "text": text.format("MET") + doubt}


def _sentences(content: dict[str, Any]) -> Iterator[str]:
    taught = content.get("teacher")
    if taught is None:
        value, low, high = (100 * v for v in content["interval_95"])
        yield (
            f"It is right on {value:.2f} % of {content['examples']:,} images, 95 % interval "
            f"[{low:.2f}, {high:.2f}]."
        )
    else:
        yield from _of_teacher(content, taught)
    for name, gain in content["gains"].items():
        if gain is None:
            yield f"Gain over '{name}': unknown, its run is not finished."
        else:
            yield f"Gain over '{name}': {_gain(gain)}"
    yield _calibration(content["calibration"])
    if content["networks"]:
        yield from _of_networks(content["networks"])


def _of_teacher(content: dict[str, Any], taught: dict[str, Any]) -> Iterator[str]:
    loss = taught["loss"]
    value, low, high = (100 * loss[k] for k in ("value", "low", "high"))
    shown = _shown(
        low, high, "a loss is shown", "a gain is shown", "neither loss nor gain is shown"
    )
    whom = "its own teacher, seed by seed" if taught["paired"] else "the teacher"
    yield (
        f"Loss against {whom}: {value:+.2f} points ({100 * taught['accuracy']:.2f} % to "
        f"{100 * content['accuracy']:.2f} %), 95 % interval [{low:+.2f}, {high:+.2f}]: {shown}."
    )
    own, big, m = content["costs"]["student"], taught["costs"], taught["networks"]
    whom = f"the {m} networks that taught it" if m > 1 else "its teacher"
    yield _bought(own, big, whom)
    yield f"It gives its teacher's answer on {100 * taught['agreement']:.2f} % of the images."
    worse = [row for row in content["classes"] if row["worse"]]
    sure = [row["name"] for row in worse if row["loss_95"][0] > 0]
    names = ", ".join(row["name"] for row in worse) or "none"
    if len(worse) > MANY:
        names = f"{len(worse)} of {len(content['classes'])}"
    text = f"Classes where the student is worse than its teacher: {names}."
    if sure:
        more = " and others" if len(sure) > MANY else ""
        text += f" Shown by the interval of {', '.join(sure[:MANY])}{more}."
    elif worse:
        text += " No interval of one class shows it."
    yield text


def _shown(low: float, high: float, above: str, below: str, neither: str) -> str:
    """What an interval says: it lies above zero, below it, or around it."""
    return above if low > 0 else below if high < 0 else neither


def _gain(gain: dict[str, Any]) -> str:
    value, low, high = (100 * gain[k] for k in ("value", "low", "high"))
    shown = _shown(low, high, "a gain is shown", "a loss is shown", "no gain is shown")
    return f"{value:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}]: {shown}."


def _calibration(found: dict[str, Any]) -> str:
    excess = 100 * found["excess"]
    how = "about as sure as it is right"
    if abs(excess) > SURE:
        how = "too sure of itself" if excess > 0 else "too little sure of itself"
    text = (
        f"It is {how}: its mean confidence less accuracy is {round(excess, 1) + 0.0:+.1f} points, "
        f"ECE {100 * found['ece']:.2f} %."
    )
    if found["temperature"] is None:
        return f"{text} No held-out data (config.validation = 0), so no temperature was fitted."
    mean = sum(found["temperature"]) / len(found["temperature"])
    scaled = 100 * found["scaled"]["ece"]
    return (
        f"{text} A temperature of {mean:.2f}, fitted on held-out images, makes the ECE "
        f"{scaled:.2f} %."
    )


def _of_networks(found: dict[str, Any]) -> Iterator[str]:
    robust = found.get("robustness")
    if robust:
        own, clean = robust["mean"]["student"], robust["clean"]["student"]
        worst = min(robust["kinds"], key=lambda k: min(robust["kinds"][k]["student"]))
        low = 100 * min(robust["kinds"][worst]["student"])
        text = (
            f"Corrupted images cost it {100 * (clean - own):.2f} points on average "
            f"({robust['images']:,} images)"
        )
        if "teacher" in robust["mean"]:
            lost = robust["clean"]["teacher"] - robust["mean"]["teacher"]
            text += f", its teacher {100 * lost:.2f}"
        yield f"{text}; the worst is {worst}, down to {low:.2f} %."
    stages = found["capacity"]["student"]
    dead = [f"{round(s['dead'], 1):g} of {s['units']} in {s['stage']}" for s in stages if s["dead"]]
    if stages:
        yield f"Dead units, mean over seeds: {', '.join(dead) or 'none'}."


def _bought(own: dict[str, int], big: dict[str, int], whom: str) -> str:
    """What the student costs beside what taught it, where it is smaller, of the same size and
    larger.
    """
    (a, than), (b, as_well) = (
        _beside(own[key], big[key], unit)
        for key, unit in (("bytes", "bytes"), ("macs", "multiply-accumulates"))
    )
    verb = "That buys" if than == as_well == "than" else "It takes"
    if than == as_well:
        return f"{verb} {a} and {b} {than} {whom}."
    return f"{verb} {a} {than}, and {b} {as_well}, {whom}."


def _beside(own: int, big: int, unit: str) -> tuple[str, str]:
    """An amount beside another one, and the word that joins them."""
    if own == big:
        return f"as many {unit}", "as"
    if max(own, big) < 1.05 * min(own, big):  # would read "1.0 times"
        return f"about as many {unit}", "as"
    if own > big:
        return f"{_times(own, big)} as many {unit}", "as"
    return f"{_times(big, own)} fewer {unit}", "than"


def _times(big: float, small: float) -> str:
    ratio = big / small
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
