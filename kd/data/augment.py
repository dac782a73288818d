"""The augmentation pipeline inside the compiled step: a text such as "crop(4)|flip".

Each operation is a pure function

    def blur(key, image, width: float = 1.0): ...

of a key and one example. It may come from `kd.data.augmentations`, or be a user's own, by its
dotted path: "crop(4)|my_project.augment.blur(2.0)", importable from the working directory. It gets

- `key`: a JAX key of its own for each image, epoch and place in the text. All randomness must come
  from it.
- `image`: one raw example, [h, w, d] or a series [t, d], not a batch (`vmap` is applied here);
  uint8 or float32 as the data set stores it, before `mean` and `std`: what `crop` moves in is
  black, as in the customary recipes.
- settings: the literal arguments of the text, by place or by name. A setting with a default takes
  values of the default's type.

and returns an image of the same shape and dtype. It runs under `jit`: use `jax.numpy`, and no
Python `if` on values. A batch is never seen, nor a label.

What happens to an image depends only on the run's key, the epoch and the image's index, not on its
batch, so a resumed run, another layout of devices and a cache of teacher logits see the same view.
Where an epoch may show an image several times (balanced sampling), it also depends on the place in
the epoch's order, `position`, so that each time it is seen anew.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from kd.data import augmentations
from kd.data.augmentations import Image
from kd.data.operations import Grammar
from kd.errors import InputError
from kd.types import Augment, Batch

type Operation = Callable[[PRNGKeyArray, Image], Image]
"""One operation with its settings bound."""

GRAMMAR = Grammar("augment", augmentations.__name__, "augmentation", Image, ("key", "image"))

# Distinguishes the keys of augmentation from fold_in(key, step), from which dropout is drawn.
# The second view uses the next number.
DOMAIN = 0x61756700


def make_normalize(mean: Sequence[float], std: Sequence[float]) -> Augment:
    """Makes `normalize(key, batch) -> batch` for evaluation: `image` becomes (scaled image - mean)
    / std, float32.

    Args:
      mean: one number per channel, in the unit of the scaled image: uint8 is scaled by 1 / 255,
        floats are used as they are.
      std: likewise.
    """

    def normalize(key: PRNGKeyArray, batch: Batch) -> Batch:
        del key
        image = jnp.asarray(batch["image"])
        if image.shape[-1] != len(mean):
            raise InputError(
                f"mean has {len(mean)} numbers and the images {image.shape[-1]} channels: give one "
                "for each."
            )
        factor = 1 / 255 if image.dtype == jnp.uint8 else 1.0
        per_channel = (1,) * (image.ndim - 1) + (len(mean),)
        center = jnp.asarray(mean, jnp.float32).reshape(per_channel)
        deviation = jnp.asarray(std, jnp.float32).reshape(per_channel)
        return {**batch, "image": (image.astype(jnp.float32) * factor - center) / deviation}

    return normalize


def make_augment(
    text: str,
    mean: Sequence[float],
    std: Sequence[float],
    example: jax.ShapeDtypeStruct | None = None,
    second: str = "",
    window: int = 0,
) -> Augment:
    """Makes `augment(key, batch) -> batch`: the operations of `text`, in order, then normalisation
    as in evaluation.

    With `second`, the batch shows each image twice: row 2 i is augmented by `text`, row 2 i + 1 by
    `second`. All other entries of the batch are repeated alike, and `views`, int [2 b], says which
    view a row is, 0 or 1. Because the two rows are neighbours, a batch that is split over devices
    is still split the same way.

    The batch holds `image` (raw, [b, ...]), `index` int [b] and `epoch` int [] or [b], and with
    balanced sampling `position` int [b].

    Args:
      text: operations joined by `|`, with literal arguments, such as
        "crop(4)|flip|cutout(size=8)"; see the module. Empty: no operation.
      mean: see `make_normalize`.
      std: see `make_normalize`.
      example: shape and dtype of one raw image: with it, all operations are tried now rather than
        when training compiles.
      second: operations of the second view, like `text`. Empty: one view.
      window: number of epochs after which the augmented views repeat; 0: never.

    Raises:
      InputError: the text cannot be parsed, names an unknown operation or an argument that an
        operation does not take; or an operation fails on `example`.
    """
    texts = [text, second] if second else [text]
    views = [_make_view(text) for text in texts]
    after = [_make_view(text, normalized=True) for text in texts]
    erases = any(_divided(text)[1] for text in texts)
    normalize = make_normalize(mean, std)

    def augment(key: PRNGKeyArray, batch: Batch) -> Batch:
        epoch = jnp.asarray(batch.get("epoch", 0))
        shown = {**batch, "epoch": epoch % window if window else epoch}
        keys = [jax.random.fold_in(key, DOMAIN + number) for number in range(len(views))]
        images = [view(k, shown) for k, view in zip(keys, views, strict=True)]
        if erases:
            images = [
                view(k, {**shown, **normalize(k, {"image": image})})
                for k, view, image in zip(keys, after, images, strict=True)
            ]
            return {**batch, "image": images[0]} if not second else _interleave(batch, images)
        batch = {**batch, "image": images[0]} if len(images) == 1 else _interleave(batch, images)
        return normalize(key, batch)

    if example is not None:
        for text in texts:
            _try_on(text, example)
    return augment


def _make_view(text: str, normalized: bool = False) -> Callable[[PRNGKeyArray, Batch], Array]:
    """The images of a batch after the operations of `text`, with a key for each epoch and index,
    and position where the batch has it. Raw operations, or those on normalised images.
    """
    first, operations = _divided(text)[normalized]
    operation = _compose(operations, first)

    def augmented(key: PRNGKeyArray, batch: Batch) -> Array:
        if not operations:
            return jnp.asarray(batch["image"])
        index, epoch = jnp.asarray(batch["index"]), jnp.asarray(batch["epoch"])
        fold, axis = jax.random.fold_in, 0 if epoch.ndim else None
        fold_epoch = jax.vmap(fold, (None, 0)) if epoch.ndim else fold
        keys = jax.vmap(fold, (axis, 0))(fold_epoch(key, epoch), index)
        if "position" in batch:
            keys = jax.vmap(fold)(keys, jnp.asarray(batch["position"]))
        return jax.vmap(operation)(keys, batch["image"])

    return augmented


def _divided(text: str) -> list[tuple[int, list[Operation]]]:
    """The raw operations of `text` and those on normalised images, and the place of the first.

    Raises InputError for a raw operation after one on normalised images.
    """
    operations = parse(text)
    is_after = [getattr(o, "func", None) in augmentations.AFTER for o in operations]
    count = is_after.index(True) if any(is_after) else len(operations)
    if not all(is_after[count:]):
        names = ", ".join(function.__name__ for function in augmentations.AFTER)
        raise InputError(
            f"augment {text!r}: {names} works on the normalised image, so that nothing else can "
            "stand after it. Put it last."
        )
    return [(0, operations[:count]), (count, operations[count:])]


def _compose(operations: Sequence[Operation], first: int) -> Operation:
    """Operations one after the other, as one; `first` is the place of the first in the text."""

    def composed(key: PRNGKeyArray, image: Image) -> Image:
        for place, operation in enumerate(operations, first):
            image = operation(jax.random.fold_in(key, place), image)
        return image

    return composed


def _interleave(batch: Batch, images: Sequence[Array]) -> Batch:
    """The batch with two neighbouring rows per example, one for each of its augmented images."""
    rows = lambda *views: jnp.stack(views, axis=1).reshape(-1, *views[0].shape[1:])
    repeated = {
        name: rows(value, value) if jnp.ndim(value) else value
        for name, value in batch.items()
        if name != "image"
    }
    views = jnp.tile(jnp.arange(2), images[0].shape[0])
    return {**repeated, "image": rows(*images), "views": views}


def parse(text: str) -> list[Operation]:
    """The operations of a text such as "crop(4)|flip", with their arguments bound.

    The text is parsed, never executed. Raises InputError.
    """
    return [function for function, _ in GRAMMAR.parse(text)]


def _try_on(text: str, example: jax.ShapeDtypeStruct) -> None:
    """Raises InputError if the operations fail on an example or change its shape or dtype."""
    for (first, operations), dtype in zip(
        _divided(text), (example.dtype, jnp.float32), strict=True
    ):
        operation = _compose(operations, first)
        _try_operations(text, operation, jax.ShapeDtypeStruct(example.shape, dtype))


def _try_operations(text: str, operation: Operation, example: jax.ShapeDtypeStruct) -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        result = jax.eval_shape(operation, key, example)
    except InputError:
        raise
    except Exception as error:  # a user's own operation may raise anything
        raise InputError(
            f"augment {text!r} fails on examples of {example.dtype} {list(example.shape)}: {error}"
        ) from error
    if (result.shape, result.dtype) != (example.shape, example.dtype):
        raise InputError(
            f"augment {text!r} makes {result.dtype} {list(result.shape)} of {example.dtype} "
            f"{list(example.shape)}; an augmentation must keep shape and dtype."
        )
