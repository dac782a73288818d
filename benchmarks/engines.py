"""Processor seconds to plan, submit and show a table of 500 runs; and of an engine besides a run.

A program that only prints numbers stands in for `sbatch`, so that kd's part is what is measured;
where a Slurm is, its own commands take 0.02 to 0.07 s a job besides.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.record import Case, Prepared, Row

TITLE = "processor seconds of kd's part in a table on a cluster"
REPEATS = 3

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    a = dict(part.split("=") for part in (arg or "").split(",") if part)
    c = ConfigDict()
    c.data = dict(name="arrays", path="{data}")
    c.batch_size, c.epochs = 32, 3
    c.seed = int(a.get("seed", 0))
    c.student = dict(name="mlp.MLP", widths=(8,))
    c.optimizer = dict(name="sgd", learning_rate=float(a.get("rate", 0.1)))
    c.objective = dict(ce=dict(name="ce.CE"))
    if "teacher" in a:
        c.teacher = dict(config=f"small.py:seed={{a['teacher']}}")
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c
"""

EXPERIMENT = """
def get_experiment(arg=None):
    runs = {runs}
    teachers = [f"small.py:seed={{i}}" for i in range(max(runs // 10, 1))]
    students = [
        f"small.py:teacher={{i % len(teachers)}},rate={{0.001 * (i + 1)}}"
        for i in range(runs - len(teachers))
    ]
    cells = [dict(row=config, config=config) for config in teachers + students]
    return dict(tables=[dict(title="Many", cells=cells)])
"""

SBATCH = """#!/bin/sh
for word in "$@"; do [ "$word" = --test-only ] && exit 0; done
read number < {home}/number
echo $((number + 1)) > {home}/number
echo $number
"""

SQUEUE = """#!/bin/sh
read number < {home}/number
i=1; while [ $i -lt $number ]; do echo "$i|PENDING|Priority|"; i=$((i + 1)); done
"""


def cases(toy: bool) -> Sequence[Case]:
    """One: the three commands of a table."""
    runs = 20 if toy else 500
    return [Case(f"{runs} runs", partial(_make, runs))]


def _make(runs: int) -> Prepared:
    home = Path(tempfile.mkdtemp(prefix="kd-benchmark-"))
    image = np.random.default_rng(0).integers(0, 256, (64, 8, 8), np.uint8)
    label = np.arange(64, dtype=np.int32) % 10
    np.savez(home / "data.npz", x_train=image, y_train=label, x_test=image, y_test=label)
    (home / "small.py").write_text(CONFIG.format(data=home / "data.npz"))
    (home / "many.py").write_text(EXPERIMENT.format(runs=runs))
    (home / "number").write_text("1\n")
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("sinfo", "#!/bin/sh\n")):
        path = home / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(home=home))
        path.chmod(0o755)
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    root = Path(__file__).parents[1]
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(root)}
    kd = partial(_command, home, environment)
    parts: dict[str, Callable] = {
        "plan": partial(kd, "table", "many.py", "--dry_run"),
        "submit": partial(kd, "table", "many.py", "--on", "slurm"),
        "show": partial(kd, "status", "many.py"),
    }
    return Prepared(parts, {"runs": runs}, warmup=0)


def _command(home: Path, environment: Mapping[str, str], *arguments: str) -> float:
    """Processor seconds of a command and of the programs that it starts."""
    if arguments[-1] == "slurm":  # all are submitted anew
        (home / "number").write_text("1\n")
        subprocess.run(["rm", "-rf", home / "runs"], check=True)
    before = os.times()
    command = [sys.executable, "-m", "kd", *arguments]
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The median of each command's rounds."""
    head = ["", "plan (--dry_run)", "submit (--on slurm)", "show (kd status)"]
    lines = [head]
    for row in rows:
        times = [np.median(row["seconds"][part]) for part in ("plan", "submit", "show")]
        lines.append([row["case"], *(f"{seconds:z.1f} s" for seconds in times)])
    return lines
