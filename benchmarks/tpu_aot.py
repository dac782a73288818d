"""Compiles the step of an ensemble for a TPU slice without having one, and writes the figures.

    uv pip install "jax[tpu]" && uv run python benchmarks/tpu_aot.py docs/tpu.md

The program is the step of `kd run` on a mesh of 4 x 2 chips: four or eight members, one or two on
each of 4 chips, and the batch in 2 parts. Nothing runs: memory, collectives and operations are the
compiler's figures, times are bounds from the chip's data sheet.
"""

import dataclasses
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# Without these, the compiler queries the machine for its chips.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from kd import teachers
from kd.data.augment import make_augment
from kd.devices import mesh as sharding
from kd.devices.vectorize import METHODS
from kd.init import make_init
from kd.models import resnet, resnet_cifar, vit
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.step import make_step

TOPOLOGY, TEACHER = "v5e:2x4", 4
HBM, FLOPS, BANDWIDTH, ICI = 16e9, 197e12, 819e9, 200e9
"""A v5e chip: bytes of memory, bfloat16 operations per second, bytes per second of its memory and
of its links (1,600 Gbit/s).

https://cloud.google.com/tpu/docs/v5e
"""

SGD = partial(optax.sgd, 0.05, 0.9)
ADAMW = partial(optax.adamw, 1e-3, weight_decay=0.05)


@dataclasses.dataclass(frozen=True)
class Case:
    """A pair of networks, the size of their images, the members, and how two share a chip."""

    name: str
    teacher: Callable[..., nn.Module]
    student: Callable[..., nn.Module]
    size: int
    classes: int
    batch: int
    dtype: Any = jnp.float32
    how: str = "vmap"
    members: int = 8
    tx: Callable[[], optax.GradientTransformation] = SGD


CIFAR = "resnet32x4 to resnet8x4", resnet_cifar.resnet32x4, resnet_cifar.resnet8x4
IMAGENET = "R50 to R18", resnet.resnet50, resnet.resnet18
VIT = vit.vit_base_16, vit.deit_tiny_16
FOUR = dict(members=4, tx=ADAMW)
CASES = (
    Case(*CIFAR, 32, 100, 64),
    Case(*CIFAR, 32, 100, 1024),
    Case(*IMAGENET, 224, 1000, 256, jnp.bfloat16),
    Case(*IMAGENET, 224, 1000, 256),
    Case("4 ViT-B to DeiT-Ti", *VIT, 224, 1000, 256, jnp.bfloat16, **FOUR),
    Case("4 ViT-B to DeiT-Ti", *VIT, 224, 1000, 1024, jnp.bfloat16, **FOUR),
    Case("4 ViT-B to DeiT-Ti", *VIT, 224, 1000, 256, **FOUR),
    *(
        Case("8 ViT-B to DeiT-Ti", *VIT, 224, 1000, 256, jnp.bfloat16, how, tx=ADAMW)
        for how in METHODS
    ),
)


def lower(case: Case, mesh: Mesh) -> jax.stages.Lowered:
    """The step on the mesh, from shapes only."""
    big = case.teacher(num_classes=case.classes, dtype=case.dtype)
    small = case.student(num_classes=case.classes, dtype=case.dtype)
    objective = Weighted({"ce": CE(), "kd": KD(4.0)}, {"ce": 0.1, "kd": 0.9})
    tx = case.tx()
    examples = NamedSharding(mesh, P("data"))
    image = (case.batch, case.size, case.size, 3)
    array = lambda shape, dtype, where: jax.ShapeDtypeStruct(shape, dtype, sharding=where)
    replicated = sharding.replicated(mesh)
    batch = {
        "image": array(image, jnp.uint8, examples),
        "label": array(image[:1], jnp.int32, examples),
        "index": array(image[:1], jnp.int32, examples),
        "epoch": array((), jnp.int32, replicated),
    }
    one = jnp.zeros((1, *image[1:]))
    members = jax.eval_shape(
        jax.vmap(lambda key: big.init(key, one)),
        jax.eval_shape(lambda: jax.random.split(jax.random.key(0), case.members)),
    )
    on = lambda where: lambda x: array(x.shape, x.dtype, where)
    spread_out = sharding.member_sharding(mesh, case.members)
    frozen = {"teacher": jax.tree.map(on(spread_out), members), "tables": {}}
    augment = make_augment("crop(4)|flip", (0.5,) * 3, (0.25,) * 3)
    seen = sharding.split_batch(mesh, case.batch, ("data",))
    plain = small, objective, teachers.ensemble(big, "probs", case.how), tx, augment
    state = jax.eval_shape(
        make_init(*plain), jax.eval_shape(lambda: jax.random.key(0)), frozen, batch
    )
    step = make_step(
        small,
        objective,
        teachers.ensemble(big, "probs", case.how, sharding.shard_members(mesh)),
        tx,
        lambda key, batch: seen(augment(key, batch)),
        sharding.split_batch(mesh, case.batch),
    )
    compiled = sharding.compiler(mesh)(step)
    return compiled.lower(jax.tree.map(on(replicated), state), frozen, batch)


KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4}


def collectives(text: str) -> dict[str, tuple[int, int]]:
    """{kind: (how many, bytes of their results on a chip)} in a compiled program."""
    totals: dict[str, tuple[int, int]] = {}
    for line in text.splitlines():
        for kind in KINDS:
            if match := re.search(rf" = (.*?) {kind}(-start)?\(", line):
                size = sum(
                    BYTES.get(dtype, 4) * int(np.prod([int(n) for n in shape.split(",") if n]))
                    for dtype, shape in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", match[1])
                )
                size //= 2 if match[2] else 1  # a start includes its operands
                count, total = totals.get(kind, (0, 0))
                totals[kind] = count + 1, total + size
    return totals


def row(case: Case, mesh: Mesh) -> str:
    """A line of the table."""
    start = time.monotonic()
    compiled = lower(case, mesh).compile()
    seconds = time.monotonic() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    text = compiled.as_text()
    assert memory and cost and text, "the TPU's compiler reports all three"
    held = memory.argument_size_in_bytes
    peak = held + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak += memory.temp_size_in_bytes
    counts = collectives(text)
    kinds = ", ".join(f"{n} {kind}" for kind, (n, _) in counts.items())
    moved = sum(size for _, size in counts.values())
    flops, touched = cost["flops"], cost["bytes accessed"]
    bound = max(flops / FLOPS, touched / BANDWIDTH) * 1e3
    print(f"{case.name}, batch {case.batch}, {case.how}: {seconds:.0f} s, {kinds}")
    cells = (
        case.name,
        f"{case.batch}",
        np.dtype(case.dtype).name,
        case.how,
        f"{held / 1e6:,.0f}",
        f"{peak / 1e6:,.0f} ({peak / HBM:.1%})",
        kinds,
        f"{moved / 1e6:.1f}",
        f"{flops / 1e9:,.0f}",
        f"{touched / 1e9:.2f}",
        f"{bound:.2f}",
        f"{seconds:.0f}",
    )
    return f"| {' | '.join(cells)} |"


HEAD = (
    "pair",
    "batch",
    "type",
    "members of a chip",
    "held, MB",
    "peak, MB (of 16 GB)",
    "collectives",
    "MB in them",
    "GFLOP",
    "GB touched",
    "ms at least",
    "s to compile",
)


def main(path: str, pattern: str = "") -> None:
    """Writes the rows of the cases that contain `pattern` into the page, one by one.

    Needs libtpu, but no TPU.
    """
    devices = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY)
    mesh = sharding.mesh_of(devices.devices, TEACHER)
    page = Path(path)
    for case in CASES:
        if pattern in str(case):
            _write(page, row(case, mesh))


def _write(page: Path, new: str) -> None:
    """Puts a row into the table between comments; replaces one with the same first four cells."""
    begin, end = "<!-- table -->\n", "<!-- /table -->"
    text = page.read_text() if page.exists() else begin + end
    before, rest = text.split(begin)
    table, after = rest.split(end)
    head = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    key = lambda line: line.split("|")[1:5]
    rows = [line for line in table.splitlines()[2:] if key(line) != key(new)]
    lines = "\n".join([*head, *sorted([*rows, new])])
    page.write_text(f"{before}{begin}{lines}\n{end}{after}")


if __name__ == "__main__":
    main(*sys.argv[1:])
