"""Where the numbers come from: command, config, code, time, versions and hardware of the run.

The page shows it at its top, see `kd.report.page`.
"""

from typing import Any

from kd.config.teachers import describe_external, external, recorded
from kd.report.run import Run
from kd.runs.progress import duration
from kd.values import counted

TITLE = "Provenance"
ORDER = -10


def measure(run: Run) -> dict[str, Any]:
    """`provenance`: names and texts; what an older run did not record is left out."""
    result = run.result
    facts = [
        ("command", result.get("command") or ""),
        ("config", _config(run)),
        ("commit", _commit(result)),
        ("training", _training(run)),
        ("teacher", ", ".join(_teachers(result))),
        ("started from", (result.get("init") or {}).get("run", "")),
        ("versions", _versions(result)),
        ("hardware", _hardware(result)),
        ("convolutions", str(result.get("convolutions") or "")),
    ]
    return {"provenance": [[name, text] for name, text in facts if text]}


def _config(run: Run) -> str:
    identity = run.result.get("config_hash")
    return f"{identity}, complete in {run.workdir}/config.json" if identity else ""


def _commit(result: dict[str, Any]) -> str:
    commit = result.get("git_commit")
    if not commit:
        return ""
    return commit.removesuffix("+") + (", with changes since" if commit.endswith("+") else "")


def _training(run: Run) -> str:
    result = run.result
    parts = [
        run.config["data"]["name"],
        counted(len(result["seeds"]), "seed"),
    ]
    if "epochs" in result:
        parts.append(counted(result["epochs"], "epoch"))
    if "batch_size" in run.config:
        in_parts = run.config.get("accumulate", 1)
        each = f" in {in_parts} parts" if in_parts > 1 else ""
        parts.append(f"batches of {run.config['batch_size']}{each}")
    if result.get("seconds") is not None:
        parts.append(f"took {duration(result['seconds'])}")
    if result.get("finished"):
        parts.append(f"finished {result['finished']}")
    return ", ".join(parts)


def _teachers(result: dict[str, Any]) -> list[str]:
    if external(result["teacher"]):
        return [describe_external(result["teacher"])]
    groups = recorded(result["teacher"])
    return [f"{_members(group.members)} of {group.run}" for group in groups]


def _members(members: list[int]) -> str:
    name = "member" if len(members) == 1 else "members"
    return f"{name} {', '.join(map(str, members))}"


def _versions(result: dict[str, Any]) -> str:
    versions = result.get("versions") or {"jax": result.get("jax_version")}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _hardware(result: dict[str, Any]) -> str:
    machine = result.get("hardware") or {}
    device = machine.get("device", "")
    if machine.get("devices", 1) > 1:
        device = f"{machine['devices']} x {device}"
    processor = result.get("processor") or machine.get("machine")
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    is_cpu = machine.get("platform") == "cpu"
    return ", ".join(filter(None, ["" if is_cpu else device, processor, cores]))
