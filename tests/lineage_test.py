"""Whether what a finished run was trained from is still there: its teachers, by their place, and
the run that it started from.
"""

import json

import pytest

from kd.errors import InputError
from kd.runs import lineage
from kd.runs.workdir import Workdir


def made(path, **result):
    path.mkdir()
    (path / "result.json").write_text(json.dumps(result))
    return Workdir(path)


@pytest.mark.parametrize(
    ("record", "changed"),
    [
        (dict(teacher=dict(run_weights="b")), dict(groups={0: "other"})),
        (
            dict(teacher=dict(groups=[dict(run_weights="a"), dict(run_weights="b")])),
            dict(groups={1: "other"}),
        ),
        (dict(init=dict(run_weights="b")), dict(init="other")),
    ],
    ids=["teacher", "second group", "start"],
)
def test_other_weights_are_refused(tmp_path, record, changed):
    """The same weights, a run that is gone, and one from before weights were recorded pass."""
    run, other = made(tmp_path / "run", **record), tmp_path / "other"
    places = {
        k: {i: Workdir(other) for i in v} if k == "groups" else Workdir(other)
        for k, v in changed.items()
    }
    check = lambda: lineage.check(run, places.get("groups", {}), places.get("init"))
    check()
    made(other, weights="c")
    with pytest.raises(InputError, match=f"{other} that had other weights"):
        check()
    for known in ({"weights": "b"}, {}):
        (other / "result.json").write_text(json.dumps(known))
        check()
