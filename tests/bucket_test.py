"""Run directories in a bucket, through a file system in memory that stands in for gs://."""

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from kd.cli.main import main
from kd.config import default_workdir
from kd.runs.record import Record, read_rows
from kd.runs.workdir import Workdir


class Bucket(MemoryFileSystem):
    """As gcsfs is asked for: `gs://bucket/path`, with an option that memory does not know."""

    protocol = "gs"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    def __init__(self, finalize_on_close: bool = True, **_):
        super().__init__()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("gs://", "memory://"))


@pytest.fixture
def bucket():
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    return "gs://bucket/runs"


def test_a_run_directory_in_a_bucket(bucket):
    workdir = Workdir(default_workdir("configs/digits.py:role=labels", bucket))
    assert str(workdir) == "gs://bucket/runs/digits-role=labels"
    workdir.check_owner({"seed": 1})
    with workdir.lock():
        workdir.claim({"seed": 1}, {"data": "x"})
        workdir.write("predictions.npz", {"logits": np.ones(3)})
    np.testing.assert_array_equal(workdir.predictions()["logits"], np.ones(3))
    assert workdir.read("config.json") == {"seed": 1} and not workdir.finished
    for first in (0, 1):  # a resumed run keeps the rows up to its checkpoint
        record = Record(workdir, first)
        record.row("train", first + 1, 0, {"updates": 1, "loss": [1.0]})
        record.row("train", first + 2, 0, {"updates": 1, "loss": [1.0]})
        record.close()
        steps = [row["step"] for row in read_rows(workdir)]
        assert steps == [*range(1, first + 1), first + 1, first + 2]


@pytest.mark.parametrize(
    "command",
    [
        "report https://host/run",
        "export ftp://host/run --format c",
        "verify abfs://host/run",
        "table experiments/labels.py --runs https://host/runs --dry_run",
        "table experiments/labels.py --out hdfs://host/tables --dry_run",
        "run --config small.py --workdir https://host/run",
        "run --config small.py --config.teacher.run=https://host/run",
    ],
)
def test_a_bucket_of_an_unknown_kind_is_refused(small_config, command, capsys):
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert "unknown kind of bucket. Expected gs://BUCKET/DIRECTORY" in error
    assert error.count("\n") == 1
