"""A hundred data files that are damaged, truncated or of odd types: each is refused in one line, or
read as what was written; none is a traceback, none hangs.
"""

import contextlib
import gzip
import io
import itertools
import json
import os
import random
import shutil
import signal
import socket
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd import data
from kd.data import prepare, published, tfds
from kd.data.base import Dataset
from kd.errors import InputError

LIMIT = 60  # seconds, after which a case counts as a hang


class Hang(BaseException):
    """No Exception, so that no handler takes it for damage."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    def stop(*_) -> None:
        raise Hang(f"not done after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused_or(expected: Dataset | None, read: Callable[[], Dataset]) -> str:
    """How reading ends: "refused" in one line, or "equal" to what was expected."""
    try:
        with limited():
            loaded = read()
    except InputError as error:
        assert str(error).count("\n") == 0 and 20 < len(str(error)) < 3000
        return "refused"
    assert expected is not None, "it was read"
    for ours, theirs in ((loaded.train, expected.train), (loaded.test, expected.test)):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label, theirs.label)
    return "equal"


def damage(content: bytes, seed: int) -> bytes:
    """The content with one damage: a bit, a run of bytes, a cut, or a part twice or missing."""
    draw = random.Random(seed)
    at = draw.randrange(len(content))
    run = content[at : at + draw.randrange(1, 64)]
    noise = bytes(draw.randrange(256) for _ in run)
    return draw.choice(
        [
            content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :],
            content[:at],
            content[:at] + noise + content[at + len(run) :],
            content[:at] + bytes(len(run)) + content[at + len(run) :],
            content[:at] + run + content[at:],
            content[:at] + content[at + len(run) :],
            content[at:] + content[:at],
        ]
    )


# ---- arrays ----

RANDOM = np.random.RandomState(0)
IMAGES, LABELS = RANDOM.randint(0, 256, (12, 5, 4)).astype(np.uint8), np.arange(12) % 3
ARRAYS = dict(x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:6], y_test=LABELS[:6])


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(24))
def test_a_damaged_npz(seed, tmp_path):
    path = tmp_path / "mine.npz"
    save = np.savez if seed % 2 else np.savez_compressed
    save(path, **ARRAYS)
    expected = data.load("arrays", path=str(path))
    path.write_bytes(damage(path.read_bytes(), seed))
    data._load.cache_clear()
    refused_or(expected, lambda: data.load("arrays", path=str(path)))


def floats(*shape: int) -> np.ndarray:
    return RANDOM.randn(*shape)


ODD = {
    "complex": dict(x_train=IMAGES * 1j),
    "dates": dict(x_train=IMAGES.astype("datetime64[s]")),
    "records": dict(x_train=np.zeros(12, [("a", "i4"), ("b", "f4")])),
    "objects": dict(x_train=np.array([{}] * 12, object)),
    "texts for pixels": dict(x_train=IMAGES.astype(str)),
    "bytes for pixels": dict(x_train=IMAGES.astype("S3")),
    "no axes": dict(x_train=np.uint8(1)),
    "one axis": dict(x_train=IMAGES[:, 0, 0]),
    "six axes": dict(x_train=floats(12, 1, 1, 1, 1, 1)),
    "no columns": dict(x_train=floats(12, 0), x_test=floats(6, 0)),
    "no pixels": dict(x_train=floats(12, 0, 4, 1), x_test=floats(6, 0, 4, 1)),
    "infinite in float32": dict(x_train=np.full((12, 4), 1e300), x_test=np.full((6, 4), 1e300)),
    "grey floats": dict(x_train=floats(12, 8, 8), x_test=floats(6, 8, 8)),
    "channels first": dict(x_train=floats(12, 3, 8, 8), x_test=floats(6, 3, 8, 8)),
    "labels of 64 bits": dict(y_train=LABELS.astype(np.uint64) + 2**63),
    "labels that wrap": dict(y_train=LABELS + 2**32, y_test=LABELS[:6] + 2**32),
    "infinite labels": dict(y_train=np.where(LABELS > 1, np.inf, LABELS)),
    "labels of no axes": dict(y_train=np.int64(1)),
    "labels of three axes": dict(y_train=LABELS.reshape(12, 1, 1)),
    "bytes for labels": dict(y_train=np.array([b"\xff", b"b", b"c"] * 4), y_test=LABELS[:6]),
    "half named": dict(y_test=np.array(["a", "b"] * 3)),
    "from one": dict(y_train=LABELS + 1, y_test=LABELS[:6] + 1),
}


@pytest.mark.campaign
@pytest.mark.parametrize("case", ODD)
def test_odd_arrays(case, tmp_path):
    np.savez(tmp_path / "odd.npz", **{**ARRAYS, **ODD[case]})
    read = lambda: data.load("arrays", path=str(tmp_path / "odd.npz"))
    assert refused_or(None, read) == "refused"


# ---- folder ----


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RANDOM.randint(0, 256, (20, 20, 3)).astype(np.uint8)).save(file, "jpeg")
    return file.getvalue()


def huge(width: int, height: int) -> bytes:
    """A PNG that says that it is so large."""
    chunk = lambda kind, content: (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def a_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


SPOILED = {
    "pipe": os.mkfifo,
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("hello"),
    "half a JPEG": lambda path: path.write_bytes(jpeg()[:400]),
    "postscript": lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "900 megapixels": lambda path: path.write_bytes(huge(30_000, 30_000)),
    "largest": lambda path: path.write_bytes(huge(2**31 - 1, 2**31 - 1)),
    "150 megapixels cut": lambda path: path.write_bytes(huge(15_000, 10_000)),
    "no width": lambda path: path.write_bytes(huge(0, 10)),
    "unreadable type": lambda path: Image.new("F", (4, 4)).save(path, "tiff"),
}


@pytest.fixture
def pictures(tmp_path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(3):
            image = RANDOM.randint(0, 256, (6, 7, 3)).astype(np.uint8)
            (tmp_path / "pictures" / name / f"{label}{i}.png").write_bytes(png(image))
    return tmp_path / "pictures"


@pytest.mark.campaign
@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_picture(case, pictures):
    SPOILED[case](pictures / "dog" / "spoiled.png")
    read = lambda: data.load("folder", path=str(pictures), size=4, test_fraction=0.4)
    assert refused_or(None, read) == "refused"


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_picture(seed, pictures):
    settings = dict(path=str(pictures), size=4, test_fraction=0.4)
    expected = data.load("folder", **settings)
    path = pictures / "dog" / "11.png"
    path.write_bytes(damage(path.read_bytes(), seed))
    data._load.cache_clear()
    refused_or(expected, lambda: data.load("folder", **settings))


# ---- sources of `kd prepare` ----


def sources(root: Path) -> None:
    """Four idx files, an archive of CIFAR and a file of Keras, all small."""
    for split, (images, labels) in published.IDX.items():
        image = RANDOM.randint(0, 256, (9, 28, 28)).astype(np.uint8)
        for name, array in ((images, image), (labels, np.arange(9, dtype=np.uint8))):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            content = head + array.tobytes()
            (root / name).write_bytes(gzip.compress(content) if split == "test" else content)
    with tarfile.open(root / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name in itertools.chain(*published.CIFAR["cifar10"].values()):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 2 * 3073
            archive.addfile(member, io.BytesIO(RANDOM.bytes(member.size)))
    np.savez(root / "cifar100.npz", **ARRAYS)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(15))
def test_a_damaged_source_of_prepare(seed, tmp_path):
    sources(tmp_path)
    name = ("mnist", "cifar10", "cifar100")[seed % 3]
    files = published.files(name, tmp_path)
    file = random.Random(seed).choice(files)
    file.write_bytes(damage(file.read_bytes(), seed))
    try:
        with limited():
            if name == "cifar10":
                published.read_cifar(name, file)  # TFDS compares its checksum before
            else:
                prepare.prepare(name, tmp_path, tmp_path / "out")
    except InputError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "out").exists()


# ---- prepared sets ----


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    splits = {}
    for split, n in (("train", 30), ("test", 7)):
        image = RANDOM.randint(0, 256, (n, 28, 28, 1)).astype(np.uint8)
        splits[split] = {"image": image, "label": np.arange(n) % 10}
    prepare.write("fashion_mnist", root, splits)
    return root


def rewritten(change: Callable[[dict], None], name: str = "dataset_info.json"):
    def write(root: Path) -> None:
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return write


def exchanged(root: Path) -> None:
    train, test = (next(root.glob(f"*-{split}.*")) for split in ("train", "test"))
    shutil.copyfile(train, test)


def lengths(*values: int) -> Callable[[Path], None]:
    def change(content: dict) -> None:
        content["splits"][1]["shardLengths"] = [str(v) for v in values]

    return rewritten(change)


def both_lengths_and_shard(root: Path) -> None:
    exchanged(root)
    lengths(30)(root)


def a_pipe(root: Path) -> None:
    (shard,) = root.glob("*-test.*")
    shard.unlink()
    os.mkfifo(shard)


def foreign_class(content: dict) -> None:
    content["featuresDict"]["features"]["label"]["pythonClassName"] = "antigravity.Label"


CHANGED = {
    "a shard of train for test": exchanged,
    "and its length": both_lengths_and_shard,
    "a length too small": lengths(6),
    "a length too large": lengths(8),
    "a length of a trillion": lengths(10**12),
    "a negative length": lengths(-1),
    "two shards": lengths(3, 4),
    "no shard": lengths(),
    "a pipe": a_pipe,
    "another name": rewritten(lambda content: content.update(name="mnist")),
    "another version": rewritten(lambda content: content.update(version="1.0.0")),
    "deeply nested": lambda root: (root / "features.json").write_text("[" * 10**5),
    "a class of others": rewritten(foreign_class, "features.json"),
    "no features": lambda root: (root / "features.json").unlink(),
    "other classes": lambda root: (root / "label.labels.txt").write_text("a\nb\n"),
    "bytes": rewritten(lambda content: content["splits"][1].update(numBytes="1")),
}


def altered(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "sets")
    return tmp_path / "sets" / "fashion_mnist" / "3.0.1"


@pytest.mark.campaign
@pytest.mark.parametrize("case", CHANGED)
def test_a_changed_prepared_set(case, prepared, tmp_path):
    CHANGED[case](altered(prepared, tmp_path))
    read = lambda: data.load("fashion_mnist", data_dir=str(tmp_path / "sets"))
    assert refused_or(None, read) == "refused"


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_prepared_set(seed, prepared, tmp_path):
    expected = tfds.load("fashion_mnist", str(prepared))
    files = sorted(altered(prepared, tmp_path).iterdir())
    file = files[seed % len(files)]
    file.write_bytes(damage(file.read_bytes(), seed))
    refused_or(expected, lambda: tfds.load("fashion_mnist", str(tmp_path / "sets")))
