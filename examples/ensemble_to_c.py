"""From an ensemble to C: three teachers, a student of 16 hidden units, int8 kernels in C11.

    uv run python examples/ensemble_to_c.py [DIRECTORY]

Both configs are plain data, as in `configs/`. The runs and the export are written to DIRECTORY
(default: `runs/ensemble_to_c`); the same command resumes. The export needs the extra `kd[mcu]` and
a C compiler.
"""

import sys
from pathlib import Path

from ml_collections import ConfigDict

import kd
from kd.cli.main import main as command


def teacher_config() -> ConfigDict:
    """Three networks, trained on labels in one program."""
    c = ConfigDict()
    c.data = dict(name="digits")
    c.seeds, c.epochs, c.batch_size = 3, 5, 64
    c.student = dict(name="mlp.MLP", widths=(64, 64), dropout=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.optimizer = dict(name="adamw", learning_rate=3e-3)
    return c


def student_config(teacher: str) -> ConfigDict:
    """A small network, distilled from the mean of the teachers' probabilities."""
    c = ConfigDict()
    c.data = dict(name="digits")
    c.epochs, c.batch_size = 10, 64
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.teacher = dict(run=teacher, members="all", reduce="probs")
    c.objective = dict(
        ce=dict(name="ce.CE", weight=0.1), kd=dict(name="kd.KD", weight=0.9, temperature=4.0)
    )
    c.optimizer = dict(name="adamw", learning_rate=1e-2)
    return c


def main(directory: Path) -> int:
    """Trains both, prints the table, and exports the student."""
    teachers = kd.run(teacher_config(), workdir=directory / "teachers")
    student = kd.run(student_config(str(teachers.path)), workdir=directory / "student")
    print(student.table())
    out = directory / "c"
    return command(["export", str(student.path), "--format", "c", "--out", str(out)])


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:2] or ["runs/ensemble_to_c"])))
