"""Whether a PyTorch state dict is that of one of our networks, and which array is which."""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import traverse_util

from kd import registry
from kd.errors import InputError
from kd.weights import layouts
from kd.weights.layouts import Path, Source

_MOST_PREFIXES = 6
_EXAMPLE = (64, 64, 3)


class Match(NamedTuple):
    """A state dict as the variables of a network.

    Attributes:
      sources: PyTorch's place of each variable.
      state: the state dict without a prefix of its names.
      num_classes: of the network, from the rows of its classifier.
      image: height, width and channels of an image that the network takes.
      sized: whether the weights depend on its size.
      needs_config: whether the names are of a scheme whose files come with a `config.json` that
        says what the weights do not.
    """

    sources: dict[Path, Source]
    state: dict[str, Any]
    num_classes: int
    image: tuple[int, int, int]
    sized: bool
    needs_config: bool


class Network:
    """A network by its name and settings, whose sizes are found from weights.

    Attributes:
      name: `FAMILY.NAME`.
    """

    def __init__(self, name: str, settings: Mapping[str, Any] | None = None) -> None:
        """Takes the network's full name, and settings other than `num_classes`."""
        self.name = name
        self._settings = dict(settings or {})

    @property
    def rules(self) -> Sequence[layouts.Rules]:
        """The rules of each naming scheme of the network's file, see `layouts.source`.

        Raises:
          InputError: the file has no table `TORCH_NAMES`.
        """
        rules = getattr(self._file, "TORCH_NAMES", None)
        if rules is None:
            raise InputError(
                f"kd knows no PyTorch names for {self.name}: its file has no table TORCH_NAMES."
            )
        return rules

    @functools.cached_property
    def schemes(self) -> list[dict[Path, Source]]:
        """PyTorch's place of each variable, in each naming scheme. Raises as `rules`."""
        every = self.rules
        paths = list(self.shapes())
        return [{path: layouts.source(path, rules) for path in paths} for rules in every]

    def shapes(
        self, num_classes: int | None = None, image: tuple[int, int, int] | None = None
    ) -> dict[Path, tuple[int, ...]]:
        """Shapes of all variables by their paths, computed without any weights.

        Args:
          num_classes: None takes the network's default.
          image: height, width and channels; None takes any size, and three channels.
        """
        classes = {} if num_classes is None else {"num_classes": num_classes}
        maker = registry.find("kd.models", self.name)
        net = registry.make(maker, {**self._settings, **classes}, self.name)
        example = jax.ShapeDtypeStruct((1, *(image or self._image({}, None))), jnp.float32)
        variables = jax.eval_shape(net.init, jax.random.key(0), example)
        flat: dict[Path, Any] = traverse_util.flatten_dict(variables)
        return {path: tuple(leaf.shape) for path, leaf in flat.items()}

    def match(
        self, state_dict: Mapping[str, Any], image: tuple[int, int, int] | None = None
    ) -> Match:
        """Finds the variables of the network in a state dict.

        Args:
          state_dict: arrays, or descriptions with a shape, under PyTorch's names.
          image: height, width and channels; None where the weights say it.

        Raises:
          InputError: names or shapes are not those of the network.
        """
        state = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
        state = max(_without_prefixes(state), key=lambda state: _common(state, self.schemes))
        best = max(range(len(self.schemes)), key=lambda i: _common(state, [self.schemes[i]]))
        sources = self.schemes[best]
        stored = _shapes_of(sources, state)
        num_classes = self._num_classes(stored)
        image = image or self._image(stored, num_classes)
        shapes = self._shapes_for(image, num_classes)
        expected = {
            where.name: layouts.shape_in_torch(path, shapes[path], where.parts)
            for path, where in sources.items()
        }
        _compare(self.name, expected, state)
        if num_classes is None:
            raise InputError(f"no weight of {self.name} depends on the number of classes.")
        return Match(
            {path: sources[path] for path in shapes},
            state,
            num_classes,
            image,
            hasattr(self._file, "image_of"),
            self.rules[best] in getattr(self._file, "HUGGING_FACE", ()),
        )

    def _shapes_for(
        self, image: tuple[int, int, int], num_classes: int | None
    ) -> dict[Path, tuple[int, ...]]:
        """`shapes` for these images; for others where the network refuses these, which only weights
        of another network are for.
        """
        try:
            return self.shapes(num_classes, image)
        except InputError:
            return self.shapes(num_classes)

    def fits(self, state: Mapping[str, Any]) -> bool:
        """Whether names and shapes of a state dict are those of the network."""
        count = sum(not name.endswith("num_batches_tracked") for name in state)
        names = [{where.name for where in scheme.values()} for scheme in self.schemes]
        if all(count != len(each) for each in names):
            return False  # known without computing shapes
        try:
            self.match(state)
        except InputError:
            return False
        return True

    @property
    def _file(self) -> Any:
        """The module that defines the network."""
        module = f"kd.models.{self.name.partition('.')[0]}"
        if importlib.util.find_spec(module) is None:
            module = self.name.rpartition(".")[0]  # a network by dotted path
        return importlib.import_module(module)

    def _num_classes(self, stored: Mapping[Path, tuple[int, ...]]) -> int | None:
        """The classes of the stored weights: the length of an axis that depends on their number.

        None where these weights are missing.
        """
        bias = stored.get(("params", "head", "bias"))
        if bias is not None and len(bias) == 1:
            return bias[0]
        two, three = self.shapes(2), self.shapes(3)
        for path, shape in two.items():
            sizes = stored.get(path, ())
            for i, pair in enumerate(zip(shape, three[path], strict=True)):
                if pair == (2, 3) and len(sizes) == len(shape):
                    return sizes[i]
        return None

    def _image(
        self, stored: Mapping[Path, tuple[int, ...]], num_classes: int | None
    ) -> tuple[int, int, int]:
        """Height, width and channels of the images that the stored weights are for.

        A file of networks whose weights depend on the size has a function `image_of(settings,
        shapes)`, from their shapes by path; without any it returns a size that the network takes.
        For others only the channels matter: the inputs of the one kernel that does not fit images
        of three.
        """
        image_of: Callable[..., Any] | None = getattr(self._file, "image_of", None)
        if image_of is not None:
            return image_of(self._settings, stored)
        if not stored:
            return _EXAMPLE
        shapes = self.shapes(num_classes)
        other = [path for path, shape in shapes.items() if stored.get(path, shape) != shape]
        if len(other) == 1 and other[0][-1] == "kernel":
            kernel, expected = stored[other[0]], shapes[other[0]]
            if len(kernel) == len(expected):
                *window, inputs, outputs = kernel
                if (*window, expected[-2], outputs) == expected:
                    return (*_EXAMPLE[:2], inputs)
        return _EXAMPLE


def _shapes_of(
    sources: Mapping[Path, Source], state: Mapping[str, Any]
) -> dict[Path, tuple[int, ...]]:
    """Shapes of the variables whose arrays a state dict has, if these have the rows to divide."""
    return {
        path: layouts.shape_here(path, tuple(state[where.name].shape), where.parts)
        for path, where in sources.items()
        if where.name in state
    }


def _common(state: Mapping[str, Any], schemes: Iterable[Mapping[Path, Source]]) -> int:
    """The number of names that a state dict has in common with the scheme most like it."""
    names = [{where.name for where in scheme.values()} for scheme in schemes]
    return max(len(state.keys() & each) for each in names)


def _without_prefixes(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields a state dict as it is, then without the first part of its names, as long as all have
    the same: `module.` of DataParallel, `_orig_mod.` of a compiled network, `model.`, ...
    """
    yield state
    for _ in range(_MOST_PREFIXES):
        if len({name.partition(".")[0] for name in state}) != 1:
            return
        state = {name.partition(".")[2]: value for name, value in state.items()}
        if "" in state:
            return
        yield state


def _compare(
    model_name: str, expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Any]
) -> None:
    """Raises InputError where names or shapes of a state dict are not those of the network."""
    # Kernels first: they say most about the architecture.
    expected = dict(sorted(expected.items(), key=lambda item: (-len(item[1]), item[0])))
    both = expected.keys() & state.keys()
    shapes = [
        f"{k} is {list(state[k].shape)} in place of {list(expected[k])}"
        for k in expected
        if k in both and tuple(state[k].shape) != expected[k]
    ]
    faults = {
        "missing": [k for k in expected if k not in both],
        "not of this network": [k for k in state if k not in both],
        "of another shape": shapes,
    }
    if any(faults.values()):
        differences = "; ".join(f"{len(v)} {k}: {_few(v)}" for k, v in faults.items() if v)
        raise InputError(f"these are not the weights of {model_name}: {differences}.")


def _few(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(repr(item)[1:-1][:80] for item in items[:3]) + more
