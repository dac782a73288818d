"""Data sets of TensorFlow Datasets (TFDS), read without TensorFlow and without downloads.

https://www.tensorflow.org/datasets. `kd prepare NAME` prepares the usual ones; any other set of
images and labels that was prepared as array_record can be loaded, too.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kd.data import png
from kd.data.arrays import dataset_of
from kd.data.base import Dataset, Split
from kd.data.prepared import check_shards, damaged, open_set
from kd.errors import InputError, MissingData
from kd.ranges import Deviations, Means
from kd.values import expanded


def load(
    dataset: str,
    data_dir: str | None = None,
    train: str = "train",
    test: str = "test",
    mean: Means | None = None,
    std: Deviations | None = None,
    class_names: Sequence[str] = (),
) -> Dataset:
    """Loads a prepared set with the features `image` and `label` into memory, in TFDS's order.

    Args:
      dataset: name at TFDS, such as "kmnist".
      data_dir: directory of prepared sets. Default: the environment variable TFDS_DATA_DIR, or else
        ~/tensorflow_datasets.
      train: name of the training split.
      test: name of the test split.
      mean: per channel, of pixels scaled to [0, 1]. Default: that of the training images.
      std: likewise.
      class_names: default: those in TFDS's description of the set.

    Raises:
      MissingData: the set is not prepared; nothing is downloaded.
      InputError: it is not prepared as array_record, or damaged.
    """
    builder = open_set(dataset, directory(dataset, data_dir))
    features = builder.info.features
    return dataset_of(
        _read(dataset, builder, train),
        _read(dataset, builder, test),
        dataset,
        features["label"].num_classes,
        class_names or features["label"].names,
        mean,
        std,
    )


def load_known(
    dataset: str,
    data_dir: str | None,
    mean: Sequence[float],
    std: Sequence[float],
    class_names: Sequence[str],
) -> Dataset:
    """As `load`, for a set whose classes kd knows: those of the prepared set must be the same."""
    builder = open_set(dataset, where := directory(dataset, data_dir))
    label = builder.info.features["label"]
    plain = lambda names: ["".join(filter(str.isalnum, name.lower())) for name in names]
    if label.num_classes != len(class_names) or plain(label.names) != plain(class_names):
        raise damaged(
            dataset, where, f"its classes are {', '.join(label.names[:10])}, not those of {dataset}"
        )
    loaded = load(dataset, data_dir, mean=mean, std=std, class_names=class_names)
    train, test = np.asarray(loaded.train.image), np.asarray(loaded.test.image)
    if np.array_equal(train, test):
        raise damaged(dataset, where, "test holds the images of train")
    return loaded


def root(data_dir: str | Path | None) -> Path:
    """The directory of prepared sets, by the rule of TFDS."""
    if not isinstance(data_dir, str | Path | None):
        raise InputError(f"data_dir must name a directory, not {data_dir!r}.")
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return expanded(data_dir or default, "data_dir")


def prepared(name: str, data_dir: str | Path | None) -> Path | None:
    """The directory of the newest prepared version of a set; None if there is none."""
    if not isinstance(name, str) or not re.fullmatch(r"\w+(/\w+)*", name):
        raise InputError(f"dataset must be the name of a set of TFDS, not {name!r}.")
    versions = {}
    for info in (root(data_dir) / name).glob("*/dataset_info.json"):
        # A set that is being written has a name such as incomplete.A1B2C3_3.0.1.
        if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name):
            versions[tuple(map(int, info.parent.name.split(".")))] = info.parent
    return versions[max(versions)] if versions else None


def directory(name: str, data_dir: str | Path | None) -> Path:
    """The directory of the newest prepared version of a set.

    Raises:
      MissingData: there is none; the message says what to do. TFDS itself would try to download for
        minutes.
    """
    path = prepared(name, data_dir)
    if path is None:
        option = f" --data_dir {data_dir}" if data_dir else ""
        raise MissingData(
            f"the data set {name} is not prepared in {root(data_dir)}. Run `kd prepare "
            f"{name}{option}`, or set its directory: data_dir of the data set, or the environment "
            "variable TFDS_DATA_DIR."
        )
    return path


def _read(dataset: str, builder: Any, split: str) -> Split:
    from tensorflow_datasets.core.decode import DeserializeMethod
    from tensorflow_datasets.core.file_adapters import FileFormat
    from tensorflow_datasets.proto import tf_example_pb2

    example: Any = tf_example_pb2.Example  # type: ignore[missing-attribute]
    try:
        if builder.info.file_format is not FileFormat.ARRAY_RECORD:
            raise NotImplementedError
        check_shards(dataset, builder, split)
        source = builder.as_data_source(split, deserialize_method=DeserializeMethod.RAW_BYTES)
        records = source.__getitems__(list(range(len(source))))
        size, expected = sum(map(len, records)), builder.info.splits[split].num_bytes
        if size != expected:
            raise ValueError(f"its examples have {size:,} bytes, and should have {expected:,}")
        pictures, labels = [], []
        for record in records:
            feature = example.FromString(record).features.feature
            pictures.append(feature["image"].bytes_list.value[0])
            labels.append(feature["label"].int64_list.value[0])
        return Split(png.decode(pictures), np.array(labels, np.int32))
    except InputError:
        raise
    except NotImplementedError:
        raise InputError(
            f"{builder.data_dir} was prepared in a format that cannot be read without TensorFlow. "
            f"Prepare it again elsewhere: `kd prepare {builder.name} --data_dir DIR`, and set "
            "TFDS_DATA_DIR or data_dir to DIR."
        ) from None
    except Exception as error:  # array_record and protobuf raise bare exceptions
        raise damaged(dataset, f"{builder.data_dir}, {split},", error) from error
