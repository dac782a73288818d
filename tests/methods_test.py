"""The hyper-parameters of the methods: every one builds, and those of a pair are the papers'."""

import inspect

import pytest

from configs.common import METHODS, PAIRS, method
from kd import registry


def sections():
    for name in METHODS:
        for pair in ("none->none", *PAIRS.get(name, ())):
            yield name, pair


@pytest.mark.parametrize(("name", "pair"), list(sections()))
def test_every_section_builds(name: str, pair: str):
    teacher, student = pair.split("->")
    for term, spec in method(name, teacher, student).items():
        settings = {k: v for k, v in spec.items() if k not in ("name", "weight")}
        maker = registry.find("kd.objectives", spec["name"])
        assert inspect.isclass(maker), term
        registry.make(maker, settings, spec["name"])


def test_every_objective_has_a_method():
    used = {spec["name"] for section in METHODS.values() for spec in section.values()}
    here = {name for name in registry.known("kd.objectives") if "mutual" not in name}
    assert here <= used


def test_pairs_change_what_they_name_alone():
    plain, tuned = (method("dkd", *p) for p in (("", ""), ("vgg13", "vgg8")))
    assert (plain["dkd"]["beta"], tuned["dkd"]["beta"]) == (8.0, 6.0)
    assert tuned["dkd"] == plain["dkd"] | {"beta": 6.0} and tuned["ce"] == plain["ce"]
    tuned["ce"]["weight"] = 7.0  # a copy: METHODS does not change
    assert "weight" not in METHODS["dkd"]["ce"]


def test_an_unknown_method_lists_those_known():
    with pytest.raises(ValueError, match=r"Did you mean 'dkd'\? Known: labels, kd"):
        method("dkdd", "", "")
