"""The step of KD on mixed images, divided by its parts, compiled separately.

The parts are the mixing of a batch with its partners, and the step on images that are mixed.
"""

from collections.abc import Sequence
from functools import partial

import jax

from benchmarks.networks import CLASSES, KINDS, SHAPE, TOYS, VIT, VIT_TOY
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import Problem, batch, step_of
from benchmarks.timer import over_parts
from kd.data.mix import Mix
from kd.types import no_augmentation

TITLE = "one compiled step of KD with mixed images over its parts, each compiled alone"
REPEATS = 15
MIXES = ("mixup(0.2)", "cutmix(1.0)", "mixup(0.8) or cutmix(1.0)", "mixup(0.2, each=True)")


def cases(toy: bool) -> Sequence[Case]:
    """Each operation with batches of 64 images of a CNN, and one with those of a transformer."""
    size, cnn, vit = (8, TOYS["CNN"], VIT_TOY) if toy else (64, KINDS["CNN"], VIT)
    pairs = [("CNN", cnn, text) for text in MIXES] + [("vit_micro", vit, MIXES[2])]
    problem = lambda net: Problem(net, net, size, SHAPE, CLASSES, 512)
    return [
        Case(f"{kind}, {text}", partial(_make, problem(net), text)) for kind, net, text in pairs
    ]


def _make(problem: Problem, text: str) -> Prepared:
    mix, key = Mix(text), jax.random.key(0)
    augment = mix.augment(no_augmentation)
    paired = mix.pair(key, batch(problem))
    fused = step_of("kd", problem, augment=augment, example=paired)
    mixing = jax.jit(augment).lower(key, paired).compile()
    plain = step_of("kd", problem, example=mixing(key, paired))
    return Prepared({"fused": fused, "mixing": lambda: mixing(key, paired), "step": plain}, {})


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Times as median [smallest, largest] of the rounds."""
    head = ["pair of networks, operation", "fused over parts", "mixing's share of the parts"]
    return [head, *over_parts(rows, "mixing", "step")]
