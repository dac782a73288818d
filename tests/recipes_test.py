"""Random erasing, repeated augmentation and layer-wise decay of the learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kd import build, optim
from kd import config as configs
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.augment import make_augment
from kd.data.augmentations import erase
from kd.errors import InputError
from kd.layer_decay import depths
from kd.models.vit import DeiT
from kd.tables import experiment, plan
from kd.train import sampling, streaming
from kd.train.checks import dry_run
from kd.train.program import make_order, seed_keys

pytestmark = pytest.mark.usefixtures("unoptimized_module")

KEY = jax.random.key(0)


# ------------------------------------------------------------------ erasing


def test_a_rectangle_becomes_noise_of_its_own_for_each_pixel():
    keys = jax.random.split(KEY, 400)
    image = jnp.full((20, 24, 2), 9.0)
    erased = np.asarray(jax.jit(jax.vmap(lambda key: erase(key, image, 0.5)))(keys))
    changed = (erased != 9).all(-1)
    areas = changed.mean((1, 2))
    assert 0.4 < (areas > 0).mean() < 0.6
    assert 0.015 < areas[areas > 0].min() < 0.04 and 0.25 < areas.max() < 0.36
    for inside in changed[areas > 0]:
        rows, columns = inside.any(1), inside.any(0)
        assert inside.sum() == rows.sum() * columns.sum()
        assert 0.2 < rows.sum() / columns.sum() < 5
    noise = erased[changed]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02


@pytest.mark.slow
def test_it_is_applied_after_normalisation_and_depends_on_the_image_alone():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 255, (6, 8, 8, 1), dtype=np.uint8))
    batch = {"image": image, "index": jnp.arange(6), "epoch": jnp.int32(1)}
    plain = make_augment("crop(1)", (0.5,), (0.25,))(KEY, batch)["image"]
    augment = make_augment("crop(1)|erase(1.0)", (0.5,), (0.25,))
    erased = jax.jit(augment)(KEY, batch)["image"]
    same = np.asarray(erased == plain)
    assert ((~same).mean((1, 2, 3)) > 0).all() and same.mean() > 0.6
    assert np.abs(np.asarray(erased)[~same] * 0.25 + 0.5).max() > 1  # beyond white
    part = {k: v[2:4] if v.ndim else v for k, v in batch.items()}
    np.testing.assert_array_equal(jax.jit(augment)(KEY, part)["image"], erased[2:4])
    both = make_augment("crop(1)|erase(1.0)", (0.5,), (0.25,), second="crop(1)")
    np.testing.assert_allclose(both(KEY, batch)["image"][::2], erased, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("erase|flip", r"erase works on the normalised image.*Put it last"),
        ("erase(smallest=0.5)", r"smallest = 0.5 is above largest"),
        ("erase(2.0)", r"erase.probability: expected .*, got 2"),
    ],
)
def test_erasing_that_cannot_be_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        make_augment(text, (0.5,), (0.5,), jax.ShapeDtypeStruct((8, 8, 1), jnp.uint8))


# ------------------------------------------------------------------ repeated augmentation


def test_each_image_comes_several_times_in_a_row():
    """The first images of the usual order, compiled and of streamed pictures."""
    usual, keys = make_order(10), seed_keys(3, 2)
    order = np.asarray(sampling.repeated(usual, 3)(keys, jnp.int32(1)))
    first = np.asarray(usual(keys, jnp.int32(1)))[:, :4]
    np.testing.assert_array_equal(order, np.repeat(first, 3, axis=1)[:, :10])
    pictures = sampling.repeated(lambda seed, epoch: streaming.shuffled(seed, epoch, 10), 3)
    expected = np.repeat(streaming.shuffled(3, 1, 10)[:4], 3)[:10]
    np.testing.assert_array_equal(pictures(3, 1), expected)
    assert sampling.repeated(usual, 1) is usual


def config_of(path="", **keys):
    c = ConfigDict({"data": {"name": "arrays", "path": str(path)} if path else {"name": "digits"}})
    c.student = {"name": "mlp.MLP", "widths": (4,)}
    c.objective = {"ce": {"name": "ce.CE"}}
    c.optimizer = {"name": "sgd", "learning_rate": 0.1}
    c.batch_size, c.augment = 32, "crop(1)"
    for key, value in keys.items():
        section, _, last = key.rpartition("__")
        (c[section] if section else c)[last] = value
    return build.spell_out(configs.complete(c))


@pytest.mark.slow
def test_copies_in_a_batch_are_augmented_anew(small_data):
    """One update on four copies of eight images is another than on one view of each."""
    from kd.train.setup import prepare

    losses = []
    for repeats in (1, 4):
        setup = prepare(config_of(small_data, repeats=repeats))
        state, order = setup.init(), setup.order(jnp.int32(0))
        assert len(set(np.asarray(order)[0, :32].tolist())) == 32 // repeats
        numbers = (jnp.int32(n) for n in (0, 0, 1))
        losses.append(setup.updates[32](state, *setup.inputs, order, *numbers)[1]["loss"][0, 0])
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (dict(repeats=0), r"config.repeats: expected .*, got 0"),
        (dict(repeats=3, augment=""), r"repeats = 3 shows .*config.augment is empty"),
        (dict(repeats=3, data__sampling="balanced"), r"not all classes equally often"),
        (dict(repeats=3, objective__crd={"name": "crd.CRD"}), r"crd remembers each image by its"),
    ],
)
def test_repeats_that_cannot_be_are_refused(small_data, keys, message):
    with pytest.raises(InputError, match=message):
        dry_run(config_of(small_data, **keys))


def test_a_config_without_them_has_the_hash_that_it_had():
    plain = config_of().to_dict()
    before = {k: v for k, v in plain.items() if k != "repeats"}
    before["optimizer"] = {k: v for k, v in plain["optimizer"].items() if k != "layer_decay"}
    assert config_hash(before) == config_hash(plain)
    changed = config_of(repeats=3).to_dict(), config_of(optimizer__layer_decay=0.5).to_dict()
    assert len({config_hash(plain), *map(config_hash, changed)}) == 3


# ------------------------------------------------------------------ configs


def test_the_recipe_of_deit_and_its_small_size():
    paper = build.load_config("configs/deit.py:method=token")
    assert (paper.repeats, paper.epochs, paper.batch_size) == (3, 300, 1024)
    assert paper.mix == "mixup(0.8) or cutmix(1.0)" and paper.augment.endswith("|erase(0.25)")
    assert paper.objective.deit.kind == "hard" and paper.student.name == "vit.deit_tiny_16"
    small = build.load_config("configs/deit.py:data=fashion_mnist,method=token,seeds=5")
    assert small.teacher.config == "configs/deit.py:data=fashion_mnist,network=teacher,seeds=5"
    assert small.teacher.cache and small.data.labelled == 12000
    mixed = build.load_config("configs/deit.py:data=fashion_mnist,method=soft,mix=mixup(0.2)")
    assert not mixed.teacher.cache  # the teacher sees the mixtures


def test_the_recipe_of_funmatch_and_its_small_size(tmp_path):
    paper = build.load_config("configs/funmatch.py")
    assert (paper.mix, paper.epochs, list(paper.objective)) == ("mixup(1.0)", 1200, ["kd"])
    table = plan.make(experiment.load("experiments/funmatch_small.py"), tmp_path)
    runs = [run.config for run in table.values()]
    assert sorted({c.epochs for c in runs}) == [2, 6, 20]
    assert sum(bool(c.mix) for c in runs) == 6 and sum(c.teacher.cache for c in runs) == 3


# ------------------------------------------------------------------ layer-wise decay


def test_updates_decay_from_the_head_to_the_embedding():
    network = DeiT(3, patch=4, width=6, depth=2, heads=2)
    image = jnp.zeros((1, 8, 8, 1))
    shapes = jax.eval_shape(lambda: network.init(KEY, image))["params"]
    ones = jax.tree.map(lambda x: jnp.ones(x.shape), {"student": shapes, "objective": {"w": image}})
    spec = dict(name="sgd", learning_rate=1.0, momentum=0.0, layer_decay=0.5)
    tx = optim.make_optimizer(spec, lambda step: 1.0)
    updates = tx.update(ones, tx.init(ones), ones)[0]
    first = lambda tree: float(-jax.tree.leaves(tree)[0].ravel()[0])
    sizes = {name: first(tree) for name, tree in updates["student"].items()}
    assert sizes == {
        **dict.fromkeys(("patch", "class_token", "distillation_token", "position"), 0.125),
        **{"block1": 0.25, "block2": 0.5},
        **dict.fromkeys(("norm", "head", "head_distillation"), 1.0),
    }
    assert first(updates["objective"]) == 1.0


def test_weight_decay_is_scaled_too():
    params = {"student": {"block1": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones(2)}}}
    spec = dict(name="adamw", learning_rate=0.1, weight_decay=1.0, decay="", layer_decay=0.25)
    tx = optim.make_optimizer(spec, lambda step: 1.0)
    still = jax.tree.map(jnp.zeros_like, params)
    new = optax.apply_updates(params, tx.update(still, tx.init(params), params)[0])["student"]
    np.testing.assert_allclose(new["block1"]["kernel"], 1 - 0.1 * 0.25, rtol=1e-6)
    np.testing.assert_allclose(new["head"]["kernel"], 1 - 0.1, rtol=1e-6)


def test_networks_without_blocks_are_refused(small_data):
    with pytest.raises(InputError, match=r"layer_decay is for transformers.*'stem'"):
        depths(["stem", "layer1_0", "head"])
    with pytest.raises(InputError, match=r"config.optimizer.layer_decay is for transformers"):
        dry_run(config_of(small_data, optimizer__layer_decay=0.75))
    with pytest.raises(InputError, match=r"layer_decay: expected .*, got 1.5"):
        config_of(optimizer__layer_decay=1.5)
