"""The data: scikit-learn's handwritten digits. Read your own files in their place."""

import numpy as np
from sklearn import datasets

from kd.data.base import Dataset, Split


def load(test: int = 360) -> Dataset:
    """Images uint8 [n, 8, 8, 1]; of the 1,797, `test` are kept to test with.

    The arguments can be set in the config: `c.data = dict(name="my_project.data.load", test=500)`.
    """
    pixels, label = datasets.load_digits(return_X_y=True)  # [n, 64] from 0 to 16, and [n]
    image = np.round(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    label = np.asarray(label, np.int32)
    order = np.random.default_rng(0).permutation(len(label))
    train, held = order[test:], order[:test]
    scaled = image[train] / 255
    return Dataset(
        train=Split(image[train], label[train]),
        test=Split(image[held], label[held]),
        num_classes=10,
        mean=(float(scaled.mean()),),  # one for each channel
        std=(float(scaled.std()),),
        class_names=tuple("0123456789"),
    )
