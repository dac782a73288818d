"""Checks of the values of settings: their type, and the range that they declare.

A setting declares its range where it is declared itself, by its annotation:

    class KD(nn.Module):
        temperature: Temperature = 4.0

    def crop(key, image, padding: Annotated[int, Range(least=0, most=1024)] = 4): ...

An annotation without a range, such as `float`, stands for all finite numbers. The check is the same
for a value of a config, a keyword of a maker (`kd.registry.make`) and the fields of a module that a
caller made (`check_fields`).
"""

from kd.ranges.annotations import (
    check,
    check_arguments,
    check_fields,
    check_in_run,
    describe,
)
from kd.ranges.limits import (
    LARGEST,
    LARGEST_INT,
    Classes,
    Count,
    Depth,
    Deviations,
    Epoch,
    Fraction,
    Growth,
    Increasing,
    Length,
    Means,
    Natural,
    NonNegative,
    Positive,
    Probability,
    Range,
    Side,
    Temperature,
    Width,
    Widths,
    WithinRun,
    is_number,
    short,
)

__all__ = [
    "LARGEST",
    "LARGEST_INT",
    "Classes",
    "Count",
    "Depth",
    "Deviations",
    "Epoch",
    "Fraction",
    "Growth",
    "Increasing",
    "Length",
    "Means",
    "Natural",
    "NonNegative",
    "Positive",
    "Probability",
    "Range",
    "Side",
    "Temperature",
    "Width",
    "Widths",
    "WithinRun",
    "check",
    "check_arguments",
    "check_fields",
    "check_in_run",
    "describe",
    "is_number",
    "short",
]
