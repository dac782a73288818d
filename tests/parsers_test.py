"""JSON and `.npz` files that were damaged: what is read is what was written."""

import io
import json
import struct

import numpy as np
import pytest

from kd.errors import InputError
from kd.files.parsers import DEEPEST, parse_json, parse_npz
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.tables import published
from kd.train import cache

DEEP = "[" * 10**5 + "]" * 10**5
ARRAYS = {
    "logits": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    "label": np.array([0, 1, 1], np.int32),
    "column_major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "names": np.array(["a", "bc"]),
    "scalar": np.asarray(3),
    "nothing": np.zeros((0, 4)),
}


def saved(save=np.savez, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def equal(read: dict, wanted: dict) -> bool:
    return list(read) == list(wanted) and all(
        a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
        for a, b in zip(read.values(), wanted.values(), strict=True)
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_and_can_be_written(save):
    read = parse_npz(io.BytesIO(saved(save, **ARRAYS)))
    assert equal(read, ARRAYS)
    read["logits"][0] = 1
    assert not parse_npz(io.BytesIO(saved(save)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_bit_changes_hides_or_renames_an_array(save):
    """All single bits of a small file: each is refused, or changes nothing that is read."""
    wanted = {k: ARRAYS[k] for k in ("logits", "label")}
    content = saved(save, **wanted)
    refused = 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert equal(parse_npz(io.BytesIO(changed)), wanted), bit
        except ValueError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 4 * len(content)


def without(content: bytes, name: bytes) -> bytes:
    """The archive with a list that leaves an entry out, counts, sizes and all."""
    end = content.rindex(b"PK\5\6")
    mark, a, b, n, m, size, start, comment = struct.unpack("<4sHHHHIIH", content[end:])
    places = [i for i in range(start, end) if content.startswith(b"PK\1\2", i)] + [end]
    at = next(i for i in places if name in content[i : places[places.index(i) + 1]])
    length = places[places.index(at) + 1] - at
    tail = struct.pack("<4sHHHHIIH", mark, a, b, n - 1, m - 1, size - length, start, comment)
    return content[:at] + content[at + length : end] + tail


@pytest.mark.parametrize("name", list(ARRAYS))
def test_an_array_that_a_whole_list_leaves_out_is_missed(name):
    content = saved(**ARRAYS)
    shorter = without(content, f"{name}.npy".encode())
    with np.load(io.BytesIO(shorter)) as arrays:  # NumPy misses nothing
        assert sorted(arrays.files) == sorted(set(ARRAYS) - {name})
    with pytest.raises(ValueError, match="leaves out what begins at byte"):
        parse_npz(io.BytesIO(shorter))


def test_an_archive_that_was_written_as_a_stream_is_whole():
    """Its sizes lie behind each entry."""

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise io.UnsupportedOperation

        def seek(self, *_) -> int:
            raise io.UnsupportedOperation

    stream = Stream()
    np.savez(stream, **ARRAYS)
    assert equal(parse_npz(io.BytesIO(stream.getvalue())), ARRAYS)


def test_cut_files_and_two_arrays_of_one_name_are_refused():
    content = saved(**ARRAYS)
    for length in range(0, len(content), 7):
        with pytest.raises(ValueError):
            parse_npz(io.BytesIO(content[:length]))
    twice = content.replace(b"scalar", b"logits")
    with pytest.raises(ValueError, match="twice"):
        parse_npz(io.BytesIO(twice))
    with pytest.raises(ValueError, match="the array x holds pickled Python objects"):
        parse_npz(io.BytesIO(saved(x=np.array([{}], object))))


def test_deeply_nested_json_is_refused():
    for text in (DEEP, '{"a":' * 10**5, "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)):
        with pytest.raises(ValueError):
            parse_json(text)
    assert parse_json("[" * DEEPEST + "]" * DEEPEST)


def test_every_reader_of_a_run_refuses_deep_files_in_a_line(tmp_path):
    workdir = Workdir(tmp_path)
    readers = {
        "config.json": lambda: workdir.read("config.json"),
        "result.json": lambda: workdir.read("result.json"),
        "origin.json": lambda: workdir.read("origin.json"),
        "metrics.jsonl": lambda: read_rows(workdir),
        "published.json": lambda: published.read(tmp_path / "published.json"),
        "cache.json": lambda: cache._claim(workdir.path, {}),
    }
    for name, read in readers.items():
        for text in (DEEP, '{"a": ' + DEEP + "}", "\0", "[]", "\xff"):
            (tmp_path / name).write_text(text + "\n", encoding="latin-1")
            with pytest.raises(InputError, match=f"{name} is damaged") as refusal:
                read()
            assert len(str(refusal.value)) < 400 + len(str(tmp_path)) * 2


def test_metrics_end_with_the_row_that_a_kill_cut(tmp_path):
    row = '{"kind": "test", "step": 1, "epoch": 0, "seconds": 0.5, "accuracy": [1.0]}\n'
    path = tmp_path / "metrics.jsonl"
    path.write_text(row + row[:30])
    assert len(read_rows(Workdir(tmp_path))) == 1
    path.write_text(row + row[:30] + "\n" + row)
    with pytest.raises(InputError, match=r"damaged in line 2"):
        read_rows(Workdir(tmp_path))


def test_predictions_without_logits_of_each_label_are_refused(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.write("predictions.npz", {**ARRAYS, "label": np.arange(4)})
    with pytest.raises(InputError, match="expected arrays logits"):
        workdir.predictions()
    workdir.write("predictions.npz", {"logits": ARRAYS["logits"]})
    with pytest.raises(InputError, match="has no 'label'"):
        workdir.predictions()["label"]


def test_each_value_of_a_result_has_a_digest_and_may_be_absent(tmp_path):
    workdir, path = Workdir(tmp_path), tmp_path / "result.json"
    content = {"seeds": (0, 1), "final": {"accuracy": [0.1, 1e-300]}, "name": "é"}
    workdir.write("result.json", content)
    read = workdir.read("result.json")
    assert read.checked and read == {**content, "seeds": [0, 1]}
    with pytest.raises(InputError, match="has no 'weights'"):
        read["weights"]
    assert read.get("weights") is None
    written = path.read_text()
    for old, new in (("0.1", "0.2"), ('"seeds"', '"seedr"'), ("e-300", "e-301")):
        path.write_text(written.replace(old, new, 1))
        with pytest.raises(InputError, match=r"is damaged: '.*' is not what was written"):
            workdir.read("result.json")
    stored = json.loads(written)
    del stored["name"]
    path.write_text(json.dumps(stored))
    assert workdir.read("result.json")["seeds"] == [0, 1]
