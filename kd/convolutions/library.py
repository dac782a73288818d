"""The library that calls oneDNN: compiled once, at its first use, into the user's cache directory.

oneDNN (https://github.com/uxlfoundation/oneDNN, Apache-2.0) comes from the packages of the extra
`cpu`. They are found by what the installer recorded, wherever that is.
"""

import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import filelock
import jax
import jaxlib

from kd import extras
from kd.values import expanded

SOURCE = Path(__file__).with_name("convolution.cc")
FLAGS = ("-O2", "-w", "-std=c++17", "-fPIC", "-shared", "-pthread")
SECONDS = 300
"""Longest time that the compiler may take."""

TARGET = "kd_convolution"
"""Name of the custom call."""

_RUNTIME, _HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
_LOCK = threading.Lock()


class Unavailable(Exception):
    """Why oneDNN cannot be used here, and what to do; one sentence without a full stop."""


class Library:
    """oneDNN, loaded and known to XLA.

    Attributes:
      version: of oneDNN, such as "3.2.0".
    """

    def __init__(self, library: ctypes.CDLL):
        number = library.kd_convolution_version()
        self.version = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
        library.kd_convolution_implementation.restype = ctypes.c_char_p
        self._implementation = library.kd_convolution_implementation
        handler = jax.ffi.pycapsule(library.kd_convolution)
        jax.ffi.register_ffi_target(TARGET, handler, platform="cpu")

    def implementation(self, numbers: tuple[int, ...], types: tuple[int, ...]) -> str:
        """oneDNN's name of its code for a problem on this CPU; empty if it has none.

        Args:
          numbers: from `kd.convolutions.problem.Problem.numbers`.
          types: of maps, kernel and outputs: 0 for float32, 1 for bfloat16.
        """
        problem = (ctypes.c_int64 * len(numbers))(*numbers)
        return self._implementation(problem, (ctypes.c_int * 3)(*types)).decode()


def load() -> Library:
    """The library, compiled if it has not been.

    Raises:
      Unavailable: oneDNN is not installed, or the library does not compile or load.
    """
    with _LOCK:
        loaded = _load()
    if isinstance(loaded, str):
        raise Unavailable(loaded)
    return loaded


@functools.cache
def _load() -> Library | str:
    """The library, or why there is none."""
    try:
        return Library(_compiled(_installed()))
    except Unavailable as error:
        return str(error)


def _installed() -> tuple[Path, Path]:
    """(libdnnl.so.3, directory of headers) of the installed packages."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise Unavailable(
            f"oneDNN's packages are for Linux on x86-64, this is {platform.system()} on "
            f"{platform.machine()}"
        )
    runtime = _file(_RUNTIME, "libdnnl.so.3")
    header = _file(_HEADERS, "dnnl.hpp", parent="dnnl")
    return runtime, header.parents[2]


def _file(package: str, name: str, parent: str = "lib") -> Path:
    """A file of an installed package."""
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(
            f"the package {package} is not installed; install it with: {extras.command('cpu')}"
        ) from None
    for file in distribution.files or ():
        if file.name == name:
            path = Path(os.path.normpath(str(distribution.locate_file(file))))
            if path.parent.name == parent and path.is_file():
                return path
    raise Unavailable(f"the package {package} is damaged: {name} is missing")


def _compiler() -> tuple[str, ...]:
    """The C++ compiler: $CXX, c++, g++ or clang++."""
    for text in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        command = shlex.split(text)
        if command and (path := shutil.which(command[0])):
            return path, *command[1:]
    raise Unavailable("there is no C++ compiler; install g++, or name one in $CXX")


def directory() -> Path:
    """`kd/convolutions` in the user's cache directory (`$XDG_CACHE_HOME`, default ~/.cache)."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expanded(home, "XDG_CACHE_HOME") / "kd/convolutions"


def _compiled(installed: tuple[Path, Path]) -> ctypes.CDLL:
    """The loaded library, from the cache or compiled into it."""
    runtime, headers = installed
    _open(runtime)  # the library finds it by its name, wherever it is installed
    compiler = _compiler()
    path = directory() / f"{_key(compiler, headers)}.so"
    try:
        if loaded := _intact(path):
            return loaded
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock"), timeout=SECONDS):
            if loaded := _intact(path):  # another process has compiled it meanwhile
                return loaded
            # Written elsewhere and renamed: other processes see a whole file, or none.
            with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
                part = Path(scratch) / path.name
                _compile(compiler, runtime, headers, part)
                part.replace(path)
    except OSError as error:  # the lock's timeout is one, too
        raise Unavailable(
            f"{path.parent} cannot be written ({error.strerror or error}); name another cache "
            "directory in $XDG_CACHE_HOME"
        ) from error
    return _open(path)


def _intact(path: Path) -> ctypes.CDLL | None:
    """The loaded library; None if there is none, or its file was cut short."""
    if path.is_file():
        with suppress(Unavailable):
            return _open(path)
    return None


def _key(compiler: tuple[str, ...], headers: Path) -> str:
    """Changes with all that the compiled file depends on."""
    version = (headers / "oneapi/dnnl/dnnl_version.h").read_bytes()
    about = _run([*compiler, "--version"])
    parts = [SOURCE.read_bytes(), version, jaxlib.__version__, compiler, about, FLAGS]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _compile(compiler: tuple[str, ...], runtime: Path, headers: Path, output: Path) -> None:
    include = [f"-I{headers}", f"-I{jax.ffi.include_dir()}"]
    link = [os.fspath(runtime), "-ldl"]
    _run([*compiler, *FLAGS, os.fspath(SOURCE), *include, *link, "-o", os.fspath(output)])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        first = next((line for line in lines if "error" in line), lines[0] if lines else "")
        raise Unavailable(f"{command[0]} does not compile {SOURCE.name}: {first[:300]}")
    return done.stdout


def _open(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise Unavailable(f"{path} cannot be loaded: {error}") from error
