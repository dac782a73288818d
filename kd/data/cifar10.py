"""CIFAR-10: photographs in ten classes, 50,000 training and 10,000 test images, colour, 32 x 32.

Krizhevsky. Learning Multiple Layers of Features from Tiny Images. 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from kd.data import tfds
from kd.data.base import Dataset

# Of all training pixels. Much code divides by (0.2023, 0.1994, 0.2010), the mean of the deviations
# within single images.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load(data_dir: str | None = None) -> Dataset:
    """uint8 [n, 32, 32, 3], 10 classes. See `kd.data.tfds.load` for `data_dir` and errors."""
    return tfds.load_known("cifar10", data_dir, mean=MEAN, std=STD, class_names=CLASS_NAMES)
