"""Facts of a run as text: time, hardware and commit."""

from collections.abc import Mapping
from typing import Any

from kd.files.escaping import plain
from kd.tables.forecast import duration


def time(facts: Mapping[str, Any]) -> str:
    """How long the run took."""
    seconds = facts.get("seconds")
    return "missing" if seconds is None else duration(seconds)


def hardware(facts: Mapping[str, Any]) -> str:
    """What the run was trained on; empty if that is not known."""
    hardware = facts.get("hardware")
    if not hardware:
        return ""
    if hardware["platform"] == "cpu":
        return plain(f"{hardware['cores']} cores, {hardware['machine']}")
    return plain(f"{hardware['devices']} × {hardware['device']}")


def commit(facts: Mapping[str, Any]) -> str:
    """The short hash of the commit, with "+" if files had changed since."""
    commit = facts.get("git_commit") or ""
    return plain(commit[:10] + "+" * commit.endswith("+"))
