"""What every data set is: two splits of plain arrays, and facts of the training split that objectives may ask for."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Examples in a fixed order; an example's place is its `index`.

    `image` is uint8 [n, h, w, c] (scaled by 1 / 255 before `mean` and `std`), or float32 of any shape [n, ...], such as
    [n, t, c] series, taken as it is. `label` is int32 [n].
    """

    image: np.ndarray
    label: np.ndarray


class Dataset(NamedTuple):
    """Two splits; `mean` and `std` per channel, in the unit that the scaled image has; names of the classes."""

    train: Split
    test: Split
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()


def class_tables(label: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """Where the examples of each class are, in O(n) memory.

    Args:
      label: int [n].
      num_classes: c.

    Returns:
      `order` int32 [n], the indices sorted by class; `start` and `count` int32 [c], each class's run within `order`.
    """
    count = np.bincount(label, minlength=num_classes)
    return {
        "order": np.argsort(label, kind="stable").astype(np.int32),
        "start": (np.cumsum(count) - count).astype(np.int32),
        "count": count.astype(np.int32),
    }
