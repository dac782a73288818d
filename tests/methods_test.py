"""Settings of the methods: every section builds, and pairs have the settings of the papers."""

import inspect

import pytest

from configs import arguments, common, methods, pairs
from configs.methods import METHODS, method
from configs.pairs import PAIRS
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


TRANSFORMERS = {"deit.DeiT", "minilm.MiniLM", "tinybert.TinyBERT"}
"""Objectives that read tokens, which convolutional networks have none of: see configs/deit.py."""


def test_every_objective_has_a_method():
    used = {spec["name"] for section in METHODS.values() for spec in section.values()}
    known = {name for name in registry.known("kd.objectives") if "mutual" not in name}
    assert known <= used | TRANSFORMERS


def test_configs_common_has_every_shared_name():
    """Users' configs import these from configs.common."""
    expected = {
        arguments: "parse_arg reference",
        methods: "DEPLOYED DROP_LAST FIRST LABELS METHODS REDUCE SECOND_VIEW SEVERAL TEACHER_FREE "
        "deployed first_run method taken_over",
        pairs: "PAIRS",
    }
    for module, names in expected.items():
        for name in names.split():
            assert getattr(common, name) is getattr(module, name)


def test_a_pair_changes_only_the_settings_that_it_names():
    plain, tuned = (method("dkd", *p) for p in (("", ""), ("vgg13", "vgg8")))
    assert (plain["dkd"]["beta"], tuned["dkd"]["beta"]) == (8.0, 6.0)
    assert tuned["dkd"] == plain["dkd"] | {"beta": 6.0} and tuned["ce"] == plain["ce"]
    tuned["ce"]["weight"] = 7.0  # a copy: METHODS does not change
    assert "weight" not in METHODS["dkd"]["ce"]


def test_an_unknown_method_lists_those_known():
    with pytest.raises(ValueError, match=r"Did you mean 'dkd'\? Known: labels, kd"):
        method("dkdd", "", "")
