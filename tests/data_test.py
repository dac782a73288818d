"""Data sets: exact facts of the embedded one, a user's arrays and pictures, and one clear error for
each kind of bad input.
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd import data
from kd.data import base, digits
from kd.data.base import Dataset, Split
from kd.data.check import check
from kd.errors import InputError


@pytest.fixture(scope="module")
def embedded() -> Dataset:
    return data.load("digits")


def test_digits_are_the_1797_of_scikit_learn_in_a_fixed_split(embedded):
    train, test = embedded.train, embedded.test
    assert train.image.shape == (1437, 8, 8, 1) and train.image.dtype == np.uint8
    assert test.image.shape == (360, 8, 8, 1) and test.label.dtype == np.int32
    # Class counts of the source, and the shares of 360 / 1797 in test.
    whole = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(np.r_[train.label, test.label]).tolist() == whole
    assert np.bincount(test.label).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    everything = sorted(x.tobytes() for x in (*train.image, *test.image))
    assert hashlib.sha256(b"".join(everything)).hexdigest() == (
        "c61d361ace3b84ac3608eebf1f5b957725a28e824df1fc53a15ff103e226f1b1"
    )
    # The split itself: a change would silently move every result on this data set.
    assert test.label[:12].tolist() == [3, 7, 3, 9, 0, 8, 7, 0, 8, 0, 3, 3]
    assert int(test.image.astype(np.int64).sum()) == 1780794


@pytest.mark.slow  # importing scikit-learn takes seconds
def test_digits_lose_nothing_to_uint8(embedded):
    from sklearn.datasets import load_digits

    source, label = load_digits(return_X_y=True)
    chosen = base.stratified(label, digits.TEST_SIZE, digits.SPLIT_SEED)
    back = np.round(embedded.test.image.reshape(-1, 64) * (16 / 255))
    np.testing.assert_array_equal(back, source[chosen])
    np.testing.assert_array_equal(embedded.test.label, label[chosen])
    assert embedded.train.image.max() == 255


def test_constants_of_digits_are_those_of_its_training_images(embedded):
    assert (embedded.mean, embedded.std) == base.channel_moments(embedded.train.image)


def test_channel_moments_by_hand():
    image = np.array([[[[0, 255]], [[255, 255]]]], np.uint8)  # [1, 2, 1, 2]
    mean, std = base.channel_moments(image)
    assert mean == (0.5, 1.0)
    assert std == (0.5, round(1 / 255, 4))  # a constant channel is left divisible


def test_class_tables_by_hand():
    tables = base.class_tables(np.array([2, 0, 2, 0, 0]), 4)
    assert tables["order"].tolist() == [1, 3, 4, 0, 2]
    assert tables["start"].tolist() == [0, 3, 3, 5]
    assert tables["count"].tolist() == [3, 0, 2, 0]


def test_hold_out_moves_a_stratified_part_and_forgets_test(embedded):
    held = base.hold_out(embedded, 0.2, seed=1)
    assert len(held.test.label) == round(0.2 * 1437)
    assert len(held.train.label) + len(held.test.label) == 1437
    share = np.bincount(held.test.label) / np.bincount(embedded.train.label)
    assert np.abs(share - 0.2).max() < 0.01
    rows = lambda split: {(x.tobytes(), int(y)) for x, y in zip(*split, strict=True)}
    assert rows(held.train) | rows(held.test) == rows(embedded.train)
    again = base.hold_out(embedded, 0.2, seed=1)
    np.testing.assert_array_equal(held.test.image, again.test.image)
    other = base.hold_out(embedded, 0.2, seed=2)
    assert not np.array_equal(held.test.image, other.test.image)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1e-9, -1.0])
def test_hold_out_of_nothing(embedded, fraction):
    with pytest.raises(InputError, match="fraction between 0 and 1"):
        base.hold_out(embedded, fraction)


def test_stratified_gives_remainders_to_the_largest_and_empties_no_class():
    label = np.repeat([0, 1, 2], [7, 2, 1])
    chosen = base.stratified(label, 3, seed=0)  # shares 2.1, 0.6, 0.3
    assert np.bincount(label[chosen], minlength=3).tolist() == [2, 1, 0]
    everything = base.stratified(label, 10, seed=0)
    assert np.bincount(label[~everything]).tolist() == [1, 1, 1]


# ---- arrays ----

RANDOM = np.random.RandomState(0)
LABEL = np.arange(12) % 3


def arrays(**changes) -> dict[str, np.ndarray]:
    image = RANDOM.randint(0, 256, (12, 5, 4)).astype(np.uint8)
    given = dict(x_train=image, y_train=LABEL, x_test=image[:6], y_test=LABEL[:6])
    return {k: v for k, v in {**given, **changes}.items() if v is not None}


def save(tmp_path: Path, **changes) -> str:
    path = str(tmp_path / "mine.npz")
    np.savez(path, **arrays(**changes))
    return path


def test_grey_images_of_a_user(tmp_path):
    loaded = data.load("arrays", path=save(tmp_path), class_names=["a", "b", "c"])
    assert loaded.train.image.shape == (12, 5, 4, 1) and loaded.num_classes == 3
    assert loaded.train.label.dtype == np.int32
    assert loaded.class_names == ("a", "b", "c")
    assert (loaded.mean, loaded.std) == base.channel_moments(loaded.train.image)


def test_series_of_a_user(tmp_path):
    series = RANDOM.randn(12, 20, 3)
    path = save(tmp_path, x_train=series, x_test=series[:6])
    loaded = data.load("arrays", path=path)
    assert loaded.train.image.shape == (12, 20, 3)
    assert loaded.train.image.dtype == np.float32
    assert (loaded.mean, loaded.std) == ((0.0,) * 3, (1.0,) * 3)
    pictures = data.load("arrays", path=path, kind="image")
    assert pictures.train.image.shape == (12, 20, 3, 1)


def test_names_of_arrays_as_medmnist_has_them_and_labels_in_a_column(tmp_path):
    given = arrays()
    np.savez(
        tmp_path / "med.npz",
        train_images=given["x_train"].astype(np.int64),
        train_labels=given["y_train"][:, None],
        test_images=given["x_test"].astype(np.int64),
        test_labels=given["y_test"][:, None],
    )
    loaded = data.load("arrays", path=str(tmp_path / "med.npz"))
    assert loaded.train.image.dtype == np.uint8 and loaded.test.label.shape == (6,)


FLOATS = RANDOM.rand(12, 5, 4, 1)
BAD_ARRAYS = {
    "missing arrays": (dict(y_test=None), {}, "lacks the arrays y_test"),
    "flat images": (dict(x_train=np.zeros((12, 20), np.uint8)), {}, r"\[12, 20\]"),
    "rank five": (dict(x_train=np.zeros((12, 2, 2, 2, 1))), {}, r"\[n, h, w, c\]"),
    "other shape": (dict(x_test=np.zeros((6, 5, 5), np.uint8)), {}, "one shape"),
    "other type": (dict(x_test=FLOATS[:6]), {}, "float32.*Store both alike"),
    "wide integers": (dict(x_train=np.full((12, 5, 4), 300)), {}, "0 to 255"),
    "NaN": (dict(x_train=np.where(FLOATS > 0.99, np.nan, FLOATS)), {}, "image .* NaN"),
    "float labels": (dict(y_train=LABEL / 2), {}, "labels must be integers"),
    "negative": (dict(y_train=LABEL - 2), {}, "labels run from -2"),
    "too large": ({}, dict(num_classes=2), "labels run from 0 to 2, but 2 classes"),
    "gap": (dict(y_train=LABEL * 5), {}, "without gaps"),
    "few labels": (dict(y_train=LABEL[:5]), {}, "12 images need labels of shape"),
    "one-hot": (dict(y_train=np.eye(3, dtype=int)[LABEL]), {}, "need labels of shape"),
    "empty": (dict(x_test=np.zeros((0, 5, 4), np.uint8)), {}, "it has no examples"),
    "one class": (dict(y_train=LABEL * 0, y_test=LABEL[:6] * 0), {}, "two classes"),
    "new class": (dict(y_train=LABEL % 2), dict(num_classes=3), "train lacks.*2"),
    "names": ({}, dict(class_names=["a", "b", "c", "d"], num_classes=3), "4 class nam"),
    "means": ({}, dict(mean=(0.5, 0.5)), "mean has 2 numbers"),
    "std": ({}, dict(mean=(0.5,), std=(0.0,)), "above 0"),
    "kind": ({}, dict(kind="video"), "'image' or 'series'"),
    "series": ({}, dict(kind="imag"), "'image' or 'series'"),
    "keyword": ({}, dict(clas_names=["a"]), "Did you mean 'class_names'"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(tmp_path, case):
    changes, settings, message = BAD_ARRAYS[case]
    with pytest.raises(InputError, match=message):
        data.load("arrays", path=save(tmp_path, **changes), **settings)


def _truncated(path: Path) -> None:
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:300])


def _flipped(path: Path) -> None:
    np.savez(path, **arrays())
    content = bytearray(path.read_bytes())
    content[200] ^= 1  # a pixel: the zip's CRC no longer holds
    path.write_bytes(content)


def _pickled(path: Path) -> None:
    np.savez(path, **arrays(x_train=np.array([1, "two"], object)))


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x_train.npy", b"no array")


DAMAGED = {
    "truncated": (_truncated, "cut short"),
    "flipped": (_flipped, "damaged, at array x_train"),
    "text": (lambda path: path.write_text("hello"), "not a .npz"),
    "one array": (lambda path: path.write_bytes(b"\x93NUMPY\1\0"), "a single array"),
    "pickled": (_pickled, "x_train holds pickled Python objects"),
    "other zip": (_other_zip, "x_train is not an array"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
    "missing": (lambda path: None, "there is no"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_npz(tmp_path, case):
    spoil, message = DAMAGED[case]
    path = tmp_path / "mine.npz"
    spoil(path)
    with pytest.raises(InputError, match=message):
        data.load("arrays", path=str(path))


# ---- folder ----


@pytest.fixture
def pictures(tmp_path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(5):
            colour = (40 * i, 255 * label, 7)
            Image.new("RGB", (10, 6), colour).save(tmp_path / name / f"{i}.png")
        (tmp_path / name / "notes.txt").write_text("passed over")
    return tmp_path


def test_folder_holds_out_a_fixed_part_of_each_class(pictures):
    loaded = data.load("folder", path=str(pictures), size=4)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.train.image.shape == (8, 4, 4, 3)
    assert loaded.test.label.tolist() == [0, 1]
    green = loaded.train.image[:, 0, 0, 1]
    np.testing.assert_array_equal(green, loaded.train.label * 255)


def test_folder_with_its_own_split_size_and_grey(pictures):
    root = pictures / "both"
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            Image.new("L", (6, 10), 9).save(root / split / name / "a.PNG")
    loaded = data.load("folder", path=str(root), size=(5, 3), channels=1)
    assert loaded.train.image.shape == loaded.test.image.shape == (2, 5, 3, 1)
    assert (loaded.train.image == 9).all()
    (root / "test" / "emu").mkdir()
    with pytest.raises(InputError, match=r"classes that train lacks.*emu"):
        data.load("folder", path=str(root), size=4)


def test_folder_keeps_a_picture_of_the_right_size_as_it_is(tmp_path):
    image = RANDOM.randint(0, 256, (6, 4, 3)).astype(np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    loaded = data.load("folder", path=str(tmp_path), size=(6, 4), test_fraction=0.5)
    np.testing.assert_array_equal(loaded.train.image[0], image)


def test_folder_names_the_picture_that_cannot_be_read(pictures):
    path = pictures / "dog" / "3.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=r"dog/3\.png cannot be read"):
        data.load("folder", path=str(pictures), size=4)


def test_folder_refuses_to_clip_sixteen_bits(pictures):
    deep = Image.fromarray(np.full((6, 10), 4000, np.uint16))
    deep.save(pictures / "cat" / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png: pixels of more than 8 bits"):
        data.load("folder", path=str(pictures), size=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(size=0), "size: expected an integer from 1 to 8,192, got 0"),
        (dict(size=(4, 4, 3)), "size: expected 2 entries, got 3"),
        (dict(size=10**7), "size: expected an integer from 1 to 8,192"),
        (dict(size=float("nan")), "size: expected .* got nan"),
        (dict(size=None), "size: expected .* got None"),
        (dict(size=True), "size: expected .* got True"),
        (dict(size=4, channels=2), "channels must be 3"),
        (dict(size=4, test_fraction=2.0), r"test_fraction: expected a number in \(0, 1\), got 2.0"),
        (dict(), r"missing a required argument: 'size'\. Give it in the config, or a default\."),
    ],
)
def test_bad_settings_of_folder(pictures, settings, message):
    with pytest.raises(InputError, match=message):
        data.load("folder", path=str(pictures), **settings)


def test_folders_without_classes_or_pictures(pictures):
    with pytest.raises(InputError, match="two classes or more; it holds: no folder"):
        data.load("folder", path=str(pictures / "cat"), size=4)
    (pictures / "emu").mkdir()
    with pytest.raises(InputError, match="emu holds no picture"):
        data.load("folder", path=str(pictures), size=4)
    with pytest.raises(InputError, match="there is no"):
        data.load("folder", path=str(pictures / "none"), size=4)


# ---- by name ----


def test_unknown_names_list_data_sets_alone():
    with pytest.raises(InputError, match="Did you mean 'digits'") as caught:
        data.load("digit")
    known = str(caught.value).partition("Known: ")[2].rstrip(".").split(", ")
    assert known == sorted(
        [
            "arrays",
            "cifar10",
            "cifar100",
            "digits",
            "fashion_mnist",
            "folder",
            "imagenet",
            "imbalanced",
            "mnist",
            "streamed",
            "tfds",
            "thumbnails",
        ]
    )


def test_a_users_own_function_by_dotted_path(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(
        "import numpy as np\n"
        "from kd.data.base import Dataset, Split\n"
        "def two(n=4):\n"
        "    s = Split(np.zeros((n, 3), np.float64), np.arange(n) % 2)\n"
        "    return Dataset(s, s, 2, (0.0,) * 3, (1.0,) * 3)\n"
        "def wrong():\n"
        "    return 1\n"
    )
    monkeypatch.chdir(tmp_path)
    loaded = data.load("own_data.two", n=6)
    assert loaded.train.image.dtype == np.float32 and len(loaded.train.label) == 6
    with pytest.raises(InputError, match=r"must be a kd\.data\.base\.Dataset, not int"):
        data.load("own_data.wrong")


def test_check_leaves_good_data_alone(embedded):
    checked = check(embedded)
    assert checked.train.image is embedded.train.image
    flat = Split(embedded.train.image[:, 0], embedded.train.label)
    with pytest.raises(InputError, match=r"uint8 images must be \[n, h, w, c\]"):
        check(embedded._replace(train=flat))


def test_names_import_neither_tfds_nor_sklearn_nor_pillow():
    code = (
        "import sys, kd.data, kd.data.augment, kd.data.mnist, kd.data.digits, kd.data.folder, "
        "kd.data.prepare\nheavy = ('tensorflow_datasets', 'sklearn', 'PIL', 'grain')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_transfer_sets_leave_classes_out_of_train_alone(embedded):
    kept = base.keep_validation(embedded, 0.1)
    only = base.keep_classes(kept, (7, 8))
    assert set(only.train.label) == {7, 8} and only.num_classes == 10
    assert len(only.train.label) == np.isin(kept.train.label, (7, 8)).sum()
    np.testing.assert_array_equal(only.test.image, embedded.test.image)
    assert set(only.validation.label) == set(range(10))
    assert len(kept.train.label) + len(kept.validation.label) == len(embedded.train.label)


def test_pictures_larger_than_the_memory_are_refused(pictures):
    """Before the first is read: at 8,192 pixels a side a few thousand would not fit."""
    from kd.values import check_memory

    with pytest.raises(InputError, match=r"9 pictures need 1,024\.0 GiB.*this machine has"):
        check_memory("9 pictures", 2**40, "Give a smaller size.")


@pytest.mark.parametrize("path", ["~nosuchuser/x", "", "a\0b", "x" * 5000])
def test_a_path_that_cannot_be_is_refused(path):
    with pytest.raises(InputError, match="path"):
        data.load("arrays", path=path)


def test_thumbnails_are_means_of_pixels(small_data):
    full = data.load("arrays", path=str(small_data))
    small = data.load("thumbnails", source="arrays", settings={"path": str(small_data)})
    assert small.train.image.shape == (100, 4, 4, 1) and small.train.image.dtype == np.uint8
    assert small.mean == full.mean and np.array_equal(small.test.label, full.test.label)
    corner = full.test.image[7, 2:4, 4:6, 0].astype(float).mean()
    assert small.test.image[7, 1, 2, 0] == np.rint(corner)
    with pytest.raises(InputError, match="factor = 3 does not divide"):
        data.load("thumbnails", source="digits", factor=3)
