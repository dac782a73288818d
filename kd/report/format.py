"""Numbers as a report prints them. Shares in [0, 1] become per cent."""


def percent(value: float) -> str:
    """Two decimals, without the sign of per cent."""
    return f"{100 * value:.2f}"


def points(value: float) -> str:
    """With its sign, and no sign of zero that is the rest of a rounding."""
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def span(low: float, high: float, sign: bool = False) -> str:
    """An interval."""
    told = points if sign else percent
    return f"[{told(low)}, {told(high)}]"


def share(found: list[float]) -> list[str]:
    """Two cells: a value, and the interval from the other two numbers."""
    value, low, high = found
    return [percent(value), span(low, high)]


def p_value(value: float | None) -> str:
    """Three decimals, or the power of ten of a small one; nothing for None."""
    if value is None:
        return ""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def cells(text: str) -> list[str]:
    """Of a line that is written with bars between them."""
    return text.split("|")
