"""Checkpoints: those that a real PyTorch wrote (tests/fixtures/torch/make.py), damaged ones, and
hostile ones.
"""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kd.errors import InputError
from kd.weights import convert, torch_file

FIXTURES = Path(__file__).parent / "fixtures" / "torch"
READABLE = (
    "zip.pth",
    "legacy.pth",
    "zip_cuda.pth",
    "legacy_cuda.pth",
    "bare.pt",
    "protocol4.pt",
    "state_dict.pth",
    "plain.safetensors",
)


def refused(path) -> str:
    """The one line with which reading `path` fails."""
    with pytest.raises(InputError) as caught:
        convert.read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    return line


def code(value) -> bytes:
    """Opcodes that push `value`."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(size=6, offset=0, shape=(2, 3), stride=(3, 1), key="0", kind="Float"):
    """Opcodes that push a tensor as torch.save writes it."""
    storage = b"(" + code("storage") + f"ctorch\n{kind}Storage\n".encode()
    storage += code(key) + code("cpu") + code(size) + b"tQ"
    arguments = code(offset) + code(shape) + code(stride) + code(False)
    hooks = b"ccollections\nOrderedDict\n)R"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return rebuild + b"(" + storage + arguments + hooks + b"tR"


def entries(**values: bytes) -> bytes:
    """Opcodes that push the dictionary of what `values` push."""
    return b"}(" + b"".join(code(k) + v for k, v in values.items()) + b"u"


def as_zip(path, whole: bytes, storage=bytes(24), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + whole + b".")
        archive.writestr("archive/data/0", storage)
    return path


SIX_ZEROS = (6).to_bytes(8, "little") + bytes(24)


def as_legacy(path, whole: bytes, storage=SIX_ZEROS):
    facts = {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}
    head = [0x1950A86A20F9469CFC6C, 1001, facts]
    parts = [pickle.dumps(part, 2) for part in head] + [b"\x80\x02" + whole + b"."]
    path.write_bytes(b"".join([*parts, pickle.dumps(["0"], 2), storage]))
    return path


def in_both(tmp_path, whole: bytes):
    return as_zip(tmp_path / "new.pth", whole), as_legacy(tmp_path / "old.pth", whole)


@pytest.mark.parametrize("name", READABLE)
def test_reads_what_pytorch_wrote(name):
    state = convert.read(FIXTURES / name)
    with np.load(FIXTURES / "expected.npz") as expected:
        assert set(state) == set(expected)
        for key, value in expected.items():
            ours = state[key]
            assert ours.dtype.name == ("bfloat16" if key == "bfloat16" else value.dtype)
            np.testing.assert_array_equal(ours.astype(value.dtype), value, err_msg=key)


def test_shared_storages_stay_shared_and_cannot_be_written():
    state = convert.read(FIXTURES / "zip.pth")
    assert np.shares_memory(state["transposed"], state["rows_of_base"])
    with pytest.raises(ValueError, match="read-only"):
        state["plain"][0] = 1


def test_the_handmade_files_of_these_tests_are_readable(tmp_path):
    for path in in_both(tmp_path, entries(weight=tensor(shape=(3,), stride=(2,)))):
        assert convert.read(path)["weight"].shape == (3,)


def test_old_files_know_views_of_a_storage(tmp_path):
    """Before PyTorch 0.4 a storage could itself be a part of another: (key, first number, size)."""
    view = code(("view", 4, 2))
    whole = tensor(shape=(2,), stride=(1,)).replace(b"tQ", view + b"tQ")
    storage = (6).to_bytes(8, "little") + np.arange(6, dtype=np.float32).tobytes()
    path = as_legacy(tmp_path / "old.pth", entries(weight=whole), storage)
    assert convert.read(path)["weight"].tolist() == [4, 5]


EVIL = {
    "system": b"cos\nsystem\n" + code(("touch {marker}",)) + b"R",
    "posix": b"cposix\nsystem\n" + code(("touch {marker}",)) + b"R",
    "eval": b"cbuiltins\neval\n" + code(("open('{marker}', 'w')",)) + b"R",
    "getattr": b"c__builtin__\ngetattr\n" + code(("a", "lower")) + b"R",
    "load": b"ctorch.serialization\nload\n" + code(("{marker}",)) + b"R",
    "instance": b"(" + code("touch {marker}") + b"ios\nsystem\n",
    "dotted": code("os") + code("system") + b"\x93" + code(("touch {marker}",)) + b"R",
    "extension": b"\x82\x01",
}


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
@pytest.mark.parametrize("place", ["whole", "model", "optimizer"])
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path, monkeypatch, evil, place):
    marker = tmp_path / "m"
    # The same length as the placeholder, or the lengths in the pickle would be wrong.
    monkeypatch.chdir(tmp_path)
    evil = evil.replace(b"{marker}", b"./././/m")
    whole = {
        "whole": evil,
        "model": entries(model=entries(weight=evil)),
        "optimizer": entries(model=entries(weight=tensor()), optimizer=evil),
    }[place]
    for path in in_both(tmp_path, whole):
        line = refused(path)
        assert "only tensors and containers" in line or "opcode" in line
    assert not marker.exists()


def test_the_hostile_pickles_are_no_blanks(tmp_path, monkeypatch):
    """Python's own unpickler runs the first of them."""
    monkeypatch.chdir(tmp_path)
    evil = EVIL["system"].replace(b"{marker}", b"./././/m")
    pickle.loads(b"\x80\x02" + evil + b".")
    assert (tmp_path / "m").exists()


def test_a_whole_module_is_refused_with_the_remedy():
    line = refused(FIXTURES / "module.pth")
    assert "torch.nn.modules.linear.Linear" in line
    assert "model.state_dict()" in line


FORGED = {
    "offset": tensor(offset=1),
    "negative offset": tensor(offset=-1),
    "stride": tensor(stride=(4, 1)),
    "negative stride": tensor(stride=(-3, 1)),
    "shape": tensor(shape=(2**40, 2**40), stride=(2**40, 1)),
    "shape without stride": tensor(shape=(2**62, 2**62), stride=(0, 0)),
    "repeated": tensor(shape=(2**40, 2), stride=(0, 1)),
    "rank": tensor(stride=(3,)),
    "size": tensor(size=7),
    "huge size": tensor(size=2**70),
    "huge numbers": tensor(size=10**5000, offset=-(10**5000)),
    "another type": tensor(kind="Double"),
    "unknown type": tensor(kind="Quaternion"),
    "fractions": tensor(shape=(2.0, 3.0)),
    "unknown key": tensor(key="1"),
    "path as key": tensor(key="../data.pkl"),
    "quantized": tensor().replace(b"_rebuild_tensor_v2", b"_rebuild_qtensor"),
    "no tensor": code(1.0),
    "data that is no tensor": b"ctorch\ndevice\n" + code(("cpu",)) + b"R",
    "tuple as key": b"}" + code(((), 1)) + tensor() + b"s",
    "memo": tensor() + b"r\xff\xff\xff\xff" + b"h\x07",
    "empty stack": b"0" * 9,
    "deep": b"(" * 10**4,
    "deep key": b"}" + b"N" + b"\x85" * 10**4 + tensor() + b"s",
    "long string": b"\x8d" + (2**62).to_bytes(8, "little"),
    "text": b"I" + b"9" * 5000 + b"\n",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_tensors_are_refused(tmp_path, forged):
    for path in in_both(tmp_path, entries(weight=forged)):
        refused(path)


def test_forged_containers_are_refused(tmp_path):
    whole = entries(weight=tensor())
    bomb = as_zip(tmp_path / "bomb.pth", whole, bytes(24), zipfile.ZIP_DEFLATED)
    assert "compressed" in refused(bomb)
    for storage in (bytes(8), (2**60).to_bytes(8, "little") + bytes(24), b""):
        refused(as_legacy(tmp_path / "size.pth", whole, storage))
    other = tmp_path / "other.pth"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme", "a zip archive")
    assert "not one of PyTorch" in refused(other)
    big = as_zip(tmp_path / "big.pth", whole)
    with zipfile.ZipFile(big, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    assert "big-endian" in refused(big)


def test_overlapping_entries_are_refused():
    """A directory that lists the same bytes many times over would otherwise unpack to any size."""
    archive = zipfile.ZipFile(FIXTURES / "bare.pt")
    storages = torch_file._Entries(archive, "bare/data/", limit=150)
    with pytest.raises(InputError, match="overlap"):
        [storages[key] for key in "0123456789"]


@pytest.mark.parametrize("name", ["zip.pth", "legacy.pth", "plain.safetensors"])
def test_truncated_files_are_refused(tmp_path, name):
    data = (FIXTURES / name).read_bytes()
    path = tmp_path / name
    for length in [*range(0, 40), *range(40, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.campaign) for seed in range(1, 21))]
)
@pytest.mark.parametrize("name", READABLE)
def test_whatever_bytes_change_the_reader_refuses_or_reads(tmp_path, name, seed):
    data = np.frombuffer((FIXTURES / name).read_bytes(), np.uint8)
    rng, path = np.random.default_rng(seed), tmp_path / name
    outcomes = set()
    for _ in range(40):
        changed = data.copy()
        changed[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
        path.write_bytes(changed.tobytes())
        try:
            convert.read(path)
            outcomes.add("read")
        except InputError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes


def test_what_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / "file.pth"
    assert "No such file" in refused(path)
    for text in (b"", b"<html>Not found</html>", b"\x80", bytes(1000)):
        path.write_bytes(text)
        assert "no PyTorch checkpoint, or damaged" in refused(path)
    rng = np.random.default_rng(0)
    for _ in range(300):  # some begin as a pickle does: what is told of them differs
        path.write_bytes(rng.bytes(1000))
        refused(path)
    with tarfile.open(path, "w") as archive:
        archive.add(FIXTURES / "bare.pt", "a/bare.pt")
    assert "tar archive; unpack it" in refused(path)
    path.unlink()
    path.mkdir()
    assert "directory" in refused(path)


def test_files_without_a_state_dict_say_what_they_hold(tmp_path):
    path = tmp_path / "file.pth"
    assert "'epoch', 'args'" in refused(as_zip(path, entries(epoch=code(3), args=code({}))))
    assert "no dictionary" in refused(as_zip(path, tensor()))
    assert "empty" in refused(as_zip(path, entries(model=entries())))
    line = refused(as_zip(path, entries(model=entries(a=tensor(), b=code(1)))))
    assert "not tensors: 'b'" in line


def test_state_dicts_are_known_wherever_scripts_save_them(tmp_path):
    path = tmp_path / "file.pth"
    state = entries(weight=tensor())
    names = ("model", "net", "model_state_dict", "model_state", "module", "ema", "state_dict_ema")
    for name in (*names, "model_ema", "student", "parameters"):
        whole = entries(**{name: state, "epoch": code(3), "optimizer": entries(state=state)})
        for file in in_both(tmp_path, whole):
            assert list(convert.read(file)) == ["weight"], name
    nested = as_zip(path, entries(model=entries(state_dict=state, name=code("resnet8"))))
    assert list(convert.read(nested)) == ["weight"]
    several = as_zip(path, entries(model=entries(state_dict=state), ema=entries(other=tensor())))
    line = refused(several)
    assert "'ema', 'model.state_dict'" in line and "--entry" in line
    for entry in ("model.state_dict", "model/state_dict", "model -> state_dict"):
        assert list(convert.read(several, entry)) == ["weight"]
    assert list(convert.read(several, "ema")) == ["other"]
    with pytest.raises(InputError, match="no state dict in --entry 'epoch', but in 'ema'"):
        convert.read(several, "epoch")


BESIDE = {
    "path": b"cpathlib\nPosixPath\n" + code(("runs", "a")) + b"R",
    "date": b"cdatetime\ndatetime\n" + code((b"abc",)) + b"R",
    "version": b"ctorch.torch_version\nTorchVersion\n" + code(("2.1",)) + b"\x81",
    "text": code("resnet"),
    "nothing": b"N",
}


@pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_weights_is_skipped(tmp_path, value):
    for whole in (
        entries(model=entries(weight=tensor()), beside=value),
        entries(weight=tensor(), beside=value),
        entries(model=entries(weight=tensor(), beside=value)),
    ):
        for path in in_both(tmp_path, whole):
            assert list(convert.read(path)) == ["weight"]


def typed(value: bytes) -> bytes:
    """Opcodes that push a tensor with attributes, as `torch.nn.Buffer` has: a function, a type, the
    function's arguments, and attributes.
    """
    function, arguments = value[: value.index(b"2\n") + 2], value[value.index(b"2\n") + 2 : -1]
    rebuild = b"ctorch._tensor\n_rebuild_from_type_v2\n("
    kind = b"ctorch.nn.parameter\nBuffer\n"
    return rebuild + function + kind + arguments + entries(persistent=code(True)) + b"tR"


def test_tensors_with_attributes_are_read(tmp_path):
    for path in in_both(tmp_path, entries(weight=typed(tensor()))):
        assert convert.read(path)["weight"].shape == (2, 3)


def third(kind: str, bits: bytes = b"", size: int = 24) -> bytes:
    """Opcodes that push a tensor of a type that has no storage of its own."""
    value = tensor(size=size, kind="Untyped").replace(b"_v2", b"_v3")
    return value[:-2] + f"ctorch\n{kind}\n".encode() + bits + b"tR"


@pytest.mark.parametrize("kind", ["uint16", "uint32", "float32"])
def test_newer_types_of_numbers_are_read(tmp_path, kind):
    content = np.arange(24, dtype=np.uint8)
    path = as_zip(tmp_path / "a.pth", entries(weight=third(kind)), content.tobytes())
    expected = content.view(kind)[:6].reshape(2, 3)
    np.testing.assert_array_equal(convert.read(path)["weight"], expected)
    old = as_legacy(
        tmp_path / "b.pth", entries(weight=third(kind)), bytes([24, *[0] * 7, *content])
    )
    np.testing.assert_array_equal(convert.read(old)["weight"], expected)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (third("float8_e4m3fn"), "float8_e4m3fn"),
        (third("float8_e5m2"), "float8_e5m2"),
        (tensor(size=3, shape=(3,), stride=(1,), kind="ComplexFloat"), "complex64"),
        (tensor(size=24, kind="QInt8"), "qint8"),
    ],
)
def test_types_that_are_not_supported_are_named(tmp_path, value, name):
    for path in in_both(tmp_path, entries(weight=value)):
        line = refused(path)
        if path.suffix == ".pth" and "truncated" not in line:
            assert f"the type {name} of 'weight' is not supported" in line
        assert "damaged" not in line


def test_bits_of_a_view_are_applied_or_refused(tmp_path):
    content = np.arange(6, dtype=np.float32)
    for bits, sign in (({"neg": True}, -1), ({"neg": False}, 1), ({}, 1), (None, 1)):
        whole = entries(weight=tensor()[:-2] + code(bits) + b"tR")
        path = as_zip(tmp_path / "a.pth", whole, content.tobytes())
        read = convert.read(path)["weight"]
        np.testing.assert_array_equal(read, sign * content.reshape(2, 3))
        with pytest.raises(ValueError, match="read-only"):
            read[0] = 1
    for bits in ({"conj": True}, {"zero": True}, 3):
        refused(as_zip(path, entries(weight=tensor()[:-2] + code(bits) + b"tR"), content.tobytes()))


@pytest.mark.parametrize("protocol", range(5))
def test_every_protocol_is_read(tmp_path, protocol):
    """Files of protocol 0 have the ids of their storages as text."""

    class Rebuilt:
        def __init__(self, function, arguments):
            self.reduced = function, arguments

        def __reduce__(self):
            return self.reduced

    class Pickler(pickle._Pickler):
        def save_global(self, obj, name=None):
            module, _, name = obj.name.rpartition(".")
            self.write(f"c{module}\n{name}\n".encode())

        def save(self, obj, save_persistent_id=True):
            if isinstance(obj, Named):
                return self.save_global(obj)
            return super().save(obj, save_persistent_id)

        def persistent_id(self, obj):
            if not isinstance(obj, Stored):
                return None
            if protocol == 0:
                return "('storage', <class 'torch.FloatStorage'>, '0', 'cpu', 6)"
            return "storage", Named("torch.FloatStorage"), "0", "cpu", 6

    class Named:
        def __init__(self, name):
            self.name = name

        def __call__(self):
            pass

    class Stored:
        pass

    arguments = Stored(), 0, (2, 3), (3, 1), False, None
    file = io.BytesIO()
    whole = {"weight": Rebuilt(Named("torch._utils._rebuild_tensor_v2"), arguments), "epoch": True}
    Pickler(file, protocol).dump({"model": {"weight": whole["weight"]}, "epoch": 2**40})
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", file.getvalue())
        archive.writestr("a/data/0", np.arange(6, dtype=np.float32).tobytes())
    assert convert.read(path)["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_two_entries_of_one_name_are_refused(tmp_path):
    path = as_zip(tmp_path / "a.pth", entries(weight=tensor()))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(range(24)))
    assert "two of its entries have one name" in refused(path)
