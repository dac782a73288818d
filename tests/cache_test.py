"""Cached teachers: what is stored, that it is what the live teacher says about the same views, and
what is refused.
"""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from kd import build, teachers
from kd import config as configs
from kd.cli.main import main
from kd.data.augment import make_augment
from kd.devices.mesh import make_mesh, replicated
from kd.devices.vectorize import map_stacked
from kd.errors import InputError
from kd.init import state_key
from kd.models.mlp import MLP
from kd.runs.workdir import Workdir
from kd.teachers import codec
from kd.train import cache
from kd.train.program import seed_keys


@pytest.mark.slow
def test_the_largest_logits_are_stored_with_the_exact_normaliser():
    """p = (1/2, 1/4, 1/8, 1/8) with 2 kept: the other two share 1/4, and the sum of exp(logits),
    16, is that of before.
    """
    p = np.array([1 / 8, 1 / 2, 1 / 8, 1 / 4])
    stored = codec.encode(jnp.log(16 * p)[None], "top2")
    assert stored["classes"].tolist() == [[1, 3]]
    np.testing.assert_allclose(stored["log_p"], np.log([[1 / 2, 1 / 4]]), atol=1e-3)
    np.testing.assert_allclose(stored["rest"], np.log([1 / 4]), rtol=1e-6)
    np.testing.assert_allclose(stored["total"], np.log([16.0]), rtol=1e-6)
    found = codec.decode(stored, 4)
    np.testing.assert_allclose(found, np.log(16 * p)[None], atol=2e-3)
    z = jax.random.normal(jax.random.key(0), (5, 7)) * 4
    for precision, error in (("float32", 0), ("float16", 8e-3), ("top9", 8e-3)):
        found = codec.decode(codec.encode(z, precision), 7)
        np.testing.assert_allclose(found, z, atol=error)
    few = codec.decode(codec.encode(z, "top3"), 7)
    totals = (jax.nn.logsumexp(x, axis=-1) for x in (few, z))
    np.testing.assert_allclose(*totals, atol=2e-3)


@pytest.mark.parametrize("c", [65_536, 65_537, 70_000])
def test_the_last_of_many_classes_keeps_its_number(c):
    """Up to 65,536 in two bytes, as old caches have them."""
    z = jnp.zeros((2, c)).at[:, -1].set(9.0).at[:, 4463].set(5.0)
    stored = codec.encode(z, "top2")
    assert stored["classes"].tolist() == [[c - 1, 4463]] * 2
    assert stored["classes"].dtype == (jnp.uint16 if c == 65_536 else jnp.uint32)
    np.testing.assert_allclose(codec.decode(stored, c), z, atol=1e-2)


def test_logits_that_float16_does_not_hold_are_refused(small_config):
    config = loaded(cache="float16")
    dataset = build.make_data(config)
    huge = lambda v, _, batch: jnp.full((1, len(batch["image"]), 10), 7e4)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    epoch_logits = cache.make_epoch_logits(huge, {}, config, dataset, place)
    with pytest.raises(InputError, match=r"beyond 65,504.*'float32'"):
        epoch_logits(seed_keys(0, 1)[0], 0)


def loaded(**changes):
    """The config of `small.py` with settings of its teacher."""
    config = configs.load("small.py").to_dict()
    config["teacher"] |= {"cache_window": 2, **changes}
    return build.spell_out(configs.complete(configs.ConfigDict(config)))


@pytest.mark.slow
def test_answers_are_what_the_live_teacher_says_about_each_view(small_config):
    """Of two networks, for two students, in every epoch: views repeat after two epochs, and differ
    between students.
    """
    config = loaded(cache=True)
    dataset = build.make_data(config)
    model = MLP(10, (6,))
    image = jnp.zeros((1, 8, 8, 1))
    variables = jax.vmap(lambda k: model.init(k, image))(seed_keys(7, 2))
    logits = lambda v, _, batch: model.apply(v, batch["image"]).logits
    each = map_stacked(logits, "vmap", (0, None, None))
    ask = cache.make_epoch_logits(each, variables, config, dataset, replicated(make_mesh()))
    stored = cache.load_or_compute(ask, config, {}, epath.Path("unused"), "")
    assert stored["logits"].shape == (2, 2, 2, 100, 10)
    moments = dataset.mean, dataset.std
    repeating = make_augment("crop(1)", *moments, window=2)
    teacher = teachers.ensemble(teachers.cached(10), "each")
    index = jnp.array([3, 50, 99])
    said = {}
    for seed, key in enumerate(seed_keys(0, 2)):
        for epoch in range(4):
            batch = {
                "image": jnp.asarray(dataset.train.image)[index],
                "index": index,
                "epoch": jnp.int32(epoch),
            }
            own = {"logits": jnp.asarray(stored["logits"][seed])}
            found = teacher.apply(own, (), batch).logits
            live = each(variables, (), repeating(state_key(key), batch))
            np.testing.assert_allclose(found, live, atol=1e-5)
            said[seed, epoch] = np.asarray(found)
    assert np.array_equal(said[0, 1], said[0, 3])
    assert not np.allclose(said[0, 0], said[0, 1])
    assert not np.allclose(said[0, 0], said[1, 0])


def test_a_cache_of_something_else_is_refused(small_config):
    """In a directory of one's own choice, for a teacher, an augmentation or a precision that are
    not those of the cache.
    """
    config = loaded(cache="float16", cache_dir="mine")
    made = cache.facts(config, "0123", "data")
    asked = []

    def ask(key, epoch):
        asked.append(epoch)
        return {"logits": np.full((1, 3, 2), epoch, np.float16)}

    first = cache.load_or_compute(ask, config, made, epath.Path("unused"), "")
    assert first["logits"].shape == (2, 1, 2, 3, 2) and len(asked) == 4
    again = cache.load_or_compute(ask, config, made, epath.Path("unused"), "")
    assert len(asked) == 4
    np.testing.assert_array_equal(first["logits"], again["logits"])
    Path("mine/seed1.npz").unlink()  # as where it was cut off
    cache.load_or_compute(ask, config, made, epath.Path("unused"), "")
    assert len(asked) == 6
    for key in ("teacher", "augmentation", "window"):
        other = {**made, key: "other"}
        with pytest.raises(InputError, match=f"another {key} .*here 'other'"):
            cache.load_or_compute(ask, config, other, epath.Path("unused"), "")
    Path("mine/seed0.npz").write_bytes(b"torn")
    with pytest.raises(InputError, match="cannot be read"):
        cache.load_or_compute(ask, config, made, epath.Path("unused"), "")
    shutil.rmtree("mine")
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not a cache"):
        cache.load_or_compute(ask, config, made, epath.Path("unused"), "")


@pytest.mark.parametrize(
    ("value", "words"), [("top0", "'top16'"), ("half", "'float16'"), ("float16", "cache_window")]
)
def test_caches_that_cannot_be_are_refused(small_config, capsys, value, words):
    """The last because the images of `small.py` are cropped anew in each epoch; no teacher is
    trained.
    """
    argument = f"--config.teacher.cache={value}"
    assert main(["run", "--config", "small.py", argument]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not Path("runs").exists()


def test_a_teacher_that_changes_has_no_cache(small_config):
    with pytest.raises(InputError, match=r"teacher.cache = True .* 'ema' .* uses none"):
        loaded(name="ema", config="", cache=True)


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["seeds=2", "teacher=2"])
@pytest.mark.usefixtures("unoptimized")
def test_devices_take_their_own_answers(finished, small_config, devices):
    """Each device those for its own seeds, or those of its own members: as on one device."""
    common = ["--config.teacher.cache_window=2", "--config.teacher.cache=float16"]
    for name, options in (("one", []), ("several", [f"--config.devices.{devices}"])):
        command = ["run", "--config", "small.py", *common, *options, "--workdir", name]
        assert main(command) == 0
    found = [Workdir(name).predictions()["logits"] for name in ("one", "several")]
    np.testing.assert_allclose(*found, atol=1e-4)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param("all", marks=pytest.mark.slow),
        pytest.param("paired", marks=pytest.mark.campaign),
        pytest.param("1", marks=pytest.mark.campaign),
    ],
)
def test_a_student_learns_from_the_cache_as_from_the_live_teacher(
    finished, small_config, capsys, members
):
    """Over five epochs of augmentation that repeat after two. With ten classes the ten largest
    logits are all of them.
    """
    common = [f"--config.teacher.members={members}", "--config.epochs=5"]
    common += ["--config.teacher.cache_window=2"]
    logits = {}
    for cached in ("false", "true", "float16", "top10"):
        options = [*common, f"--config.teacher.cache={cached}", "--workdir", cached]
        assert main(["run", "--config", "small.py", *options]) == 0
        logits[cached] = Workdir(cached).predictions()["logits"]
    off = {k: np.abs(v - logits["false"]).max() for k, v in logits.items()}
    assert off["true"] < 1e-5 and off["float16"] < 5e-3 and off["top10"] < 5e-3, off
    directory = next(Path("runs/small-teacher/outputs").glob("float16-*"))
    before = {p.name: p.stat().st_mtime_ns for p in directory.iterdir()}
    assert set(before) == {"cache.json", "seed0.npz", "seed1.npz"}
    again = [*common, "--config.teacher.cache=float16", "--workdir", "again"]
    assert main(["run", "--config", "small.py", *again]) == 0
    assert {p.name: p.stat().st_mtime_ns for p in directory.iterdir()} == before
    np.testing.assert_array_equal(Workdir("again").predictions()["logits"], logits["float16"])
    made = json.loads((directory / "cache.json").read_text())
    refused = [*common, "--config.teacher.cache=float16", "--workdir", "refused"]
    for key in ("teacher", "augmentation"):
        other = json.dumps(made | {key: "0" * 16})
        (directory / "cache.json").write_text(other)
        capsys.readouterr()
        assert main(["run", "--config", "small.py", *refused]) == 2
        error = capsys.readouterr().err
        assert f"another {key}" in error and error.count("\n") == 1, error
        assert not Path("refused").exists()
