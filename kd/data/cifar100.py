"""CIFAR-100: photographs in a hundred classes, 50,000 training and 10,000 test images, colour, 32 x
32.

Krizhevsky. Learning Multiple Layers of Features from Tiny Images. 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""

import numpy as np

from kd.data import tfds
from kd.data.base import Dataset

# The numbers of RepDistiller and the repositories built on it; the training pixels give 0.4865 and
# 0.4409 for 0.4867 and 0.4408.
MEAN = (0.5071, 0.4867, 0.4408)
STD = (0.2675, 0.2565, 0.2761)

# The 20 coarse classes, and the five fine ones of each.
SUPERCLASSES = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}

CLASS_NAMES = tuple(sorted(" ".join(SUPERCLASSES.values()).split()))


def load(data_dir: str | None = None) -> Dataset:
    """uint8 [n, 32, 32, 3], 100 classes. See `kd.data.tfds.load` for `data_dir` and errors."""
    return tfds.load_known("cifar100", data_dir, mean=MEAN, std=STD, class_names=CLASS_NAMES)


def coarse(label: np.ndarray) -> np.ndarray:
    """The coarse class, 0 to 19, of each fine one, [n] -> [n]."""
    coarse_of = {
        fine: number for number, names in enumerate(SUPERCLASSES.values()) for fine in names.split()
    }
    return np.array([coarse_of[name] for name in CLASS_NAMES], np.uint8)[label]
