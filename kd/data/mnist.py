"""MNIST: handwritten digits, 60,000 training and 10,000 test images, grey, 28 x 28.

LeCun, Bottou, Bengio, Haffner. Gradient-Based Learning Applied to Document Recognition. Proc. IEEE
1998. http://yann.lecun.com/exdb/mnist
"""

from kd.data import tfds
from kd.data.base import Dataset

MEAN = (0.1307,)
STD = (0.3081,)
CLASS_NAMES = tuple("0123456789")


def load(data_dir: str | None = None) -> Dataset:
    """uint8 [n, 28, 28, 1], 10 classes. See `kd.data.tfds.load` for `data_dir` and errors."""
    return tfds.load_known("mnist", data_dir, mean=MEAN, std=STD, class_names=CLASS_NAMES)
