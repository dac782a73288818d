"""Which of several measured runs `kd select` chooses, and what it says of the others."""

import numpy as np
import pytest

from kd.errors import InputError, RunError
from kd.export import selection
from kd.export.preference import Candidate, choose, distinct


@pytest.fixture
def candidates(by_hand):
    """Makes finished runs of 200 images; of each the number of wrong ones by seed, and its file."""

    def make(wrong=(20, 20, 20), flash=1000, name="", validation=False, accuracy=None, **changes):
        rows = ["0" * k + "1" * (200 - k) for k in wrong]
        workdir = by_hand(name, rows, **changes.pop("result", {}))
        if validation:
            arrays = dict(workdir.predictions())
            more = {f"validation_{key}": value for key, value in arrays.items()}
            workdir.write("predictions.npz", arrays | more)
        accuracy = 1 - wrong[0] / 200 if accuracy is None else accuracy
        known = dict(flash=flash, arena=500, accuracy=accuracy)
        known["validation"] = accuracy if validation else None
        return Candidate(str(workdir), "", **(known | changes))

    return make


def reasons(choice):
    return {c.run.rpartition("/")[2]: why for c, why in choice.left_out}


@pytest.mark.parametrize("validation", [False, True])
def test_a_smaller_file_is_taken_where_no_loss_is_shown(candidates, validation):
    best = candidates([10, 11, 12], 4000, "best", validation)
    small = candidates([12, 10, 14], 1000, "small", validation)
    middle = candidates([11, 11, 13], 2000, "middle", validation)
    bad = candidates([60, 61, 62], 500, "bad", validation)
    choice = choose([best, small, middle, bad])
    assert choice.best is small
    assert "the smallest file that is not shown to be less accurate" in choice.reason
    assert "over images and seeds" in choice.reason
    assert ("not all runs kept validation images" in choice.reason) is not validation
    why = reasons(choice)
    assert "the most accurate, but its file is 3,000 bytes larger" in why["best"]
    assert "its file is 1,000 bytes larger" in why["middle"]
    assert "less accurate than" in why["bad"] and "+25.00 points" in why["bad"]
    # The order of the directories does not matter.
    assert choose([bad, middle, small, best]).best is small


def test_the_most_accurate_is_taken_where_each_smaller_one_is_shown_to_lose(candidates):
    best, small = candidates([10, 10], 4000, "best"), candidates([60, 60], 10, "small")
    choice = choose([small, best])
    assert choice.best is best and "no smaller file" in choice.reason
    assert list(reasons(choice)) == ["small"]


def test_files_of_one_size_are_told_apart_by_accuracy_and_arena(candidates):
    one, two = candidates([11, 11], name="one"), candidates([10, 10], name="two")
    choice = choose([one, two])
    assert choice.best is two and "0.50 points less accurate" in reasons(choice)["one"]
    same = candidates([10, 10], name="same", arena=400)
    choice = choose([two, same])
    assert choice.best is same and "arena is 100 bytes larger" in reasons(choice)["two"]
    again = candidates([10, 10], name="again", arena=400)
    choice = choose([same, again])
    assert choice.best is same and "which was named first" in reasons(choice)["again"]


def test_one_seed_is_compared_over_images_alone_and_that_is_said(candidates):
    best, small = candidates([10], 4000, "best"), candidates([11], 1000, "small")
    choice = choose([best, small])
    assert choice.best is small and "over images alone, for there is one seed" in choice.reason


def test_a_bad_file_of_a_good_run_is_not_taken(candidates):
    """The exported seed, or its int8, is far worse than its run."""
    best = candidates([10, 10, 10], 4000, "best")
    small = candidates([11, 10, 10], 1000, "small", accuracy=0.7)
    choice = choose([best, small])
    assert choice.best is best
    assert "its file is 25.00 points less accurate" in reasons(choice)["small"]


@pytest.mark.parametrize(
    ("best", "small"), [([10, 20], [40, 60]), ([10, 30], [50]), ([10], [30, 40])]
)
def test_two_seeds_do_not_excuse_a_file_that_is_worse(candidates, best, small):
    """Of two seeds the runs' interval is tens of points wide; the exported networks are fixed."""
    best, small = candidates(best, 4000, "best"), candidates(small, 1000, "small")
    choice = choose([best, small])
    assert choice.best is best
    loss = 100 * (best.accuracy - small.accuracy)
    assert f"its file is {loss:.2f} points less accurate" in reasons(choice)["small"]
    assert f"exported networks: loss +{loss:.2f} points" in reasons(choice)["small"]
    near = candidates([11, 60], 1000, "near")
    assert "over images and seeds" in choose([best, near]).reason


def test_peers_are_compared_as_they_were_exported(candidates):
    costs = {"parameters": 10, "bytes": 40, "macs": 8}
    cohort = {"result": {"peers": [costs, costs]}}
    best = candidates([10, 10], 4000, "best")
    # The second peers are good, the first ones are not.
    first = candidates([90, 10, 90, 10], 500, "first", peer=0, accuracy=0.55, **cohort)
    second = candidates([90, 10, 90, 10], 600, "second", peer=1, accuracy=0.95, **cohort)
    assert choose([best, first, second]).best is second


def test_runs_on_other_images_are_not_compared(candidates, monkeypatch):
    one = candidates([10], name="one", result={"evaluated": "a"})
    two = candidates([12], name="two", result={"evaluated": "b"})
    with pytest.raises(InputError, match="different images"):
        choose([one, two])
    monkeypatch.setattr(selection, "measure", lambda run, budget: {"1": one, "2": two}[run])
    monkeypatch.setattr(selection.requirements, "require", lambda *names: None)
    monkeypatch.chdir(one.run + "/..")
    for name in "12":
        (path := selection.Workdir(name)).path.mkdir()
        path.write("config.json", {})
    with pytest.raises(RunError, match=r"nothing is chosen(.|\n)*one: seed 0(.|\n)*two: seed 0"):
        selection.act(["1", "2"], selection.Budget())
    # One that does not fit is not compared.
    assert selection.act(["1"], selection.Budget()).endswith(f"the only one that fits\n{one.run}")


def test_runs_without_their_predictions_are_not_compared(candidates):
    one, two = candidates([10], name="one"), candidates([12], name="two")
    selection.Workdir(two.run).path.joinpath("predictions.npz").unlink()
    with pytest.raises(InputError, match=r"two/predictions.npz cannot be read"):
        choose([one, two])


def test_a_directory_counts_once_under_whatever_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert distinct(["a", "b", "a/", "./b", "c"]) == ["a", "b", "c"]


def test_the_same_run_twice_is_no_tie_of_two_seeds(candidates):
    """A run against itself loses nothing."""
    one = candidates([10, 40], name="one")
    assert choose([one]).reason == "the only one that fits"
    assert np.isclose(one.accuracy, 0.95)
