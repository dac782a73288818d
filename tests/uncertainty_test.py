"""Uncertainty taken apart, by hand, and what tells foreign images from familiar ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from kd.cli.main import main
from kd.config.identity import config_hash
from kd.metrics import uncertainty
from kd.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("unoptimized_module")

ROOT = Path(__file__).parents[1]
LN2 = np.log(2)


def test_members_that_contradict_one_another_know_nothing_together():
    """Two sure members of opposite opinion, and two that both say half and half: total ln 2 in both
    cases, of different kinds.
    """
    opposed = np.array([[[40.0, -40.0]], [[-40.0, 40.0]]])
    unsure = np.zeros((2, 1, 2))
    found = uncertainty.of_members(np.concatenate([opposed, unsure], axis=1))
    np.testing.assert_allclose(found.total, [LN2, LN2])
    np.testing.assert_allclose(found.expected, [0, LN2], atol=1e-12)
    np.testing.assert_allclose(found.mutual, [LN2, 0], atol=1e-12)
    alone = uncertainty.of_members(opposed, [1.0, 0.0])
    np.testing.assert_allclose([*alone.total, *alone.mutual], 0, atol=1e-12)


def test_a_dirichlet_by_hand_and_by_many_draws():
    """Of a uniform p the expected entropy is 1/2: the integral of -2 p log p."""
    found = uncertainty.of_dirichlet(np.zeros((1, 2)))
    np.testing.assert_allclose([*found.total, *found.expected], [LN2, 0.5])
    logits = np.array([[1.0, 0.2, -0.5]])
    p = np.random.default_rng(0).dirichlet(np.exp(logits[0]), 200_000)
    drawn = uncertainty.of_members(np.log(np.maximum(p, 1e-300))[:, None])
    own = uncertainty.of_dirichlet(logits)
    np.testing.assert_allclose(np.ravel(own), np.ravel(drawn), atol=5e-3)


def test_auroc_by_hand():
    """Of four pairs three are in order and one is a tie."""
    assert uncertainty.auroc(np.array([0.0, 1.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert uncertainty.auroc(np.zeros(3), np.zeros(2)) == 0.5


def test_orders_that_agree_and_that_do_not():
    a = np.array([1.0, 2.0, 3.0])
    assert uncertainty.rank_correlation(a, a**3) == 1
    assert uncertainty.rank_correlation(a, -a) == -1
    assert uncertainty.rank_correlation(a, np.zeros(3)) == 0


@pytest.mark.slow
def test_a_student_of_one_prediction_claims_no_disagreement(
    finished, small_config, small_data, capsys
):
    command = ["uncertainty", "runs/small", "--foreign", "arrays"]
    assert main([*command, "--foreign_path", str(small_data)]) == 0
    assert "ensemble of 2" in capsys.readouterr().out
    content = json.loads((Workdir("runs/small").path / "uncertainty-arrays.json").read_text())
    student, ensemble = content["networks"]["student"], content["networks"]["ensemble of 2"]
    assert "auroc_mutual" not in student and ensemble["mutual"][0] > 0
    assert student["auroc_total"] == [0.5, 0.5]  # the set itself is not foreign
    accuracy = Workdir("runs/small").read("result.json")["final"]["accuracy"]
    assert student["accuracy"] == pytest.approx(accuracy)
    run = Workdir("runs/small")
    config = run.read("config.json")
    config["teacher"]["members"] = "paired"
    run.write("config.json", config)
    run.write("result.json", run.read("result.json") | {"config_hash": config_hash(config)})
    assert main([*command, "--foreign_path", str(small_data)]) == 0
    assert "ensemble" not in capsys.readouterr().out
    paired = json.loads((run.path / "uncertainty-arrays.json").read_text())["networks"]
    teachers = Workdir("runs/small-teacher").read("result.json")["final"]["accuracy"]
    assert paired["its own teacher"]["accuracy"] == pytest.approx(teachers)
    assert "rank_correlation" not in paired["student"]
    assert main(["uncertainty", "nowhere", "--foreign", "mnist"]) == 2
    image, label = np.zeros((4, 5, 5, 1), np.uint8), np.arange(4) % 2
    np.savez("5x5.npz", x_train=image, y_train=label, x_test=image, y_test=label)
    assert main([*command, "--foreign_path", "5x5.npz"]) == 2
    assert "are [5, 5, 1], those of runs/small [8, 8, 1]" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("method", ["end2", "hydra"])
def test_students_that_keep_the_members_apart(tmp_path, monkeypatch, capsys, method):
    """A Dirichlet's spread and the heads', by the command, against what the run itself stored."""
    monkeypatch.chdir(tmp_path)
    config = f"{ROOT / 'configs/ensembles.py'}:method={method},teachers=2,seeds=2,smoke"
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    assert main(["run", "--config", config, "--workdir", "w"]) == 0
    image = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    label = np.arange(40) % 10
    np.savez("noise.npz", x_train=image, y_train=label, x_test=image, y_test=label)
    noise = ["--foreign", "arrays", "--foreign_path", "noise.npz"]
    assert main(["uncertainty", "w", *noise]) == 0
    run = Workdir("w")
    networks = json.loads((run.path / "uncertainty-arrays.json").read_text())["networks"]
    student, logits = networks["student"], run.predictions()["logits"]
    total = [uncertainty.entropy(z).mean() for z in logits]
    np.testing.assert_allclose(student["total"], total, rtol=1e-5)
    assert min(student["mutual"]) > 0 and len(student["auroc_mutual"]) == 2
    if method == "hydra":
        assert main(["export", "w", "--format", "litert", "--int8"]) == 2
        assert "REDUCE_MAX has no int8 form" in capsys.readouterr().err
    if method == "end2":
        mutual = [uncertainty.of_dirichlet(z).mutual.mean() for z in logits]
        np.testing.assert_allclose(student["mutual"], mutual, rtol=1e-4)
    accuracy = run.read("result.json")["final"]["accuracy"]
    assert student["accuracy"] == pytest.approx(accuracy)
