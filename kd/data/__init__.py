"""Data sets, one file each, and the augmentation of their examples.

Adding a data set is adding a file with a function `load(...) -> kd.data.base.Dataset`, here or in a
project of one's own.
"""

import functools
import json
from typing import TYPE_CHECKING, Any

from kd import registry
from kd.errors import InputError

if TYPE_CHECKING:
    from kd.data.base import Dataset


def load(name: str, /, **settings: Any) -> "Dataset":
    """Loads the data set called `name`, and checks it.

    Args:
      name: a file of this package (`digits`, `mnist`, ...), or the dotted path of a function that
        returns a `kd.data.base.Dataset`, importable from the working directory, such as
        `my_project.data.load`.
      **settings: keyword arguments of the file's `load`, or of that function.

    What looks wrong in it, such as test examples that are also in train, is printed to standard
    error.

    Raises:
      InputError: there is no such data set or setting, or the data cannot be used.
    """
    try:
        text = json.dumps(settings, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"data set {name!r}: settings must be plain data: {error}.") from None
    return _load(name, text)


@functools.lru_cache(maxsize=2)  # a run and its teacher usually have the same data
def _load(name: str, settings: str) -> "Dataset":
    from kd.data import remarks
    from kd.data.check import check

    what = f"data set {name!r}"
    maker = registry.find("kd.data", name, "load")
    dataset = check(registry.make(maker, json.loads(settings), what), what)
    remarks.tell(dataset, what)
    return dataset
