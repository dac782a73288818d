"""Any Flax linen module as a network of `kd`: `(image, train) -> Outputs`."""

import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from kd.errors import InputError
from kd.features import check_batch_norm
from kd.models.contract import LINEN, kind_of
from kd.types import Outputs, outputs_of

FLAGS = {"train": False, "training": False, "is_training": False, "deterministic": True}
"""Names that networks have for the training flag: True where it means evaluation."""


def adapt(network: Any, what: str = "the network") -> nn.Module:
    """The network itself if it is one of `kd`'s, else the network as `kd` calls it.

    A network takes a batch of images and, where it has dropout or BatchNorm, a keyword `train`,
    `training`, `is_training` or `deterministic`. It returns logits [b, c] or `kd.Outputs`. Its
    variables keep their names.

    Raises:
      InputError: no Flax linen module.
    """
    if inspect.isclass(network) and issubclass(network, nn.Module):
        raise InputError(
            f"{what} is the class {network.__name__}: give a network, such as "
            f"{network.__name__}(...)."
        )
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{what} must be a Flax linen module. {kind_of(network)} {LINEN} A trained network of "
            "another library can be a teacher, as a function images -> logits."
        )
    if type(network).__module__.startswith("kd.") or hasattr(network, "peers"):
        return network
    parameters = inspect.signature(type(network).__call__).parameters
    flag = next((name for name in FLAGS if name in parameters), "")
    return Adapted(network, flag)


class Adapted(nn.Module):
    """A user's network with the signature of `kd`'s own. Its variables keep their paths.

    Attributes:
      adapted: any linen module, `adapted(image) -> logits or Outputs`.
      flag: name of its training flag, one of `FLAGS`; "" if it has none.
      view: `view(image) -> image` where the network takes other images than it is given.
    """

    adapted: nn.Module
    flag: str = ""
    view: Callable[[Any], Any] | None = None

    def setup(self) -> None:
        nn.share_scope(self, self.adapted)

    def __call__(self, image: Any, train: bool = False) -> Outputs:
        image = image if self.view is None else self.view(image)
        flags = {self.flag: train != FLAGS[self.flag]} if self.flag else {}
        with nn.intercept_methods(_checked):
            return outputs_of(self.adapted(image, **flags), self.adapted)


def _checked(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    """An interceptor that refuses Flax's BatchNorm of one value per channel, as `kd`'s own does."""
    result, module = call(*args, **kwargs), context.module
    if isinstance(module, nn.BatchNorm) and context.method_name == "__call__":
        call_of = inspect.signature(nn.BatchNorm.__call__).bind(module, *args, **kwargs).arguments
        check_batch_norm(module, call_of["x"], call_of.get("use_running_average"))
    return result


class FunctionNetwork(nn.Module):
    """A function images -> logits as a network, which has no variables that kd knows.

    Attributes:
      function: `function(image [b, ...]) -> logits [b, c]`, or `Outputs`.
    """

    function: Callable[[Any], Any]

    def __call__(self, image: Any, train: bool = False) -> Outputs:
        del train
        return outputs_of(self.function(image))
