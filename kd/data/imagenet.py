"""ImageNet (ILSVRC 2012): photographs in a thousand classes, 1,281,167 training and 50,000
validation images.

Russakovsky et al. ImageNet Large Scale Visual Recognition Challenge. IJCV 2015.
https://arxiv.org/abs/1409.0575 All papers test on the validation images: they are `test` here. TFDS
itself prepares the set, as array_record, from the archives that image-net.org offers after
registration.
"""

from kd.data import streamed
from kd.data.base import Dataset
from kd.ranges import Side


def load(
    data_dir: str | None = None,
    size: Side = 224,
    resize: Side = 256,
    scale: streamed.Area = (0.08, 1.0),
    workers: streamed.Workers = 8,
) -> Dataset:
    """uint8 [n, size, size, 3], 1000 classes, with the usual mean and std. See
    `kd.data.streamed.load`.
    """
    return streamed.load(
        "imagenet2012",
        data_dir,
        test="validation",
        size=size,
        resize=resize,
        scale=scale,
        workers=workers,
    )
