"""Images that are decoded when needed, for data sets that do not fit into memory.

Records are parsed and decoded here, by TFDS's protocol buffer and Pillow, rather than by TFDS's
`as_data_source`, which decodes with Pillow too: with equal pixels, a record of 500 x 375 takes 4.6
ms here, crop included, and 5.6 ms by way of TFDS's array (measured in turns); and a damaged record
is reported by its number.
"""

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
    """The images of a split, encoded: it stands for the array `kd.data.base.Split.image`.

    Attributes:
      source: encoded pictures; `source[i]` is the bytes of a TFDS example with the feature `image`.
        It is sent to other processes, so it must be picklable.
      places: int [n], the index in `source` of each example.
      size: height and width of the decoded images, in pixels.
      resize: length of the shorter side before evaluation crops the middle.
      scale: least and largest fraction of the area that training crops.
      workers: number of decoding processes; 0: threads of this process.
      origin: description of the pictures, which differs for different pictures.
      digests: uint64, of each encoded picture in `source`; None where they were not computed.
    """

    source: Any
    places: np.ndarray
    size: int
    resize: int
    scale: tuple[float, float]
    workers: int
    origin: str
    digests: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[n, size, size, 3], of the decoded images."""
        return len(self.places), self.size, self.size, 3

    @property
    def dtype(self) -> np.dtype:
        """uint8, of the decoded images."""
        return np.dtype(np.uint8)

    @property
    def identity(self) -> np.ndarray:
        """A hash that replaces the pixels in comparisons of data sets, uint8 [32]."""
        text = f"{self.origin} {self.size} {self.resize} {self.scale}".encode()
        places = np.ascontiguousarray(self.places, np.int64).tobytes()
        return np.frombuffer(hashlib.sha256(text + places).digest(), np.uint8)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: np.ndarray) -> "Pictures":
        """The examples chosen by a mask bool [n] or by indices."""
        return dataclasses.replace(self, places=self.places[chosen])

    def centered(self, index: Sequence[int] | np.ndarray) -> np.ndarray:
        """Central crops of these examples, for evaluation: uint8 [b, size, size, 3].

        Raises:
          RunError: a picture is damaged.
        """
        crop = lambda i: center_crop(self._decoded(int(i)), self.resize, self.size)
        return np.stack([crop(i) for i in index])

    def cropped(
        self,
        index: Sequence[int] | np.ndarray,
        seed: int,
        epoch: int,
        position: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Random crops of these examples in an epoch, for training: uint8 [b, size, size, 3].

        With their positions in the epoch's order, [b], an image that comes twice is cropped twice.

        Raises:
          RunError: a picture is damaged.
        """
        seeds = [seed] * len(index)
        if position is not None:  # seeds are below 2**31
            seeds = [seed + 2**32 * (int(p) + 1) for p in position]
        return np.stack(
            [
                random_resized_crop(self._decoded(i), (s, epoch, i), self.size, self.scale)
                for i, s in zip(map(int, index), seeds, strict=True)
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
                f"{self.origin}: picture {place} cannot be decoded ({error}). Prepare the set "
                "again."
            ) from error


def example(record: bytes) -> Any:
    """The features of a TFDS record, by name."""
    from tensorflow_datasets.proto import tf_example_pb2

    proto: Any = tf_example_pb2.Example  # type: ignore[missing-attribute]
    return proto.FromString(record).features.feature
