"""Data sets, one file each, and what is done to their examples."""

import functools
import json
from typing import TYPE_CHECKING, Any

from kd import registry

if TYPE_CHECKING:
    from kd.data.base import Dataset


def load(name: str, /, **settings: Any) -> "Dataset":
    """The data set called `name`, checked.

    Args:
      name: a file beside this one (`digits`, `mnist`, ...), or a dotted path to a function that
        returns a `kd.data.base.Dataset`, importable from the working directory, such as
        `my_project.data.load_mine`.
      settings: keyword arguments of its `load` (or of that function).

    Raises:
      InputError: no such data set or setting, or the data are not fit for use; one message each.
    """
    return _load(name, json.dumps(settings, sort_keys=True))


@functools.lru_cache(maxsize=2)  # a run and its teacher mostly share their data
def _load(name: str, settings: str) -> "Dataset":
    from kd.data.check import check

    what = f"data set {name!r}"
    maker = registry.find("kd.data", name, "load")
    return check(registry.make(maker, json.loads(settings), what), what)
