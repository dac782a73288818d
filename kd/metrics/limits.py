"""Figures against the limits that were asked of them."""

ROUNDING = 1e-9
"""By how much a figure at its limit may miss it: 0.9 - 0.897 is more than 0.003 in binary, by its
last bits. One image of a million is a thousand times that.
"""


def at_most(value: float, limit: float, slack: float = ROUNDING) -> bool:
    """Whether a figure keeps a limit from above; one that is no number does not."""
    return value <= limit + slack


def at_least(value: float, limit: float, slack: float = ROUNDING) -> bool:
    """Whether a figure keeps a limit from below; one that is no number does not."""
    return value >= limit - slack
