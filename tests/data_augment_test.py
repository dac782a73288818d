"""Augmentation: what each operation does, what its randomness depends on, and errors that name the
term at fault.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.data.augment import make_augment, make_normalize
from kd.data.augmentations import crop, cutout, flip, noise, scale
from kd.errors import InputError

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(1, 256, (12, 6, 5, 3)).astype(np.uint8)  # no zero
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
CHAIN = "crop(2)|flip|cutout(2)"


def batch_of(index, epoch=3):
    index = np.asarray(index)
    return {
        "image": jnp.asarray(IMAGES[index]),
        "label": jnp.asarray(index % 3),
        "index": jnp.asarray(index),
        "epoch": jnp.asarray(epoch),
    }


@pytest.fixture(scope="module")
def chain():
    return jax.jit(make_augment(CHAIN, MEAN, STD))


def test_normalize_by_hand():
    image = jnp.asarray([[[[0, 255, 51]]]], jnp.uint8)
    out = make_normalize(MEAN, STD)(jax.random.key(0), {"image": image, "label": 1})
    expected = [(0 - 0.5) / 0.2, (1 - 0.4) / 0.3, (0.2 - 0.3) / 0.4]
    np.testing.assert_allclose(out["image"][0, 0, 0], expected, rtol=1e-6)
    assert out["image"].dtype == jnp.float32 and out["label"] == 1


def test_floats_are_not_scaled():
    series = jnp.asarray(RANDOM.randn(2, 7, 3), jnp.float32)
    out = make_normalize((0.0,) * 3, (1.0,) * 3)(jax.random.key(0), {"image": series})
    np.testing.assert_array_equal(out["image"], series)


def test_no_operation_is_normalization_alone():
    batch = batch_of([0, 1])
    augmented = make_augment("", MEAN, STD)(jax.random.key(0), batch)
    evaluated = make_normalize(MEAN, STD)(jax.random.key(1), batch)
    np.testing.assert_array_equal(augmented["image"], evaluated["image"])


def test_an_image_is_changed_by_key_epoch_and_index_alone(chain, key):
    """Not by its place in the batch, nor by its company: that is what makes a resumed run see the
    same views.
    """
    whole = chain(key, batch_of(range(12)))["image"]
    shuffled = [7, 0, 11, 4] * 3  # of one shape with the whole: compiled once
    part = chain(key, batch_of(shuffled))["image"]
    np.testing.assert_array_equal(part, whole[np.array(shuffled)])
    again = chain(key, batch_of(range(12)))["image"]
    np.testing.assert_array_equal(again, whole)


def test_key_epoch_and_index_each_change_the_view(chain, key):
    whole = chain(key, batch_of(range(12)))["image"]
    other_epoch = chain(key, batch_of(range(12), epoch=4))["image"]
    other_key = chain(jax.random.key(1), batch_of(range(12)))["image"]
    same = {**batch_of([0] * 12), "index": jnp.arange(12)}
    views = np.asarray(chain(key, same)["image"])
    assert not np.array_equal(whole, other_epoch)
    assert not np.array_equal(whole, other_key)
    assert len({view.tobytes() for view in views}) > 6


@pytest.mark.slow
def test_an_epoch_for_each_image(chain, key):
    mixed = chain(key, batch_of(range(12), epoch=[3, 4] * 6))["image"]
    third = chain(key, batch_of(range(12), epoch=3))["image"]
    fourth = chain(key, batch_of(range(12), epoch=4))["image"]
    np.testing.assert_array_equal(mixed[::2], third[::2])
    np.testing.assert_array_equal(mixed[1::2], fourth[1::2])


@pytest.mark.slow
def test_several_devices_see_what_one_sees(chain, key):
    mesh = jax.make_mesh((4,), ("data",), (jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.P("data"))
    batch = batch_of(range(12))
    placed = {k: jax.device_put(v, spread) if v.ndim else v for k, v in batch.items()}
    np.testing.assert_array_equal(chain(key, placed)["image"], chain(key, batch)["image"])


def test_the_border_that_crop_moves_in_is_black_before_normalization(key):
    augment = jax.jit(make_augment("crop(5)", MEAN, STD))
    out = np.asarray(augment(key, batch_of(range(12)))["image"])
    black = -np.asarray(MEAN) / np.asarray(STD)
    border = np.isclose(out, black.astype(np.float32), atol=1e-6).all(-1)
    assert border.any() and not border.all()
    assert (out >= black.astype(np.float32) - 1e-5).all()


@pytest.mark.slow
def test_crop_is_every_shift_by_up_to_padding():
    image = jnp.asarray(IMAGES[0])
    padded = np.pad(IMAGES[0], ((1, 1), (1, 1), (0, 0)))
    shifts = {padded[i : i + 6, j : j + 5].tobytes() for i in range(3) for j in range(3)}
    keys = jax.random.split(jax.random.key(0), 120)
    views = np.asarray(jax.vmap(lambda k: crop(k, image, 1))(keys))
    assert {view.tobytes() for view in views} == shifts


def test_crop_of_a_series_moves_time_alone(key):
    series = jnp.asarray(RANDOM.randn(9, 2), jnp.float32)
    out = crop(key, series, padding=3)
    padded = np.pad(series, ((3, 3), (0, 0)))
    assert any(np.array_equal(out, padded[i : i + 9]) for i in range(7))


def test_flip_swaps_columns_half_of_the_time():
    image = jnp.asarray(IMAGES[0])
    keys = jax.random.split(jax.random.key(0), 400)
    views = np.asarray(jax.vmap(lambda k: flip(k, image))(keys))
    flipped = (views == IMAGES[0][:, ::-1]).all((1, 2, 3))
    assert ((views == IMAGES[0]).all((1, 2, 3)) | flipped).all()
    assert 0.4 < flipped.mean() < 0.6


@pytest.mark.slow
def test_cutout_blanks_one_rectangle_of_at_most_its_size():
    image = jnp.asarray(IMAGES[0])
    keys = jax.random.split(jax.random.key(0), 50)
    views = np.asarray(jax.vmap(lambda k: cutout(k, image, 3, fill=(0, 0, 0)))(keys))
    blank = (views == 0).all(-1)  # [n, h, w]
    rows, columns = blank.any(2), blank.any(1)
    assert (blank == rows[:, :, None] & columns[:, None]).all()
    assert rows.sum(1).max() == columns.sum(1).max() == 3
    assert rows.sum(1).min() < 3  # cut off at a border
    untouched = ~blank[..., None] & np.ones(3, bool)
    assert (views == IMAGES[0])[untouched].all()


def test_noise_and_scale_of_series(key):
    series = jnp.ones((2000, 2), jnp.float32)
    added = noise(key, series, std=0.5) - 1
    assert abs(float(added.std()) - 0.5) < 0.02 and abs(float(added.mean())) < 0.05
    factor = np.asarray(scale(key, series, std=0.5))
    assert (factor == factor[:1]).all() and factor[0, 0] != factor[0, 1]


def test_a_users_own_operation_by_dotted_path(tmp_path, monkeypatch, key):
    (tmp_path / "own_ops.py").write_text(
        "def invert(key, image, top=255):\n    return top - image\n"
        "def smaller(key, image):\n    return image[1:]\n"
        "def broken(key, image):\n    raise KeyError('nothing')\n"
        "def keyless(image):\n    return image\n"
    )
    monkeypatch.chdir(tmp_path)
    batch = batch_of([0, 1])
    augment = make_augment("own_ops.invert(top=255)|crop(0)", (0.0,) * 3, (1.0,) * 3)
    out = augment(key, batch)["image"]
    np.testing.assert_allclose(out, 1 - IMAGES[:2] / 255, atol=1e-6)
    example = jax.ShapeDtypeStruct((6, 5, 3), jnp.uint8)
    with pytest.raises(InputError, match=r"makes uint8 \[5, 5, 3\] of"):
        make_augment("own_ops.smaller", MEAN, STD, example)
    with pytest.raises(InputError, match=r"fails on examples of uint8 .*nothing"):
        make_augment("own_ops.broken", MEAN, STD, example)
    with pytest.raises(
        InputError, match=r"keyless\(key, image, ...\), not own_ops.keyless\(image\)"
    ):
        make_augment("own_ops.keyless", MEAN, STD, example)
    with pytest.raises(InputError, match=r"own_ops.invert.top: expected int, got 0.5"):
        make_augment("crop(1)|own_ops.invert(0.5)", MEAN, STD, example)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crp(4)", "unknown augmentation 'crp'. Did you mean 'crop'.*cutout"),
        ("make_augment", "unknown augmentation 'make_augment'"),
        ("crop(4) flip", "cannot read 'crop.4. flip'"),
        ("crop(4)|", "cannot read"),
        ("crop(4)+flip", r"cannot read 'crop\(4\) \+ flip'"),
        ("(lambda: 0)()", "cannot read"),
        ("crop(open('x'))", "must be plain numbers"),
        ("crop(*[4])", "must be plain numbers"),
        ("crop(4, 4)", "too many positional arguments. crop takes padding"),
        ("crop(pading=4)", "Did you mean 'padding'"),
        ("crop(key=4)", "unknown setting of augmentation crop 'key'"),
        ("crop('4')", r"crop.padding: expected int, got '4'"),
        ("flip|crop(-1)", "crop.padding: expected an integer from 0 to 1,024, got -1"),
        ("crop(0.5)", r"crop.padding: expected int, got 0.5"),
        ("crop(True)", r"crop.padding: expected int, got True"),
        ("flip(2.0)", "flip.probability: expected a number from 0 to 1, got 2.0"),
        ("cutout(0)", "cutout.size: expected 1 or more, got 0"),
        ("cutout(2, fill=(1, 2))", "fails on examples"),
        ("noise(0.1)", "noise needs floating-point examples, not uint8"),
        ("no_such_module.op", "no module 'no_such_module'"),
    ],
)
def test_bad_chains(text, message):
    with pytest.raises(InputError, match=message):
        make_augment(text, MEAN, STD, jax.ShapeDtypeStruct((6, 5, 3), jnp.uint8))


def test_wrong_shapes():
    with pytest.raises(InputError, match=r"flip needs images \[h, w, c\], not \[9, 2\]"):
        make_augment("flip", MEAN, STD, jax.ShapeDtypeStruct((9, 2), jnp.float32))
    with pytest.raises(InputError, match="mean has 2 numbers and the images 3"):
        make_normalize((0.0, 0.0), (1.0, 1.0))(jax.random.key(0), batch_of([0]))
