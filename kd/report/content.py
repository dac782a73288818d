"""The content of a report as plain data: all that `report.json` holds and the page shows."""

from collections.abc import Sequence
from typing import Any

from kd.report import comparison, sections
from kd.report.conclusions import conclude, conclude_many
from kd.report.run import Run, read
from kd.runs.workdir import Workdir


def make_content(
    paths: Sequence[str], root: str = "runs", networks: bool = True, images: int | None = None
) -> dict[str, Any]:
    """Content of `report.json`. Proportions are in [0, 1], NLL and KL in nats, costs of one
    network.

    Args:
      paths: directories of finished runs that were evaluated on the same examples. Later runs are
        compared with the first.
      root: directory of the runs that `config.compare` names; a missing one is named as missing.
      networks: whether to run the networks, for sections that need more than stored predictions.
      images: how many test images to run them on; None chooses.

    Raises:
      InputError: a directory has no finished run, a teacher's run is missing, or the examples
        differ; with `networks`, also where data or teacher are no longer those of the run.
    """
    runs = [read(Workdir(path), root) for path in dict.fromkeys(paths)]
    comparison.require_same_examples(runs)
    if networks:
        from kd.report.networks import load

        runs = [run._replace(networks=load(run, images)) for run in runs]
    content: dict[str, Any] = {"runs": [describe(run) for run in runs]}
    for section in sections.load():
        _add(content, section.name, section.compare(runs, content["runs"]))
    content["conclusions"] = conclude_many(content)
    return content


def describe(run: Run) -> dict[str, Any]:
    """Content of one run: what its sections measure, the verdict and the conclusions."""
    content = {
        "run": str(run.workdir),
        "data": run.config["data"]["name"],
        "split": run.result["split"],
        "examples": len(run.label),
        "seeds": _names(run.result),
        "acceptance": run.config.get("acceptance") or {},
        "networks": {} if run.networks else None,
    }
    for section in sections.load():
        _add(content, section.name, section.measure(run))
    return content | conclude(content)


def _names(result: dict[str, Any]) -> list[Any]:
    """The name of each network: its seed, and in cohorts the peer, too."""
    peers = len(result.get("peers", [1]))
    if peers == 1:
        return result["seeds"]
    return [f"{seed}, peer {i}" for seed in result["seeds"] for i in range(peers)]


def _add(content: dict[str, Any], section: str, entries: dict[str, Any]) -> None:
    """Merges entries into the content, dicts key by key."""
    for key, value in entries.items():
        if isinstance(content.get(key), dict) and isinstance(value, dict):
            _add(content[key], section, value)
        elif key in content:
            raise ValueError(f"section {section} measures {key!r}, which the report has already.")
        else:
            content[key] = value
