"""Fashion-MNIST: articles of clothing, 60,000 training and 10,000 test images, grey, 28 x 28.

Xiao, Rasul, Vollgraf. Fashion-MNIST. 2017. https://arxiv.org/abs/1708.07747
"""

from kd.data import tfds
from kd.data.base import Dataset

MEAN = (0.2860,)
STD = (0.3530,)
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load(data_dir: str | None = None) -> Dataset:
    """uint8 [n, 28, 28, 1], 10 classes. See `kd.data.tfds.load` for `data_dir` and errors."""
    return tfds.load_known("fashion_mnist", data_dir, mean=MEAN, std=STD, class_names=CLASS_NAMES)
