"""Mixed images inside the compiled step: a text such as "mixup(0.8) or cutmix(1.0)".

Each image of a batch is mixed with a partner, another image of the batch. One operation is named,
or several joined by `or`, of which each batch draws one, all equally likely. An operation is a pure
function

    def half(key, image, partner, share: float = 0.5): ...

of a key and two examples, of `kd.data.mixtures` or a user's own, by its dotted path. It gets

- `key`: a JAX key, from which all randomness must come;
- `image`, `partner`: two examples, [h, w, d], [t, d] or [d], augmented and normalised, float32;
- settings: the literal arguments of the text, as in `kd.data.augment`;

and returns the mixed image and the share of `image` in it, float [], from 0 to 1. Every operation
also takes `each` and `probability`, which are handled here: by default all pairs of a batch get one
key, so one share or box, as in the public code of the papers; `each=True` gives each pair its own.
Of all batches, or with `each` of all pairs, `probability` are mixed.

Partners, shares and boxes depend only on the run's key, the epoch and the place of the batch in it
(with `each`, and of the pair in the batch), and pairs are drawn from the batch of the update,
however it is divided. So a resumed run, a batch in parts (`config.accumulate`) and one that several
devices share see the same pairs. Both images of a pair are augmented by their own keys: a partner
is seen as it is in its own row.

A batch that is mixed also has

- `partner_label` int [b]: labels of the partners;
- `share` float32 [b]: the share of each row's own image, and so of its own label.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from kd.data import mixtures
from kd.data.mixtures import Image, Mixed
from kd.data.operations import Grammar
from kd.errors import InputError
from kd.ranges import Fraction
from kd.types import Augment, Batch

GRAMMAR = Grammar(
    "mix",
    mixtures.__name__,
    "mixture",
    Mixed,
    ("key", "image", "partner"),
    {"each": False, "probability": 1.0},
    {"each": bool, "probability": Fraction},
    "mixup(0.8) or cutmix(1.0)",
    "or",
)

# Distinguishes the keys of mixtures from those of augmentation and dropout.
DOMAIN = 0x6D6978

PREFIX = "partner_"

type Mixture = Callable[[PRNGKeyArray, Image, Image, Array], tuple[Array, Array]]
"""`(key, images [b, ...], partners [b, ...], places [b]) -> (mixed [b, ...], shares [b])`."""


class Mix:
    """What `config.mix` does to batches.

    Args:
      text: one or several operations, see the module.
      example: shape and dtype of one normalised image: with it, all operations are tried now rather
        than when training compiles.

    Raises:
      InputError: the text cannot be parsed, names an unknown operation or an argument that it does
        not take; or an operation fails on `example`.
    """

    def __init__(self, text: str, example: jax.ShapeDtypeStruct | None = None):
        operations = GRAMMAR.parse(text)
        if not operations:
            raise InputError("mix: expected an operation, such as 'mixup(0.2)', got ''.")
        self._mixtures = [_of_batch(function, **common) for function, common in operations]
        if example is not None:
            for function, _ in operations:
                _try_on(text, function, example)

    def partners(
        self, key: PRNGKeyArray, epoch: Array, first: Array, size: int
    ) -> Int[Array, " b"]:
        """The places in a batch of the partners of its examples, a permutation.

        Args:
          key: of the student's state.
          epoch: int [].
          first: place in the epoch of the batch's first example, int [].
          size: of the batch, b.
        """
        return jax.random.permutation(jax.random.fold_in(_key(key, epoch, first), 0), size)

    def pair(self, key: PRNGKeyArray, batch: Batch, first: int | Array = 0) -> Batch:
        """The batch of an update with the partners of its examples, as `augment` needs it.

        Args:
          key: of the student's state.
          batch: `image` (raw), `label`, `index` [b]; `epoch` int [].
          first: see `partners`.
        """
        size = len(batch["label"])
        partner = self.partners(key, batch.get("epoch", 0), jnp.asarray(first), size)
        examples = {name: jnp.asarray(x) for name, x in batch.items() if jnp.ndim(x)}
        return with_partners(batch, {k: x[partner] for k, x in examples.items()}, first)

    def augment(self, augment: Augment) -> Augment:
        """`augment(key, batch) -> batch` of a batch with partners: both images of each pair are
        augmented and normalised by `augment`, then mixed.
        """

        def mixed(key: PRNGKeyArray, batch: Batch) -> Batch:
            if "first" not in batch:
                raise InputError(
                    "images are mixed (config.mix), and the batch has no partners: give the step "
                    "what kd.data.mix.Mix.pair returns."
                )
            batch = dict(batch)
            first, place = batch.pop("first"), batch.pop("place")
            of_partners = {k: batch.pop(k) for k in [*batch] if k.startswith(PREFIX)}
            of_partners = {k.removeprefix(PREFIX): x for k, x in of_partners.items()}
            shown, other = augment(key, batch), augment(key, {**batch, **of_partners})
            key = _key(key, batch.get("epoch", 0), first)
            number = jax.random.randint(jax.random.fold_in(key, 1), (), 0, len(self._mixtures))
            arguments = jax.random.fold_in(key, 2), shown["image"], other["image"], place
            image, share = jax.lax.switch(number, self._mixtures, *arguments)
            return {**shown, "image": image, "partner_label": other["label"], "share": share}

        return mixed


def with_partners(batch: Batch, partners: Batch, first: int | Array) -> Batch:
    """The batch of an update and the examples that its own are mixed with, as one batch.

    Args:
      batch: see `Mix.pair`.
      partners: likewise, the entries with an axis.
      first: see `Mix.partners`.
    """
    named = {PREFIX + name: values for name, values in partners.items()}
    place = jnp.arange(len(batch["label"]), dtype=jnp.int32)
    return {**batch, **named, "place": place, "first": jnp.asarray(first)}


def _key(key: PRNGKeyArray, epoch: int | Array, first: int | Array) -> PRNGKeyArray:
    for number in (DOMAIN, epoch, first):
        key = jax.random.fold_in(key, number)
    return key


def _of_batch(function: Callable, each: bool, probability: float) -> Mixture:
    """An operation on all pairs of a batch, or of a part of it."""

    def pairs(
        key: PRNGKeyArray, image: Array, partner: Array, place: Int[Array, " b"]
    ) -> tuple[Array, Float[Array, " b"]]:
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        keys = fold(key, place) if each else key

        def one(key: PRNGKeyArray, image: Array, partner: Array) -> tuple[Array, Array]:
            k_chosen, k_mixture = jax.random.split(key)
            mixed, share = function(k_mixture, image, partner)
            share = jnp.asarray(share, jnp.float32)
            if probability == 1:
                return mixed, share
            chosen = jax.random.bernoulli(k_chosen, probability)
            return jnp.where(chosen, mixed, image), jnp.where(chosen, share, 1.0)

        return jax.vmap(one, (0 if each else None, 0, 0))(keys, image, partner)

    return pairs


def _try_on(text: str, function: Callable, example: jax.ShapeDtypeStruct) -> None:
    """Raises InputError if an operation fails on an example, or returns something else."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    try:
        returned = jax.eval_shape(function, key, example, example)
    except InputError:
        raise
    except Exception as error:  # a user's own operation may raise anything
        raise InputError(
            f"mix {text!r} fails on examples of {example.dtype} {list(example.shape)}: {error}"
        ) from error
    leaves = [(x.shape, x.dtype) for x in jax.tree.leaves(returned)]
    if len(leaves) != 2 or leaves[0] != (example.shape, example.dtype) or leaves[1][0] != ():
        shapes = ", ".join(f"{dtype} {list(shape)}" for shape, dtype in leaves)
        raise InputError(
            f"mix {text!r} makes {shapes or 'nothing'} of two examples of {example.dtype} "
            f"{list(example.shape)}; expected a mixed one of that shape, and its share, a scalar."
        )
