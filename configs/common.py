"""All names that config files share, from the modules in which they are defined."""

from configs.arguments import check_known, parse_arg, reference
from configs.methods import (
    CLIP_NORM,
    DEPLOYED,
    DROP_LAST,
    FIRST,
    LABELS,
    METHODS,
    REDUCE,
    SECOND_VIEW,
    SEVERAL,
    TEACHER_FREE,
    complete,
    deployed,
    first_run,
    method,
    taken_over,
)
from configs.pairs import PAIRS

__all__ = [
    "CLIP_NORM",
    "DEPLOYED",
    "DROP_LAST",
    "FIRST",
    "LABELS",
    "METHODS",
    "PAIRS",
    "REDUCE",
    "SECOND_VIEW",
    "SEVERAL",
    "TEACHER_FREE",
    "check_known",
    "complete",
    "deployed",
    "first_run",
    "method",
    "parse_arg",
    "reference",
    "taken_over",
]
