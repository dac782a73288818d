"""What a report says, as plain data: all that `report.json` holds and the page shows."""

from collections.abc import Sequence
from typing import Any

from kd.report import comparison, stored
from kd.report.conclusions import conclude, conclude_many
from kd.runs.workdir import Workdir


def make_content(
    paths: Sequence[str], root: str = "runs", run: bool = True, images: int | None = None
) -> dict[str, Any]:
    """Content of `report.json`. Shares in [0, 1], NLL and KL in nats, costs of one network.

    Args:
      paths: directories of finished runs that were evaluated on the same examples. The first is
        what others are compared with.
      root: where the runs of `config.compare` lie; one that is not finished is named as missing.
      run: whether to run the networks, for what stored predictions cannot tell.
      images: test images to run them on; None chooses.

    Raises:
      InputError: a directory is no run, is not finished, its teacher's run is gone, the examples
        differ, or, where networks are run, the data or the teacher are not those of the run any
        more.
    """
    runs = [stored.read(Workdir(path)) for path in dict.fromkeys(paths)]
    comparison.require_same_examples(runs)
    described = [_describe(own, root, run, images) for own in runs]
    others = [gain["run"] for one in described for gain in one["gains"].values() if gain]
    points = comparison.points(runs, others)
    front = {point.name for point in comparison.front(points)}
    content: dict[str, Any] = {
        "runs": described,
        "pairs": comparison.pairs(runs),
        "points": [{**point._asdict(), "front": point.name in front} for point in points],
    }
    content["conclusions"] = conclude_many(content)
    return content


def _describe(own: stored.Stored, root: str, run: bool, images: int | None) -> dict[str, Any]:
    content = stored.describe(own, root)
    content["networks"] = None
    if run:
        from kd.report import gallery, measured

        dataset = measured.load_data(own)
        content["networks"] = measured.measure(own, dataset, images)
        content["corrupted"] = gallery.corrupted(dataset)
        if own.target is not None:
            content["mistakes"] = gallery.mistakes(own, dataset, content["classes"])
    content |= conclude(content)
    return content
