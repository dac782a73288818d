"""Hostile checkpoints: none runs code, and none takes more memory or time than a checkpoint would.

Every file is read in a process whose memory is limited, and whose time is limited as well.
"""

import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch_file_test import as_legacy, as_zip, code, entries, tensor

ROOT = Path(__file__).parents[1]
CHILD = """
import resource, sys
from pathlib import Path
from kd.errors import InputError
from kd.weights import convert
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 1_500_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 60, resource.RLIM_INFINITY))
    try:
        convert.import_checkpoint(path, "resnet8")
        print("read", path)
    except InputError as error:
        assert "\\n" not in str(error) and len(str(error)) < 2000, error
        print("BLOWN" if "MemoryError" in str(error) else "refused", error)
"""
KINDS: dict[str, Callable[[np.random.Generator, Path], object]] = {}


def kind(make: Callable[[np.random.Generator, Path], object]):
    KINDS[make.__name__] = make
    return make


def written(rng: np.random.Generator, path: Path, whole: bytes) -> None:
    """The pickle in one of the two formats, bare or as an entry."""
    whole = entries(model=whole) if rng.random() < 0.3 else whole
    (as_zip if rng.random() < 0.5 else as_legacy)(path, whole)


def memo(value: bytes, index: int = 7) -> bytes:
    """Pushes a value and remembers it."""
    return value + b"r" + index.to_bytes(4, "little")


def get(index: int = 7) -> bytes:
    return b"j" + index.to_bytes(4, "little")


def nested(rng: np.random.Generator) -> bytes:
    """A tuple that shares its parts: as text it would have 2 ** n characters."""
    pairs = b"".join(memo(b"\x86", 7) + get(7) for _ in range(int(rng.integers(30, 60))))
    return memo(code("a"), 7) + get(7) + pairs + b"0"


def storage(key: bytes, size: bytes = b"K\x06", kind: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    return b"(" + code("storage") + kind + key + code("cpu") + size + b"tQ"


def rebuilt(arguments: bytes) -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


@kind
def names_that_run_code(rng, path):
    call = [b"cos\nsystem\n", b"cposix\nsystem\n", b"cbuiltins\nexec\n", b"csubprocess\nPopen\n"]
    call += [
        b"ctorch.hub\nload\n",
        b"cnumpy.testing._private.utils\nruncstring\n",
        b"crunpy\nrun_path\n",
    ]
    call += [b"cpickle\nloads\n", b"cbuiltins\n__import__\n", b"ctorch.serialization\nload\n"]
    evil = call[rng.integers(len(call))] + code((f"touch {path}.executed",)) + b"R"
    beside = rng.random() < 0.5
    written(rng, path, entries(weight=tensor(), date=evil) if beside else entries(weight=evil))


@kind
def an_object_that_runs_code(rng, path):
    """By Python's own pickler; torch's reader of whole modules would run it."""

    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(path) + '.executed'!r}, 'w')",)

    written(rng, path, pickle.dumps({"model": {"weight": Evil()}}, int(rng.integers(5)))[:-1])


@kind
def a_shared_tuple_as_key_of_a_storage(rng, path):
    written(rng, path, entries(weight=rebuilt(storage(nested(rng)) + code((0, (6,), (1,)))[:-1])))


@kind
def a_shared_tuple_as_a_name(rng, path):
    written(rng, path, entries(weight=code("torch") + nested(rng) + b"\x93"))


@kind
def a_shared_tuple_as_key_or_shape(rng, path):
    whole = b"}" + nested(rng) + tensor() + b"s"
    if rng.random() < 0.5:
        shape = rebuilt(storage(code("0")) + b"K\x00" + nested(rng) + code((1,)))
        whole = entries(weight=shape)
    written(rng, path, whole)


@kind
def copies_of_a_long_list(rng, path):
    """By torch.Size, by OrderedDict, or as the id of a storage."""
    long = memo(b"](" + b"K\x00" * 10**5 + b"e")
    copy = [b"ctorch\nSize\n" + get() + b"\x85R", b"ccollections\nOrderedDict\n" + get() + b"\x85R"]
    copy.append(b"(" + get() + b"tQ")
    many = copy[rng.integers(2)] * 10**5
    written(rng, path, b"(" + long + many + b"l" + entries(weight=tensor()) + b"\x86")


@kind
def pairs_of_a_long_list(rng, path):
    long = memo(b"](" + b"K\x00" * 1000 + b"e")
    pairs = memo(b"](" + get() * 1000 + b"e", 8)
    many = (b"ccollections\nOrderedDict\n" + get(8) + b"\x85R0") * 5000
    written(rng, path, long + b"0" + pairs + b"0" + many + entries(weight=tensor()))


@kind
def long_names(rng, path):
    size = 10**7
    text = memo(b"X" + size.to_bytes(4, "little") + b"a" * size)
    many = (code("torch.optim") + get() + b"\x93") * 2000
    written(rng, path, b"(" + text + many + b"l")


@kind
def long_keys(rng, path):
    """Two equal texts are compared byte by byte, each time."""
    size = 10**7
    text = b"X" + size.to_bytes(4, "little") + b"a" * size
    whole = memo(text, 7) + b"0" + memo(text, 8) + b"0}" + get(7) + b"Ns"
    written(rng, path, whole + (get(8) + b"Ns") * 10**6)


@kind
def huge_numbers(rng, path):
    size = 10**7
    number = memo(b"\x8b" + size.to_bytes(4, "little") + b"\x01" * size)
    written(rng, path, number + b"0}" + (get() + b"Ns") * 10**6)


@kind
def many_steps(rng, path):
    step = [b"N0", b"}r\1\0\0\0", b"]", b"(", b"K\x01", b"\x94"]
    written(rng, path, b"N" + step[rng.integers(len(step))] * 10**7 + entries(weight=tensor()))


@kind
def deep_containers(rng, path):
    step = [b"\x85", b"]a", b"}q\0"]
    which = int(rng.integers(2))
    whole = (b"N" + step[0] * 10**6) if which else (b"](" * 10**5 + b"e" * 10**5)
    written(rng, path, entries(weight=whole))


@kind
def dictionaries_of_one_dictionary(rng, path):
    """A million ways lead to it."""
    whole = memo(entries(a=tensor(), b=code(1)), 10)
    for level in range(11, 14):
        keys = b"".join(code(f"k{i}") + get(level - 1) for i in range(1000))
        whole += b"0" + memo(b"}(" + keys + b"u", level)
    written(rng, path, whole)


@kind
def many_state_dicts(rng, path):
    each = b"".join(code(f"k{i}") + entries(**{"conv1.weight": tensor()}) for i in range(4000))
    written(rng, path, b"}(" + each + b"u")


@kind
def names_of_many_parts(rng, path):
    name = "a." * 10**6 + "weight"
    written(rng, path, b"}" + code(name) + tensor() + b"s")


@kind
def forged_shapes(rng, path):
    shape = [
        ((2**20,), (0,)),
        ((2**40, 2**40), (0, 0)),
        ((2**62, 0), (1, 1)),
        ((6,) * 70, (0,) * 70),
    ]
    sizes, strides = shape[rng.integers(len(shape))]
    written(rng, path, entries(**{"conv1.weight": tensor(shape=sizes, stride=strides)}))


@kind
def a_shape_of_a_million_axes(rng, path):
    axes = memo(b"(" + b"\x8a\x08" + (2**62).to_bytes(8, "little") + b"t")
    many = b"(" + (b"\x8a\x08" + (2**62).to_bytes(8, "little")) * 10**6 + b"t"
    whole = axes + b"0" + memo(many, 8) + b"0"
    shape = rebuilt(storage(code("0")) + b"K\x00" + get(8) + get(8))
    written(rng, path, whole + entries(**{"conv1.weight": shape}))


@kind
def many_tensors_of_one_storage(rng, path):
    each = memo(tensor(shape=(2**20,), stride=(0,)), 9)
    keys = b"".join(code(f"conv{i}.weight") + get(9) for i in range(10**5))
    written(rng, path, each + b"0}(" + keys + b"u")


@kind
def compressed_entries(rng, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        name = ["archive/data.pkl", "archive/byteorder"][rng.integers(2)]
        archive.writestr(name, bytes(2 * 10**8))
        if name != "archive/data.pkl":
            archive.writestr("archive/data.pkl", b"\x80\x02" + entries(weight=tensor()) + b".")


@kind
def two_entries_of_one_name(rng, path):
    import warnings

    as_zip(path, entries(weight=tensor()))
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = ["archive/data/0", "archive/data.pkl"][rng.integers(2)]
        archive.writestr(name, bytes(range(24)))


@kind
def many_entries(rng, path):
    as_zip(path, entries(weight=tensor()))
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(20000):
            archive.writestr(f"archive/data/{i + 1}", b"")


@kind
def a_file_with_a_hole(rng, path):
    """Eight gigabytes, of which nothing is on the disk."""
    start = [b"PK\3\4", b"\x80\x02", (2**33 - 8).to_bytes(8, "little") + b"{", b"PK"]
    with path.open("wb") as file:
        file.write(start[rng.integers(len(start))])
        file.truncate(2**33)


@kind
def a_storage_with_a_hole(rng, path):
    size = 2**31
    as_legacy(path, entries(**{"conv1.weight": tensor(size=size)}), size.to_bytes(8, "little"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 4 * size)


def safetensors(path: Path, header: bytes, data: bytes = b"") -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)


@kind
def deep_headers(rng, path):
    safetensors(path, b'{"a":' + b"[" * 10**6 + b"]" * 10**6 + b"}")


@kind
def long_headers(rng, path):
    each = ",".join(
        f'"k{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(10**6)
    )
    safetensors(path, b"{" + each.encode() + b"}")


@kind
def forged_headers(rng, path):
    entry = [
        b'{"a":{"dtype":"F32","shape":[1099511627776,1099511627776],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],'
        b'"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
    ]
    safetensors(path, entry[rng.integers(len(entry))], bytes(4))


FILES = 120
PIECES = 20


@pytest.mark.parametrize("piece", [pytest.param(i, marks=pytest.mark.campaign) for i in range(20)])
def test_hostile_files_neither_run_nor_exhaust(tmp_path, piece):
    numbers = range(piece, FILES, PIECES)
    paths = []
    for number in numbers:
        make = list(KINDS.values())[number % len(KINDS)]
        paths.append(tmp_path / f"{number}-{make.__name__}.pth")
        make(np.random.default_rng(number), paths[-1])
    command = [sys.executable, "-c", CHILD, *map(str, paths)]
    child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    outcomes = child.stdout.splitlines()
    assert child.returncode == 0 and not child.stderr, (outcomes, child.stderr[-2000:])
    assert len(outcomes) == len(paths)
    assert all(outcome.startswith("refused") for outcome in outcomes), outcomes
    assert not list(tmp_path.glob("*.executed"))
