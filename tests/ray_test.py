"""Tables on a real Ray of two nodes, both this machine, in processes of their own."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import until
from slurm_test import equal

from kd.runs.workdir import Workdir

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra kd[ray])"
)

EXPERIMENT = """
def get_experiment(arg=None):
    configs = ["small.py:teacher", "small.py"]
    rows = {config: dict(config=config) for config in configs}
    return dict(title="Small", metric="errors", tables=[dict(title="Small", rows=rows)])
"""

NODES = """
import json, sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, include_dashboard=False))
nodes = {}
for i in (1, 2):
    node = cluster.add_node(num_cpus=1, resources={f"n{i}": 1})
    nodes[node.node_id] = node.all_processes["raylet"][0].process.pid
print(json.dumps(dict(address=cluster.address, nodes=nodes)), flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def nodes(small_config):
    """Address of the cluster, and its raylets' processes."""
    Path("exp.py").write_text(EXPERIMENT)
    with open("nodes.log", "w") as log:  # noqa: PTH123
        process = subprocess.Popen(
            [sys.executable, "-c", NODES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        assert process.stdout is not None and process.stdin is not None
        line = process.stdout.readline()
        if not line:
            pytest.skip(f"Ray does not start here: {Path('nodes.log').read_text()[-500:]}")
        yield json.loads(line)
        process.stdin.close()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def start(*arguments):
    with open("table.log", "w") as log:  # noqa: PTH123
        return subprocess.Popen(
            [sys.executable, "-m", "kd", "table", *arguments], stdout=log, stderr=log
        )


@pytest.mark.campaign
def test_a_lost_node_s_run_goes_on_elsewhere_with_the_bits_of_a_local_one(finished, nodes):
    """A raylet is killed while its node trains the teacher."""
    log = Path("table.log")
    table = start("exp.py", "--on", "ray", "--address", nodes["address"], "--runs", "far")
    run = Workdir("far/small-teacher")
    until(lambda: run.metrics.exists() or table.poll() is not None, "no run", log, 200)
    assert table.poll() is None, log.read_text()
    parent = ancestors(run.holder()["pid"])
    raylet = next(pid for pid in nodes["nodes"].values() if pid in parent)
    os.kill(raylet, signal.SIGKILL)
    until(lambda: table.poll() is not None, "the table does not end", log, 400)
    assert table.returncode == 0, log.read_text()
    for name in ("small-teacher", "small"):
        equal(f"far/{name}", f"runs/{name}")
    more = ["--address", nodes["address"], "--each", "gpus=8"]
    refusal = subprocess.run(
        [sys.executable, "-m", "kd", "table", "exp.py", "--on", "ray", "--runs", "new", *more],
        capture_output=True,
        text=True,
    )
    assert refusal.returncode == 2 and "no node of the cluster has" in refusal.stderr
    assert not Path("new").exists()


def ancestors(pid):
    """Numbers of the processes from which a process comes."""
    numbers = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        numbers.append(pid)
    return numbers


@pytest.mark.slow
def test_an_address_at_which_nothing_answers_is_refused(small_config):
    Path("exp.py").write_text(EXPERIMENT)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "kd", "table", "exp.py", "--on", "ray", "--address", "127.0.0.1:1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "no cluster answers at 127.0.0.1:1" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and time.monotonic() - begin < 300
