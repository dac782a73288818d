"""Differences between two networks: intervals, p-values, Holm's correction."""

import dataclasses

import numpy as np
import pytest
from matplotlib.cbook import is_math_text
from scipy import stats

from kd.metrics import contrasts
from kd.metrics.intervals import paired_difference
from kd.tables import figure, forest
from kd.tables.contrast import Comparison, Scores, comparison_of, from_json, to_json
from kd.tables.measure import Entry
from kd.tables.table import Cell, Contrast


def drawn(seed, mean, shape=(5, 400)):
    return (np.random.default_rng(seed).random(shape) < mean).astype(float)


def test_of_one_seed_the_interval_is_over_examples_alone():
    """Near the normal one of the differences by image: half its width is 1.96 s / sqrt(n)."""
    a, b = drawn(0, 0.9)[:1], drawn(1, 0.85)[:1]
    found = paired_difference(a, b)
    assert found == contrasts.over_examples(a, b)[:3]  # reports and tables agree
    half = 1.96 * np.std(a - b) / np.sqrt(a.size)
    expected = np.mean(a - b) + half * np.array([-1, 1])
    assert (found.low, found.high) == pytest.approx(expected, abs=half / 10)


@pytest.mark.parametrize("seeds", [2, 3, 5, 12])
def test_where_seeds_alone_vary_the_bootstrap_is_welch_s_test(seeds):
    """On average, also of very few seeds: those drawn with replacement spread less than new ones,
    and their percentiles are not Student's.
    """
    generator = np.random.default_rng(0)
    ratios, found = [], 0
    for _ in range(200):
        a, b = np.repeat(generator.normal(size=(2, seeds, 1)), 4, axis=2)
        one = contrasts.over_examples(a, b)
        other = contrasts.over_seeds(a[:, 0].tolist(), b[:, 0].tolist())
        ratios.append((one.high - one.low) / (other.high - other.low))
        found += one.p < 0.05
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
    assert found <= 18  # 10 expected


def test_what_differs_by_seed_and_image_is_counted_once():
    """Without an effect of seeds or images the interval is that of s n independent answers."""
    seeds, n = 12, 100
    pairs = [(drawn(i, 0.9, (seeds, n)), drawn(i + 100, 0.9, (seeds, n))) for i in range(100)]
    widths = [d.high - d.low for d in (contrasts.over_examples(a, b) for a, b in pairs)]
    expected = 2 * stats.t.ppf(0.975, 2 * (seeds - 1)) * np.sqrt(2 * 0.9 * 0.1 / (seeds * n))
    assert np.mean(widths) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("mean", [0.85, 0.97])
def test_few_images_keep_the_level(seeds, mean):
    """Equally good networks that err on few of 36 images differ significantly in one test of twenty
    at most; rounding once made it every second one.
    """
    pairs = [(drawn(i, mean, (seeds, 36)), drawn(i + 500, mean, (seeds, 36))) for i in range(200)]
    assert sum(contrasts.over_examples(a, b).p < 0.05 for a, b in pairs) <= 18  # 10 expected


@pytest.mark.parametrize("seeds", [1, 5])
def test_one_image_of_thirty_seven_is_no_evidence(seeds):
    """A draw of images lacks it with probability exp(-1), also where other images are answered by
    some seeds alone; a mean of the rest that rounding leaves above zero counts as zero.
    """
    reference = np.ones((1, 37))
    students = np.ones((seeds, 37))
    students[: max(1, seeds - 1), 18] = 0
    students[seeds - 1, 19] = 0
    found = contrasts.over_examples(reference, students)
    assert found.value == pytest.approx(max(seeds, 2) / seeds / 37)
    assert found.p > 0.1 and found.low == 0


def test_equal_networks_have_no_difference_and_unequal_ones_the_smallest_p():
    a = drawn(0, 0.9)
    same = contrasts.over_examples(a, a)
    assert same.value == 0 and same.p > 0.5
    better = contrasts.over_examples(a, a * (np.arange(400) % 2))
    assert better.p == 2 / (contrasts.DRAWS + 1) and better.low > 0


def test_examples_that_both_get_wrong_do_not_widen_the_interval():
    """Paired: what is common to both sides cancels."""
    hard = np.arange(400) < 200
    a = np.tile(np.where(hard, 0.0, 1.0), (3, 1))
    b = a.copy()
    b[:, :4] = 1.0
    difference = contrasts.over_examples(b, a)
    assert difference.value == pytest.approx(0.01)
    assert difference.high - difference.low < 0.025  # about 4 * sqrt(0.01 * 0.99 / 400)


@pytest.mark.parametrize("wrong", [[20, 24], [2, 2, 2, 2, 2]])
def test_seeds_that_are_equally_good_by_chance_leave_the_images_uncertain(wrong):
    """Errors at random places are all interaction, of which the means of equal seeds have none."""
    generator = np.random.default_rng(0)
    right = np.ones((len(wrong), 360))
    for row, count in zip(right, wrong, strict=True):
        row[generator.choice(360, count, replace=False)] = 0
    one = contrasts.over_examples(right, np.zeros((1, 360)))
    assert one.high - one.low > 1.5 * np.sqrt(np.var(right) / right.size)


def test_a_tie_with_a_bound_is_no_evidence_against_it():
    """A difference of one image of 37, tested against one of 37, up to rounding."""
    a, b = np.ones((1, 37)), np.ones((1, 37))
    b[0, 7] = 0
    _, (p,) = contrasts.combined_over_examples((a, b), (1, -1), bounds=(1 / 37 + 1e-12,))
    assert p == 1


@pytest.mark.parametrize("n", [50, 400])
def test_draws_of_many_examples_are_made_in_parts(n, monkeypatch):
    a, b = drawn(0, 0.9, (3, n)), drawn(1, 0.9, (3, n))
    kept = contrasts.over_examples(a, b)
    monkeypatch.setattr(contrasts, "_MOST_KEPT", 49)
    assert contrasts.over_examples(a, b) == pytest.approx(kept)


def test_seeds_alone_are_compared_by_welch_s_test():
    a, b = [1.0, 2.0, 4.0], [3.0, 5.0, 9.0, 4.0]
    expected = stats.ttest_ind(a, b, equal_var=False)
    found = contrasts.over_seeds(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
    assert contrasts.over_seeds(b, a).p == pytest.approx(expected.pvalue)
    assert contrasts.over_seeds([1.0], b) is None and contrasts.over_seeds([2, 2], [1, 1]) is None


def test_scores_of_one_run_are_of_the_same_seeds():
    """What its seeds have in common, on clean and on corrupted images, cancels."""
    clean = np.repeat([[0.9], [0.7], [0.8]], 400, axis=1)
    corrupted = clean - 0.1
    paired, _ = contrasts.combined_over_examples((clean, corrupted), (1, -1), runs=("a", "a"))
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))
    assert contrasts.over_examples(clean, corrupted).low < 0
    by_seeds = lambda runs: contrasts.combined_over_seeds(
        ([9, 7, 8], [8, 6.1, 6.9], [1, 2, 3]), (1, -1, -1), runs=runs
    )[0]
    expected = stats.ttest_ind([1, 0.9, 1.1], [1, 2, 3], equal_var=False)
    found = by_seeds(("a", "a", "b"))
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval(0.95))
    assert by_seeds(()).p > found.p


def test_what_is_no_number_or_only_rounding_leaves_a_difference_open():
    """It would spoil Holm's correction of the others, and NaN beside it would be worse."""
    assert contrasts.over_seeds([1.0, np.nan], [1, 2]) is None
    assert contrasts.over_seeds([1.0, np.inf], [1, 2]) is None
    assert np.var([0.1] * 3) > 0  # by rounding
    assert contrasts.over_seeds([0.1] * 3, [0.2] * 3) is None
    label = np.zeros(400, int)
    scores = [Scores(drawn(0, 0.9), label), Scores(np.full((5, 400), np.nan), label)]
    cells = [Cell(row, "", row, "", "", 2, "", "", None, None, None, None) for row in "ab"]
    a = Contrast("a", "", tuple(cells))
    assert comparison_of(a, [], scores).difference is None
    assert comparison_of(a, [], scores[:1] * 2).difference is not None
    entry = Entry(cells[0], [0.1] * 3, 0.1)
    entry = dataclasses.replace(entry, mean=0.1 + 1e-16, error=0.0, paper=0.1)
    assert not entry.marked and dataclasses.replace(entry, paper=0.2).marked


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, none below one before it."""
    assert contrasts.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert contrasts.holm([]) == [] and contrasts.holm([0.7, 0.8]) == [1.0, 1.0]


def test_verdicts():
    gain = contrasts.Difference(1.0, 0.5, 1.5, 0.01)
    assert Comparison(gain, "seeds", 0.04).verdict("higher") == "better"
    assert Comparison(gain, "seeds", 0.04).verdict("lower") == "worse"
    assert Comparison(gain, "seeds", 0.04).verdict("") == "higher"
    assert Comparison(gain, "seeds", 0.05).verdict("higher") == "not significant"
    assert Comparison(None, "seeds").verdict("higher") == ""


def test_a_published_comparison_of_other_numbers_is_not_shown():
    stored = to_json(Comparison(contrasts.Difference(1.0, 0.5, 1.5, 0.01), "examples"))
    assert from_json(stored, 1.0).difference.high == 1.5
    assert from_json(stored, 1.01) is None and from_json(None, 1.0) is None
    assert to_json(Comparison(contrasts.Difference(1.0, 0.5, 1.5, 0.01), "seeds")) is None


@pytest.mark.parametrize(("last", "far"), [(-75.0, True), (-2.0, False)])
def test_a_difference_many_times_all_others_does_not_hide_them(last, far):
    """It is an arrow at the edge of the panel with its number; all others are drawn to scale."""
    values = [*np.linspace(-1, 1, 11), last]
    rows = [f"row {i}" for i in range(len(values))]
    entries = [
        Entry(Contrast(row, "", (), unit="%"), [value], value)
        for row, value in zip(rows, values, strict=True)
    ]
    _, (axis,) = figure.canvas(1)
    forest._panel(axis, entries, rows)
    assert [text.get_text().strip() for text in axis.texts] == (["-75"] if far else [])
    low, high = axis.get_xlim()
    assert -3 < low < -1 and 1 < high < 3


def test_errors_below_one_percent_are_decimals():
    figure_of, (axis,) = figure.canvas(1)
    axis.plot([1, 2], [0.55, 3])
    axis.set(yscale="log", ylim=(0.5, 4))
    axis.yaxis.set_minor_formatter(figure.decimals(minor_thresholds=(2, 0.5)))
    figure_of.canvas.draw()
    texts = {label.get_text() for label in axis.get_yticklabels(minor=True)}
    assert "0.6" in texts and not any("e" in text for text in texts)


def test_names_are_drawn_as_they_are(tmp_path):
    """Between two $ is no formula, which would be drawn without its spaces, or fail."""
    _, (axis,) = figure.canvas(1)
    rows = [r"$\frac$ of a point", "$5 and $6"]
    entries = [Entry(Contrast(row, "", (), unit="US$ of $"), [1.0], 1.0) for row in rows]
    forest._panel(axis, entries, rows)
    axis.set_title(figure.wrap(rows[0]))
    axis.plot([0, 1], [0, 1], label=figure.literal("_hidden"))
    legend = axis.legend()
    figure.save(axis.figure, tmp_path / "figure.png")
    assert legend.get_texts()[0].get_text() == " _hidden"
    assert not any(is_math_text(text.get_text()) for text in axis.get_yticklabels())
