"""A run that starts from another: whose variables it takes over, what it trains first, what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from kd import main as command
from kd.workdir import Workdir

FIRST = Workdir("runs/small-teacher")
SECOND = Workdir("runs/small-labels")
STILL = "--config.optimizer.learning_rate=0.0"


def kd(*arguments):
    return command.main(["run", *map(str, arguments)])


@pytest.fixture
def labels(finished, small_config: Path) -> str:
    """A run from labels alone, that starts where the finished teacher ended."""
    text = small_config.read_text()
    text = text.replace('arg != "teacher"', 'arg not in ("teacher", "labels")')
    start = (
        '    if arg == "labels":\n        c.init = dict(config="small.py:teacher")\n'
    )
    small_config.write_text(text.replace("    return c", f"{start}    return c"))
    return f"{small_config}:labels"


def test_a_run_that_learns_nothing_more_ends_where_the_first_did(labels, capsys):
    assert kd("--config", labels, STILL) == 0
    first, second = FIRST.predictions()["logits"], SECOND.predictions()["logits"]
    np.testing.assert_array_equal(first, second)
    origin = SECOND.read("result.json")["init"]
    assert origin["run"] == "runs/small-teacher"
    assert SECOND.read("origin.json")["init"] == origin["weights"]
    told = capsys.readouterr().out
    assert "every student started from what runs/small-teacher had learnt" in told
    assert told.rstrip().endswith("runs/small-teacher")
