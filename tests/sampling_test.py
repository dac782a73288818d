"""Balanced sampling: each class equally often, by a keyed order, and where it is refused."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import build, data
from kd import config as configs
from kd.cli.main import main
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.augment import make_augment
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.train import sampling
from kd.train.checks import dry_run
from kd.train.program import seed_keys

LABEL = np.repeat([2, 0, 1], [40, 7, 3]).astype(np.int32)  # n = 50


def orders(label=LABEL, epochs=3, seeds=2):
    """Orders [kind, epoch, seed, n] of the compiled program and of streamed pictures."""
    order, streamed = jax.jit(sampling.make_order(label)), sampling.Streamed(label)
    ours = [np.asarray(order(seed_keys(0, seeds), jnp.int32(e))) for e in range(epochs)]
    theirs = [[streamed(seed, e) for seed in range(seeds)] for e in range(epochs)]
    return np.array([ours, theirs])


def test_each_class_comes_equally_often_and_each_image_of_a_class_too():
    for order in orders().reshape(-1, len(LABEL)):
        assert sorted(np.bincount(LABEL[order])) == [16, 17, 17]
        for k, count in ((0, 7), (1, 3), (2, 40)):
            times = np.bincount(order, minlength=50)[k == LABEL]
            assert len(times) == count and np.ptp(times) <= 1, (k, times)


def test_orders_differ_by_epoch_and_seed_and_are_functions_of_them():
    first, again = orders(), orders()
    np.testing.assert_array_equal(first, again)
    rows = {row.tobytes() for row in first.reshape(-1, len(LABEL))}
    assert len(rows) == 2 * 3 * 2
    np.testing.assert_array_equal(sampling.Streamed(LABEL)(1, 2), first[1, 2, 1])


def test_all_places_and_images_are_equally_likely():
    """Over 300 epochs each image of a class, and each class at each place, comes about as often."""
    order = orders(epochs=300, seeds=1)[:, :, 0]  # [kind, epoch, n]
    for kind in order:
        for k, count in ((0, 7), (1, 3), (2, 40)):
            times = np.bincount(kind.ravel(), minlength=50)[k == LABEL]
            np.testing.assert_allclose(times, 300 * 50 / 3 / count, rtol=0.35)
        share = (LABEL[kind] == 1).mean(0)  # at each place of an epoch
        assert abs(share.mean() - 1 / 3) < 0.01 and 0.2 < share.min() < share.max() < 0.47


def test_classes_that_occur_alone_are_drawn():
    order = orders(np.array([3, 3, 5, 3], np.int32), 1, 1).reshape(2, 4)
    for row in order:
        assert sorted(np.array([3, 3, 5, 3])[row]) == [3, 3, 5, 5]


def test_an_image_that_comes_twice_is_augmented_anew():
    augment = make_augment("noise(0.5)", (0.0,), (1.0,))
    image = jnp.ones((3, 4, 4, 1))
    batch = {"image": image, "index": jnp.array([5, 5, 5]), "epoch": jnp.int32(1)}
    same = augment(jax.random.key(0), batch)["image"]
    assert (same[0] == same[1]).all()
    anew = augment(jax.random.key(0), batch | {"position": jnp.arange(3)})["image"]
    assert (anew[0] != anew[1]).any() and (anew[1] != anew[2]).any()
    alone = {"index": jnp.array([5]), "position": jnp.array([2])}
    alone = augment(jax.random.key(0), batch | {"image": image[:1]} | alone)["image"]
    np.testing.assert_array_equal(alone[0], anew[2])  # whatever the batch


BALANCED = """
from ml_collections import ConfigDict

def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="imbalanced", source="digits", keep={str(k): 0.1 for k in range(9)})
    c.data.sampling = "balanced"
    c.batch_size = 24
    c.epochs = 2
    c.steps_per_call = 2
    c.augment = "crop(2)"
    c.student = dict(name="mlp.MLP", widths=(8,))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.checkpoint = dict(seconds=0.0)
    return c
"""


@pytest.mark.campaign
def test_a_resumed_run_equals_an_uninterrupted_one_and_a_sharded_run_an_unsharded(
    tmp_path, monkeypatch, stopped_at
):
    monkeypatch.chdir(tmp_path)
    Path("balanced.py").write_text(BALANCED)
    run = ["run", "--config", "balanced.py"]
    assert main(run) == 0
    with stopped_at(step=8):
        assert main([*run, "--workdir", "cut"]) == 0
    assert not Workdir("cut").finished
    assert main([*run, "--workdir", "cut"]) == 0
    logits = Workdir("runs/balanced").predictions()["logits"]
    np.testing.assert_array_equal(Workdir("cut").predictions()["logits"], logits)
    assert main([*run, "--workdir", "sharded", "--config.devices.data=8"]) == 0
    np.testing.assert_allclose(Workdir("sharded").predictions()["logits"], logits, atol=1e-4)


def config_of(**keys):
    c = ConfigDict({"data": {"name": "digits", "sampling": "balanced"}})
    c.student = {"name": "mlp.MLP", "widths": (4,)}
    c.objective = {"ce": {"name": "ce.CE"}}
    c.optimizer = {"name": "sgd", "learning_rate": 0.1}
    for key, value in keys.items():
        section, _, last = key.rpartition("__")
        (c[section] if section else c)[last] = value
    return build.spell_out(configs.complete(c))


def test_a_config_without_it_has_the_hash_that_it_had():
    for settings in ({}, {"labelled": 100}, {"unlabelled": "drop"}):
        plain = config_of(data=ConfigDict({"name": "digits", **settings}))
        before = plain.to_dict()
        assert before["data"].pop("sampling") == "shuffled"
        assert config_hash(before) == config_hash(plain.to_dict())
        balanced = config_of(data=ConfigDict({"name": "digits", "sampling": "balanced"}))
        assert config_hash(balanced.to_dict()) != config_hash(plain.to_dict())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (dict(data__labelled=100), r"sampling = 'balanced' needs the label of every .* 1,337 of"),
        (dict(data__sampling="balance"), r"unknown value of config.data.sampling.*'balanced'\?"),
        (
            dict(teacher__cache_window=2, augment="crop(1)"),
            r"views do not repeat after config.teacher.cache_window = 2",
        ),
        (
            dict(objective=ConfigDict({"crd": {"name": "crd.CRD"}})),
            r"config.objective.crd remembers each image by its index",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(keys, message):
    keys = {"teacher": ConfigDict()} | keys if "teacher__cache_window" in keys else keys
    with pytest.raises(InputError, match=message) as error:
        dry_run(config_of(**keys))
    assert "\n" not in str(error.value) and "config.data.sampling" in str(error.value)


def test_unlabelled_images_may_be_dropped():
    dry_run(config_of(data__labelled=100, data__unlabelled="drop"))


def test_a_loader_of_ones_own_may_have_such_a_setting(tmp_path, monkeypatch):
    (tmp_path / "sampled_data.py").write_text(
        "from kd.data import digits\n\ndef load(sampling='grid'):\n    return digits.load()\n"
    )
    monkeypatch.chdir(tmp_path)
    config = config_of(data=ConfigDict({"name": "sampled_data.load", "sampling": "other"}))
    assert config.data.sampling == "other" and build.labels_of(config)["sampling"] == "shuffled"
    dry_run(config)


def test_rare_classes_of_a_known_data_set():
    load = lambda **settings: data.load("imbalanced", source="digits", **settings)
    before = np.bincount(data.load("digits").train.label)
    rare = load(keep={"8": 0.05})
    after = np.bincount(rare.train.label)
    assert after[8] == round(0.05 * before[8]) and (np.delete(after - before, 8) == 0).all()
    assert len(rare.test.label) == 360 and len(rare.train.image) == after.sum()
    tail = np.bincount(load(ratio=100.0).train.label)
    np.testing.assert_allclose(tail, before * 100.0 ** (-np.arange(10) / 9), atol=0.51)
    assert tail[0] == before[0] and tail[-1] == 1
    again, other = load(keep={"8": 0.05}), load(keep={"8": 0.05}, seed=1)
    np.testing.assert_array_equal(again.train.image, rare.train.image)
    assert (other.train.image != rare.train.image).any()
    for settings, message in (
        ({}, r"imbalanced needs keep"),
        ({"keep": {"88": 0.5}}, r"unknown class in config.data.keep '88'"),
        ({"keep": {"8": 2.0}}, r"keep.8: expected a number from 0 to 1"),
    ):
        with pytest.raises(InputError, match=message):
            load(**settings)


@pytest.mark.slow
def test_the_example_of_a_rare_class_runs(tmp_path, monkeypatch):
    """`configs/examples/rare_class.py` with balanced sampling, student and teacher."""
    root = Path(__file__).parents[1] / "configs/examples/rare_class.py"
    (tmp_path / "configs/examples").mkdir(parents=True)
    text = root.read_text()
    assert len(text.splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    quick = text.replace("5, 40, 32", "2, 12, 32").replace("(128, 128)", "(32,)")
    Path("configs/examples/rare_class.py").write_text(quick)
    run = ["run", "--config", "configs/examples/rare_class.py:balanced"]
    assert main(run) == 0
    result = Workdir("runs/rare_class-balanced").read("result.json")
    assert min(result["final"]["balanced_accuracy"]) > 0.6
    assert np.mean([recall[8] for recall in result["classes"]["recall"]]) > 0.3
    for how in ("plain", "weighted", "focal"):
        build.load_config(f"configs/examples/rare_class.py:{how}")
