"""The directory of a run: ownership, files, reading them back.

config.json        the config with every default
origin.json        what the run started from: hashes of its data, of its teacher's weights and
                   of what it took from another run
metrics.jsonl      a line for each dispatch and each evaluation
checkpoints/       the newest state
predictions.npz    logits of every seed on the evaluated split, and on the validation split
                   where the config has one
exported/          files of the networks, if config.export asks for them; predictions.npz then
                   holds their logits, too
result.json        written last: a run that has it is finished
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath

from kd import signals
from kd.config.identity import differences
from kd.errors import InputError
from kd.files.parsers import Content, checked, parse_json, parse_npz, with_digests
from kd.files.writing import replacing
from kd.runs import buckets, locks
from kd.runs.locks import IN_USE, InUse

__all__ = ["IN_USE", "InUse", "Workdir"]


class Workdir:
    """A run directory at `path`, local or in a bucket. Creating the object writes nothing."""

    def __init__(self, path: epath.PathLike):
        if buckets.is_bucket(path):
            buckets.require(os.fspath(path).partition("://")[0])
        self.path = epath.Path(path)
        self._check: Callable[[], None] | None = None  # while it is locked

    def __str__(self) -> str:
        return str(self.path)

    @property
    def checkpoints(self) -> epath.Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> epath.Path:
        return self.path / "metrics.jsonl"

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "result.json").exists()

    def read(self, name: str) -> Content:
        """A JSON file of the directory. Raises InputError where it is missing or damaged, and where
        a key is asked for that it does not have.
        """
        path = self.path / name
        try:
            content = parse_json(path.read_bytes())
            if not isinstance(content, dict):
                raise ValueError(f"expected an object, got {content!r:.40}")
            return checked(content, path)
        except (FileNotFoundError, NotADirectoryError):
            if name == "result.json" and (self.path / "config.json").exists():
                raise InputError(f"{self.path} is not finished: it has no {name}.") from None
            raise InputError(f"{self.path} is no run directory: no {name}.") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise InputError(
                f"{path} is damaged: {error}. Bring it back, or remove {self.path}."
            ) from error

    def predictions(self) -> dict[str, np.ndarray]:
        """The arrays of `predictions.npz`.

        `logits` float32 [s, n, c], `label` int32 [n]; some runs have `validation_logits`,
        `validation_label`, `teacher_logits`, `member_logits`, `exported_logits` and `peers`.

        Raises:
          InputError: the file is missing or damaged; or, later, an array that it does not have is
            asked for.
        """
        path = self.path / "predictions.npz"
        try:
            with path.open("rb") as file:
                arrays = parse_npz(file)
            if {"logits", "label"} <= arrays.keys():
                logits, label = arrays["logits"], arrays["label"]
                if logits.ndim != 3 or label.shape != logits.shape[1:2]:
                    raise ValueError("expected arrays logits [s, n, c] and label [n]")
            return Content(arrays, path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from error

    def write(self, name: str, content: Any) -> None:
        """Writes JSON, or a dict of arrays if the name ends in `.npz`, atomically.

        `result.json` gets a digest of each of its values.

        Raises RunError where the system refuses it.
        """
        signals.poll()
        self.check_lock()
        content = with_digests(content) if name == "result.json" else content
        with replacing(self.path / name) as temporary:
            if name.endswith(".npz"):
                with temporary.open("wb") as file:
                    np.savez(file, **content)
            else:
                temporary.write_text(json.dumps(content, indent=2) + "\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the directory against other processes, until the block or the process ends.

        A directory that did not exist and holds nothing when the block ends is removed.

        Raises:
          InUse: another process has locked it.
          InputError: the directory cannot be made.
        """
        with locks.locked(self.path) as check:
            self._check = check
            try:
                yield
            finally:
                self._check = None

    def check_lock(self) -> None:
        """Raises `kd.runs.lease.TakenOver` if another process has taken over the locked directory.

        To be called before anything is written that another process may read.
        """
        if self._check is not None:
            self._check()

    def holder(self) -> dict[str, Any] | None:
        """The process that has locked the directory, see `kd.runs.locks.holder`."""
        return locks.holder(self.path)

    def check_owner(
        self,
        config: Mapping[str, Any],
        read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ) -> None:
        """Raises InputError, with the keys that differ, if the directory has another config.

        Args:
          config: of the run.
          read: completes the stored config, which may be older than some keys, with their defaults.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file. Give another --workdir.")
        if not (self.path / "config.json").exists():
            foreign = [p.name for p in self.path.iterdir()] if self.path.exists() else []
            if any(not name.startswith(".") for name in foreign):
                raise InputError(
                    f"{self.path} holds {', '.join(sorted(foreign)[:5])} and no config.json: not a "
                    "run directory. Give another --workdir."
                )
            return
        lines = differences(config, read(self.read("config.json")))
        if lines:
            raise InputError(
                "\n  ".join(
                    [
                        f"{self.path} belongs to another config. Give another --workdir, or remove "
                        "it. It differs in",
                        *lines,
                    ]
                )
            )

    def claim(self, config: Mapping[str, Any], origin: Mapping[str, Any]) -> None:
        """Writes the config and the origin, after `check_owner`.

        Raises:
          InputError: the data or the teacher have changed since the run began.
        """
        if (self.path / "origin.json").exists():
            stored = self.read("origin.json")
            for key in origin:
                if stored.get(key) != origin[key]:
                    raise InputError(
                        f"{self.path}: the {key} changed since the run began: {stored.get(key)}, "
                        f"now {origin[key]}. Give another --workdir, or remove it."
                    )
        self.write("config.json", config)
        self.write("origin.json", origin)
