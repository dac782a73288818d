"""Data sets of TFDS that are too large for memory: pictures are decoded when they are needed."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from kd.data.base import Dataset, Split
from kd.data.pictures import Pictures, example
from kd.data.prepared import check_shards, damaged, open_set
from kd.data.tfds import prepared, root
from kd.errors import InputError, MissingData, unknown
from kd.ranges import Deviations, Length, Means, Range, Side

# Of ImageNet; they are customary for photographs.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Area = Annotated[Sequence[Annotated[float, Range(above=0, most=1)]], Length(2, 2)]
Workers = Annotated[int, Range(0, 1024)]


def load(
    dataset: str,
    data_dir: str | None = None,
    train: str = "train",
    test: str = "test",
    size: Side = 224,
    resize: Side = 256,
    scale: Area = (0.08, 1.0),
    workers: Workers = 8,
    mean: Means = MEAN,
    std: Deviations = STD,
) -> Dataset:
    """Opens a prepared set with the features `image` and `label`, as uint8 [n, size, size, 3].

    Training sees random resized crops, evaluation central crops (`kd.data.crop`). Labels are read
    once, which reads every record, and then cached in `$XDG_CACHE_HOME/kd` (default ~/.cache/kd),
    with a digest of each picture, by which those of test that are also in train are found.

    Args:
      dataset: name at TFDS, such as "imagenet2012", prepared as array_record.
      data_dir: directory of prepared sets. Default: the environment variable TFDS_DATA_DIR, or else
        ~/tensorflow_datasets.
      train: name of the training split.
      test: name of the test split.
      size: side of the images, in pixels.
      resize: length of the shorter side before evaluation crops the middle, at least `size`.
      scale: least and largest fraction of a picture's area that training crops.
      workers: number of decoding processes; 0: threads. It changes no pixel.
      mean: per channel, of pixels scaled to [0, 1].
      std: likewise.

    Raises:
      MissingData: the set is not prepared; nothing is downloaded.
      InputError: it is not prepared as array_record, or damaged; or a setting is out of range.
    """
    _check(size, resize, scale)
    where = prepared(dataset, data_dir)
    if where is None:
        raise MissingData(
            f"the data set {dataset} is not prepared in {root(data_dir)}. Prepare it with TFDS "
            f"where TensorFlow is installed, `tfds build {dataset} --file_format=array_record "
            "--data_dir DIR`, and set TFDS_DATA_DIR or data_dir to DIR."
        )
    builder = open_set(dataset, where)
    features = builder.info.features
    prepared_at = (where / "dataset_info.json").stat().st_mtime_ns

    def split(name: str) -> Split:
        source, origin = _source(builder, name)
        low, high = scale
        places = np.arange(len(source))
        label, digests = _read_once(source, origin, prepared_at)
        image = Pictures(source, places, size, resize, (low, high), workers, origin, digests)
        return Split(image, label)  # pyrefly: ignore

    return Dataset(
        split(train),
        split(test),
        features["label"].num_classes,
        tuple(mean),
        tuple(std),
        tuple(features["label"].names or ()),
    )


def _check(size: int, resize: int, scale: Sequence[float]) -> None:
    if size > resize:
        raise InputError(f"config.data: size {size} must be at most resize, {resize}.")
    if scale[0] > scale[1]:
        raise InputError(
            "config.data.scale: expected the least and the largest fraction of the area, in "
            f"(0, 1], got {scale!r}."
        )


def _source(builder: Any, split: str) -> tuple[Any, str]:
    """The records of a split, and a description of them, as in `Pictures.origin`."""
    from tensorflow_datasets.core.decode import DeserializeMethod

    if not isinstance(split, str) or split not in builder.info.splits:
        raise unknown(f"split of {builder.name}", str(split), builder.info.splits)
    try:
        if any(Path(file).exists() for file in builder.info.splits[split].filepaths):
            check_shards(builder.name, builder, split)
        source = builder.as_data_source(split, deserialize_method=DeserializeMethod.RAW_BYTES)
    except NotImplementedError:
        raise InputError(
            f"{builder.data_dir} was prepared in a format without random access. Prepare it "
            f"with TFDS as array_record: `tfds build {builder.name} --file_format=array_record "
            "--data_dir DIR`, and set TFDS_DATA_DIR or data_dir to DIR."
        ) from None
    except InputError:
        raise
    except Exception as error:  # array_record raises bare exceptions
        raise damaged(builder.name, f"{builder.data_dir}, {split},", error) from error
    info = builder.info.splits[split]
    return (
        source,
        f"{builder.info.full_name} {split}, {len(source)} examples, {info.num_bytes} bytes",
    )


def _read_once(source: Any, origin: str, prepared_at: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels of all records, int32 [n], and digests of their pictures, uint64 [n].

    They are read once, then cached in files. Digests are None where an earlier version of kd
    cached labels alone: all records would have to be read again.

    Args:
      source: records.
      origin: description of the records, part of the cache's key.
      prepared_at: when the set was prepared, in ns, the other part: a set with corrected labels may
        have the same name and the same numbers of examples and bytes.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kd"
    key = hashlib.sha256(f"{origin}, {prepared_at}".encode()).hexdigest()[:16]
    file, digest_file = cache / f"labels-{key}.npy", cache / f"digests-{key}.npy"
    cached = _cached(file, len(source), np.int32)
    if cached is not None:
        return cached, _cached(digest_file, len(source), np.uint64)

    def label_and_digest(i: int) -> tuple[int, int]:
        feature = example(source[i])
        picture = feature["image"].bytes_list.value[0]
        digest = hashlib.blake2b(picture, digest_size=8).digest()
        return feature["label"].int64_list.value[0], int.from_bytes(digest)

    kinds = [("label", np.int32), ("digest", np.uint64)]
    try:
        with ThreadPoolExecutor() as pool:
            read = np.fromiter(pool.map(label_and_digest, range(len(source))), kinds)
    except Exception as error:
        message = " ".join(str(error).split())
        raise InputError(f"{origin}: damaged: {message}. Prepare it again.") from error
    labels, digests = (np.ascontiguousarray(read[name]) for name, _ in kinds)
    # Labels last: without them both are read again.
    for path, values in ((digest_file, digests), (file, labels)):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.npy")
            np.save(part, values)
            part.replace(path)
        except OSError:
            pass  # without a cache they are read again next time
    return labels, digests


def _cached(file: Path, n: int, dtype: type) -> np.ndarray | None:
    """The array [n] in a file of the cache; None if the file is missing or damaged."""
    try:
        if not file.is_file():
            return None
        cached = np.load(file)
        return cached if cached.shape == (n,) and cached.dtype == dtype else None
    except Exception:  # a damaged file may raise anything
        return None
