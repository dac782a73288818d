"""Handwritten digits, 1797 grey images of 8 x 8, from the wheel of scikit-learn: no download.

Alpaydin, Kaynak. Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, 1998.
https://doi.org/10.24432/C50P49 (its test part, by 13 writers).
"""

import importlib.util
from pathlib import Path

import numpy as np

from kd.data.base import Dataset, divide, stratified

TEST_SIZE = 360
SPLIT_SEED = 0


def load() -> Dataset:
    """1437 training and 360 test examples, uint8 [n, 8, 8, 1], 10 classes.

    The source's pixels are counts from 0 to 16, here round(255 / 16 * count), which is invertible.
    The source has no official split: ours is stratified, with a fixed seed, in the order of the
    source. Both splits have the same writers, so accuracies are higher than on new writers.
    """
    pixels, label = _source()
    image = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    train, test = divide(image, label, stratified(label, TEST_SIZE, SPLIT_SEED))
    return Dataset(
        train=train,
        test=test,
        num_classes=10,
        mean=(0.3059,),
        std=(0.3764,),
        class_names=tuple("0123456789"),
    )


def _source() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [1797, 64], 0 to 16, and labels [1797], from the file in scikit-learn's wheel:
    importing scikit-learn takes seconds.
    """
    spec = importlib.util.find_spec("sklearn")
    for directory in (spec.submodule_search_locations if spec else None) or ():
        file = Path(directory) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            rows = np.loadtxt(file, delimiter=",", dtype=np.int32)
            return rows[:, :-1], rows[:, -1]
    from sklearn.datasets import load_digits

    pixels, label = load_digits(return_X_y=True)
    return np.asarray(pixels), np.asarray(label, np.int32)
