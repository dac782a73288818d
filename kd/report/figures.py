"""Drawings by matplotlib as SVG, in one style; sections draw on a `canvas`."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STUDENT, TEACHER, OTHER = "#1a66b0", "#c8501e", "#666666"
PALETTE = (STUDENT, TEACHER, "#2a8c55", "#8a4fae", "#b08a00", OTHER)

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a $ in a name is a $
    "svg.hashsalt": "kd",  # equal reports are equal files
}


class Canvas:
    """Axes side by side; after the `with` their drawing is in `svg`."""

    def __init__(self, axes: list[Any]):
        self.axes, self.svg = axes, ""


def legend_below(axes: Any, columns: int = 2) -> None:
    """The legend of these axes below them, where it hides no curve."""
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, borderaxespad=0, fontsize=8
    )


def size_axis(axis: Any) -> None:
    """Makes an axis of bytes logarithmic, with labels such as 5 kB and 1.7 MB."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    parts = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axis.set_major_locator(LogLocator(subs=parts, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
    axis.set_minor_formatter(NullFormatter())


def size(count: float) -> str:
    """Bytes with three digits: 4.84 kB, 340 kB, 1.7 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5 or unit == "GB":
            return f"{count:z.3g} {unit}"
        count /= 1000
    raise AssertionError


POWER = re.compile(r"\$\\mathdefault\{(-?[\d.]+\\times)?10\^\{(-?\d+)\}\}\$")
"""A label of a logarithmic axis, as Matplotlib writes it."""

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def canvas(
    columns: int, height: float = 3.1, width: float = 8.4, share_y: bool = False
) -> Iterator[Canvas]:
    """A figure of `columns` axes; height and width are in inches. Needs no display."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        drawing = Canvas(list(figure.subplots(1, columns, squeeze=False, sharey=share_y)[0]))
        yield drawing
        for axes in drawing.axes:
            for axis in (axes.xaxis, axes.yaxis):
                if axis.get_scale() == "log" and isinstance(
                    axis.get_major_formatter(), LogFormatter
                ):
                    axis.set_major_formatter(_powers(axis.get_major_formatter()))
                    axis.set_minor_formatter(_powers(axis.get_minor_formatter()))
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        drawing.svg = file.getvalue()


def _powers(formatter: Any) -> Any:
    """A formatter of a logarithmic axis whose labels are plain text, such as 2×10⁴: mathematics in
    `$` is off, as names may have them.
    """

    from matplotlib.ticker import Formatter

    class Powers(Formatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return POWER.sub(_plain, formatter(x, pos))

        def set_locs(self, locs: Any = None) -> None:
            formatter.set_locs(locs)

    return Powers()


def _plain(power: re.Match) -> str:
    return (power[1] or "").replace("\\times", "×") + "10" + power[2].translate(SUPERSCRIPTS)
