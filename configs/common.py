"""All names that config files share, from the modules in which they are defined."""

from configs.arguments import check_known, parse_arg, reference
from configs.methods import (
    DEPLOYED,
    DROP_LAST,
    FIRST,
    LABELS,
    METHODS,
    REDUCE,
    SECOND_VIEW,
    SEVERAL,
    TEACHER_FREE,
    deployed,
    first_run,
    method,
    taken_over,
)
from configs.pairs import PAIRS

__all__ = [
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
    "deployed",
    "first_run",
    "method",
    "parse_arg",
    "reference",
    "taken_over",
]
