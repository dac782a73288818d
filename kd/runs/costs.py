"""Costs of a run's student, from its `result.json`: of a cohort those of every peer."""

from collections.abc import Mapping
from typing import Any

COSTS = ("parameters", "bytes", "macs")
"""Keys of `result.json`, and of its entry `peers`. At the top of a cohort's result stand those of
the first peer.
"""


def of_student(result: Mapping[str, Any]) -> dict[str, int]:
    """Costs of one network of the student; of a cohort, whose accuracy is the mean over its peers,
    their mean.
    """
    peers = result.get("peers") or [result]
    return {key: round(sum(peer[key] for peer in peers) / len(peers)) for key in COSTS}


def by_peer(result: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """`of_student` as "student"; of a cohort then those of "student, peer 0" and so on."""
    peers = enumerate(result.get("peers") or ())
    each = {f"student, peer {i}": {key: peer[key] for key in COSTS} for i, peer in peers}
    return {"student": of_student(result), **each}
