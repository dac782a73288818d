"""Claims: contrasts of several cells, verdicts by hand, files of claims, and their document."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from kd.cli.main import main
from kd.errors import InputError
from kd.metrics import contrasts
from kd.metrics.contrasts import Difference
from kd.tables import claim, claim_text, experiment, gather, overview, plan
from kd.tables.contrast import Comparison, from_json, to_json
from kd.tables.measure import Entry
from kd.tables.table import Cell, Claim, Contrast, Hypothesis, Table
from kd.tables.verdict import outcomes, verdict

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "experiments" / "claims").glob("*.py"))
DOCUMENT = ROOT / "docs" / "claims.md"


def cell(row, column="", unit="%"):
    return Cell(row, column, "x.py", "accuracy", unit, 2, "last", "", None, None, None, None)


def test_a_sum_of_three_over_seeds_by_hand():
    """Variances of means add with squared weights; degrees of freedom by Satterthwaite."""
    values, weights = ([1.0, 2.0, 4.0], [3.0, 5.0, 9.0, 4.0], [2.0, 2.5, 1.0]), (1.0, -2.0, 1.0)
    difference, (at_one,) = contrasts.combined_over_seeds(values, weights, bounds=(1.0,))
    parts = [w**2 * np.var(x, ddof=1) / len(x) for w, x in zip(weights, values, strict=True)]
    error = np.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(v**2 / (len(x) - 1) for v, x in zip(parts, values, strict=True))
    value = sum(w * np.mean(x) for w, x in zip(weights, values, strict=True))
    half = error * stats.t.ppf(0.975, freedom)
    assert difference[:3] == pytest.approx((value, value - half, value + half))
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(value) / error, freedom))
    assert at_one == pytest.approx(2 * stats.t.sf(abs(value - 1) / error, freedom))
    assert contrasts.combined_over_seeds(([1.0], [2.0, 3.0]), (1.0, -1.0)) is None


def test_a_sum_over_examples_is_the_difference_of_two_for_two():
    random = np.random.default_rng(0)
    a, b = ((random.random((3, 200)) < share).astype(float) for share in (0.9, 0.8))
    difference, (at_value,) = contrasts.combined_over_examples((a, b), (1, -1), bounds=(0.1,))
    assert difference == contrasts.over_examples(a, b)
    assert at_value > 0.2  # about what is there
    both, _ = contrasts.combined_over_examples((a, b, b), (1, -0.5, -0.5))
    assert both.value == pytest.approx(difference.value)


def hypothesis(name, sign=1, than=0.0, size=None):
    h = Hypothesis(Contrast(name, "", (cell("a"), cell("b")), unit="%"), sign, than, size)
    return h


def entry(h, value, p=None, of_size=None):
    """A contrast with its p-values against `than` and the claimed size."""
    tests = {bound: p for bound, p in ((h.than, p), (h.reach, of_size)) if bound is not None}
    tests = {bound: p for bound, p in tests.items() if p is not None}
    difference = Difference(value, value - 1, value + 1, 0.5)
    return Entry(
        h.contrast, [value], value, comparison=Comparison(difference, "seeds", None, tests)
    )


def words(*pairs):
    hypotheses, entries = zip(*pairs, strict=True)
    results = outcomes(Claim("Sentence", "Paper", "data", hypotheses), entries)
    return [result.word for result in results], verdict(results)


GREATER, LESS = hypothesis("greater"), hypothesis("less", -1)
NO_WORSE, BY_ONE = hypothesis("no worse", 1, -2.0), hypothesis("by one", -1, 0.0, 1.0)


@pytest.mark.parametrize(
    ("pairs", "expected", "overall"),
    [
        ([(GREATER, 1.0, 0.01), (LESS, -1.0, 0.02)], ["as claimed", "as claimed"], "held"),
        ([(GREATER, 1.0, 0.03), (LESS, -1.0, 0.04)], ["open", "open"], "undecided"),  # 0.06 twice
        ([(GREATER, 1.0, 0.01), (LESS, -1.0, 0.2)], ["as claimed", "open"], "undecided"),
        ([(GREATER, -1.0, 0.01), (LESS, -1.0, 0.01)], ["the opposite", "as claimed"], "not held"),
        ([(GREATER, -1.0, 0.3)], ["open"], "undecided"),
        ([(NO_WORSE, -1.0, 0.01)], ["as claimed"], "held"),
        ([(NO_WORSE, -3.0, 0.01)], ["the opposite"], "not held"),
        ([(BY_ONE, -1.5, 0.01, 0.2)], ["as claimed"], "held"),
        ([(BY_ONE, -0.3, 0.01, 0.01)], ["smaller than claimed"], "not held"),
        ([(BY_ONE, -0.1, 0.6, 0.01)], ["smaller than claimed"], "not held"),
        ([(BY_ONE, -3.0, 0.01, 0.01)], ["as claimed"], "held"),  # more than the claimed size
        ([(GREATER, 1.0, None)], ["open"], "undecided"),  # one seed
    ],
)
def test_verdicts_by_hand(pairs, expected, overall):
    assert words(*((h, entry(h, *numbers)) for h, *numbers in pairs)) == (expected, overall)


def test_a_claim_with_a_missing_cell_has_no_verdict():
    missing = Entry(LESS.contrast, [])
    found, overall = words((GREATER, entry(GREATER, -1.0, 0.01)), (LESS, missing))
    assert found == ["the opposite", "missing"] and overall == "not tested completely"


def test_published_tests_are_those_of_the_same_bounds():
    difference = Difference(1.0, 0.5, 1.5, 0.01)
    stored = to_json(Comparison(difference, "examples", tests={-2.0: 0.001, 0.0: 0.01}))
    assert from_json(stored, 1.0, (-2.0,)).tests == {-2.0: 0.001}
    assert from_json(stored, 1.0, (-1.0,)) is None


TABLES = [
    Table("First", "", ("a", "b"), ("",), {("a", ""): cell("a"), ("b", ""): cell("b")}),
    Table(
        "Second", "", ("b", "c"), ("",), {("b", ""): cell("b"), ("c", ""): cell("c", "", "nats")}
    ),
]
CONTENT = dict(sentence="It is so", paper="Nobody 1999", on="nothing")


def parse(**keys):
    return claim.parse(dict(CONTENT, hypotheses={"so": dict(expected="less") | keys}), TABLES)


def test_a_hypothesis_names_cells_weights_and_bounds():
    (h,) = parse(of="a", minus={"First: b": 3, "Second: b": -2}, than=1, size=2).hypotheses
    assert h.contrast.weights == (1, -3, 2) and h.contrast.bounds == (1, -1)
    assert (h.sign, h.than, h.reach) == (-1, 1, -1)
    assert [c.row for c in h.contrast.of] == ["a", "b", "b"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (dict(of="x", minus="a"), "unknown cell of hypothesis 'so'"),
        (dict(of=["a"], minus="First: b"), "unknown cell of hypothesis 'so'"),
        (dict(of="a", minus=["First: b"]), "unknown cell of hypothesis 'so'"),
        (dict(of="a", minus="First: b", expected=["less"]), "unknown value of expected"),
        (dict(of="a", minus="b"), "2 tables have a cell 'b'"),
        (dict(of="a", minus="c"), "cells in % and nats"),
        (dict(of="a", minus={"First: b": 2}), "have the sum 2, expected 1"),
        (dict(of="a", minus="First: b", size=0), "size = 0, expected a number above 0"),
        (dict(of="a", minus="First: b", than="x"), "than = 'x', expected a number"),
        (dict(of="a", minus="First: b", sise=1), "Did you mean 'size'"),
    ],
)
def test_wrong_hypotheses_teach(keys, message):
    with pytest.raises(InputError) as refused:
        parse(**keys)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (dict(CONTENT), "expected a dict with one or more"),
        (dict(CONTENT, paper=3), "paper = 3, expected a text"),
        (dict(CONTENT, papers="x"), "Did you mean 'paper'"),
        (
            dict(CONTENT, hypotheses={"so": dict(of="a", minus="b", expected="lower")}),
            "unknown value of expected 'lower'",
        ),
        (dict(CONTENT, hypotheses={"so": 3}), "expected a dict, got 3"),
    ],
)
def test_wrong_claims_teach(content, message):
    with pytest.raises(InputError) as refused:
        claim.parse(content, TABLES)
    assert message in str(refused.value)


def test_a_claim_is_shown_with_its_numbers():
    claimed = Claim("It is so", "Nobody 1999", "nothing", (NO_WORSE, BY_ONE))
    text = claim_text.markdown(claimed, [entry(NO_WORSE, -1.0, 1e-4), entry(BY_ONE, -2.0, 0.01, 1)])
    assert "*Claim*: It is so (Nobody 1999)." in text and "***Verdict*: held.**" in text
    assert (
        "| no worse: *a* − *b* | > −2 | −1.00 % | [−2.00, +0.00] | < 0.001 | as claimed |" in text
    )
    assert "| by one: *a* − *b* | < 0, −1 or less | −2.00 % |" in text


@pytest.fixture(scope="module")
def planned_once():
    """Each claim is planned once in this module: reading a config takes tens of milliseconds."""
    plans, make = {}, plan.make

    def cached(found, root):
        key = (found.name, str(found.published), str(root))
        return plans[key] if key in plans else plans.setdefault(key, make(found, root))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "make", cached)
        yield


SECTIONS = [pytest.param(f, marks=[pytest.mark.slow] * (f.stem != "generations")) for f in FILES]
"""In the quick suite one claim: to plan all of them takes seconds."""


@pytest.mark.usefixtures("planned_once")
@pytest.mark.parametrize("file", SECTIONS, ids=lambda file: file.stem)
def test_the_document_shows_what_the_engine_prints(file, monkeypatch):
    """And each claim has five seeds and budgets."""
    monkeypatch.chdir(ROOT)
    reference, text = str(file.relative_to(ROOT)), DOCUMENT.read_text()
    assert f"<!-- table: {file.stem} -->" in text, f"kd table {reference} --print --into {DOCUMENT}"
    assert gather.as_published(text, reference) == text, (
        f"write it anew: kd table {reference} --print --runs none --into docs/claims.md"
    )
    found = experiment.load(reference)
    assert found.claim and all(c.budget for c in found.cells())
    assert all(run.config.seeds == 5 for run in plan.make(found, os.devnull).values())


@pytest.mark.slow
@pytest.mark.usefixtures("planned_once")
def test_the_table_of_all_claims_is_what_the_engine_prints(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = DOCUMENT.read_text()
    assert overview.fill(text, experiment.load("experiments/claims/generations.py")) == text


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_claims_can_be_planned_in_miniature(file, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    runs = plan.make(experiment.load(f"{file}:smoke"), tmp_path)
    assert all(run.config.data.name == "digits" for run in runs.values())


def test_a_new_claim_is_one_file(tmp_path, monkeypatch, capsys):
    """Its section and its line in the table of all claims are written by the command."""
    monkeypatch.chdir(tmp_path)
    Path("claims").mkdir()
    source = (ROOT / "experiments" / "claims" / "generations.py").read_text()
    Path("claims/mine.py").write_text(source.replace('beat their teachers"', 'again"'))
    Path("claims.md").write_text("# Claims\n\n<!-- table: claims -->\n<!-- /table -->\n")
    command = ["table", "claims/mine.py", "--print", "--runs", "none", "--into", "claims.md"]
    for _ in range(2):  # the second time there is nothing to add
        assert main(command) == 0
        text = Path("claims.md").read_text()
        assert text.count("## Born-again networks again") == 1
        assert "| Born-again networks again | A student of the same size" in text
        assert text.count("not tested completely") == 2
    capsys.readouterr()


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["generations", "ensemble_gain", "few_labels", "fidelity"])
def test_claims_in_miniature(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(ROOT)
    file = f"experiments/claims/{name}.py:smoke"
    assert main(["table", file, "--runs", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "missing" not in printed and "*Verdict*" in printed
    assert (tmp_path / f"{name}-smoke-differences.png").exists()
