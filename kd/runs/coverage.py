"""Prediction sets in words and tables: what `kd.metrics.conformal.describe` returns, for the card
of an export, a report and `kd verify`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kd.metrics.conformal import CONFIDENCE, fewest, parse_levels
from kd.values import counted

KEY = "config.validation"

IMPORTED = "imported weights"
"""Stands for the weights of an imported network among the runs that it builds on."""

LISTED = 20
"""Most classes that are listed one by one; of more classes those of the lowest coverage."""

HEAD = (
    "network",
    "coverage asked %",
    "on test %",
    "lowest class %",
    "classes in a set",
    "one class %",
    "answered %",
    "wrong, of all %",
    "wrong, of answers %",
    "if all are answered %",
)


def table(networks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Rows for each network and level, the first row the head.

    Args:
      networks: by name, entries from `kd.metrics.conformal.describe`.
    """
    rows = [list(HEAD)]
    for name, entry in networks.items():
        for level in entry["levels"]:
            test = level["test"]
            lowest = min((x for x in test["coverage_by_class"] if x is not None), default=None)
            numbers = (
                test["coverage"],
                lowest,
                None,
                test["sizes"][0] / test["images"] if test["sizes"] else 0.0,
                test["answered"],
                test["wrong"],
                test["wrong_of_answers"],
                test["wrong_without"],
            )
            cells = ["" if x is None else f"{100 * x:z.2f}" for x in numbers]
            cells[2] = f"{test['size']:z.2f}"
            rows.append([name, f"{100 * level['level']:zg}", *cells])
    return rows


def thresholds(networks: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Rows of the thresholds and what is assured, for each network and level."""
    head = ["network", "coverage asked %", "images", "threshold of sets", "threshold of answers"]
    rows = [[*head, "coverage assured %"]]
    for name, entry in networks.items():
        for level in entry["levels"]:
            values = (_threshold(level[key], entry.get("scale")) for key in ("set", "answer"))
            asked, sure = f"{100 * level['level']:zg}", f"{100 * level['assured']:z.2f}"
            rows.append([name, asked, f"{entry['images']:,}", *values, sure])
    return rows


def by_class(
    networks: Mapping[str, Mapping[str, Any]], names: Sequence[str] = ()
) -> list[list[str]]:
    """Rows of coverage and size of each class of the label, the first row the head. Of more than
    `LISTED` classes those with the lowest coverage at the first level.
    """
    head, columns = ["class"], []
    for name, entry in networks.items():
        for level in entry["levels"]:
            head.append(f"{name}, {100 * level['level']:zg} %: % (classes)")
            columns.append((level["test"]["coverage_by_class"], level["test"]["size_by_class"]))
    if not columns:
        return []
    order = [k for k, x in enumerate(columns[0][0]) if x is not None]
    if len(order) > LISTED:
        order = sorted(order, key=lambda k: columns[0][0][k])[:LISTED]
    rows = [head]
    for k in order:
        cells = [
            "" if covered[k] is None else f"{100 * covered[k]:z.1f} ({size[k]:z.2f})"
            for covered, size in columns
        ]
        rows.append([str(names[k]) if names else str(k), *cells])
    return rows


def note(known: Mapping[str, Any], networks: Mapping[str, Mapping[str, Any]]) -> str:
    """What the tables say and what is guaranteed.

    Args:
      known: `candidates` and `seen_by`.
      networks: see `table`.
    """
    confidence = f"{100 * CONFIDENCE:zg}"
    text = [
        f"By split conformal prediction, calibrated on validation images ({KEY}), and measured on "
        "test images, which chose nothing. A set has every class whose logit is at most the first "
        "threshold below the largest. An answer is given where the largest logit exceeds the "
        'second by more than the second threshold, and else "I do not know".',
        "For images like the validation images a set has the label with at least the probability "
        "that was asked for, and at most the rest of all images get a wrong answer. That holds on "
        "average over images and calibrations, not for each class. For this calibration the "
        f"coverage is at least the one assured, with a confidence of {confidence} %.",
    ]
    if known["candidates"] > 1:
        text.append(
            f"The same images chose this network among {known['candidates']}: the assured coverage "
            "allows for that, the average does not."
        )
    if warning := caution(known["seen_by"]):
        text.append(warning)
    return " ".join([*text, *_too_few(networks)])


def caution(seen: Mapping[str, int | None]) -> str:
    """A sentence on what `kd.runs.held_out.seen_by` returns; "" where nothing was seen."""
    parts = []
    for run, count in seen.items():
        if run == IMPORTED:
            parts.append("its weights were imported, and what they were trained on is not known")
        elif count is None:
            parts.append(f"it builds on {run}, and what that was trained on is not known here")
        else:
            parts.append(f"it builds on {run}, which was trained on {count:,} of these images")
    if not parts:
        return ""
    return f"The coverage is not guaranteed, only measured: {'; '.join(parts)}."


def _too_few(networks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sentences on levels for which there are too few images."""
    sentences = {}
    for entry in networks.values():
        for level in entry["levels"]:
            if level["set"] is None:
                (asked,) = parse_levels(f"{100 * level['level']:zg}")
                sentences[asked] = (
                    f"{100 * level['level']:zg} % needs at least {fewest(asked):,} validation "
                    f"images, and there are {counted(entry['images'], 'image')}: every set has "
                    "all classes, and no image is answered."
                )
    return list(sentences.values())


def _threshold(value: float | None, scale: float | None) -> str:
    if value is None:
        return "none"
    if scale is None:
        return f"{value:z.4g}"
    return f"{value:zg} ({value * scale:z.3g} in logits)"
