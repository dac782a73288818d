"""`.safetensors` files: equal tensors give equal bytes, rules of the format are checked."""

import hashlib
import json

import ml_dtypes
import numpy as np
import pytest

from kd.errors import InputError
from kd.weights import convert, safetensors


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def handmade(header, numbers=b"", length=None):
    """A file's content: `header` is JSON text or a dictionary, `length` what it claims to have."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + numbers


ONE, TWO = (json.dumps(entry(i, i + 4, [1])) for i in (0, 4))
HOSTILE = {
    "name twice, other bytes": handmade(f'{{"a": {ONE}, "a": {TWO}}}', bytes(8)),
    "name twice, same bytes": handmade(f'{{"a": {ONE}, "a": {ONE}}}', bytes(4)),
    "metadata twice": handmade(f'{{"__metadata__": {{"x": "1", "x": "2"}}, "a": {ONE}}}', bytes(4)),
    "overlap": handmade({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
    "the same bytes": handmade({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, bytes(8)),
    "hole": handmade({"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, bytes(12)),
    "hole at the start": handmade({"a": entry(4, 8, [1])}, bytes(8)),
    "trailing bytes": handmade({"a": entry(0, 4, [1])}, bytes(5)),
    "truncated": handmade({"a": entry(0, 4, [1])}, bytes(3)),
    "shape of another size": handmade({"a": entry(0, 4, [2])}, bytes(4)),
    "negative shape": handmade({"a": entry(0, 4, [-1])}, bytes(4)),
    "huge shape": handmade({"a": entry(0, 4, [2**62, 2**62])}, bytes(4)),
    "too many axes": handmade({"a": entry(0, 4, [1] * 100)}, bytes(4)),
    "backwards": handmade({"a": entry(4, 0, [1])}, bytes(4)),
    "unknown type": handmade({"a": entry(0, 4, [1], "Q32")}, bytes(4)),
    "metadata that is no text": handmade({"__metadata__": {"x": 1}, "a": entry(0, 4, [1])}),
    "header beyond the file": handmade({"a": entry(0, 4, [1])}, bytes(4), length=1000),
    "header of 200 MB": handmade({"a": entry(0, 4, [1])}, bytes(4), length=200_000_000),
    "header of 2^31 bytes": handmade({"a": entry(0, 4, [1])}, bytes(4), length=2**31),
    "header of 2^63 bytes": handmade({"a": entry(0, 4, [1])}, bytes(4), length=2**63),
    "header of no bytes": handmade({"a": entry(0, 4, [1])}, bytes(4), length=0),
    "nested header": handmade('{"a": ' * 10_000),
    "line breaks in a name": handmade({"a\nb": entry(4, 8, [1])}, bytes(8)),
}


def refused(path, content) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        convert.read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_files_that_break_a_rule_are_refused(tmp_path, content):
    assert "the safetensors file is damaged" in refused(tmp_path / "net.pth", content)


def test_the_handmade_files_of_these_tests_are_readable(tmp_path):
    path = tmp_path / "net.safetensors"
    header = {"b": entry(0, 4, [1]), "a": entry(4, 8, []), "empty": entry(8, 8, [0, 3])}
    path.write_bytes(handmade(header, np.float32([1.5, 2.5]).tobytes()))
    state = convert.read(path)
    assert list(state) == ["b", "a", "empty"]
    assert state["b"].tolist() == [1.5] and state["a"].shape == () and state["a"] == 2.5
    with pytest.raises(ValueError, match="read-only"):
        state["b"][0] = 1


@pytest.mark.parametrize(
    ("dtype", "size"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("F8_E8M0", 1), ("C64", 8)]
)
def test_types_without_a_use_here_are_named(tmp_path, dtype, size):
    content = handmade({"fc.weight": entry(0, size, [1], dtype)}, bytes(size))
    line = refused(tmp_path / "net.safetensors", content)
    assert f"the type {dtype} of 'fc.weight' is not supported" in line and "F32" in line


def test_bfloat16_is_read_and_written(tmp_path):
    path = tmp_path / "net.safetensors"
    state = {"a": np.array([1.5, -3], ml_dtypes.bfloat16), "b": np.float32([[1, 2]])}
    path.write_bytes(safetensors.encode(state, {}))
    for name, array in convert.read(path).items():
        np.testing.assert_array_equal(array, state[name], strict=True)


def test_equal_tensors_give_equal_bytes():
    """The package orders metadata anew in each call. The digest is that of the files that `kd pack`
    has written since the first release.
    """
    state = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bn.bias": np.ones(3, "f4")}
    metadata = {"model": "resnet8", "data": "cifar100", "seed": "0", "accuracy": "0.5", "é": '"'}
    contents = {safetensors.encode(state, metadata) for _ in range(20)}
    assert [hashlib.sha256(content).hexdigest() for content in contents] == [
        "967a814547a141ecec90402a056d03ac183ec7f9cdea7a7f6e16afeada03bd81"
    ]
