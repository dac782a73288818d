"""Augmentation inside the compiled step: pure functions of a key and one image, chained by a text
such as "crop(4)|flip".

Operations see raw pixels, before `mean` and `std`: what crop moves in is black, as in the customary
recipes. What happens to an image depends on the key, the epoch and the image's index alone, not on
the batch it comes in, so a resumed run, another layout of devices and a cache of teacher outputs
all see the same view.
"""

import ast
import inspect
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Shaped

from kd.data import pixels
from kd.errors import InputError, unknown
from kd.registry import find_in, settings
from kd.types import Batch

type Image = Shaped[Array, "... d"]
"""One raw example: image [h, w, d] or series [t, d]."""

type Augment = Callable[[PRNGKeyArray, Batch], Batch]

# keeps these keys apart from fold_in(key, step), which the step draws dropout from; plus one, the
# second view's
DOMAIN = 0x61756700


def crop(key: PRNGKeyArray, image: Image, padding: int = 4) -> Image:
    """Moves the example by up to `padding` places each way, zeros moving in; all axes but the
    channels.

    The same as padding with zeros and cutting the old size out at a random place. `crop(2)` is the
    jitter of MNIST in Hinton, Vinyals, Dean (2015, https://arxiv.org/abs/1503.02531, section 3);
    `crop(4)` is usual on CIFAR.
    """
    _at_least(0, "padding of crop", padding)
    axes = image.ndim - 1
    start = jax.random.randint(key, (axes,), 0, 2 * padding + 1)
    padded = jnp.pad(image, [(padding, padding)] * axes + [(0, 0)])
    return jax.lax.dynamic_slice(padded, [*start, 0], image.shape)


def flip(key: PRNGKeyArray, image: Image, probability: float = 0.5) -> Image:
    """Left and right swapped, with this probability."""
    _at_least(0, "probability of flip", probability, most=1)
    if image.ndim != 3:
        raise InputError(f"flip needs images [h, w, c], not {list(image.shape)}.")
    return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)


def cutout(key: PRNGKeyArray, image: Image, size: int = 8, fill: Sequence[float] = (0.0,)) -> Image:
    """A square of side `size` about a random place, cut off at the border, set to `fill`; of a
    series, a stretch of time.

    DeVries, Taylor. Improved Regularization of Convolutional Neural Networks with Cutout. 2017.
    https://arxiv.org/abs/1708.04552, section 3. There the square becomes zero after normalisation:
    for that give the mean of the raw pixels as `fill`, a tuple of one number or of one per channel.
    """
    _at_least(1, "size of cutout", size)
    inside = jnp.ones((1,) * image.ndim, bool)
    for axis, length in enumerate(image.shape[:-1]):
        middle = jax.random.randint(jax.random.fold_in(key, axis), (), 0, length)
        low = middle - size // 2
        place = jnp.arange(length)
        within = (place >= low) & (place < low + size)
        others = [a for a in range(image.ndim) if a != axis]
        inside = inside & jnp.expand_dims(within, others)
    value = np.round(fill) if image.dtype == jnp.uint8 else np.asarray(fill)
    colour = jnp.broadcast_to(jnp.asarray(value, image.dtype), image.shape[-1:])
    colour = colour.reshape((1,) * (image.ndim - 1) + image.shape[-1:])
    return jnp.where(inside, colour, image)


def rand_augment(key: PRNGKeyArray, image: Image, count: int = 2, covered: float = 0.5) -> Image:
    """`count` operations on the pixels of an image, drawn at random, then a grey square of a side
    up to `covered` of the width.

    Cubuk, Zoph, Shlens, Le. RandAugment. NeurIPS 2020. https://arxiv.org/abs/1909.13719, with an
    amount drawn for each operation in place of one magnitude, and the square, as in Sohn et al.
    FixMatch. NeurIPS 2020. https://arxiv.org/abs/2001.07685, appendix: the strong view of MLKD. The
    operations are those of Pillow (`kd.data.pixels`).
    """
    _at_least(0, "count of rand_augment", count)
    _at_least(0, "covered share of rand_augment", covered, most=1)
    if image.ndim != 3 or image.dtype != jnp.uint8:
        raise InputError(
            f"rand_augment needs images of uint8 [h, w, c], not {image.dtype} {list(image.shape)}."
        )
    k_operations, k_square = jax.random.split(key)
    image = pixels.rand_augment(k_operations, image, count)
    return pixels.cover(k_square, image, covered) if covered else image


def noise(key: PRNGKeyArray, image: Image, std: float = 0.05) -> Image:
    """Gaussian noise added to each value of a floating-point example, in its own unit.

    With `scale`, the jittering and scaling of Um et al. Data Augmentation of Wearable Sensor Data
    for Parkinson's Disease Monitoring using Convolutional Neural Networks. ICMI 2017.
    https://arxiv.org/abs/1706.00527
    """
    _at_least(0, "std of noise", std)
    _floats("noise", image)
    return image + std * jax.random.normal(key, image.shape, image.dtype)


def scale(key: PRNGKeyArray, image: Image, std: float = 0.1) -> Image:
    """Each channel of a floating-point example times a factor drawn from N(1, std^2)."""
    _at_least(0, "std of scale", std)
    _floats("scale", image)
    shape = (1,) * (image.ndim - 1) + image.shape[-1:]
    return image * (1 + std * jax.random.normal(key, shape, image.dtype))


def make_normalize(mean: Sequence[float], std: Sequence[float]) -> Augment:
    """`normalize(key, batch) -> batch` for evaluation: `image` becomes (scaled image - mean) / std
    in float32.

    Args:
      mean: one number per channel, in the unit of the scaled image: uint8 is scaled by 1 / 255,
        floats are taken as they are.
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
        spread = jnp.asarray(std, jnp.float32).reshape(per_channel)
        return {**batch, "image": (image.astype(jnp.float32) * factor - center) / spread}

    return normalize


def make_augment(
    text: str,
    mean: Sequence[float],
    std: Sequence[float],
    example: jax.ShapeDtypeStruct | None = None,
    second: str = "",
    window: int = 0,
) -> Augment:
    """`augment(key, batch) -> batch`: the operations of `text`, in order, then normalisation as for
    evaluation.

    With `second` the batch then shows each image twice, augmented by `text` and, in the next row,
    by `second`: all that it has for each example is repeated, and `views`, int [2 b], says which of
    the two a row is, 0 or 1. Neighbours stay neighbours, so that a batch which is split over
    devices is still split the same way.

    Args:
      text: operations of this file with literal arguments, joined by `|`, such as
        "crop(4)|flip|cutout(size=8)"; or dotted paths to a user's own `op(key, image, ...) ->
        image`, importable from the working directory. Empty: none.
      mean: see `make_normalize`.
      std: see `make_normalize`.
      example: shape and dtype of one raw image: then all operations are tried on it now rather than
        when training compiles.
      second: operations of the second view, like `text`. Empty: one view.
      window: epochs after which what happens to the images repeats; 0: never.

    The batch holds `image` (raw, [b, ...]), `index` int [b] and `epoch` int [] or [b].

    Raises:
      InputError: text that is no such chain, an unknown operation, arguments that it does not take.
    """
    chains = [_chain(text), *([_chain(second)] if second else [])]
    normalize = make_normalize(mean, std)

    def augment(key: PRNGKeyArray, batch: Batch) -> Batch:
        seen, epoch = [], jnp.asarray(batch.get("epoch", 0))
        shown = {**batch, "epoch": epoch % window if window else epoch}
        for view, chain in enumerate(chains):
            keys = jax.random.fold_in(key, DOMAIN + view)
            seen.append(chain(keys, shown))
        batch = {**batch, "image": seen[0]} if len(seen) == 1 else _both(batch, seen)
        return normalize(key, batch)

    if example is not None:
        _try(text, example)
        _try(second, example)
    return augment


def _chain(text: str) -> Callable[[PRNGKeyArray, Batch], Array]:
    """The images of a batch after the operations of `text`, each with randomness of its epoch and
    index.
    """
    one = _one(text)

    def images(key: PRNGKeyArray, batch: Batch) -> Array:
        if not text.strip():
            return batch["image"]
        index, epoch = jnp.asarray(batch["index"]), jnp.asarray(batch["epoch"])
        fold, each = jax.random.fold_in, 0 if epoch.ndim else None
        of_epoch = jax.vmap(fold, (None, 0)) if epoch.ndim else fold
        keys = jax.vmap(fold, (each, 0))(of_epoch(key, epoch), index)
        return jax.vmap(one)(keys, batch["image"])

    return images


def _one(text: str) -> Callable[[PRNGKeyArray, Image], Image]:
    """The operations of `text` on one image."""
    operations = parse(text)

    def one(key: PRNGKeyArray, image: Image) -> Image:
        for place, operation in enumerate(operations):
            image = operation(jax.random.fold_in(key, place), image)
        return image

    return one


def _both(batch: Batch, seen: Sequence[Array]) -> Batch:
    """The batch with two rows for each example, one for each of the two views `seen` of its
    images.
    """
    rows = lambda *views: jnp.stack(views, axis=1).reshape(-1, *views[0].shape[1:])
    twice = {
        name: rows(value, value) if jnp.ndim(value) else value
        for name, value in batch.items()
        if name != "image"
    }
    views = jnp.tile(jnp.arange(2), seen[0].shape[0])
    return {**twice, "image": rows(*seen), "views": views}


def parse(text: str) -> list[Callable[[PRNGKeyArray, Image], Image]]:
    """The operations of a text such as "crop(4)|flip", their arguments bound. Raises InputError;
    runs none of the text.
    """
    if not text.strip():
        return []
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise _no_chain(text, text) from None
    nodes = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        nodes.append(node.right)
        node = node.left
    return [_bind(node, text) for node in [node, *reversed(nodes)]]


def _bind(node: ast.expr, text: str) -> Callable[[PRNGKeyArray, Image], Image]:
    term = ast.unparse(node)
    callee = node.func if isinstance(node, ast.Call) else node
    name = ast.unparse(callee)
    if not all(part.isidentifier() for part in name.split(".")):
        raise _no_chain(term, text)
    args, kwargs = [], {}
    if isinstance(node, ast.Call):
        try:
            args = [ast.literal_eval(arg) for arg in node.args]
            kwargs = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
        except ValueError:
            raise InputError(
                f"augment {text!r}: arguments in {term!r} must be plain numbers, strings or tuples."
            ) from None
    operation = find_in(__name__, "augmentation", name, Image)
    signature = inspect.signature(operation)
    own = list(signature.parameters)[2:]
    for keyword in kwargs:
        if keyword not in own:
            raise unknown(f"setting of augmentation {name}", keyword, own)
    try:
        bound = signature.bind(None, None, *args, **kwargs).arguments
    except TypeError as error:
        raise InputError(
            f"augment {text!r}: {term!r}: {error}. {name} takes {', '.join(own) or 'no argument'}."
        ) from None
    given = {k: v for k, v in bound.items() if k in own}
    given = settings(operation, given, f"augment: {name}")
    return lambda key, image: operation(key, image, **given)


def _no_chain(term: str, text: str) -> InputError:
    return InputError(
        f"augment {text!r}: cannot read {term!r}. Expected operations joined by '|', such as "
        "'crop(4)|flip'."
    )


def _try(text: str, example: jax.ShapeDtypeStruct) -> None:
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        out = jax.eval_shape(_one(text), key, example)
    except InputError:
        raise
    except Exception as error:  # a user's own operation may raise anything
        raise InputError(
            f"augment {text!r} fails on examples of {example.dtype} {list(example.shape)}: {error}"
        ) from error
    if (out.shape, out.dtype) != (example.shape, example.dtype):
        raise InputError(
            f"augment {text!r} makes {out.dtype} {list(out.shape)} of {example.dtype} "
            f"{list(example.shape)}; both must stay."
        )


def _at_least(least: float, what: str, value: float, most: float = np.inf) -> None:
    if not least <= value <= most:
        upper = "" if most == np.inf else f" and {most} at most"
        raise InputError(f"{what} must be {least} or more{upper}, not {value!r}.")


def _floats(operation: str, image: Image) -> None:
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(f"{operation} needs floating-point examples, not {image.dtype}.")
