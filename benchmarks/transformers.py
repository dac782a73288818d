"""vit_micro as several teachers and as several students, by vmap, map and unroll.

Seconds of all processors, which other work on a shared machine affects less than elapsed time.
"""

from collections.abc import Sequence
from functools import partial

from benchmarks import ensembles, seeds
from benchmarks.networks import VIT, VIT_TOY
from benchmarks.record import Case, Row
from benchmarks.timer import ratio

TITLE = "vit_micro, batch 64: teachers' forward over unroll, students' updates over as many of one"
REPEATS = 9


def cases(toy: bool) -> Sequence[Case]:
    """Each number of teachers and of students."""
    net, counts, size = (VIT_TOY, (2,), 8) if toy else (VIT, (1, 2, 4, 8), 64)
    teachers = [Case(f"{m} teachers", partial(ensembles.prepared, net, m, size)) for m in counts]
    students = [Case(f"{s} students", partial(seeds.prepared, net, s, size)) for s in counts[:3]]
    return teachers + students


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Processor time divided by that of unroll, or of as many updates of one student."""
    head = ["vit_micro", "vmap", "map", "unroll"]
    lines = []
    for row in rows:
        spent = row["processor_seconds"]
        if "alone" in spent:
            below = [row["seeds"] * s for s in spent["alone"]]
        else:
            below = spent["unroll"]
        lines.append([row["case"], *(str(ratio(spent[how], below)) for how in head[1:])])
    return [head, *lines]
