"""Tables as plain text."""

from collections.abc import Sequence

import numpy as np

from kd.files.escaping import plain


def text_table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of cells as text: the first column aligned left, the others right."""
    lines = [[plain(cell) for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def mean_std(values: np.ndarray | Sequence[float], digits: int = 2) -> str:
    """`mean ± std`; the mean alone of a single value; nothing of none."""
    if not len(values):
        return ""
    text = f"{np.mean(values):z.{digits}f}"
    return text + (f" ± {np.std(values, ddof=1):z.{digits}f}" if len(values) > 1 else "")
