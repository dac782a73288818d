"""Settings outside their range are refused with the key, the value and what is expected."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import pytest

from kd import registry
from kd.errors import InputError
from kd.models.cnn import CNN
from kd.models.cohort import Cohort
from kd.models.mlp import MLP
from kd.objective import Weighted
from kd.objectives.ce import CE
from kd.objectives.kd import KD
from kd.ranges import (
    Count,
    Fraction,
    Increasing,
    Length,
    Positive,
    Probability,
    Range,
    Widths,
    check,
    check_fields,
)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Fraction, 0),
        (Fraction, 1.0),
        (Probability, 0.999),
        (Positive, 1e-30),
        (float, -3.5),
        (int, -3),
        (Count, 1),
        (Widths, (1, 2)),
        (Widths | None, None),
        (int | Sequence[int], 3),
        (int | Sequence[int], [3, 4]),
        (Sequence[float] | None, (1.5, 2)),
        (Mapping[str, Any], {"name": "x"}),
        (Any, "text"),
        (Positive | Callable, math.sqrt),
        (Annotated[Sequence[float], Increasing()], (1, 2, 5)),
        (Annotated[Range, "unknown"], "anything"),
        (str | None, "text"),
    ],
)
def test_what_fits_passes(annotation, value):
    check("key", annotation, value)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Fraction, 1.5, "a number from 0 to 1, got 1.5"),
        (Fraction, math.nan, "a number from 0 to 1, got nan"),
        (Fraction, True, "a number from 0 to 1, got True"),
        (Fraction, None, "a number from 0 to 1, got None"),
        (Fraction, "0.5", "got '0.5'"),
        (Probability, 1.0, "a number in [0, 1), got 1.0"),
        (Probability, 1 - 1e-12, "a number in [0, 1)"),  # 1 in float32
        (Positive, 0.0, "a number above 0, got 0.0"),
        (Positive, 1e-40, "a number above 0, got 1e-40"),  # 0 in float32
        (Positive, 1e30, "got 1e+30"),
        (float, math.inf, "a number from -1e+12 to 1e+12, got inf"),
        (Any, math.nan, "got nan"),
        (Any, {"a": (1, -math.inf)}, "key.a[1]"),
        (int, 2**62, "an integer from -2,147,483,647 to 2,147,483,647"),
        (int, 1.0, "an integer"),
        pytest.param(int, 10**5000, "too large to print", id="5000 digits"),
        (Count, 0, "expected 1 or more, got 0"),
        (Count, 1.5, "an integer, 1 or more, got 1.5"),
        (Widths, (), "1 to 1,024 entries, got 0"),
        (Widths, (8, 0), "key[1]: expected an integer from 1 to 65,536, got 0"),
        (Widths, 8, "a sequence, each an integer from 1 to 65,536, got 8"),
        (int | Sequence[int], None, "an integer or a sequence, each an integer, got None"),
        (int | Sequence[int], math.nan, "got nan"),
        (Annotated[Sequence[float], Increasing()], (1, 2, 2), "increasing numbers, got (1, 2, 2)"),
        (Annotated[Sequence[float], Length(2, 2)], (1,), "2 entries, got 1"),
        (Mapping[str, Any], 3, "a dict, got 3"),
        (str, 3, "a text, got 3"),
        (Positive | Callable, -1, "above 0"),
        (Positive | Callable, "1", "got '1'"),
    ],
)
def test_what_does_not_fit_is_refused(annotation, value, expected):
    with pytest.raises(InputError) as caught:
        check("key", annotation, value)
    assert "key" in str(caught.value)
    assert expected in str(caught.value)


def test_an_annotation_that_is_text_counts():
    def load(size: "Count", other: "NoSuchName" = 3):  # noqa: F821
        return size

    assert registry.make(load, {"size": 3}, "data set x") == 3

    def later(size: "Annotated[int, Range(1)]" = 3):
        return size

    with pytest.raises(InputError, match="data set x: size: expected 1 or more, got 0"):
        registry.make(later, {"size": 0}, "data set x")
    with pytest.raises(InputError, match=r"config\.data\.size: expected 1 or more"):
        registry.settings(later, {"size": 0}, "data")


def test_a_default_passes_whatever_its_annotation_says():
    def load(path: int = "any"):  # pyrefly: ignore
        return path

    assert registry.settings(load, {"path": "any"}, "data") == {"path": "any"}


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (CE(smoothing=1.5), r"it\.smoothing: expected a number in \[0, 1\), got 1.5"),
        (KD(temperature=0), r"it\.temperature: expected a number from 0\.0001"),
        (MLP(2, (8,), dropout=1.0), r"it\.dropout: expected a number in \[0, 1\), got 1\.0"),
        (CNN(2, ()), r"it\.widths: expected 1 to 1,024 entries, got 0"),
        (Cohort({"name": "mlp.MLP"}, 2, size=1), r"it\.size: expected an integer from 2"),
        (Weighted({"ce": CE()}, {"ce": -1.0}), r"it\.weights\.ce: expected 0 or more"),
        (Weighted({"ce": CE(2.0)}, {"ce": 1.0}), r"it\.terms\.ce\.smoothing"),
    ],
)
def test_modules_of_a_caller_are_checked_field_by_field(module, expected):
    with pytest.raises(InputError, match=expected):
        check_fields(module, "it")


def test_modules_in_range_pass():
    check_fields(Weighted({"ce": CE(), "kd": KD()}, {"ce": 1, "kd": lambda step: step}), "it")
    check_fields(CNN(10, (4, 8), dropout=0.5), "it")
