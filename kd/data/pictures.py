"""Images that are decoded when they are needed, for sets that fit into no memory."""

import dataclasses
import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kd.data.crop import center_crop, random_resized_crop
from kd.errors import RunError

if TYPE_CHECKING:
    from PIL import Image


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a split, as `kd.data.base.Split.image` has them, but for their pixels.

    Attributes:
      source: encoded pictures; `source[i]` is the bytes of a TFDS example with the feature `image`.
        It goes to other processes, so it can be pickled.
      places: int [n], where in `source` the examples are.
      size: height and width of what training and evaluation see, in pixels.
      resize: shorter side before evaluation cuts out the middle.
      scale: least and largest share of the area that training cuts out.
      workers: processes that decode; 0: threads of this one.
      origin: what the pictures are, in words that differ for other pictures.
    """

    source: Any
    places: np.ndarray
    size: int
    resize: int
    scale: tuple[float, float]
    workers: int
    origin: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[n, size, size, 3]."""
        return len(self.places), self.size, self.size, 3

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    @property
    def identity(self) -> np.ndarray:
        """Stands for the pixels where contents are compared, uint8 [32]."""
        text = f"{self.origin} {self.size} {self.resize} {self.scale}".encode()
        places = np.ascontiguousarray(self.places, np.int64).tobytes()
        return np.frombuffer(hashlib.sha256(text + places).digest(), np.uint8)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: np.ndarray) -> "Pictures":
        """Those chosen by a mask or indices."""
        return dataclasses.replace(self, places=self.places[chosen])

    def centered(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """What evaluation sees of these examples, uint8 [b, size, size, 3]. Raises RunError for a
        damaged picture.
        """
        crop = lambda i: center_crop(self._decoded(int(i)), self.resize, self.size)
        return np.stack([crop(i) for i in index])

    def cropped(self, index: Sequence[int] | np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """What training sees of them in an epoch, uint8 [b, size, size, 3]. Raises RunError for a
        damaged picture.
        """
        return np.stack(
            [
                random_resized_crop(self._decoded(i), (seed, epoch, i), self.size, self.scale)
                for i in map(int, index)
            ]
        )

    def _decoded(self, index: int) -> "Image.Image":
        from PIL import Image

        place = int(self.places[index])
        try:
            data = example(self.source[place])["image"].bytes_list.value[0]
            with Image.open(io.BytesIO(data)) as picture:
                return picture.convert("RGB")
        except Exception as error:  # array_record and protobuf raise bare exceptions
            raise RunError(
                f"{self.origin}: picture {place} cannot be decoded ({error}). Prepare the set anew."
            ) from error


def example(record: bytes) -> Any:
    """The features of a record, by name."""
    from tensorflow_datasets.proto import tf_example_pb2

    proto: Any = tf_example_pb2.Example  # type: ignore[missing-attribute]
    return proto.FromString(record).features.feature
