"""`python -m benchmarks.exports`: tables of reports, written between the markers of a page."""

import json

import pytest

from kd.errors import InputError

for _module in ("bakenn", "onnx", "onnxruntime"):
    pytest.importorskip(_module, reason="needs the extras mcu and onnx")

from benchmarks import exports  # noqa: E402


@pytest.fixture
def run(tmp_path):
    config = {"student": {"name": "cnn.CNN"}, "data": {"name": "digits"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def of_onnx(run, form, name, int8=False):
    gate = lambda name, value: {"name": name, "value": value}
    gates = [gate("float_error", 1.5e-7)]
    if int8:
        gates = [gate("onnx_lsb", 1.0), gate("onnx_rounding", 2e-6)]
    measured = {"lsb": 3.0, "equal": 0.5, "agreement": 0.999, "default_lsb": 4.0}
    checks = {"test": {"float_accuracy": 0.9}, "onnx": {**measured, "default_equal": 0.5}}
    report = {"split": "test", "flash_bytes": 2000 - 1000 * int8, "seconds": 7.6}
    return report | {"gates": gates, "checks": checks}


def of_c(run, form, name, target, emulate):
    loops = 10_000 if name.endswith("ba") else 5_000
    ran = {"vectors": 16, "probes": 64, "lsb": 0, "instructions": loops, "stack": 100}
    part = {"ran": ran, "flash": {"total": 3000}, "ram": 16, "stack_bound": 120}
    return {"target": part, "macs": 1000, "seconds": 9.0}


def test_tables_show_what_reports_say(run):
    head, line = exports.onnx([run], of_onnx)
    assert dict(zip(head, line, strict=True))["network, units"] == "3"
    assert line == [
        *("`cnn.CNN`, digits", "90.0", "1.5e-7", "2,000", "8"),
        *("1", "2.0e-6", "3", "99.90", "4 units", "1,000", "8"),
    ]
    head, *lines = exports.target([run], of_c)
    assert len(lines) == 6 and [line[2] for line in lines[:2]] == ["bakenn's", "kd's"]
    row = dict(zip(head, lines[1], strict=True))
    assert row["for each product"] == "5.0" and row["vectors and probes equal"] == "80 of 80"


def test_other_words_are_refused(run):
    with pytest.raises(InputError, match="expected onnx or target"):
        exports.main("tpu", "page.md", run)


def test_a_table_replaces_what_is_between_its_markers():
    begin, end = "a\n<!-- table of exports: onnx -->\n", "<!-- /table -->\nb\n"
    assert exports.embedded(f"{begin}old\n{end}", "onnx", "new\n") == f"{begin}new\n{end}"
    with pytest.raises(InputError, match="no markers"):
        exports.embedded("a\n", "onnx", "new\n")
