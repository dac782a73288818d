"""The table of every method: its config, its rows, and each method trained in miniature."""

import jax
import numpy as np
import pytest
from jax.tree_util import keystr, tree_leaves_with_path

import kd
from configs import fashion_methods
from configs.methods import FIRST, METHODS, SEVERAL, TEACHER_FREE
from kd import build
from kd import config as configs
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.tables import experiment, plan
from kd.train import session

pytestmark = pytest.mark.usefixtures("unoptimized_module")

ELSEWHERE = ("ibp", "crown_ibp", "kd_ibp", "ard", "rslad", "iad")
"""Methods that are trained in `experiments/verified.py`."""


def config_of(arguments):
    return build.spell_out(configs.load(f"configs/fashion_methods.py:{arguments}"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_config(name):
    c = config_of(f"method={name}")
    assert c.objective.to_dict().keys() == METHODS[name].keys()
    assert bool(c.teacher.config) == (name not in TEACHER_FREE)
    assert bool(c.init.config) == (name in FIRST)
    assert (c.teacher.members == "all") == (name in {*SEVERAL, *TEACHER_FREE, "tf_kd_self"})


def test_a_weight_multiplies_the_methods_own_terms_in_the_run_that_has_them():
    weight = lambda term, arguments: config_of(arguments).objective[term].weight
    assert weight("at", "method=at,weight=0.1") == pytest.approx(100)
    assert weight("ce", "method=at,weight=0.1") == 1
    assert weight("kd", "method=kd,weight=10") == pytest.approx(9)
    assert weight("kd", "method=crd_kd,weight=10") == 1
    assert weight("crd", "method=crd_kd,weight=10") == pytest.approx(8)
    assert weight("kd", "method=fitnet_second,weight=3").value == pytest.approx(3 / 9)
    assert config_of("method=ab,weight=10").init.config.endswith("method=ab_first,weight=10.0")
    assert config_of("method=ft,weight=10").init.config.endswith("method=ft_first")
    assert weight("ft", "method=ft,weight=10") == pytest.approx(2000)


def test_what_depends_on_the_networks_and_the_data_is_set():
    assert config_of("method=crd").objective.crd.num_negatives == 3932
    assert config_of("method=crd,images=50000").objective.crd.num_negatives == 16384
    first = config_of("method=fsp_first,student=wide")
    assert first.objective.fsp.features == ("stage1", "stage2", "stage3")
    assert first.student.widths == fashion_methods.TEACHER["widths"]
    assert config_of("method=labels,strong").mix == "mixup(0.2)"
    assert config_of("method=labels,strong").objective.ce.smoothing == 0.1


def test_teachers_are_one_run_of_which_methods_take_the_members_that_they_need():
    teacher = "configs/fashion_methods.py:role=teacher,seeds=3"
    assert [config_of(f"method={m}").teacher.config for m in ("kd", "camkd", "end2")] == [
        teacher
    ] * 3
    members = [config_of(f"method={m}").teacher.members for m in ("kd", "camkd", "end2")]
    assert members == ["0", "all", "all"]
    of = lambda arguments: config_of(arguments).teacher.config
    assert of("method=at,weight=10,student=mlp,epochs=3,seeds=2") == teacher
    held_out = "configs/fashion_methods.py:role=teacher,seeds=1,holdout=0.1"
    assert of("method=at,seeds=2,holdout=0.1") == held_out
    itself = of("method=tf_kd_self,student=mlp")
    assert itself == "configs/fashion_methods.py:role=itself,student=mlp,seeds=1"
    assert config_of(itself.partition(":")[2]).student.name == "mlp.MLP"


def test_the_table_has_a_row_for_every_method(tmp_path):
    """Those for proofs and attacks are in another table, and the first of two runs has no row."""
    family, wide = experiment.load("experiments/methods.py").tables[:2]
    cells = [*family.entries(), *wide.entries()]
    trained = {cell.reference for cell in cells if hasattr(cell, "reference")}
    missing = [name for name in METHODS if not any(f"method={name}," in r for r in trained)]
    assert sorted(missing) == sorted([*FIRST.values(), *ELSEWHERE])
    cells = experiment.load("experiments/methods.py").cells()
    assert all(cell.budget for cell in cells)
    smoke = plan.make(experiment.load("experiments/methods.py:smoke"), tmp_path)
    assert all("smoke" in reference for reference in smoke)
    assert experiment.load("experiments/methods_choices.py").tables[0].columns == (
        "a hundredth",
        "a tenth",
        "the paper's",
        "ten times",
    )


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Runs of the teachers in miniature, in the directory of this module's runs."""
    root = tmp_path_factory.mktemp("methods")
    kd.run("configs/fashion_methods.py:role=teacher,smoke", runs=root)
    kd.run("configs/fashion_methods.py:role=itself,smoke,seeds=1", runs=root)
    return root


STILL = {"simkd": ("classifier",)}
"""Method -> layers that it does not train."""


@pytest.mark.campaign
@pytest.mark.parametrize("name", [m for m in METHODS if m not in (*ELSEWHERE, *FIRST.values())])
def test_every_method_trains(name, teachers, monkeypatch):
    """Four epochs of the digits, without weight decay: losses are finite, every term changes, and
    so does every parameter, also of regressors and other modules of the method.
    """
    before = {}

    def train(state, *args, **settings):
        if not before:  # of two runs, the first
            before.update(by_path(state.params))
        after = original(state, *args, **settings)
        after_params.clear()
        after_params.update(by_path(after.params))
        return after

    original, after_params = session.train, {}
    monkeypatch.setattr(session, "train", train)
    changes = {"epochs": 4, "optimizer.weight_decay": 0.0}
    if name == "semckd":  # at 0.1 it diverges on some processors: these are 40 updates of digits
        changes["optimizer.learning_rate"] = 0.01
    wide = ",student=wide" if name == "fsp" else ""
    reference = f"configs/fashion_methods.py:method={name},smoke,seeds=1{wide}"
    run = kd.run(reference, runs=teachers, **changes)
    rows = [row for row in read_rows(Workdir(run.path)) if row["kind"] == "train"]
    for term in METHODS[name]:
        values = np.array([row[term] for row in rows])
        assert np.isfinite(values).all() and np.ptp(values) > 0, term
    still = [
        path
        for path, values in after_params.items()
        if path in before and np.array_equal(before[path], values)
    ]
    assert not [path for path in still if not any(k in path for k in STILL.get(name, ()))], still
    assert np.isfinite(run.result["final"]["nll"]).all()


def by_path(tree):
    """The arrays of a tree by their path."""
    leaves = tree_leaves_with_path(jax.device_get(tree))
    return {keystr(path): np.array(leaf) for path, leaf in leaves}
