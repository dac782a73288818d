"""The certificates of `kd verify` as stored in `verify.json`: reading, tables and the conclusion.

`statuses` of each network and radius are `proved` (its class is the label in the whole ball),
`refuted` (a witness in the ball gets another class) or `open`, one for each image in `index`.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kd.devices import mesh
from kd.errors import InputError
from kd.files.parsers import Content
from kd.runs.workdir import Workdir
from kd.types import PyTree
from kd.values import counted

FILE = "verify.json"
WITNESSES = "verify.npz"

INT8 = "int8 file"
"""Name of the exported network among those that are verified."""


def read(workdir: Workdir) -> Content | None:
    """The content of `verify.json` in a directory; None where there is none.

    Raises:
      InputError: it is damaged.
    """
    if not (workdir.path / FILE).exists():
        return None
    content = workdir.read(FILE)
    if not content.checked or not isinstance(content.get("networks"), list):
        raise InputError(
            f"{workdir.path / FILE} is damaged: it is not what kd verify writes. Write it again."
        )
    return content


def of_weights(workdir: Workdir, weights: Any) -> Content | None:
    """`read`, or None where the certificates are of other weights than `result.json` has now."""
    content = read(workdir)
    return content if content is not None and content.get("weights") == weights else None


def sha256(variables: PyTree) -> str:
    """Digest of all arrays of a network, and of their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(mesh.to_host(leaf)).tobytes())
    return digest.hexdigest()


def of_network(
    workdir: Workdir, variables: PyTree, files: Collection[str] = ()
) -> dict[str, Any] | None:
    """The conclusion, note and tables of `verify.json` where its student is this network, else
    None.

    Args:
      workdir: of the run.
      variables: of the network.
      files: sha256 of exported files. What is known of another file of integers is left out.

    Raises:
      InputError: `verify.json` is damaged.
    """
    content = read(workdir)
    if content is None or content["networks"][0]["sha256"] != [sha256(variables)]:
        return None
    is_other = lambda network: network["name"] == INT8 and network["sha256"][0] not in files
    networks = [network for network in content["networks"] if not is_other(network)]
    known = {**content, "networks": networks}
    return {
        "conclusion": content["conclusion"],
        "note": note(content),
        "table": table(known),
        "agreement": agreement(content),
        "difference": difference(content) if INT8 in [n["name"] for n in networks] else [],
    }


def table(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows for each network and radius, the first row the head."""
    rows = [
        [
            "network",
            "radius",
            "certified %",
            "under attack %",
            "open",
            "unstable units",
            "ms an image",
        ]
    ]
    for network in content["networks"]:
        for r in network["radii"]:
            n = sum(r[status] for status in ("proved", "refuted", "open"))
            unstable = r["unstable"]
            rows.append(
                [
                    network["name"],
                    f"{r['radius']:zg}",
                    f"{100 * r['proved'] / n:z.1f}",
                    f"{100 * (1 - r['refuted'] / n):z.1f}",
                    f"{r['open']:,}",
                    "" if unstable is None else f"{unstable:z.1f} of {r['units']:,}",
                    f"{1e3 * r['seconds'] / n:z.3g}",
                ]
            )
    return rows


def agreement(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows of `--against teacher`, the first row the head; empty where it was not asked for."""
    measured = content.get("agreement")
    if not measured:
        return []
    n = len(content["index"])
    head = ["student and teacher", "radius", "one class, proved %", "differ at the image %"]
    rows = [[*head, "difference of the logits at the image", "at most in the ball"]]
    for r in measured["radii"]:
        shares = [f"{100 * r[key] / n:z.1f}" for key in ("same", "differ")]
        gaps = [f"{r[key]:z.2f}" for key in ("gap_at_image", "gap")]
        rows.append([measured["teacher"], f"{r['radius']:zg}", *shares, *gaps])
    return rows


def difference(content: Mapping[str, Any]) -> list[list[str]]:
    """Rows of how far the logits of the int8 file can be from the float network's, the first row
    the head; empty where `--int8` was not asked for.
    """
    measured = content.get("difference")
    if not measured:
        return []
    head = ["float and int8 logits", "radius", "most at the images"]
    rows = [[*head, "at most in a ball, mean", "at most in any ball"]]
    for r in measured["radii"]:
        numbers = [f"{r[key]:z.3g}" for key in ("at_image", "mean", "bound")]
        rows.append(["student and int8 file", f"{r['radius']:zg}", *numbers])
    return rows


def note(content: Mapping[str, Any]) -> str:
    """What the columns of `table` are, in words."""
    n = len(content["index"])
    ball = "L-infinity" if content["norm"] == "linf" else "L2"
    return (
        f"{counted(n, 'image')} of {content['examples']:,}. Certified: the class is proved to be "
        f"the label for every image in the {ball} ball of the radius, {content['unit']}. Under "
        "attack: no image of the ball was found that gets another class. Open: neither. The "
        "bounds are sound for float32 sums in any order on a CPU."
    )


def conclusion(content: Mapping[str, Any]) -> str:
    """How much easier the student is to validate than its teacher or ensemble, or that it is not,
    in a few words: the share of decided questions, and seconds.
    """
    networks = {network["name"]: network for network in content["networks"]}
    student = content["networks"][0]
    text = f"Of the student, {_decided(student)}"
    names = [name for name in networks if name == "teacher" or name.startswith("ensemble of")]
    if not names:
        return f"{text}. No teacher was verified beside it."
    name = names[-1]
    teacher = networks[name]
    text += f"; of the {name}, {_decided(teacher)}."
    ours, theirs = (_share(network["radii"]) for network in (student, teacher))
    seconds, longer = _seconds(student), _seconds(teacher)
    decided = f"{100 * ours:z.1f} % are decided instead of {100 * theirs:z.1f} %"
    if ours == theirs:
        decided = "as many are decided"
    if ours >= theirs and seconds < longer:
        times = longer / max(seconds, 1e-4)
        quicker = f"{times:z,.0f}" if times >= 10 else f"{times:z.2g}"
        return (
            f"{text} The student is easier to validate than the {name}: {decided}, in {quicker} "
            "times less processor time."
        )
    if ours > theirs:
        return f"{text} More is known about the student ({decided}), but not in less time."
    return f"{text} The student is not easier to validate than the {name}: {decided}."


def _decided(network: Mapping[str, Any]) -> str:
    radii = network["radii"]
    decided = sum(r["proved"] + r["refuted"] for r in radii)
    total = decided + sum(r["open"] for r in radii)
    return f"{decided:,} of {total:,} questions are decided in {_seconds(network):z.3g} s"


def _seconds(network: Mapping[str, Any]) -> float:
    return sum(r["seconds"] + r["attack_seconds"] for r in network["radii"])


def _share(radii: Sequence[Mapping[str, Any]]) -> float:
    decided = sum(r["proved"] + r["refuted"] for r in radii)
    return decided / (decided + sum(r["open"] for r in radii))
