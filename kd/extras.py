"""Optional packages ("extras" of pyproject.toml): which are installed, and how to get one.

How depends on how kd was installed: a clone with uv, a clone with pip, a wheel, a repository, a
project of one's own. `command` says what works in the environment that is running.
"""

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import sys
import urllib.parse
import urllib.request
from pathlib import Path

_TFLITE = ("ai_edge_litert", "ai_edge_quantizer", "litert_converter", "tflite_micro")

EXTRAS = {
    "cpu": (),  # files only; see kd.convolutions.library
    "gcs": ("gcsfs",),
    "mcu": ("bakenn", "tflite"),
    "onnx": ("onnx", "onnxruntime", *_TFLITE),
    "ray": ("ray",),
    "tensorboard": ("tensorboardX",),
    "tflite": _TFLITE,
    "tune": ("optuna",),
}
"""Modules of each extra."""

ROOT = Path(__file__).parents[1]
"""The clone, or the directory of installed packages."""


def missing(extra: str) -> list[str]:
    """The modules of an extra that are not installed."""
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def command(extra: str) -> str:
    """The shell command that installs an extra into the environment that is running."""
    root = ROOT.resolve()
    if is_clone():
        if Path(sys.prefix).resolve() == root / ".venv":
            inside = root in (Path.cwd(), *Path.cwd().parents)
            where = "" if inside else f" --project {shlex.quote(str(root))}"
            return f"uv sync --extra {extra} --inexact{where}"  # inexact: keeps what else is there
        return f"{_installer()} -e {shlex.quote(f'{root}[{extra}]')}"
    source = _source()
    if source is None:
        return f"{_installer()} {_requirements(extra)}"
    wanted = shlex.quote(f"kd[{extra}]{source and f' @ {source}'}")
    if (Path(sys.prefix).parent / "uv.lock").is_file():  # a project that uv manages
        return f"uv add {wanted}"
    return f"{_installer()} {wanted}"


def is_clone() -> bool:
    """Whether kd runs from a clone of its repository, by an editable install for example."""
    try:
        text = (ROOT / "pyproject.toml").read_text()
    except OSError:
        return False
    return re.search(r'(?m)^name = "kd"$', text) is not None


def _installer() -> str:
    """The command that installs into the environment that is running."""
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {python}"
    return f"{python} -m pip install"


def _source() -> str | None:
    """Where kd was installed from, as PEP 508 writes it: "" for an index, None if it is gone."""
    try:
        distribution = importlib.metadata.distribution("kd")
        text = distribution.read_text("direct_url.json")  # PEP 610
    except importlib.metadata.PackageNotFoundError:
        return None
    if text is None:
        return ""
    origin = json.loads(text)
    url = origin["url"]
    if "vcs_info" in origin:
        version = origin["vcs_info"]
        return f"{version['vcs']}+{url}@{version['commit_id']}"
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file" and not os.path.exists(urllib.request.url2pathname(parts.path)):  # noqa: PTH110
        return None
    return url


def _requirements(extra: str) -> str:
    """The packages of an extra with their versions, for a shell."""
    try:
        every = importlib.metadata.requires("kd") or []
    except importlib.metadata.PackageNotFoundError:
        return shlex.quote(f"kd[{extra}] @ PATH") + ", with the path of kd's wheel or clone"
    ours = [text.partition(";") for text in every]
    return shlex.join(
        name.strip()
        for name, _, marker in ours
        if re.search(rf"extra == ['\"]{extra}['\"]", marker)
    )
