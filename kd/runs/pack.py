"""One network of a finished run as a small file, which `kd import` and PyTorch read back."""

import os
from pathlib import Path

from kd.devices.vectorize import tree_index
from kd.errors import InputError
from kd.files.writing import replacing
from kd.names import trust
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.weights import convert, safetensors

SUMS = "SHA256SUMS"


def pack(run: os.PathLike | str, out: os.PathLike | str, member: int = 0) -> str:
    """Writes network `member` of a finished run to a `.safetensors` file, and returns its sha256.

    The arrays are float32, under PyTorch's names. `SHA256SUMS` next to the file, which
    `sha256sum --check` reads, gets a line for it.

    Raises:
      InputError: the run is not finished, has no such member, or was trained on eight bits; kd
        knows no PyTorch names for its network; the file exists or its name has another suffix.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: expected a name that ends in .safetensors.")
    if out.exists():
        raise InputError(f"{out} exists already. Remove it, or give another --out.")
    workdir = Workdir(run)
    if not workdir.finished:
        raise InputError(f"{workdir} is not a finished run.")
    config = workdir.read("config.json")
    if config["student"].get("quantize"):
        raise InputError(
            f"{workdir} was trained on eight bits, and its ranges have no PyTorch names: without "
            "them it would be another network. `kd export RUN --format litert --int8` writes all "
            "of it."
        )
    trained = load_networks(workdir)
    count = len(trained.result["seeds"])
    if not 0 <= member < count:
        raise InputError(f"--member {member}: {workdir} has members 0 to {count - 1}.")
    name = config["student"]["name"]
    with trust.stored(workdir):
        state = convert.to_torch(name, tree_index(trained.variables, member))
    metadata = {
        "model": name,
        "data": config["data"]["name"],
        "seed": str(trained.result["seeds"][member]),
        "epochs": str(trained.result["epochs"]),
        f"{trained.result['split']} accuracy": str(trained.result["final"]["accuracy"][member]),
        "config_hash": trained.result["config_hash"],
        "git_commit": str(trained.result["git_commit"]),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as part:
        part.write_bytes(safetensors.encode(state, metadata))
    digest = convert.sha256(out)
    _add_digest(out, digest)
    return digest


def _add_digest(out: Path, digest: str) -> None:
    """Adds or replaces the file's line in SHA256SUMS."""
    sums = out.parent / SUMS
    lines = sums.read_text().splitlines() if sums.exists() else []
    lines = [line for line in lines if line.split("  ", 1)[-1] != out.name]
    with replacing(sums) as part:
        part.write_text("".join(f"{x}\n" for x in (*lines, f"{digest}  {out.name}")))
