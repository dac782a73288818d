"""Operations on pixels against Pillow's, and what RandAugment does with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from kd.data import pixels
from kd.data.augment import make_augment
from kd.data.augmentations import rand_augment
from kd.errors import InputError

H, W = 24, 20
RNG = np.random.default_rng(3)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (5, 4, 3), dtype=np.uint8))
IMAGE = np.asarray(SMOOTH.resize((W, H), Image.Resampling.BICUBIC)) // 2 + 40


def affine(picture, *six):
    return picture.transform(picture.size, Image.Transform.AFFINE, six)


PILLOW = {
    "brightness": (lambda p, v: ImageEnhance.Brightness(p).enhance(v), 0.3),
    "color": (lambda p, v: ImageEnhance.Color(p).enhance(v), 0.6),
    "contrast": (lambda p, v: ImageEnhance.Contrast(p).enhance(v), 0.45),
    "sharpness": (lambda p, v: ImageEnhance.Sharpness(p).enhance(v), 0.2),
    "posterize": (lambda p, v: ImageOps.posterize(p, int(v)), 5.7),
    "solarize": (lambda p, v: ImageOps.solarize(p, v), 90.4),
    "rotate": (lambda p, v: p.rotate(v), 23.0),
    "shear_x": (lambda p, v: affine(p, 1, v, 0, 0, 1, 0), 0.21),
    "shear_y": (lambda p, v: affine(p, 1, 0, 0, v, 1, 0), -0.13),
    "translate_x": (lambda p, v: affine(p, 1, 0, v * W, 0, 1, 0), 0.23),
    "translate_y": (lambda p, v: affine(p, 1, 0, 0, 0, 1, v * H), -0.3),
}


@pytest.fixture(scope="module")
def ours() -> dict[str, np.ndarray]:
    """All operations, compiled at once."""

    def all_of(image):
        found = {n: getattr(pixels, n)(image, jnp.float32(v)) for n, (_, v) in PILLOW.items()}
        found |= {n: getattr(pixels, n)(image) for n in ("auto_contrast", "equalize")}
        return found

    options = {"xla_backend_optimization_level": 0}
    return jax.tree.map(np.asarray, jax.jit(all_of, compiler_options=options)(IMAGE))


@pytest.mark.parametrize("name", [*PILLOW, "auto_contrast", "equalize"])
def test_an_operation_is_pillows(ours, name):
    picture = Image.fromarray(IMAGE)
    if name in PILLOW:
        operation, amount = PILLOW[name]
        theirs = operation(picture, amount)
    else:
        theirs = {"auto_contrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}[name](
            picture
        )
    assert ours[name].dtype == np.uint8 and not np.array_equal(ours[name], IMAGE)
    differs = np.any(ours[name] != np.asarray(theirs), axis=-1)
    # Pillow rounds places otherwise: where one is on the edge of two pixels it may take the other.
    assert np.sum(differs) <= (2 if name == "rotate" else 0)


def test_a_flat_image_stays_itself():
    flat = jnp.full((6, 5, 3), 77, jnp.uint8)
    for operation in (pixels.auto_contrast, pixels.equalize):
        np.testing.assert_array_equal(jax.jit(operation)(flat), flat)


@pytest.mark.slow
def test_each_image_gets_operations_of_its_own():
    text, unit = "rand_augment(2)", ((0.0,) * 3, (1 / 255,) * 3)
    batch = {"image": jnp.stack([IMAGE] * 40), "index": jnp.arange(40), "epoch": jnp.int32(0)}
    augment = jax.jit(make_augment(text, *unit, jax.ShapeDtypeStruct((H, W, 3), jnp.uint8)))
    seen = np.round(np.asarray(augment(jax.random.key(0), batch)["image"]))
    assert len({image.tobytes() for image in seen}) > 35
    grey = np.all(seen == np.asarray(pixels.GREY), axis=-1)
    rows, columns = grey.any(2).sum(1), grey.any(1).sum(1)
    assert rows.max() <= W / 2 + 2 and columns.max() <= W / 2 + 2
    np.testing.assert_array_equal(grey.sum((1, 2)), rows * columns)  # a rectangle
    assert np.ptp(columns) > 4


def test_what_rand_augment_does_not_take_is_refused():
    with pytest.raises(InputError, match="uint8"):
        rand_augment(jax.random.key(0), jnp.ones((4, 4, 3)))
    with pytest.raises(InputError, match="covered: expected a number from 0 to 1"):
        rand_augment(jax.random.key(0), jnp.asarray(IMAGE), covered=2.0)
