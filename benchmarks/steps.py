"""Compiled steps on random images, for timing: the values of the images do not change the time."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from benchmarks import libraries
from configs.common import deployed, method
from kd import build, teachers
from kd import config as configs
from kd.data.base import class_tables
from kd.devices import precision
from kd.init import make_init
from kd.step import make_step
from kd.types import Augment, Batch, PyTree, Teacher, no_augmentation


class Problem(NamedTuple):
    """A pair of networks, as sections of a config, and the sizes of their data."""

    teacher: Mapping[str, Any]
    student: Mapping[str, Any]
    batch_size: int
    shape: tuple[int, ...]  # of one image
    num_classes: int
    examples: int


CIFAR = Problem({"name": "wrn.wrn_40_2"}, {"name": "wrn.wrn_16_2"}, 64, (32, 32, 3), 100, 50000)
TOY = Problem(
    {"name": "cnn.CNN", "widths": (4, 8)},
    {"name": "cnn.CNN", "widths": (4, 8)},
    8,
    (8, 8, 3),
    10,
    64,
)


def batch(problem: Problem, views: int = 1) -> dict[str, jax.Array]:
    """A batch, with `views` rows for each image."""
    n, rng = views * problem.batch_size, np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.standard_normal((n, *problem.shape)), jnp.float32),
        "label": jnp.arange(n) // views % problem.num_classes,
        "index": jnp.arange(n) // views,
        "views": jnp.arange(n) % views,
        "epoch": jnp.zeros((), jnp.int32),
    }


@dataclasses.dataclass
class Stepper:
    """A compiled step with its arguments; calling it makes one update."""

    compiled: Any
    state: Any
    frozen: Any
    batch: Any
    step: Any  # the function that was compiled

    def __call__(self) -> Any:
        self.state, metrics = self.compiled(self.state, self.frozen, self.batch)
        return metrics

    @property
    def memory(self) -> dict[str, int]:
        """Bytes of the program's temporaries, and of its arguments (weights, batch and more)."""
        analysis = self.compiled.memory_analysis()
        return {
            "temporary_bytes": analysis.temp_size_in_bytes,
            "argument_bytes": analysis.argument_size_in_bytes,
        }


def quickly(function: Any) -> Any:
    """`jit` with few optimisations, to compile fast what runs only once."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def step_of(
    name: str,
    problem: Problem,
    teacher: Teacher | None = None,
    weights: PyTree = None,
    policy: str = "default",
    compiles: bool = True,
    accumulate: int = 1,
    unroll: bool = False,
    augment: Augment = no_augmentation,
    example: Batch | None = None,
) -> Stepper:
    """The step of a method of METHODS in a run of the CIFAR-100 recipe, without augmentation.

    Args:
      name: of the method.
      problem: the networks and their data.
      teacher: replaces the problem's teacher.
      weights: its `frozen["teacher"]`.
      policy: precision, see `kd.devices.precision`.
      compiles: whether the step is compiled; where not, it cannot be called.
      accumulate, unroll, augment: see `kd.step.make_step`.
      example: the batch, in place of random images.
    """
    names = (s["name"].rpartition(".")[2] for s in (problem.teacher, problem.student))
    section = deployed(name, dict(problem.teacher), dict(problem.student))
    config = build.spell_out(
        configs.complete(
            ConfigDict(
                dict(data=dict(name="cifar100"), student=section, objective=method(name, *names))
            )
        )
    )
    student = precision.network(build.make_model(section, problem.num_classes), policy)
    big = build.make_model(problem.teacher, problem.num_classes)
    steps = -(-problem.examples // problem.batch_size)
    objective = build.make_objective(config.objective.to_dict(), (), steps, 240)
    tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9))
    two = any("batch.views" in needs for needs in build.needs(config).values())
    example = batch(problem, 2 if two else 1) if example is None else dict(example)
    labels = np.arange(problem.examples) % problem.num_classes
    # A generator that compiles in a tenth of the time.
    key = jax.random.key(0, impl="unsafe_rbg")
    if teacher is None:
        teacher, weights = (
            teachers.frozen(precision.network(big, policy)),
            quickly(big.init)(key, example["image"]),
        )
    one = np.ones(example["image"].shape[-1], np.float32)
    of_images = {"level": one / 64, "low": -2 * one, "high": 2 * one}  # of pixels, about
    tables = class_tables(labels, problem.num_classes) | of_images
    frozen = {"teacher": weights, "tables": jax.tree.map(jnp.asarray, tables)}
    parts = (student, objective, teacher, tx, augment)
    state = quickly(make_init(*parts))(key, frozen, example)
    state = dataclasses.replace(state, key=jax.random.key(0))
    step = make_step(*parts, accumulate=accumulate, unroll=unroll)
    step = precision.training(step, policy)
    if not compiles:
        return Stepper(None, state, frozen, example, step)
    with libraries.using():
        compiled = jax.jit(step, donate_argnums=0).lower(state, frozen, example).compile()
    return Stepper(compiled, state, frozen, example, step)
