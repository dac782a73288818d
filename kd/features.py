"""Features of two networks: pairs by name, equal sizes, unit length, and regressors between widths.

Nothing is paired or cut silently: what does not fit is an InputError when the objective is
initialised.
"""

import math
import re
from collections.abc import Iterable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from kd.errors import InputError, unknown
from kd.types import Outputs, View

type Name = str | Sequence[str]
"""Name of a feature in both networks, or the names in the student and in the teacher."""

type Pairs = list[tuple[Array, Array]]

# Distances between examples are small differences of large numbers: they need all the bits, on
# accelerators too.
einsum = partial(jnp.einsum, precision="highest")

# PyTorch's default for kernels, U(-a, a) with a = 1 / sqrt(fan_in), which the public code trains
# from; biases start at zero.
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
Conv = partial(nn.Conv, kernel_init=torch_uniform)
Dense = partial(nn.Dense, kernel_init=torch_uniform)


def check_values(count: int, shape: Sequence[int]) -> None:
    """Raises InputError if a BatchNorm in training has one value per channel, and so no variance.

    Args:
      count: values per channel, over all devices.
      shape: of its input, for the message.
    """
    if count == 1:
        raise InputError(
            f"BatchNorm cannot train on one value per channel, as inputs of shape {tuple(shape)} "
            "give. Use a larger batch or larger images."
        )


def check_batch_norm(module: nn.BatchNorm, x: Array, running: bool | None) -> None:
    """`check_values` of the input of Flax's BatchNorm, where it is in training."""
    running = module.use_running_average if running is None else running
    if not running and not module.is_initializing():
        channels = math.prod(x.shape[axis] for axis in np.atleast_1d(module.axis))
        devices = jax.lax.axis_size(module.axis_name) if module.axis_name else 1
        check_values(devices * x.size // channels, x.shape)


class BatchNorm(nn.BatchNorm):
    """Flax's BatchNorm with the statistics of the (global) batch: objectives run in training only.

    Raises InputError for one value per channel, see `check_values`.
    """

    use_running_average: bool | None = False
    momentum: float = 0.9
    epsilon: float = 1e-5

    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Array:
        """x normalised, of the same shape."""
        y = super().__call__(x, use_running_average, mask=mask)
        check_batch_norm(self, x, use_running_average)
        return y


def require(view: View, *needs: str) -> None:
    """Raises InputError where the view lacks one of `needs`, such as `batch.views`."""
    for need in needs:
        field, _, key = need.partition(".")
        value = getattr(view, field, None)
        if value is None or (key and key not in value):
            raise InputError(
                f"this objective needs {need!r}, which this run does not provide. The docstring of "
                "kd.objective says what provides it; or take the term out of config.objective."
            )


def stage_names(outputs: Outputs, suffix: str = "") -> list[str]:
    """`stage1`, `stage2`, ... (each with `suffix`) of a network, the shallowest first."""
    stages = [n for n in outputs.features if re.fullmatch(rf"stage\d+{suffix}", n)]
    return sorted(stages, key=lambda n: int(n[5 : len(n) - len(suffix)]))


def pair(view: View, name: Name) -> tuple[Array, Array]:
    """The feature called `name` of the student and of the teacher, in float32.

    Raises:
      InputError: there is no teacher, its features were averaged away, or one network lacks the
        feature.
    """
    names = (name, name) if isinstance(name, str) else tuple(name)
    if len(names) != 2:
        raise InputError(
            f"a pair of features is two names, (student's, teacher's); {names} has {len(names)}."
        )
    student_name, teacher_name = names
    student, teacher = view.student.features, teacher_outputs(view).features
    if student_name not in student or teacher_name not in teacher:
        raise mismatch(
            view, f"no pair of {student_name!r} of the student and {teacher_name!r} of the teacher"
        )
    return student[student_name].astype(jnp.float32), teacher[teacher_name].astype(jnp.float32)


def pairs(view: View, names: Sequence[Name] | None = None, suffix: str = "") -> Pairs:
    """Pairs of features: those in `names`, or all stages (`stage1`, ..., each with `suffix`).

    Raises:
      InputError: a network lacks one, or `names` is None and the networks differ in their stages.
    """
    if names is None:
        names = stage_names(view.student, suffix)
        if not names or names != stage_names(teacher_outputs(view), suffix):
            raise mismatch(view, f"the stages (stage1{suffix}, ...) of the two networks differ")
    if isinstance(names, str):
        names = [names]
    return [pair(view, name) for name in names]


def maps(view: View, names: Sequence[Name] | None = None, suffix: str = "") -> Pairs:
    """`pairs` as maps [b, h, w, d]: each feature must have places, as [b, h, w, d] or [b, t, d]."""
    feature_pairs = pairs(view, names, suffix)
    if any(feature.ndim < 3 for both in feature_pairs for feature in both):
        raise mismatch(view, "this method needs maps [b, h, w, d], not vectors")
    return [(as_map(student), as_map(teacher)) for student, teacher in feature_pairs]


def last(view: View, name: Name | None = None) -> tuple[Array, Array]:
    """The pair called `name`; None: the last stage of each network, however many each has."""
    if name is None:
        student, teacher = stage_names(view.student), stage_names(teacher_outputs(view))
        if not student or not teacher:
            raise mismatch(view, "one of the two networks has no stages (stage1, ...)")
        name = (student[-1], teacher[-1])
    return pair(view, name)


def final_map(outputs: Outputs) -> Float[Array, "b h w d"]:
    """The map of the last stage after its ReLU, as [b, h, w, d] whatever its rank.

    Where a BatchNorm and ReLU of the full network follow the last stage, as in a WRN, it is the map
    after them, whose mean the classifier reads. Where a network widens its last stage before the
    mean, as MobileNetV2 does, it is the stage itself.
    """
    names = stage_names(outputs)
    if not names:
        raise unknown("stage of this network", "stage1", outputs.features)
    last = outputs.features[names[-1]]
    before = outputs.features.get(f"{names[-1]}_pre")
    pooled = outputs.features.get("pooled")
    if before is None or pooled is None or pooled.shape[-1] != last.shape[-1]:
        return as_map(last)
    return nn.relu(as_map(before))


def teacher_outputs(view: View) -> Outputs:
    """The outputs of one teacher.

    Raises:
      InputError: there is no teacher, or it is an averaged ensemble, which has no features.
    """
    if isinstance(view.teacher, Outputs):
        return view.teacher
    view.target(1.0)  # raises an error that says what to do where there is no teacher
    raise InputError(
        "this objective compares features, and an averaged ensemble has none: use "
        "teacher.reduce = 'each', which gives every teacher its own loss."
    )


def mismatch(view: View, why: str) -> InputError:
    """An error that adds to `why` the features of both networks and how to pair them."""
    return InputError(
        f"{why}. The student has {view.student.listed()}; the teacher has "
        f"{teacher_outputs(view).listed()} (shapes without the batch). Pair them by name in the "
        "objective's settings, such as features = [['stage1', 'stage1'], ['stage2', 'stage4']], "
        "the student's name first."
    )


def require_rectified(outputs: Outputs, method: str) -> None:
    """Raises InputError where a method's ReLU is to imitate features of both signs: a
    transformer's, which follow a LayerNorm.
    """
    if "tokens0" in outputs.features:
        raise InputError(
            f"{method} ends its projector with a ReLU, and the features of this teacher, a "
            "transformer, are of both signs. Take another method, such as srd.SRD or ofa.OFA, or a "
            "convolutional teacher."
        )


def as_map(x: Float[Array, "b ..."]) -> Float[Array, "b h w d"]:
    """A map as it is, a series [b, t, d] as a map of height 1, a vector [b, d] as one place."""
    return x.reshape(x.shape[0], *[1] * (4 - x.ndim), *x.shape[1:])


def flat(x: Float[Array, "b ..."]) -> Float[Array, "b d"]:
    """[b, ...] -> [b, product], in float32."""
    return x.reshape(x.shape[0], -1).astype(jnp.float32)


def unit(x: Float[Array, "..."], axis: int | Sequence[int] = -1) -> Float[Array, "..."]:
    """x / max(|x|, 1e-12) along `axis`; a zero vector stays zero with zero gradient, not 1e12."""
    axis = axis if isinstance(axis, int) else tuple(axis)
    square = jnp.sum(x**2, axis=axis, keepdims=True)
    norm = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    return jnp.where(square > 0, x / jnp.maximum(norm, 1e-12), 0.0)


def pool(x: Shaped[Array, "b h w d"], size: Sequence[int]) -> Float[Array, "b h2 w2 d"]:
    """Adaptive average pooling of a map to `size`, (height, width).

    Cell i of n averages rows floor(i h / n) to ceil((i + 1) h / n), and columns alike.
    """
    for axis, n in enumerate(size, start=1):
        if n != x.shape[axis]:
            rows_first = jnp.moveaxis(x, axis, 1)
            pooled = einsum("ij,bj...->bi...", _cells(x.shape[axis], n), rows_first)
            x = jnp.moveaxis(pooled, 1, axis)
    return x


def _cells(length: int, n: int) -> Array:
    """Weight of each of `length` places in each of n cells, [n, length]."""
    i, place = np.arange(n)[:, None], np.arange(length)[None, :]
    inside = (place >= i * length // n) & (place < -((i + 1) * length // -n))
    return jnp.asarray(inside / inside.sum(1, keepdims=True), jnp.float32)


def total(losses: Iterable[Array]) -> Array:
    """Sum of the losses of several stages."""
    return jnp.sum(jnp.stack(list(losses)), axis=0)


def same_size(
    student: Float[Array, "b h w d"], teacher: Float[Array, "b h2 w2 d2"]
) -> tuple[Array, Array]:
    """Both maps in float32, the larger pooled to the size of the smaller."""
    size = tuple(min(a, b) for a, b in zip(student.shape[1:3], teacher.shape[1:3], strict=True))
    return pool(student.astype(jnp.float32), size), pool(teacher.astype(jnp.float32), size)


class ConvRegressor(nn.Module):
    """Convolution, BatchNorm and ReLU to `shape`, that of a teacher's map, [..., h, w, d].

    As in the public code: 3 x 3 with stride 2 for a map of twice the size, a transposed 4 x 4 with
    stride 2 for half the size, else a kernel so large that no padding is needed. A teacher's map
    that is larger in another ratio raises InputError.
    """

    shape: Sequence[int]
    relu: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h2 w2 d2"]:
        (h, w), (h2, w2, width) = x.shape[1:3], self.shape[-3:]
        if (h, w) == (2 * h2, 2 * w2):
            conv = Conv(width, (3, 3), strides=2, padding=1, name="conv")
        elif (2 * h, 2 * w) == (h2, w2):
            conv = nn.ConvTranspose(
                width, (4, 4), strides=(2, 2), kernel_init=torch_uniform, name="conv"
            )
        elif h >= h2 and w >= w2:
            conv = Conv(width, (1 + h - h2, 1 + w - w2), padding="VALID", name="conv")
        else:
            raise InputError(
                f"no regressor from a student's map of {h} x {w} to a teacher's map of {h2} x {w2}:"
                " the size may shrink or double."
            )
        x = BatchNorm(name="norm")(conv(x))
        return nn.relu(x) if self.relu else x


def regressed(
    view: View, student: Array, teacher: Array, name: str, relu: bool = True
) -> Float[Array, "b h w d"]:
    """The student's map through a `ConvRegressor` called `name`, in the shape of the teacher's map.

    Raises:
      InputError: no regressor has these shapes; the message lists the features.
    """
    try:
        return ConvRegressor(teacher.shape[1:], relu, name=name)(student)
    except InputError as error:
        raise mismatch(view, str(error).rstrip(".")) from error
