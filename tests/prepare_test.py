"""`kd prepare`: published bytes alone get in, by whatever way they come, and a killed run leaves
nothing that looks prepared.
"""

import functools
import gzip
import hashlib
import http.server
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from kd import data
from kd.data import prepare, published, tfds
from kd.errors import InputError

FILES = [name for pair in published.IDX.values() for name in pair]
DEBIAN = prepare.DEBIAN["fashion_mnist"][0]
RANDOM = np.random.RandomState(0)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory) -> Path:
    """Fashion-MNIST's four files as upstream serves them, from Debian's package, which lost names
    and dates in gzip's header.

    RFC 1952, 2.3: flag 8 says that the name follows the ten bytes of the header, bytes 4 to 7 are
    the date.
    """
    if not all((DEBIAN / f"{name}.gz").exists() for name in FILES):
        pytest.skip("needs Debian's package: apt-get install dataset-fashion-mnist")
    root = tmp_path_factory.mktemp("upstream")
    for name in FILES:
        content = (DEBIAN / f"{name}.gz").read_bytes()
        date = 1504176606 if name.startswith("train") else 1504176627
        header = b"\x1f\x8b\x08\x08" + struct.pack("<I", date) + content[8:10]
        restored = header + f"{name}.gz".removesuffix(".gz").encode() + b"\0"
        (root / f"{name}.gz").write_bytes(restored + content[10:])
    return root


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass

    def translate_path(self, path: str) -> str:
        return str(Path(self.directory) / path.rpartition("/")[2])


@pytest.fixture
def serve(monkeypatch):
    """serve(directory): a local server answers for every http:// address; TFDS's URLs and code stay
    as they are.
    """
    servers = []

    def start(directory: Path) -> None:
        handler = functools.partial(Quiet, directory=str(directory))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(prepare, "DEBIAN", {})

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def registered() -> dict[str, str]:
    """{file name: SHA-256} that TFDS registers for Fashion-MNIST."""
    from tensorflow_datasets.image_classification.mnist import FashionMNIST

    infos = FashionMNIST.url_infos.values()
    return {info.filename: info.checksum for info in infos}


def test_our_digests_are_of_the_content_of_the_files_that_tfds_registers(upstream):
    checksums = registered()
    assert sorted(checksums) == sorted(f"{name}.gz" for name in FILES)
    for name in FILES:
        content = (upstream / f"{name}.gz").read_bytes()
        assert hashlib.sha256(content).hexdigest() == checksums[f"{name}.gz"]
        plain = hashlib.sha256(gzip.decompress(content)).hexdigest()
        assert plain == published.CONTENT["fashion_mnist"][name]


@pytest.mark.slow  # the next test is the quick one: the same way, but for writing 70,000 images
def test_upstream_files_over_http_with_checksums_on(upstream, serve, tmp_path):
    import tensorflow_datasets

    serve(upstream)
    directory = prepare.prepare("fashion_mnist", data_dir=tmp_path)
    assert directory == tmp_path / "fashion_mnist" / "3.0.1"
    loaded = data.load("fashion_mnist", data_dir=str(tmp_path))
    arrays = published.read_idx({n: upstream / f"{n}.gz" for n in FILES})
    rows = lambda images: sorted(image.tobytes() for image in images)
    assert rows(loaded.test.image) == rows(arrays["test"]["image"])
    assert rows(loaded.train.image) == rows(arrays["train"]["image"])
    stock = tensorflow_datasets.data_source("fashion_mnist", split="train", data_dir=tmp_path)
    np.testing.assert_array_equal(stock[7]["image"], loaded.train.image[7])


def test_download_over_http_with_checksums_on(upstream, serve, tmp_path, monkeypatch):
    serve(upstream)
    read, seen = published.read_idx, {}

    def few(files):
        seen.update(read(files))
        size = {"train": 200, "test": 20}
        return {s: {k: v[: size[s]] for k, v in seen[s].items()} for s in seen}

    monkeypatch.setattr(published, "read_idx", few)
    prepare.prepare("fashion_mnist", data_dir=tmp_path)
    assert published.identify("fashion_mnist", seen)
    loaded = tfds.load("fashion_mnist", str(tmp_path))
    first = {image.tobytes() for image in seen["test"]["image"][:20]}
    assert {image.tobytes() for image in loaded.test.image} == first


def test_a_wrong_byte_over_http_is_refused(upstream, serve, tmp_path):
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    for name in FILES:
        content = bytearray((upstream / f"{name}.gz").read_bytes())
        if name == "t10k-labels-idx1-ubyte":
            content[4] ^= 1  # the date in the header: the labels themselves stay right
        (spoiled / f"{name}.gz").write_bytes(content)
    serve(spoiled)
    with pytest.raises(InputError, match=r"t10k-labels.*wrong checksum"):
        prepare.prepare("fashion_mnist", data_dir=tmp_path)
    assert tfds.prepared("fashion_mnist", tmp_path) is None


def test_no_network_is_told_within_seconds(tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"cannot download mnist.*mnist --from DIR"):
        prepare.prepare("mnist", data_dir=tmp_path)
    assert tfds.prepared("mnist", tmp_path) is None


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + bytes(array)


def test_files_of_debian_stand_in_where_the_directory_has_none(
    upstream, tmp_path, monkeypatch, capsys
):
    """So that one `--from` does for sets of several origins; the digest makes the two equal."""
    monkeypatch.setattr(prepare, "write", lambda *args: tmp_path)
    prepare.prepare("fashion_mnist", tmp_path, tmp_path / "out")
    assert f"from {DEBIAN}, byte for byte as published" in capsys.readouterr().err


def some_idx(root: Path) -> dict:
    """Four small idx files, and their digests as those of MNIST."""
    digests = {}
    for name in FILES:
        images = RANDOM.randint(0, 256, (9, 28, 28)).astype(np.uint8)
        labels = np.arange(9, dtype=np.uint8)
        content = idx(images if "images" in name else labels)
        packed = name.startswith("train")  # one pair gzipped, one plain
        (root / f"{name}{'.gz' * packed}").write_bytes(
            gzip.compress(content) if packed else content
        )
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def test_idx_files_of_a_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(published.CONTENT, "mnist", some_idx(tmp_path))
    prepare.run(["mnist"], str(tmp_path), str(tmp_path / "out"))
    assert "byte for byte as published" in capsys.readouterr().err
    loaded = tfds.load("mnist", str(tmp_path / "out"))
    assert loaded.train.image.shape == (9, 28, 28, 1)
    info = tmp_path / "out" / "mnist" / "3.0.1" / "dataset_info.json"
    written = info.stat().st_mtime_ns
    prepare.run(["mnist"], str(tmp_path), str(tmp_path / "out"))
    assert "already prepared" in capsys.readouterr().err
    assert info.stat().st_mtime_ns == written


def test_idx_files_that_are_not_as_published(tmp_path, monkeypatch):
    digests = some_idx(tmp_path)
    with pytest.raises(InputError, match="images of train are not those of mnist"):
        prepare.prepare("mnist", tmp_path, tmp_path / "out")
    monkeypatch.setitem(published.CONTENT, "mnist", digests)
    labels = tmp_path / "t10k-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1] + b"\x0b")
    with pytest.raises(InputError, match="labels of test are not those of mnist"):
        prepare.prepare("mnist", tmp_path, tmp_path / "out")
    labels.write_bytes(content[:-1])
    with pytest.raises(InputError, match="cut short"):
        prepare.prepare("mnist", tmp_path, tmp_path / "out")
    images = tmp_path / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:40])
    with pytest.raises(InputError, match=r"train-images.* is damaged"):
        prepare.prepare("mnist", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_npz_as_keras_ships_it(tmp_path, monkeypatch):
    digests = some_idx(tmp_path)
    files = {n: next(tmp_path.glob(f"{n}*")) for n in FILES}
    arrays = published.read_idx(files)
    for file in files.values():
        file.unlink()
    given = {}
    for split in ("train", "test"):
        given[f"x_{split}"] = arrays[split]["image"][..., 0]
        given[f"y_{split}"] = arrays[split]["label"].astype(np.int64)
    np.savez(tmp_path / "mnist.npz", **given)
    with pytest.raises(InputError, match="are not those of mnist as published"):
        prepare.prepare("mnist", tmp_path, tmp_path / "out")
    monkeypatch.setitem(published.CONTENT, "mnist", digests)
    prepare.prepare("mnist", tmp_path / "mnist.npz", tmp_path / "out")
    loaded = tfds.load("mnist", str(tmp_path / "out"))
    assert sorted(loaded.test.label) == sorted(arrays["test"]["label"])


def cifar_archive(path: Path, name: str, n: int) -> dict:
    """A small archive in the form of CIFAR's binary version; returns its training images and
    labels.
    """
    prefix = "cifar-10-batches-bin/" if name == "cifar10" else "cifar-100-binary/"
    labels = 1 if name == "cifar10" else 2
    rows = {}
    with tarfile.open(path, "w:gz") as tar:
        for split in ("train", "test"):
            for file in published.CIFAR[name][split]:
                content = RANDOM.randint(0, 10, (n, labels + 3072)).astype(np.uint8)
                rows.setdefault(split, []).append(content)
                member = tarfile.TarInfo(prefix + file)
                member.size = content.size
                tar.addfile(member, io.BytesIO(content.tobytes()))
    train = np.concatenate(rows["train"])
    return {"label": train[:, labels - 1], "pixels": train[:, labels:]}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_archives_of_cifar(name, tmp_path):
    path = tmp_path / f"cifar-{name[5:]}-binary.tar.gz"
    given = cifar_archive(path, name, 4)
    train = published.read_cifar(name, path)["train"]
    np.testing.assert_array_equal(train["label"], given["label"])
    green = given["pixels"][:, 1024:2048].reshape(-1, 32, 32)
    np.testing.assert_array_equal(train["image"][..., 1], green)
    with pytest.raises(InputError, match=r"cifar.*wrong checksum"):
        prepare.prepare(name, tmp_path, tmp_path / "out")
    assert tfds.prepared(name, tmp_path / "out") is None
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="is damaged"):
        published.read_cifar(name, path)


def test_arrays_of_cifar_must_have_its_counts(tmp_path):
    image = np.zeros((10, 32, 32, 3), np.uint8)
    label = np.arange(10)
    np.savez(tmp_path / "cifar10.npz", x_train=image, y_train=label, x_test=image, y_test=label)
    with pytest.raises(InputError, match=r"images must be uint8 \[50000, 32, 32, 3\]"):
        prepare.prepare("cifar10", tmp_path, tmp_path / "out")


def test_names_and_sources_that_do_not_exist(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'mnist'"):
        prepare.run(["minst"], None, str(tmp_path))
    with pytest.raises(InputError, match="digits needs no preparation"):
        prepare.run(["digits"], None, str(tmp_path))
    with pytest.raises(InputError, match="name one or more"):
        prepare.run([], None, str(tmp_path))
    with pytest.raises(InputError, match=r"looked for train-images.*mnist\.npz"):
        prepare.run(["mnist"], str(tmp_path), str(tmp_path))
    with pytest.raises(InputError, match="there is no"):
        prepare.run(["mnist"], str(tmp_path / "none"), str(tmp_path))
    assert not any(tmp_path.iterdir())


def test_a_killed_prepare_leaves_nothing_that_looks_prepared(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from kd.data import prepare\n"
        "n = 200_000\n"
        "s = {'image': np.zeros((n, 28, 28, 1), np.uint8), 'label': np.zeros(n, int)}\n"
        "prepare.write('mnist', sys.argv[1], {'train': s, 'test': s})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert process.stderr is not None
    assert any("writing" in line for line in process.stderr)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    assert any((tmp_path / "mnist").iterdir())  # it had begun
    with pytest.raises(InputError, match="kd prepare mnist"):
        tfds.load("mnist", str(tmp_path))
    prepare.write("mnist", tmp_path, tiny_mnist())
    assert len(tfds.load("mnist", str(tmp_path)).train.label) == 20


def tiny_mnist() -> dict:
    image = RANDOM.randint(0, 256, (20, 28, 28, 1)).astype(np.uint8)
    split = {"image": image, "label": np.arange(20) % 10}
    return {"train": split, "test": split}
