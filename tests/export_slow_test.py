"""From a config to a program in C, with real processes; and what is promised of Fashion-MNIST."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kd import data
from kd.errors import MissingData
from kd.export import interpreter
from kd.runs.workdir import Workdir

ROOT = Path(__file__).parents[1]

PROGRAM = r"""
#include <stdio.h>
#include "kd_model.h"

int main(void) {
    int8_t in[KD_INPUT_SIZE], out[KD_OUTPUT_SIZE];
    while (fread(in, 1, sizeof in, stdin) == sizeof in) {
        if (kd_invoke(in, out) != 0 || fwrite(out, 1, sizeof out, stdout) != sizeof out) {
            return 1;
        }
    }
    return 0;
}
"""

RELOAD = """
import sys, jax, numpy as np
program = jax.export.deserialize(bytearray(open(sys.argv[1] + "/model.stablehlo", "rb").read()))
golden = np.load(sys.argv[1] + "/golden.npz")
assert "flax" not in sys.modules and "kd" not in sys.modules
print(np.abs(np.asarray(program.call(golden["image"])) - golden["logits"]).max())
"""


def kd(*arguments):
    """Runs the command in a process of its own, from the repository's root."""
    command = [sys.executable, "-m", "kd", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def exported(run, *form):
    """Directory and report of a new export; how many seconds of processor it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = Path(kd("export", str(run), *form).splitlines()[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return folder, json.loads((folder / "report.json").read_text()), spent


def classified(folder, scratch, images):
    """Outputs of the exported kernels, compiled with a program of our own, for raw images: int8 [n,
    c].
    """
    (scratch / "main.c").write_text(PROGRAM)
    sources = [folder / "kd_model.c", *sorted((folder / "kernels").glob("*.c"))]
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", f"-I{folder}"]
    program = scratch / "classify"
    files = [scratch / "main.c", *sources]
    subprocess.run(["gcc", *flags, *map(os.fspath, files), "-o", program], check=True)
    pixels = (images.astype(int) - 128).astype(np.int8)
    out = subprocess.run([program], input=pixels.tobytes(), capture_output=True)
    assert out.returncode == 0
    return pixels, np.frombuffer(out.stdout, np.int8).reshape(len(images), -1)


@pytest.mark.slow
def test_digits_from_a_config_to_a_program_in_c(tmp_path):
    run = tmp_path / "digits"
    config = "configs/digits.py:role=labels,seeds=2"
    kd("run", "--config", config, "--config.epochs=40", "--workdir", str(run))
    folder, report, _ = exported(run, "--format", "c")
    test = data.load("digits").test
    pixels, said = classified(folder, tmp_path, test.image)
    reference = interpreter.run((folder / "model.tflite").read_bytes(), pixels)
    assert np.abs(said.astype(int) - reference).max() <= 1
    trained = Workdir(run).read("result.json")["final"]["accuracy"][0]
    right = np.mean(said.argmax(-1) == test.label)
    assert right > 0.9
    assert abs(right - trained) <= 0.01
    assert report["seed_chosen"].startswith("the first of 2")


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    """A finished run of configs/fashion_mnist.py, two epochs from labels."""
    try:
        data.load("fashion_mnist")
    except MissingData as error:
        pytest.skip(str(error))
    run = tmp_path_factory.mktemp("fashion") / "run"
    config = "configs/fashion_mnist.py:role=labels,epochs=2,seeds=1"
    kd("run", "--config", config, "--workdir", str(run))
    return run


@pytest.mark.campaign
def test_fashion_mnist_keeps_what_is_promised_of_it(fashion, tmp_path):
    _, report, _ = exported(fashion, "--format", "litert")
    checked = report["checks"]["test"]
    assert checked["images"] == 10_000
    # Floating point is held to the size of what it computes: the largest logits are about 17.
    assert checked["error_max"] < 1e-5 * max(1, checked["largest_logit"])
    assert checked["agreement"] == 1

    folder, report, spent = exported(fashion, "--format", "c")
    checked = report["checks"]["test"]
    assert checked["images"] == 10_000
    assert checked["float_accuracy"] - checked["accuracy"] <= 0.003
    assert checked["agreement"] >= 0.985
    assert report["checks"]["tflm"]["images"] == 1000
    assert report["checks"]["tflm"]["lsb"] <= 1
    assert report["flash_bytes"] < 12_000
    assert report["checks"]["tflm"]["arena_bytes"] < 13_000
    # Ten seconds on two cores, whatever else they do.
    assert spent < 20

    test = data.load("fashion_mnist").test
    pixels, said = classified(folder, tmp_path, test.image[:1000])
    reference = interpreter.run((folder / "model.tflite").read_bytes(), pixels)
    assert np.abs(said.astype(int) - reference).max() <= 1


@pytest.mark.campaign
def test_the_archive_needs_jax_alone(fashion):
    folder, _, _ = exported(fashion, "--format", "stablehlo")
    command = [sys.executable, "-c", RELOAD, os.fspath(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(told.stdout) == 0.0
