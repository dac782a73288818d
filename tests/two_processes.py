"""A command as two real processes of one program, two simulated devices in each, which talk through
gloo.
"""

import os
import socket
import subprocess


def start(command, options):
    """Starts it with `--process 0` and `--process 1`, and returns the two processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
    }
    return [
        subprocess.Popen(
            [*command, *options, "--process", str(i)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]


def ends(processes):
    """Waits for both. Returns the exit statuses, and what each wrote to stdout and stderr."""
    try:
        told = [process.communicate(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], told


def run(command, options):
    """Runs it as two processes; see `start` and `ends`."""
    return ends(start(command, options))
