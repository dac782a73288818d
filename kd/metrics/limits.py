"""Limits of figures, within rounding. Imports no NumPy: `kd export --help` reads them."""

ROUNDING = 1e-9
"""Tolerance of limits: in binary 0.9 - 0.897 is more than 0.003, in its last bits. One image of a
million is a thousand times that.
"""

UNCERTAIN = (
    "The interval of the loss reaches across the limit, so other seeds, images or processors may "
    "decide otherwise"
)
"""What is said beside a verdict that the test images and the seeds do not settle."""


def at_most(value: float, limit: float, slack: float = ROUNDING) -> bool:
    """True if value <= limit (within rounding); NaN is False."""
    return value <= limit + slack


def at_least(value: float, limit: float, slack: float = ROUNDING) -> bool:
    """True if value >= limit (within rounding); NaN is False."""
    return value >= limit - slack
