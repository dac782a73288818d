"""The complete step of KD, divided by its parts, compiled separately.

The parts are the teacher's forward and the student's update.
"""

from collections.abc import Sequence
from functools import partial

import jax

from benchmarks import libraries
from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, Problem, step_of
from benchmarks.timer import over_parts
from kd import build
from kd.types import Outputs, Teacher

TITLE = "one compiled step of KD over its parts, each compiled alone"
REPEATS = 15


def cases(toy: bool) -> Sequence[Case]:
    """The reference pair with batches of 64, and one pair of each kind of network."""
    size = 8 if toy else 64
    kinds = TOYS if toy else KINDS
    pairs = {
        f"{kind} to the same": Problem(net, net, size, SHAPE, CLASSES, 512)
        for kind, net in kinds.items()
    }
    if not toy:
        pairs["wrn_40_2 to wrn_16_2"] = CIFAR
    return [Case(name, partial(_make, problem)) for name, problem in pairs.items()]


def _make(problem: Problem) -> Prepared:
    fused = step_of("kd", problem)
    big = build.make_model(problem.teacher, problem.num_classes)
    image, weights = fused.batch["image"], fused.frozen["teacher"]
    forward = jax.jit(lambda v, x: big.apply(v, x, train=False).logits)  # pyrefly: ignore
    with libraries.using():
        forward = forward.lower(weights, image).compile()
    # The same student's update, from logits that are already computed.
    computed = Teacher(lambda logits, state, batch: Outputs(logits))
    student = step_of("kd", problem, computed, forward(weights, image))
    bytes_ = {"fused": fused.memory, "student": student.memory}
    return Prepared(
        {"fused": fused, "teacher": lambda: forward(weights, image), "student": student},
        {"memory": bytes_},
    )


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds."""
    head = ["pair", "fused over parts", "teacher's share of the parts"]
    return [head, *over_parts(rows, "teacher", "student")]
