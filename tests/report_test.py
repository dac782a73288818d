"""`kd report`: its numbers by hand, and the report of a small run."""

import json
import shutil
import sys
from itertools import permutations
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from kd.cli import main
from kd.config import ConfigDict
from kd.data import digits
from kd.files import escaping
from kd.metrics.calibration import ece, reliability
from kd.report import sections
from kd.report.blocks import Facts, Note, Table
from kd.report.calibration import brier, temperature
from kd.report.capacity import capacity, effective_rank
from kd.report.comparison import Point, front, points
from kd.report.conclusions import compare_costs, conclude
from kd.report.content import describe
from kd.report.fidelity import per_class
from kd.report.format import short
from kd.report.layout import blocks
from kd.report.markdown import as_markdown
from kd.report.network import Network
from kd.report.networks import Networks
from kd.report.page import as_html
from kd.report.run import read
from kd.report.sections import accuracy, corrupted, mistakes
from kd.report.sections.front import draw
from kd.report.significance import mcnemar, wilson
from kd.report.similarity import centred_gram, cka
from kd.report.terms import MEANINGS
from kd.robustness import corruptions
from kd.runs import costs, summary
from kd.runs.workdir import Workdir

LOGITS = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
LABEL = np.array([0, 1, 1, 1])


def test_calibration_by_hand():
    found = reliability(LOGITS, LABEL, bins=4)
    assert found.count.tolist() == [0, 0, 1, 3]  # 0.6 in (0.5, 0.75], the others above
    # |1 - 0.6| / 4 + 3 / 4 |2 / 3 - 2.6 / 3|
    assert ece(LOGITS, LABEL, bins=4) == pytest.approx(0.1 + 0.15)
    assert brier(LOGITS, LABEL) == pytest.approx((0.02 + 1.62 + 0.32 + 0.08) / 4)


def test_the_temperature_makes_the_confidence_the_accuracy():
    # Logit 4 and right in three of four: sigmoid(4 / t) = 3 / 4 at t = 4 / log 3.
    logits = np.array([[4.0, 0.0]] * 4)
    label = np.array([0, 0, 0, 1])
    assert temperature(logits, label) == pytest.approx(4 / np.log(3), rel=1e-4)


def test_significance_by_hand():
    # z^2 = 3.8415: (0.8 + z^2 / 20) / (1 + z^2 / 10) and its half width.
    assert wilson(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10).high == pytest.approx(1)
    a, b = np.array([1, 1, 1, 1, 1, 0, 1]) > 0, np.array([0, 0, 0, 0, 0, 1, 1]) > 0
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 6) / 64)
    assert mcnemar(a, a) == 1


def test_classes_by_hand():
    target = np.log(np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.2, 0.8]]))
    none, one = per_class(LOGITS[None], LABEL, target)
    assert (none.count, none.accuracy, none.kl) == (1, 1, 0) and not none.worse
    assert none.loss_95 == (0, 0)
    assert one.count == 3 and one.worse and one.teacher == 1
    assert one.accuracy == pytest.approx(2 / 3) == one.agreement
    assert one.kl == pytest.approx(0.8 * np.log(9) / 3)
    assert one.loss_95[0] == 0 < one.loss_95[1]


def test_a_student_as_often_right_as_its_teacher_is_not_worse():
    """35 of 36 each: a mean of five rounded shares falls short of the share itself."""
    label = np.zeros(36, int)
    target = np.tile(np.array([1.0, 0.0]), (36, 1))
    target[0] = target[0, ::-1]
    (row,) = per_class(np.stack([target] * 5), label, target)
    assert row.accuracy == row.teacher
    assert not row.worse


def test_cka_is_of_the_mean_over_distinct_examples():
    """Song et al. 2012, Eq. 4: the three expectations, each over all tuples without repetition."""
    random = np.random.RandomState(0)
    x, y = random.randn(5, 2), random.randn(5, 3)
    mean = lambda f, places: np.mean([f(*t) for t in permutations(range(5), places)])

    def hsic(k, l):  # noqa: E741
        return (
            mean(lambda i, j: k[i, j] * l[i, j], 2)
            + mean(lambda i, j, q, r: k[i, j] * l[q, r], 4)
            - 2 * mean(lambda i, j, q: k[i, j] * l[i, q], 3)
        )

    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))
    assert cka(centred_gram(x), centred_gram(y)) == pytest.approx(expected)


def test_cka_sees_rotations_and_scales_as_the_same_and_noise_as_nothing():
    random = np.random.RandomState(0)
    x, other = random.randn(60, 2, 2, 5), random.randn(60, 5000)
    turn = np.linalg.qr(random.randn(20, 20))[0]
    turned = 3 * x.reshape(60, 20) @ turn + 7
    assert cka(centred_gram(x), centred_gram(turned)) == pytest.approx(1)
    # The biased estimate says 0.5 of these.
    assert abs(cka(centred_gram(x), centred_gram(other))) < 0.1
    assert np.isnan(cka(centred_gram(x), centred_gram(np.ones((60, 3)))))


def test_capacity_by_hand():
    # Two directions of the same strength, one that is always off, and one that repeats the first.
    x = np.array([[1.0, 0, 0, 1], [-1, 0, 0, -1], [0, np.sqrt(2), 0, 0], [0, -np.sqrt(2), 0, 0]])
    found = capacity(x)
    assert (found.units, found.dead) == (4, 1)
    assert found.rank == pytest.approx(2)
    assert capacity(x.reshape(2, 2, 1, 4)) == found  # places of a map are examples
    assert effective_rank(np.ones((3, 2))) == 0
    # Shares 2 / 3 and 1 / 3 of the singular values.
    entropy = np.log(3) - 2 / 3 * np.log(2)
    assert effective_rank(np.diag([2.0, 1.0, 0])[[0, 1]] @ np.eye(3)) <= 2
    skew = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    assert effective_rank(skew) == pytest.approx(np.exp(entropy))


@pytest.mark.slow
def test_corruptions_by_hand():
    row = jnp.array([[0.0, 1.0]]).reshape(1, 1, 2, 1)
    near = lambda found, values: np.testing.assert_allclose(np.ravel(found), values, atol=1e-6)
    near(corruptions.contrast(row, jnp.float32(0.5)), [0.25, 0.75])
    pixel = jnp.array([0.2, 0.4, 0.6]).reshape(1, 1, 1, 3)
    near(corruptions.brightness(pixel, jnp.float32(0.3)), [0.3, 0.6, 0.9])
    near(corruptions.brightness(0 * pixel, jnp.float32(0.3)), [0.3] * 3)
    # An edge under a Gaussian of deviation 1, cut off at four: a sum of its weights.
    edge = jnp.repeat(jnp.array([0.0, 1.0]), 5).reshape(1, 1, 10, 1)
    weight = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    blurred = np.ravel(corruptions.blur(edge, jnp.float32(1.0)))
    assert blurred[4] == pytest.approx(weight[5:].sum() / weight.sum(), abs=1e-6)
    square = jnp.arange(16.0).reshape(1, 4, 4, 1)
    blocks = [[2.5, 2.5, 4.5, 4.5]] * 2 + [[10.5, 10.5, 12.5, 12.5]] * 2
    near(corruptions.pixelate(square, jnp.float32(0.5)), np.ravel(blocks))
    drawn = corruptions.noise(jnp.zeros((1, 20, 20, 4)), jnp.float32(0.1))
    assert float(drawn.std()) == pytest.approx(0.1, rel=0.06)


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_severities_go_up(kind):
    image = jnp.asarray(digits.load().test.image[:20])
    levels = range(1, corruptions.SEVERITIES + 1)
    seen = [np.asarray(corruptions.corrupt(image, kind, level)) for level in levels]
    far = [np.abs(x.astype(float) - np.asarray(image)).mean() for x in seen]
    assert far[0] > 0
    # Eight pixels a side leave pixelation but three sizes.
    assert far == sorted(far) if kind != "pixelation" else far[-1] > far[0]


def test_the_front_by_hand():
    at = lambda name, size, accuracy: Point(name, 1, size, size, accuracy, 0, 1)
    a, b, c, d = at("a", 10, 0.9), at("b", 10, 0.8), at("c", 20, 0.9), at("d", 30, 0.95)
    assert front([d, c, b, a]) == [a, d]


@pytest.mark.parametrize(
    ("loss", "agreement", "state", "told"),
    [
        ((0.01, 0.0, 0.019), 0.98, "met", "Loss 1.00 of at most 2.00"),
        ((0.01, 0.0, 0.03), 0.98, "undecided", "may as well be 3.00 points"),
        ((0.03, 0.01, 0.05), 0.98, "not met", "Loss 3.00 of at most 2.00"),
        ((0.01, 0.0, 0.019), 0.9, "not met", "agreement 90.00 %"),
        # 0.99 - 0.97 is more than 0.02, and 0.95 less than itself, by their last bits.
        ((0.99 - 0.97, 0.0, 0.99 - 0.97), 0.95 - 1e-16, "met", "Loss 2.00 of at most"),
        ((0.03, 0.99 - 0.97, 0.04), 0.98, "not met", "reaches across the limit"),
    ],
)
def test_the_verdict_says_how_sure_it_is(loss, agreement, state, told):
    content = {
        "examples": 100,
        "accuracy": 0.9,
        "acceptance": {"max_drop": 0.02, "min_agreement": 0.95},
        "teacher": {
            "loss": dict(zip(("value", "low", "high"), loss, strict=True)),
            "agreement": agreement,
            "accuracy": 0.9,
            "paired": False,
            "networks": 1,
            "costs": {"bytes": 1, "macs": 1},
        },
        "costs": {"student": {"bytes": 1, "macs": 1}},
        "classes": [],
        "gains": {},
        "calibration": {"excess": 0.0, "ece": 0.0, "temperature": None},
        "networks": None,
    }
    verdict = conclude(content)["verdict"]
    assert verdict["state"] == state
    assert told in verdict["text"]


@pytest.mark.parametrize(
    ("own", "big", "told"),
    [
        (
            (40, 8),
            (80, 96),
            "It takes 2.0 times fewer bytes and 12 times fewer multiply-accumulates than its "
            "teacher.",
        ),
        (
            (40, 8),
            (40, 8),
            "It takes as many bytes and as many multiply-accumulates as its teacher.",
        ),
        (
            (99, 8),
            (100, 8),
            "It takes about as many bytes and as many multiply-accumulates as its teacher.",
        ),
        (
            (80, 8),
            (40, 8),
            "It takes 2.0 times as many bytes and as many multiply-accumulates as its teacher.",
        ),
        (
            (40, 20),
            (80, 8),
            "It takes 2.0 times fewer bytes than, and 2.5 times as many multiply-accumulates as, "
            "its teacher.",
        ),
    ],
)
def test_a_student_is_called_smaller_only_where_it_is(own, big, told):
    costs = [dict(zip(("bytes", "macs"), pair, strict=True)) for pair in (own, big)]
    assert compare_costs(*costs, "its teacher") == told


def of(teacher, count, **section):
    """What a student has of the first so many members of a run."""
    origin = {"run": str(teacher.path), "members": list(range(count))}
    return {"config": {"teacher": section}, "teacher": origin}


def test_paired_students_are_reported_beside_their_own_teachers(by_hand):
    """Student 0 loses one of four images of its teacher's, student 1 none; a teacher has twice the
    bytes of a student.
    """
    costs = {"parameters": 20, "bytes": 80, "macs": 16}
    teacher = by_hand("teacher", ["1111", "1100"], **costs)
    section = of(teacher, 2, members="paired", reduce="probs")
    run = read(by_hand("own", ["1110", "1100"], **section))
    content = describe(run)
    taught = content["teacher"]
    assert taught["accuracy"] == 0.75 and taught["costs"] == costs
    assert taught["loss"]["value"] == 0.125 and taught["agreement"] == 0.875
    assert taught["mcnemar_p"] == [1, 1]
    assert taught["interval_95"][0] == 0.75 > taught["interval_95"][1]
    (zeros,) = content["classes"]
    assert zeros["teacher"] == 0.75 and zeros["agreement"] == 0.875
    lines = content["conclusions"]
    assert "against its own teacher, seed by seed: +12.50 points (75.00 % to 62.50 %)" in lines[0]
    assert "2.0 times fewer bytes" in lines[1] and "than its teacher." in lines[1]
    table = accuracy.show(content)[0].grid
    assert table[1][:2] == ["teachers, one for each student", "75.00"]
    assert len(points([run], [])) == 2  # and no ensemble


def test_every_column_is_explained_once(by_hand):
    teacher = by_hand("teacher", ["1111", "1101"])
    first = read(by_hand("first", ["1110", "1101"], **of(teacher, 2)))
    second = read(by_hand("second", ["1100", "1001"]))
    runs = [first, second]
    content = {"runs": [describe(run) for run in runs]}
    for section in sections.load():
        content |= section.compare(runs, content["runs"])
    shown = list(blocks(content))
    heads = {head for block in shown if isinstance(block, Table) for head in block.grid[0][1:]}
    facts = [block for block in shown if isinstance(block, Facts) and not block.code]
    explained = [name for block in facts for name, _ in block.items]
    assert heads <= set(explained) and len(explained) == len(set(explained))
    # Those of sections that run the networks, whose tables these runs do not have.
    rest = "latency, ms|clean|mean|units|dead|effective rank|rank, % of units"
    assert set(rest.split("|")) <= set(MEANINGS)


def test_one_test_decides_what_is_significant(by_hand):
    """The interval of all seeds; p-values are of two single networks."""
    assert "the interval decides" in MEANINGS["median p-value"]
    teacher = by_hand("teacher", ["1111", "1101"])
    content = describe(read(by_hand("own", ["1110", "1101"], **of(teacher, 2))))
    note = next(block.text for block in accuracy.show(content) if isinstance(block, Note))
    assert "bootstrap" in note and "decide what is significant" in note
    assert "significant" not in note.partition("p-values")[2]


def test_provenance_is_what_the_run_recorded(by_hand):
    old = dict(describe(read(by_hand("old", ["10"])))["provenance"])
    assert old == {"training": "arrays, 1 seed"}
    teacher = by_hand("teacher", ["11", "11"])
    result = dict(
        command="kd run --config 'a b.py'",
        config_hash="12ab",
        git_commit="34cd+",
        epochs=3,
        seconds=75.0,
        finished="2026-01-02T03:04:05+00:00",
        versions={"jax": "1", "kd": "2"},
        hardware={"platform": "cpu", "cores": 4},
        processor="A chip",
        convolutions="onednn",
    )
    own = by_hand("own", ["10"], **of(teacher, 2) | result)
    assert dict(describe(read(own))["provenance"]) == {
        "command": "kd run --config 'a b.py'",
        "config": f"12ab, complete in {own}/config.json",
        "commit": "34cd, with changes since",
        "training": "arrays, 1 seed, 3 epochs, took 1 min 15 s, finished 2026-01-02T03:04:05+00:00",
        "teacher": f"members 0, 1 of {teacher}",
        "versions": "jax 1, kd 2",
        "hardware": "A chip, 4 cores",
        "convolutions": "onednn",
    }


def test_the_verdict_is_said_once(by_hand):
    teacher = by_hand("teacher", ["1111"])
    limits = {"max_drop": 0.5, "min_agreement": 0.5}
    section = of(teacher, 1)
    section["config"]["acceptance"] = limits
    content = describe(read(by_hand("own", ["1110"], **section)))
    content = {"runs": [content], "conclusions": content["conclusions"]}
    for section in sections.load():
        content |= section.compare([read(Workdir(content["runs"][0]["run"]))], content["runs"])
    page, text = as_html(content, "T"), as_markdown(content, "T")
    for written in (page, text):
        assert written.lower().count("acceptance met") == 1
    assert "beaten" not in text and "worse, shown" not in text


def test_a_network_that_is_always_right_is_drawn(by_hand):
    point = dict(name="a", bytes=4, macs=1, networks=1, front=True)
    points = [
        dict(point, accuracy=0.1 + 0.2, low=0.3, high=0.3),
        dict(point, accuracy=1, low=1, high=1),
    ]
    assert "<svg" in draw(points)


def test_mistakes_are_those_that_a_student_s_own_teacher_would_not_make(by_hand):
    """Image 3: wrong in both seeds, but the second teacher is wrong there, too. Image 2: nobody's
    mistake.
    """
    teacher = by_hand("teacher", ["1111", "1100"])
    section = of(teacher, 2, members="paired")
    run = read(by_hand("own", ["1110", "1100"], **section))
    (shown,) = mistakes.mistakes(run._replace(networks=Networks(digits.load(), {})))
    assert [(i["index"], i["wrong"], i["student"]) for i in shown["images"]] == [(3, 1, "1")]


def test_what_taught_is_reported_as_it_was_reduced(by_hand):
    """Two members that are barely wrong against a certain one: they win as probabilities, and lose
    as logits.
    """
    members = np.array([[[0.0, 2.0]], [[0.0, 2.0]], [[10.0, 0.0]]])
    teacher = by_hand("teacher", members)
    for reduce, right in (("probs", 0), ("logits", 1)):
        section = of(teacher, 3, members="all", reduce=reduce)
        taught = describe(read(by_hand(reduce, ["1"], **section)))["teacher"]
        assert taught["accuracy"] == right == taught["agreement"]
        assert taught["networks"] == 3


def test_corrupted_images_are_shown_to_the_teacher_that_taught(by_hand):
    """The member that is right counts nine times the surer one that is not: 0.9 x 0.73 + 0.1 x
    0.05; evenly it would be 0.39.
    """
    members = np.array([[[1.0, 0.0]], [[0.0, 3.0]]])
    section = of(by_hand("teacher", members), 2, members="all", reduce="probs")
    section["teacher"]["shares"] = [0.9, 0.1]
    run = read(by_hand("own", ["1"], **section))
    says = lambda z, image: np.tile(z, (len(image), 1))
    net = Network(says, says, list(members[:, 0]), 1)
    image = digits.load().test.image[:3]
    label = np.zeros(3, int)
    found = corrupted.robustness({"teacher": net}, image, label, run.reduce)
    assert found["clean"]["teacher"] == 1 == found["mean"]["teacher"]


PEERS = [{"parameters": 10, "bytes": 40, "macs": 8}, {"parameters": 30, "bytes": 120, "macs": 24}]


def test_a_cohort_that_teaches_costs_what_its_peers_do(by_hand):
    """Two seeds of two peers: networks 1 and 3 are the large ones, and stand at their own bytes."""
    cohort = by_hand("cohort", ["1000", "1111", "1100", "1111"], peers=PEERS)
    section = of(cohort, 2, members="1,3", reduce="probs")
    section["teacher"]["members"] = [1, 3]
    run = read(by_hand("own", ["1100"], **section))
    content = describe(run)
    assert content["costs"]["teacher"] == PEERS[1]
    both = {"parameters": 60, "bytes": 240, "macs": 48}
    assert content["teacher"]["costs"] == both
    found = {short(p.name): (p.bytes, p.accuracy) for p in points([run], [])}
    assert found == {
        "own": (40, 0.5),
        "cohort, peer 0": (40, 0.375),
        "cohort, peer 1": (120, 1.0),
        "ensemble of 2: cohort": (240, 1.0),
    }


def test_a_cohort_that_is_the_student_costs_what_its_peers_do(by_hand):
    """Not what its first peer does: its accuracy is the mean over all of them."""
    cohort = by_hand("cohort", ["1000", "1111", "1100", "1111"], peers=PEERS)
    content = describe(read(cohort))
    mean = {"parameters": 20, "bytes": 80, "macs": 16}
    assert content["costs"]["student"] == mean == costs.of_student(cohort.read("result.json"))
    assert [content["costs"][f"student, peer {i}"] for i in (0, 1)] == PEERS
    grid = sections.costs.show({**content, "networks": None})[0].grid
    assert [row[:2] for row in grid[1:]] == [
        ["student, mean of its peers", "20"],
        ["student, peer 0", "10"],
        ["student, peer 1", "30"],
    ]


def test_a_cohort_that_a_run_is_compared_with_has_a_row_for_each_peer(by_hand):
    cohort = by_hand("cohort", ["1000", "1111", "1100", "1111"], peers=PEERS)
    run = by_hand("own", ["1100", "1110"])
    config = ConfigDict({"acceptance": {}, "teacher": {}})
    printed = summary.table(config, summary.Runs(run, (), None, {"a cohort": cohort}))
    lines = {line.split("  ")[0]: line for line in printed.splitlines()}
    assert "120" in lines["a cohort, peer 1"] and "40" in lines["a cohort, peer 0"]


def test_short_names_keep_what_tells_them_apart():
    assert short("runs/tables/a") == "a"
    assert short("ensemble of 5: runs/a") == "ensemble of 5: a"


SECTION = '''
"""Confusion of classes."""

import numpy as np

from kd.report.blocks import Note, Table

TITLE, ORDER = "Confusion", 35


def measure(run):
    commonest = np.bincount(run.logits.argmax(-1).ravel()).argmax()
    return {"commonest": int(commonest), "teacher": {"also": run.teacher_size}}


def show(content):
    note = Note(f"The commonest answer is {content['commonest']}.")
    return [note, Table([["a", "b"], ["x|y", "2"]])]


def conclude(content):
    yield f"Its favourite is {content['commonest']}."


def compare(runs, contents):
    return {"favourites": [content["commonest"] for content in contents]}


def show_all(content):
    return [Note(f"Favourites: {content['favourites']}.")]
'''


@pytest.mark.slow
def test_a_section_is_one_file(finished, tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "confusion.py").write_text(SECTION)
    with monkeypatch.context() as patch:
        patch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path / "more")])
        assert main.main(["report", "runs/small", "--stored"]) == 0
    sys.modules.pop("kd.report.sections.confusion")
    home = Path("runs/small/report")
    report = json.loads((home / "report.json").read_text())
    (content,) = report["runs"]
    answer = content["commonest"]
    assert report["favourites"] == [answer] and content["teacher"]["also"] == 2
    assert f"Its favourite is {answer}." in report["conclusions"]
    text, page = (home / "report.md").read_text(), (home / "report.html").read_text()
    at = [text.rindex(f"## {title}\n") for title in ("Classes", "Confusion", "Calibration")]
    assert at == sorted(at) and text.count("## Confusion\n") == 2
    assert f"The commonest answer is {answer}." in text and "| x\\|y | 2 |" in text
    assert "<h2>Confusion</h2>" in page and f"The commonest answer is {answer}.</p>" in page
    assert f"Favourites: [{answer}]." in page


def test_a_section_does_not_replace_another_ones_entries(by_hand, monkeypatch):
    run = read(by_hand("run", ["10"]))
    again = sections.load()[2]._replace(name="again", measure=lambda run: {"accuracy": 1.0})
    every = [*sections.load(), again]
    monkeypatch.setattr(sections, "load", lambda: every)
    with pytest.raises(ValueError, match="section again measures 'accuracy'"):
        describe(run)


@pytest.mark.slow
def test_the_report_of_a_small_run(finished, capsys):
    assert main.main(["report", "runs/small", "--out", "out"]) == 0
    assert capsys.readouterr().out == "out/report.html\n"
    report = json.loads(Path("out/report.json").read_text())
    (content,) = report["runs"]
    result = json.loads(Path("runs/small/result.json").read_text())
    right = np.mean(result["final"]["accuracy"])
    assert content["accuracy"] == pytest.approx(right)
    assert content["teacher"]["kl"] == pytest.approx(np.mean(result["final"]["kl"]))
    assert sum(row["count"] for row in content["classes"]) == 40
    assert content["calibration"]["temperature"] is None
    # The networks that ran are those that were evaluated.
    robust = content["networks"]["robustness"]
    assert robust["images"] == 40
    assert robust["clean"]["student"] == pytest.approx(right)
    assert robust["clean"]["teacher"] == pytest.approx(content["teacher"]["accuracy"])
    assert all(len(kind["student"]) == 5 for kind in robust["kinds"].values())
    likeness = content["networks"]["cka"]
    assert likeness["student"] == ["stage1", "logits"] == likeness["teacher"]
    assert np.max(likeness["values"]) <= 1
    (stage,) = content["networks"]["capacity"]["student"]
    assert stage["units"] == 8 and 0 < stage["rank"] <= 8
    assert content["networks"]["latency_ms"]["teacher"] > 0
    assert {p["name"] for p in report["points"] if p["front"]} <= {
        "runs/small",
        "runs/small-teacher",
        "ensemble of 2: runs/small-teacher",
    }
    page, text = Path("out/report.html").read_text(), Path("out/report.md").read_text()
    for line in report["conclusions"]:
        assert f"<li>{line.replace("'", '&#x27;')}</li>" in page
        assert f"- {escaping.markdown(line)}" in text
    for mistake in (i for row in content["mistakes"] for i in row["images"]):
        assert mistake["png"] in page
    assert "data:image/svg+xml;base64," in page
    assert "http" not in page  # opens offline


@pytest.mark.slow
def test_several_runs_are_compared_with_the_first(finished):
    runs = ["runs/small", "runs/small-teacher"]
    assert main.main(["report", *runs, "--stored"]) == 0
    report = json.loads(Path("runs/report/report.json").read_text())
    assert [run["run"] for run in report["runs"]] == runs
    (pair,) = report["pairs"]
    accuracies = [run["accuracy"] for run in report["runs"]]
    assert pair["value"] == pytest.approx(accuracies[1] - accuracies[0])
    assert pair["low"] <= pair["value"] <= pair["high"]
    assert report["runs"][0]["networks"] is None
    assert "small-teacher over small" in Path("runs/report/report.md").read_text()


@pytest.mark.slow
def test_runs_on_other_examples_are_not_compared(finished, capsys):
    shutil.copytree("runs/small-teacher", "runs/other")
    stored = dict(np.load("runs/other/predictions.npz"))
    np.savez("runs/other/predictions.npz", **stored | {"label": stored["label"][::-1]})
    assert main.main(["report", "runs/small", "runs/other"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "runs/other" in error and "Write a report of each" in error
    assert not Path("runs/report").exists()


@pytest.mark.slow
def test_data_that_changed_since_are_told_of(finished, small_data, tmp_path, capsys):
    path = Path("runs/small/config.json")
    arrays = dict(np.load(small_data))
    np.savez(tmp_path / "other.npz", **arrays | {"x_test": arrays["x_test"][::-1]})
    config = json.loads(path.read_text())
    config["data"]["path"] = str(tmp_path / "other.npz")
    path.write_text(json.dumps(config))
    assert main.main(["report", "runs/small"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--stored" in error
    assert main.main(["report", "runs/small", "--stored"]) == 0


@pytest.mark.slow
def test_held_out_logits_give_the_temperature(finished):
    path = Path("runs/small/predictions.npz")
    stored = dict(np.load(path))
    logits = np.zeros((2, 4, 10), np.float32)
    logits[:, :, 0] = 4.0
    label = np.array([0, 0, 0, 1], np.int32)
    np.savez(path, **stored, validation_logits=logits, validation_label=label)
    assert main.main(["report", "runs/small", "--stored"]) == 0
    report = json.loads(Path("runs/small/report/report.json").read_text())
    found = report["runs"][0]["calibration"]
    # e^(4 / t) / (e^(4 / t) + 9) = 3 / 4
    assert found["temperature"] == pytest.approx([4 / np.log(27)] * 2, rel=1e-4)
    assert found["scaled"]["nll"] != found["nll"]


@pytest.mark.slow
def test_the_verdict_and_gains_are_on_top(finished, capsys):
    path = Path("runs/small/config.json")
    config = json.loads(path.read_text())
    config["acceptance"] = {"max_drop": 0.0, "min_agreement": 1.0}
    config["compare"] = {"plain": "small.py:teacher", "missing": "small.py:other"}
    path.write_text(json.dumps(config))
    assert main.main(["report", "runs/small", "--stored"]) == 0
    report = json.loads(Path("runs/small/report/report.json").read_text())
    (content,) = report["runs"]
    assert content["verdict"]["text"].startswith("Loss ")
    gains = [line for line in report["conclusions"] if line.startswith("Gain over")]
    assert "points" in gains[0] and "unknown" in gains[1]
    assert content["gains"]["plain"]["low"] <= content["gains"]["plain"]["high"]


@pytest.mark.parametrize("begun", [False, True])
def test_no_finished_run_is_one_line(begun, tmp_path, capsys):
    if begun:
        (tmp_path / "config.json").write_text("{}")
    assert main.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert ("not finished" if begun else "no run directory") in error
