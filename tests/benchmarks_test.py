"""The benchmarks at toy size: turns, ratios by hand, rows that are kept, tables that are what the
script prints.
"""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    convolutions,
    document,
    libraries,
    loops,
    methods,
    objectives,
    operations,
    record,
    throughput,
    timer,
    tpu_aot,
)
from benchmarks.__main__ import main
from benchmarks.networks import TOYS
from benchmarks.record import NAMES
from configs.common import METHODS
from kd import build as parts
from kd import registry
from kd.convolutions import lowering
from kd.devices import mesh as sharding
from kd.errors import InputError


def test_functions_take_turns():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = timer.interleave(functions, repeats=2, warmup=1)
    assert "".join(calls) == "ababab"
    assert [len(times) for times in seconds.values()] == [2, 2]


def test_ratios_are_of_rounds():
    """Rounds of 2 / 1, 9 / 3, 8 / 8: their median is 2, that of the sums or of the medians is
    not.
    """
    found = timer.ratio([2.0, 9.0, 8.0], [1.0, 3.0, 8.0])
    assert found == (2.0, 1.0, 3.0) and str(found) == "2.00 [1.00, 3.00]"
    assert timer.added([1.0, 2.0], [10.0, 20.0]) == [11.0, 22.0]


class Counted:
    """A benchmark whose cases say when they are made."""

    TITLE = "title"
    REPEATS = 2

    def __init__(self, *names: str):
        self.made: list[str] = []
        self._names = names

    def cases(self, toy: bool):
        def make(name: str) -> record.Prepared:
            self.made.append(name)
            if name == "bad":
                raise KeyboardInterrupt
            return record.Prepared({"part": lambda: None}, {"fact": name * 2})

        return [record.Case(n, lambda n=n: make(n)) for n in self._names]

    def table(self, rows):
        return [["case"], *([row["case"]] for row in rows)]


def test_a_benchmark_that_was_cut_goes_on(tmp_path):
    first = Counted("x", "bad", "y")
    with pytest.raises(KeyboardInterrupt):
        record.measure("it", first, tmp_path, tell=lambda line: None)
    second = Counted("y", "x")
    rows = record.measure("it", second, tmp_path, tell=lambda line: None)
    assert second.made == ["y"]
    assert [row["case"] for row in rows] == ["y", "x"]
    assert rows[0]["fact"] == "yy" and len(rows[0]["seconds"]["part"]) == 2
    assert record.rows("it", tmp_path) == rows[::-1]


def test_rounds_that_were_disturbed_are_run_again(monkeypatch):
    clock = iter([1.0, 2.0, 1.0, 1.1, 7.0, 7.0])
    take = lambda parts, repeats, warmup, processor: {"part": [next(clock), next(clock)]}
    monkeypatch.setattr(record, "interleave", take)
    made = record.Prepared({"part": lambda: None}, {})
    assert record.steadily(made, 2) == (2, {"part": [1.0, 1.1]}, {})


def test_rows_of_another_machine_are_not_joined(tmp_path):
    record.measure("it", Counted("x"), tmp_path, tell=lambda line: None)
    path = tmp_path / "it.json"
    content = json.loads(path.read_text())
    content["hardware"]["cores"] = 999
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="rows of different settings"):
        record.measure("it", Counted("x", "y"), tmp_path, tell=lambda line: None)


@pytest.mark.slow
def test_a_step_takes_its_turn_with_plain_kd(tmp_path, capsys):
    arguments = ["objectives", "--toy", "--only", "at", "--repeats", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    (row,) = record.rows("objectives", tmp_path)
    assert row["method"]["temporary_bytes"] > 0
    head, line = objectives.table([row])
    assert line[0] == "at" and len(line) == len(head)
    printed = capsys.readouterr().out
    assert main(["objectives", "--print", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed


def test_memory_counts_arguments_and_temporaries():
    plain = {"temporary_bytes": 30, "argument_bytes": 10}
    row = {"plain": plain, "method": {"temporary_bytes": 30, "argument_bytes": 50}}
    assert objectives.memory(row) == 2.0


def test_every_kind_of_network_has_logits():
    for section in TOYS.values():
        net = parts.make_model(section, 7)
        image = jax.ShapeDtypeStruct((2, 32, 32, 3), "float32")
        out = jax.eval_shape(net.init_with_output, jax.random.key(0), image)[0]
        assert out.logits.shape == (2, 7)


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", document.DOCUMENTS)
def test_documents_hold_exactly_what_the_script_prints(name):
    text = (ROOT / name).read_text()
    assert document.fill(text) == text, f"python -m benchmarks --into {name}"


def test_a_table_is_written_between_its_markers(tmp_path):
    path = tmp_path / "some.md"
    other = "<!-- table: methods -->\nan experiment\n<!-- /table -->\n"
    path.write_text(f"a\n<!-- table: benchmarks/methods -->\nstale\n<!-- /table -->\n{other}b\n")
    assert main(["--into", str(path)]) == 0
    head, *_, tail = path.read_text().splitlines()
    assert (head, tail) == ("a", "b") and other in path.read_text()
    assert "| `kd.KD` | `kd` | [Hinton, Vinyals, Dean]" in path.read_text()
    assert "stale" not in path.read_text()


@pytest.mark.slow
def test_all_ways_to_write_a_convolution_agree():
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    x, g, w = draw(2, 4, 6, 3), draw(2, 4, 6, 5), draw(3, 3, 3, 5)
    for kind, forms in convolutions.FORMS.items():
        given = (x, g, w) if "gradient" in kind else (x, w)
        expected = forms["XLA's"](*given)
        for name, form in forms.items():
            if form is convolutions.nchw:
                found = form(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1))
                found = found.transpose(0, 2, 3, 1)
            else:
                found = form(*given)
            error = jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)
            assert error < (2e-2 if "bfloat16" in name else 1e-5), (kind, name)


def test_every_method_and_every_objective_has_a_row():
    assert {name for m in methods.ALL for name in m.methods} == set(METHODS)
    there = {name.partition("(")[0] for m in methods.ALL for name in m.objectives}
    assert there >= set(registry.known("kd.objectives"))


def test_unknown_names_are_told(capsys):
    assert main(["fusd"]) == 2
    assert "Did you mean 'fused'" in capsys.readouterr().err


def test_without_pytorch_the_way_to_it_is_told(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["pytorch"]) == 2
    assert "uv sync --group bench" in capsys.readouterr().err


@pytest.mark.campaign
@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_measures(name, tmp_path):
    if name == "pytorch":
        pytest.importorskip("torch", reason="uv sync --group bench")
    assert main([name, "--toy", "--repeats", "1", "--out", str(tmp_path)]) == 0
    rows = record.rows(name, tmp_path)
    lines = importlib.import_module(f"benchmarks.{name}").table(rows)
    assert len(lines) > len(rows) > 0
    assert len({len(line) for line in lines}) == 1


PROGRAM = """
%fused.5 (p: f32[2]) -> f32[2] {
  ROOT %convolution.9 = f32[2]{0} convolution(%p, %p)
}

ENTRY %main (a: f32[2]) -> f32[2] {
  %conv.1 = f32[2]{0} convolution(%a, %b), metadata={op_name="jit(step)/jvp(N)/conv"}
  ROOT %conv.2 = f32[2]{0} convolution(%a, %b), metadata={op_name="jit(step)/transpose(jvp(N))/cv"}
  %conv.4 = f32[2]{0} convolution(%a, %b), window={size=3x3}
  %fast_fusion = f32[2]{0} fusion(%a, %b), kind=kCustom, calls=%fused.5
  %dot.3 = f32[2]{0} dot(%a, %b), metadata={op_name="jit(step)/jvp(Net)/head/dot_general"}
  %add_fusion = f32[2]{0} fusion(%a), kind=kLoop
  %copy.7 = f32[2]{0} copy(%a)
  %ffi.1 = f32[2] custom-call(), custom_call_target="kd_convolution", op_name="jvp(N)"
  %ffi.2 = f32[2] custom-call(), custom_call_target="kd_convolution", op_name="transpose(jvp(N))"
  %call.1 = f32[2]{0} call(%a), to_apply=%inner
"""


def test_operations_are_told_apart_by_hand():
    found = operations.kinds(PROGRAM)
    assert found == {
        "conv.1": "convolutions, forward",
        "conv.2": "convolutions, gradients",
        "conv.4": "convolutions, gradients",
        "convolution.9": "convolutions, gradients",
        "fast_fusion": "convolutions, gradients",
        "dot.3": "matrix products",
        "add_fusion": "elementwise and reductions",
        "copy.7": "copies and changes of layout",
        "ffi.1": "convolutions, forward",
        "ffi.2": "convolutions, gradients",
    }
    event = lambda name, dur: {"ph": "X", "dur": dur, "args": {"hlo_op": name}}
    events = [event("conv.1", 2.0), event("conv.1", 3.0), event("call.1", 9.0)]
    events += [{"ph": "X", "dur": 50.0, "name": "python"}, event("copy.7", 1.0)]
    spent = operations.by_kind(events, found)
    assert spent == {"convolutions, forward": 2.0, "copies and changes of layout": 1.0}


def test_a_loop_is_timed_with_the_library_of_its_compilation(monkeypatch):
    """Called in another context, jax would compile it again, with XLA's convolutions."""
    seen = lambda *_: lambda states, *_: (states, lowering.current())
    monkeypatch.setattr(loops, "make_updates", seen)
    monkeypatch.setattr(throughput, "make_updates", seen)
    batch = {"image": jnp.zeros((4, 2)), "label": jnp.zeros(4, int)}
    single = SimpleNamespace(state={"x": jnp.zeros(2)}, batch=batch, step=print, frozen={})
    monkeypatch.setattr(throughput, "step_of", lambda *_, **__: single)
    problem = SimpleNamespace(batch_size=4)
    monkeypatch.setattr(lowering, "_register", lambda: None)
    with libraries.using("onednn"):
        alone = loops.looped(single, 4, "host")
        several = throughput.dispatch(problem, 2, 4, "float32", "vmap", "host")
    assert alone() == "onednn" and several()[1] == "onednn"
    assert lowering.current() == "xla"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mkldnn::_convolution_pointwise", "convolutions, forward"),
        ("aten::convolution_backward", "convolutions, gradients"),
        ("aten::addmm", "matrix products"),
        ("mkldnn::_linear_pointwise", "matrix products"),
        ("aten::copy_", "copies and changes of layout"),
        ("aten::_fused_sgd_", "elementwise and reductions"),
    ],
)
def test_operations_of_pytorch_are_told_apart(name, kind):
    assert operations.kind_in_pytorch(name) == kind and kind in operations.KINDS


def test_a_column_for_each_program_and_their_sums():
    spent = {"kd": {operations.KINDS[0]: 3000.0}, "other": {operations.KINDS[1]: 1000.0}}
    head, *lines = operations.table([{"case": "pair", "microseconds": spent}])
    assert head[2:] == ["kd", "other"]
    assert lines[0][1:] == [operations.KINDS[0], "3", "0"] and lines[-1][1:] == ["sum", "3", "1"]


def test_processors_are_on_record(tmp_path, monkeypatch):
    """With the vector instructions that decide the ratios; once for all files of a machine."""
    monkeypatch.setattr(record.processor, "flags", lambda: frozenset({"avx2", "sse2"}))
    monkeypatch.setattr(record.processor, "model", lambda: "Some CPU")
    assert record.setting()["processor"] == {"model": "Some CPU", "flags": ["avx2"]}
    for name in ("fused", "cached"):
        record.measure(name, Counted("x"), tmp_path, tell=lambda line: None)
    (row,) = record.rows("fused", tmp_path)
    assert len(row["processor_seconds"]["part"]) == 2
    content = json.loads((tmp_path / "fused.json").read_text())
    head, line = record.machines(tmp_path)
    assert line[:2] == ["cached, fused", "Some CPU"] and line[3] == "avx2"
    assert line[4] == content["jax"] and len(head) == len(line)


def test_rows_without_quiet_rounds_are_starred():
    quiet, loud = (
        {"case": n, "seconds": {"a": [1.0, x], "b": [1.0, 9.0]}}
        for n, x in (("q", 1.3), ("l", 1.4))
    )
    assert [row["case"] for row in record.marked([quiet, loud])] == ["q", "l *"]


@pytest.mark.slow
def test_the_step_that_is_compiled_for_a_slice_can_be_lowered():
    """On eight simulated devices in place of chips: 8 members on a mesh of 4 x 2, from shapes
    alone.
    """
    case, mesh = tpu_aot.CASES[0], sharding.mesh_of(jax.devices(), tpu_aot.TEACHER)
    text = tpu_aot.lower(case, mesh).as_text()
    assert f"{case.batch}x{case.size}x{case.size}x3xui8" in text
    assert "all_to_all" in text


def test_collectives_of_a_program_are_counted_with_their_bytes():
    text = """
  %a = f32[4,8]{1,0} all-reduce(%x), replica_groups={}
  %b = (f32[2], f32[2]) all-reduce-start(%y), replica_groups={}
  %c = f32[2] all-reduce-done(%b)
  %d = bf16[8,2,100] all-to-all(%z), dimensions={1}
"""
    assert tpu_aot.collectives(text) == {"all-reduce": (2, 136), "all-to-all": (1, 3200)}
