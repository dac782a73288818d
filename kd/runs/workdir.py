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
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np
from etils import epath

from kd import signals
from kd.config.identity import differences
from kd.errors import InputError
from kd.files.parsers import Content, checked, parse_json, parse_npz, with_digests
from kd.files.writing import replacing

IN_USE = "is in use by another process"
"""Words of the message of `InUse`, by which a table recognises it in the output of a run."""


class InUse(InputError):
    """Another process holds the run directory."""


class Workdir:
    """A run directory at `path`, local or in a bucket. Creating the object writes nothing."""

    def __init__(self, path: epath.PathLike):
        self.path = epath.Path(path)

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
        if "://" in str(self.path):  # no locks in a bucket
            _make(self.path)
            yield
            return
        created = [path for path in (self.path, *self.path.parents) if not path.exists()]
        with _locked(self.path / ".lock") as file:
            try:
                yield
            finally:
                if created and [path.name for path in self.path.iterdir()] == [".lock"]:
                    with contextlib.suppress(OSError):  # another process may be about to lock it
                        os.unlink(file.name)  # noqa: PTH108
                        for path in created:
                            path.rmdir()

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


def _make(directory: epath.Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{directory} cannot be made: {error.strerror}. Give another --workdir."
        ) from None


@contextlib.contextmanager
def _locked(path: epath.Path) -> Iterator[IO[str]]:
    """The open file of a lock that this process holds; errors are those of `Workdir.lock`."""
    while True:
        _make(path.parent)
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(os.fspath(path), "w"))  # noqa: PTH123
            except FileNotFoundError:  # removed with its directory by the process that held it
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise InUse(
                    f"{path.parent} {IN_USE}. Wait for it, or give another --workdir."
                ) from None
            if _is_open_file(file, path):
                yield file
                return


def _is_open_file(file: IO[str], path: epath.Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.fstat(file.fileno()).st_ino == os.stat(os.fspath(path)).st_ino  # noqa: PTH116
    except FileNotFoundError:
        return False
