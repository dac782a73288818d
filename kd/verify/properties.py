"""Properties in VNN-LIB 1.0, which other verifiers take: one file for an image and radius.

As in VNN-COMP (https://github.com/VNN-COMP), a property describes counterexamples: it can be
satisfied if and only if an image in the ball gets another class than the label. `instances.csv` has
a line for each, with the network, the property and seconds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from kd.errors import InputError
from kd.export import command as exports
from kd.export.formats import onnx
from kd.export.source import Source
from kd.files import directories
from kd.values import counted
from kd.verify.certificates import Question

INSTANCES = "instances.csv"
NETWORK = "onnx"
PROPERTIES = "vnnlib"

SECONDS = 60
"""Limit for each property, where `--exact` gives none."""


def check(directory: Path, norm: str) -> None:
    """Raises InputError where the balls are no boxes, or the directory holds other things."""
    if norm != "linf":
        raise InputError("--vnnlib is of L-infinity balls. Leave it out, or take --norm linf.")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--vnnlib {directory} is a file. Give a directory.")
    if directory.is_dir() and any(directory.iterdir()) and not (directory / INSTANCES).exists():
        raise InputError(
            f"--vnnlib {directory} holds other things than properties, and would be replaced. "
            "Give another directory."
        )


def write(
    directory: Path,
    source: Source,
    question: Question,
    index: Int[np.ndarray, " n"],
    radii: Sequence[float],
) -> str:
    """Writes the student as ONNX, the properties and `instances.csv`; all of them or none.

    Args:
      directory: to write, or to replace.
      source: the student.
      question: images and labels.
      index: of these images in the evaluated split, for the names of files.
      radii: of the balls.

    Returns:
      A line that says what was written.

    Raises:
      InputError: an extra is missing, or the network has no ONNX form.
      RunError: the ONNX model is not the same network.
    """
    directories.recover(directory)
    check(directory, question.norm)
    classes = source.result["num_classes"]
    seconds = question.exact or SECONDS
    lines = []
    with directories.replacing(directory) as building:
        options = exports.Options(
            run=str(source.workdir),
            format="onnx",
            out=str(building / NETWORK),
            seed=source.seed,
            peer=source.peer,
            settings={"for": "verification"},
        )
        exports.export(options)
        (building / PROPERTIES).mkdir()
        for radius in radii:
            balls = question.balls(radius)
            for k, i in enumerate(index):
                name = f"{PROPERTIES}/image{i}_radius{radius:zg}.vnnlib"
                label = int(question.label[k])
                head = (
                    f"; {source.workdir.path.name}: image {i}, label {label}, radius {radius:zg}\n"
                )
                content = head + text(balls.low[k], balls.high[k], label, classes)
                (building / name).write_text(content)
                lines.append(f"{NETWORK}/{onnx.FILE},{name},{seconds:zg}\n")
        (building / INSTANCES).write_text("".join(lines))
    return f"{directory}: the student as ONNX, {counted(len(lines), 'property file')}, {INSTANCES}"


def text(
    low: Float[np.ndarray, " d"], high: Float[np.ndarray, " d"], label: int, classes: int
) -> str:
    """A property: inputs X within a box, and an output Y of another class that is not less than
    that of the label. X are the elements of the network's input, the last axis fastest.
    """
    lines = [f"(declare-const X_{i} Real)" for i in range(len(low))]
    lines += [f"(declare-const Y_{i} Real)" for i in range(classes)]
    for i, (least, most) in enumerate(zip(low, high, strict=True)):
        lines += [f"(assert (>= X_{i} {_number(least)}))", f"(assert (<= X_{i} {_number(most)}))"]
    others = [f"  (and (>= Y_{i} Y_{label}))" for i in range(classes) if i != label]
    return "\n".join([*lines, "(assert (or", *others, "))"]) + "\n"


def _number(value: float) -> str:
    """A double in decimals, without an exponent, that is read back as the same."""
    return np.format_float_positional(value, unique=True, trim="0")
