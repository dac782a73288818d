"""Layer-wise decay of the learning rate: deep blocks of a transformer learn faster than first ones.

The update of a parameter of depth i, of L blocks, is multiplied by decay^(L + 1 - i): the embedding
(patch, tokens, positions) has depth 0, block i depth i, the last norm and the heads L + 1. Weight
decay that an optimizer adds to its update is scaled too, as in the public code, which scales the
learning rate of each group.

Clark, Luong, Le, Manning. ELECTRA. ICLR 2020. https://arxiv.org/abs/2003.10555, appendix; Bao,
Dong, Piao, Wei. BEiT. ICLR 2022. https://arxiv.org/abs/2106.08254, appendix (0.65 to 0.75).
"""

import re
from collections.abc import Sequence

import jax
import optax

from kd.errors import InputError
from kd.types import PyTree

EMBEDDING = ("patch", "class_token", "distillation_token", "position")
LAST = ("norm", "pre_logits", "head", "head_distillation")
"""Names of a transformer's layers before and after its blocks `block1`, `block2`, ..."""


def scale_by_depth(decay: float) -> optax.GradientTransformation:
    """Scales updates by depth, see the module; parameters of the objective are not scaled."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        student = updates["student"]
        depth = depths(list(student))
        top = max(depth.values())
        scaled = {
            name: jax.tree.map(lambda u, i=depth[name]: u * decay ** (top - i), tree)
            for name, tree in student.items()
        }
        return {**updates, "student": scaled}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def depths(layers: Sequence[str]) -> dict[str, int]:
    """The depth of each layer of a student by its name, from 0.

    Raises InputError for a network that is not divided into blocks, such as a convolutional one.
    """
    numbers = {name: re.fullmatch(r"block(\d+)", name) for name in layers}
    blocks = {name: int(match[1]) for name, match in numbers.items() if match}
    others = [name for name in layers if name not in (*blocks, *EMBEDDING, *LAST)]
    if not blocks or others:
        what = f"{others[0]!r}" if others else "no block1, block2, ..."
        raise InputError(
            "config.optimizer.layer_decay is for transformers, whose layers are an embedding, "
            f"block1, block2, ... and heads, as those of vit.ViT; the student has {what}. Leave it "
            "out."
        )
    top = max(blocks.values()) + 1
    return blocks | {name: top if name in LAST else 0 for name in layers if name not in blocks}
