"""Input pipelines: batches in memory, and photographs that processes decode.

The first is compared with the step that it feeds, the second with a pipeline of one process.
"""

import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.networks import KINDS, TOYS
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, TOY, Problem, step_of
from benchmarks.timer import ratio
from kd.data.augment import make_augment
from kd.data.pictures import Pictures
from kd.train.plan import Plan
from kd.train.streaming import TrainingBatches, _pipeline

TITLE = "input pipelines: time for a batch over the step that it feeds, or over one process"
REPEATS = 9

BATCHES = 40
"""Batches of photographs that are timed together.

Many, compared with those that were decoded in advance while the other pipeline was timed.
"""


class Photographs:
    """Encoded examples as array_record returns them: a JPEG of noise in ImageNet's usual size."""

    def __init__(self, count: int, side: int):
        from PIL import Image
        from tensorflow_datasets.proto import tf_example_pb2

        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((side * 5 // 4, side))
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=90)
        record: Any = tf_example_pb2.Example()  # type: ignore[missing-attribute]
        record.features.feature["image"].bytes_list.value.append(file.getvalue())
        self._count, self._record = count, record.SerializeToString()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> bytes:
        return self._record


def cases(toy: bool) -> Sequence[Case]:
    """CIFAR-100's crops and flips with the steps they feed; ImageNet's crops by processes."""
    feeds = {"wrn_40_2 to wrn_16_2": CIFAR}
    feeds["MLP to the same"] = CIFAR._replace(teacher=KINDS["MLP"], student=KINDS["MLP"])
    if toy:
        feeds = {"toy": TOY._replace(teacher=TOYS["CNN"], student=TOYS["CNN"])}
    memory = [Case(f"in memory, {k}", partial(_memory, v)) for k, v in feeds.items()]
    sizes, ways = ((4, 16, 16), (1,)) if toy else ((8, 400, 224), (1, 2))
    return [
        *memory,
        *(
            Case(f"photographs, {n} processes over threads", partial(_photographs, n, *sizes))
            for n in ways
        ),
    ]


def _memory(problem: Problem) -> Prepared:
    rng, n = np.random.default_rng(0), problem.examples
    images = jnp.asarray(rng.integers(0, 256, (n, *problem.shape), np.uint8))
    example = jax.ShapeDtypeStruct(problem.shape, jnp.uint8)
    augment = make_augment("crop(4)|flip", (0.5,) * 3, (0.25,) * 3, example)
    index = jnp.asarray(rng.permutation(n)[: problem.batch_size])
    key = jax.random.key(0)

    @jax.jit
    def draw(images: jax.Array, index: jax.Array) -> jax.Array:
        batch = {"image": images[index], "index": index, "epoch": jnp.int32(0)}
        return augment(key, batch)["image"]

    facts = {"batch": problem.batch_size}
    parts: dict[str, Callable] = {"below": step_of("kd", problem)}
    return Prepared({**parts, "pipeline": partial(draw, images, index)}, facts)


def _photographs(processes: int, size: int, side: int, crop: int) -> Prepared:
    plan = Plan(size * 50, size, 1000, 1)
    places = np.arange(plan.examples)
    source = Photographs(plan.examples, side)
    make = lambda workers: Pictures(source, places, crop, crop, (0.08, 1.0), workers, "")

    def opened(workers: int) -> Callable[[], float]:
        pipeline = _pipeline(TrainingBatches(make(workers), (0,), plan), 0)

        def batches() -> float:
            start = time.perf_counter()
            for _ in range(BATCHES):
                next(pipeline)
            return time.perf_counter() - start

        return batches

    facts = {"batch": size * BATCHES}
    return Prepared({"below": opened(0), "pipeline": opened(processes)}, facts)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Time divided by that of the step or of threads, and images per second at best."""
    lines = [["pipeline", "time over", "images/s, at the quickest"]]
    for row in rows:
        seconds = row["seconds"]
        rate = row["batch"] / min(seconds["pipeline"])
        over = ratio(seconds["pipeline"], seconds["below"])
        lines.append([row["case"], str(over), f"{rate:,.0f}"])
    return lines
