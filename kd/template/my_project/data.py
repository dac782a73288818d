"""The data: scikit-learn's handwritten digits. Read your own files in their place."""

import numpy as np
from sklearn import datasets

from kd.data.base import Dataset, divide, stratified


def load(test: int = 360) -> Dataset:
    """Images uint8 [n, 8, 8, 1]; of the 1,797, `test` are kept to test with, by class.

    The arguments can be set in the config: `c.data = dict(name="my_project.data.load", test=500)`.
    """
    pixels, label = datasets.load_digits(return_X_y=True)  # [n, 64] from 0 to 16, and [n]
    image = np.round(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    label = np.asarray(label, np.int32)
    train, held = divide(image, label, stratified(label, test, seed=0))
    return Dataset(
        train=train,
        test=held,
        num_classes=10,
        mean=(0.3059,),  # of the training pixels between 0 and 1, one for each channel
        std=(0.3764,),
        class_names=tuple("0123456789"),
    )
