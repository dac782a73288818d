"""`kd_predict.h`: the set of classes for an output of the network, or an answer, in integers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd.export import conformal, graph, run_c
from kd.export.c_source import PREFIX, Header, prefixed
from kd.export.formats import Settings
from kd.export.source import Source
from kd.files.escaping import plain
from kd.runs import coverage

LARGEST = 255
"""No two int8 outputs are further from each other: such a threshold keeps every class."""


def calibrate(
    source: Source,
    content: bytes,
    directory: Path,
    settings: Settings,
    header: Header,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Writes the header of an export; None, and no header, without validation images.

    Args:
      source: the student.
      content: the int8 file.
      directory: of the export, with its kernels.
      settings: of the format.
      header: of the network.
      known: entry `conformal` of `report.json`; None calibrates on what the kernels compute.

    Returns:
      the entry `conformal` of `report.json`.
    """
    if not settings.get("coverage"):
        return None
    if known is None:
        classes = graph.ends(content)[1].shape[-1]
        run = lambda inputs: run_c.outputs(directory, inputs, classes, header.name)
        file = conformal.of_file(source, settings["coverage"], content, settings["images"], run)
        known = {"file": file | {"kernels": "the C kernels beside it"}}
    complete = {**conformal.of_images(source), **known}
    write(directory, header.title, complete, header.name)
    return complete


def write(directory: Path, title: str, known: Mapping[str, Any], name: str = PREFIX) -> None:
    """Writes `kd_predict.h`, with `name` instead of `kd`.

    Args:
      directory: an existing one.
      title: of the network.
      known: entry `conformal` of `report.json`, with `file`.
      name: prefix of its symbols and files.
    """
    file = known["file"]
    levels = "\n".join(_level(row, name) for row in file["levels"])
    caution = coverage.caution(known["seen_by"])
    text = prefixed(HEADER, name).format(
        title=_comment(title),
        images=f"{file['images']:,}",
        kernels=_comment(file["kernels"]),
        caution=f"\n * {_comment(caution)}\n *" if caution else "",
        levels=levels,
    )
    (directory / f"{name}_predict.h").write_text(text)


def threshold(value: float | None) -> int:
    """A threshold as the device compares it; None, infinity, is `LARGEST`."""
    return LARGEST if value is None else int(value)


def _level(row: Mapping[str, Any], name: str) -> str:
    level, test = f"{100 * row['level']:zg}", row["test"]
    number = level.replace(".", "_")
    few = ""
    if row["set"] is None:
        few = "\n * Too few images for this level: every set has all classes, and none is answered."
    wrong = f"{100 * test['wrong']:z.2f} % of all were wrong"
    return prefixed(LEVEL, name).format(
        level=level,
        number=number,
        images=f"{test['images']:,}",
        coverage=f"{100 * test['coverage']:z.2f}",
        size=f"{test['size']:z.2f}",
        answered=f"{100 * test['answered']:z.2f}",
        wrong=wrong,
        without=f"{100 * test['wrong_without']:z.2f}",
        few=few,
        set=threshold(row["set"]),
        answer=threshold(row["answer"]),
    )


def _comment(text: str) -> str:
    return plain(text).replace("*/", "* /")


LEVEL = """
/* {level} %. On {images} test images {coverage} % of the sets had the label, of {size} classes on
 * average; {answered} % were answered and {wrong}, {without} % without abstention.{few} */
#define KD_SET_{number} {set}
#define KD_ANSWER_{number} {answer}"""

HEADER = """/* {title}
 *
 * Thresholds of outputs of kd_invoke, by split conformal prediction on {images} images that the
 * network was not trained on ({kernels}).{caution}
 * For images like these, KD_SET_90 keeps the label in the set with a probability of at least
 * 90 %, and with KD_ANSWER_90 at most 10 % of all images get a wrong answer. That holds on
 * average over images and calibrations, not for each class.
 */
#ifndef KD_PREDICT_H
#define KD_PREDICT_H

#include "kd_model.h"
{levels}

/* Writes 1 for each class of the set and 0 for the others, and returns how many are in it: those
 * whose output is at most `threshold` below the largest. `out` has KD_OUTPUT_SIZE numbers from
 * kd_invoke, `set` has KD_CLASSES. */
static inline int kd_predict_set(const int8_t *out, int threshold, uint8_t *set) {{
    int largest = out[0], count = 0;
    for (int k = 1; k < KD_CLASSES; ++k) {{
        largest = out[k] > largest ? out[k] : largest;
    }}
    for (int k = 0; k < KD_CLASSES; ++k) {{
        set[k] = (uint8_t)(largest - out[k] <= threshold);
        count += set[k];
    }}
    return count;
}}

/* The class of the largest output, or -1, "I do not know", unless it exceeds every other one by
 * more than `threshold`. */
static inline int kd_predict_or_abstain(const int8_t *out, int threshold) {{
    int best = 0;
    for (int k = 1; k < KD_CLASSES; ++k) {{
        best = out[k] > out[best] ? k : best;
    }}
    for (int k = 0; k < KD_CLASSES; ++k) {{
        if (k != best && out[best] - out[k] <= threshold) {{
            return -1;
        }}
    }}
    return best;
}}

#endif
"""
