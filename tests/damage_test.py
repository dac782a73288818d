"""Damaged run directories: what is loaded is what was saved, or the damage is told of in a line.

A damage is a flipped bit, an overwritten run of bytes, a cut, exchanged or missing file. Of a
finished run, the weights that load are equal or refused. An unfinished one goes on from the
checkpoint before, or with an equal state.
"""

import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from kd import objective, teachers
from kd.errors import InputError
from kd.init import make_init
from kd.models.mlp import MLP
from kd.objectives.ce import CE
from kd.runs import digests
from kd.runs.checkpoint import Checkpoints
from kd.runs.networks import load_networks, weights_hash
from kd.runs.workdir import Workdir
from kd.train.program import seed_keys

CASES = 300
PIECES = 20  # a tenth of the campaign is two of them


def states(seed: int = 0):
    """States of two seeds of a small network."""
    batch = {"image": jax.numpy.ones((4, 5, 5, 1)), "label": jax.numpy.arange(4) % 3}
    term = objective.Weighted({"ce": CE()}, {"ce": 1.0})
    init = make_init(MLP(3, (4,)), term, teachers.none(), optax.adam(0.1))
    frozen = {"teacher": (), "tables": {}}
    return jax.jit(jax.vmap(init, (0, None, None)))(seed_keys(seed, 2), frozen, batch)


def content(state) -> dict:
    """What identifies a state."""
    return digests.of({"state": state})


def files_of(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file() and p.stat().st_size)


def damage(rng: np.random.Generator, files: list[Path], others: list[Path]) -> str:
    """Damages one of the files, and says how. `others` are files of the same names elsewhere."""
    path = files[rng.integers(len(files))]
    data = bytearray(path.read_bytes())
    how = str(rng.choice(["flip", "flip", "flip", "run", "run", "cut", "exchange", "missing"]))
    if how == "flip":
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    elif how == "run":
        start = int(rng.integers(max(1, len(data) - 64)))
        data[start : start + 64] = rng.bytes(min(64, len(data) - start))
    elif how == "cut":
        del data[int(rng.integers(len(data))) :]
    elif how == "exchange":
        data = bytearray(others[rng.integers(len(others))].read_bytes())
    path.write_bytes(bytes(data))
    if how == "missing":
        path.unlink()
    return f"{how} {path}"


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A directory of checkpoints at steps 3 and 7, another run's at 7, and their states."""
    base = tmp_path_factory.mktemp("unfinished")
    old, new, other = states(0), states(1), states(2)
    for name, saves in (("run", {3: old, 7: new}), ("other", {7: other})):
        checkpoints = Checkpoints(base / name / "checkpoints")
        for step, state in saves.items():
            checkpoints.save(state, step)
        checkpoints.close()
    return base, old, new


def restored(directory: Path, like):
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.restore(like)
    finally:
        checkpoints.close()


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, unfinished, capfd):
    base, old, new = unfinished
    run = shutil.copytree(base / "run", tmp_path / "run")
    data = max(files_of(run / "checkpoints/7"), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:-20])
    state = restored(run / "checkpoints", new)
    assert content(state) == content(old)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "step 7 is damaged" in lines[0] and "from step 3" in lines[0]
    checkpoints = Checkpoints(run / "checkpoints")
    assert checkpoints.latest() == 3
    checkpoints.save(new, 7)  # the step that was damaged comes again
    checkpoints.close()
    assert content(restored(run / "checkpoints", old)) == content(new)
    shutil.rmtree(run / "checkpoints/3")
    data = max(files_of(run / "checkpoints/7"), key=lambda path: path.stat().st_size)
    data.write_bytes(bytes(100))
    with pytest.raises(InputError, match=r"step 7 is damaged.*remove"):
        restored(run / "checkpoints", old)


def test_a_step_in_place_of_another_is_damage(tmp_path, unfinished, capfd):
    base, old, new = unfinished
    run = shutil.copytree(base / "run", tmp_path / "run")
    shutil.rmtree(run / "checkpoints/7")
    shutil.copytree(run / "checkpoints/3", run / "checkpoints/7")
    assert content(restored(run / "checkpoints", new)) == content(old)
    assert "it is that of step 3" in capfd.readouterr().err


def test_two_checkpoints_are_kept_until_the_run_ends(unfinished, tmp_path):
    base, old, _ = unfinished
    run = shutil.copytree(base / "run", tmp_path / "run")
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    checkpoints.save(old, 9)
    checkpoints.wait()
    steps = lambda: {p.name for p in (run / "checkpoints").iterdir() if p.name.isdigit()}
    assert steps() == {"7", "9"}
    checkpoints.prune()
    checkpoints.close()
    assert steps() == {"9"}


def test_checkpoints_without_digests_load(unfinished, tmp_path, monkeypatch):
    """Those of earlier versions."""
    _, old, _ = unfinished
    monkeypatch.setattr(digests, "of", lambda parts: {})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(old, 1)
    checkpoints.close()
    assert content(restored(tmp_path, old)) == content(old)


@pytest.mark.campaign
@pytest.mark.parametrize("piece", range(PIECES // 2))
def test_no_damage_to_an_unfinished_run_is_silent(tmp_path, unfinished, capfd, piece):
    base, old, new = unfinished
    known = {str(content(old)): "old", str(content(new)): "new"}
    rng = np.random.default_rng(piece)
    for _ in range(CASES // PIECES):
        run = shutil.copytree(base / "run", tmp_path / "run")
        step = run / "checkpoints/7"
        what = damage(rng, files_of(step), files_of(base / "other/checkpoints/7"))
        capfd.readouterr()
        try:
            loaded = known[str(content(restored(run / "checkpoints", new)))]  # nothing else
            printed = capfd.readouterr().err
            # A step without its mark of completion is one that a kill cut short.
            unmarked = not (step / "_CHECKPOINT_METADATA").exists() or "missing" in what
            assert loaded == "new" or "Going on from step 3" in printed or unmarked, what
            assert "Traceback" not in printed, what
        except InputError as error:
            assert "\n" not in str(error), what
        shutil.rmtree(run)


@pytest.fixture(scope="module")
def trained(small_run, tmp_path_factory):
    """The finished runs of `small.py`, and the hash of the student's weights."""
    home = tmp_path_factory.mktemp("trained")
    shutil.copytree(small_run[0] / "runs", home / "runs")
    return home / "runs", weights_hash(load_networks(Workdir(home / "runs/small")).variables)


@pytest.mark.campaign
@pytest.mark.parametrize("piece", range(PIECES // 2))
def test_no_damage_to_a_finished_run_is_silent(tmp_path, trained, capfd, piece):
    runs, wanted = trained
    rng = np.random.default_rng(1000 + piece)
    outcomes = []
    for _ in range(CASES // PIECES):
        run = shutil.copytree(runs / "small", tmp_path / "run")

        what = damage(rng, files_of(run), files_of(runs / "small-teacher"))
        workdir = Workdir(run)
        try:
            if workdir.finished:
                assert weights_hash(load_networks(workdir).variables) == wanted, what
                workdir.predictions()
            outcomes.append("equal")
        except InputError as error:
            assert "\n" not in str(error), what
            outcomes.append("refused")
        shutil.rmtree(run)
    assert "refused" in outcomes
