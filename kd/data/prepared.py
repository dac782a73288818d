"""Opens prepared sets of TFDS, whose files may be damaged, exchanged or hostile.

TFDS itself believes its metadata: it imports whatever module `features.json` names, reads as many
records as `dataset_info.json` says, from whatever file lies at a shard's place.
"""

import json
from pathlib import Path
from typing import Any

from kd.errors import InputError, unknown

METADATA = ("dataset_info.json", "features.json")
LARGEST = 2**26  # bytes of a metadata file
DEEPEST = 60  # levels of a metadata file
CLASS_KEYS = ("pythonClassName", "python_class_name", "type")


def open_set(dataset: str, where: Path) -> Any:
    """TFDS's builder of a prepared set with the features `image` and `label`.

    Args:
      dataset: its name.
      where: its directory, named by its version.

    Raises:
      InputError: a file of its metadata is missing or damaged, names code of others, or describes
        another set.
    """
    for name in METADATA:
        _check_metadata(dataset, where / name)
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(where)
        features = dict(builder.info.features or {})
        names = (builder.info.name, str(builder.info.version))
        classes = getattr(features.get("label"), "num_classes", 0)
    except Exception as error:  # damaged metadata may raise anything
        raise damaged(dataset, where, error) from error
    if names != (dataset, where.name):
        raise damaged(dataset, where, f"it describes {names[0]} {names[1]}")
    for feature in ("image", "label"):
        if feature not in features:
            raise unknown(f"feature of {dataset}", feature, features)
    if not isinstance(classes, int):
        raise InputError(
            f"{where}: the feature label is {features['label']!r}; expected one class an example."
        )
    return builder


def damaged(dataset: str, where: Path | str, error: Exception | str) -> InputError:
    """What to say of a damaged set, in one line."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return InputError(f"{where} is damaged: {reason}. Remove it and run `kd prepare {dataset}`.")


def _check_metadata(dataset: str, file: Path) -> None:
    """Raises InputError for what is no JSON object, or names classes that are not TFDS's."""
    try:
        if not file.is_file():
            raise damaged(dataset, file.parent, f"it has no file {file.name}")
        if file.stat().st_size > LARGEST:
            raise damaged(dataset, file, "it is too large")
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise damaged(dataset, file, error) from error
    if not isinstance(content, dict):
        raise damaged(dataset, file, "it holds no JSON object")
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise damaged(dataset, file, f"nested more than {DEEPEST} levels")
        level = [part for value in level for part in _parts(value)]
        for value in level:
            _check_classes(dataset, file, value)
    _check_classes(dataset, file, content)


def _parts(value: Any) -> list[Any]:
    """The objects in a JSON value; old versions of TFDS store some as texts of JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [v for v in values if isinstance(v, dict | list) or (isinstance(v, str) and "{" in v)]


def _check_classes(dataset: str, file: Path, value: Any) -> None:
    if isinstance(value, str):
        value = {"": value}
    for key in CLASS_KEYS if isinstance(value, dict) else ():
        name = value.get(key)
        if isinstance(name, str) and "." in name and not name.startswith("tensorflow_datasets."):
            raise InputError(
                f"{file} names the class {name!r}, which is not TFDS's: importing it could run "
                f"code. Remove the set and run `kd prepare {dataset}`, or store it as arrays."
            )


def check_shards(dataset: str, builder: Any, split: str) -> None:
    """Compares the lengths of a split with its files.

    Raises:
      InputError: there is no such split, a shard is missing or no file, or has another number of
        records than the metadata say.
    """
    from array_record.python import array_record_module

    if not isinstance(split, str) or split not in builder.info.splits:
        raise unknown(f"split of {builder.name}", str(split), builder.info.splits)
    info = builder.info.splits[split]
    try:
        shards = list(zip(map(Path, info.filepaths), info.shard_lengths, strict=True))
    except Exception as error:
        raise damaged(dataset, builder.data_dir, error) from error
    home = Path(builder.data_dir).resolve()
    for file, length in shards:
        if not file.is_file():
            raise damaged(dataset, builder.data_dir, f"there is no file {file.name}")
        if file.resolve().parent != home and not file.is_symlink():
            raise damaged(dataset, builder.data_dir, f"{file} lies elsewhere")
        try:
            reader = array_record_module.ArrayRecordReader(str(file))
            count = reader.num_records()
            reader.close()
        except Exception as error:  # array_record raises bare exceptions
            raise damaged(dataset, file, error) from error
        if count != length:
            raise damaged(
                dataset,
                builder.data_dir,
                f"{file.name} holds {count:,} examples, and dataset_info.json says {length:,}",
            )
