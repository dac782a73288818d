"""A walk through every number that can be set: NaN, infinities, -1, 0 and a huge one are refused
with the setting's name, or are on a list with a reason.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, get_args

import optax
import pytest

from kd import config as configs
from kd import optim, registry
from kd.config import ConfigDict, leaves
from kd.config.defaults import ACCEPTANCE, RANGES, TEACHER
from kd.data import augmentations
from kd.errors import InputError
from kd.ranges.annotations import _arms, _declared, _is_type
from kd.teachers import kind

ZERO = {
    "none of it": "AB.margin CE.smoothing WeightedCE.smoothing MGD.masked CNN.dropout MLP.dropout "
    "MLP.input_dropout Maxout.dropout Maxout.input_dropout Maxout.pools Maxout.paddings "
    "ViT.drop_path ViT.pre_logits DeiT.drop_path DeiT.pre_logits DeiT.smoothing DSCNN.dropout "
    "DSCNN.pool_dropout "
    "sgd.momentum sgd.weight_decay adamw.weight_decay cosine.warmup crop.padding "
    "flip.probability erase.probability "
    "rand_augment.count rand_augment.covered noise.std scale.std CTKD.span DKD.warmup_epochs "
    "ReviewKD.warmup_epochs END2.hold IBP.start CROWNIBP.start CROWNIBP.linear IAD.begin",
    "at once": "linear.over END2.epochs CTKD.epochs IBP.ramp CROWNIBP.ramp",
    "a part of a sum that is left out": "DIST.beta DIST.gamma DKD.alpha DKD.beta NKD.gamma "
    "RKD.distance RKD.angle SRRL.regression MLKD.instance MLKD.relation IBP.nominal "
    "CROWNIBP.nominal DeiT.alpha MiniLM.weights TinyBERT.attention TinyBERT.hidden",
    "a schedule begins or ends with it": "linear.start linear.end by_epoch.start by_epoch.end "
    "cosine.end",
    "no memory of the past": "CRD.momentum adam.b1 adam.b2 adamw.b1 adamw.b2 ema._make.decay",
    "all probabilities count alike": "OFA.exponent",
    "the weight of the teacher's answer is one": "IAD.exponent",
    "it is cross entropy": "Focal.gamma",
    "the last block": "MiniLM.student_block MiniLM.teacher_block",
    "a variance by the number of inputs": "Maxout.initial",
    "the first": "folder.load.seed imbalanced.load.seed",
    "no processes of their own": "imagenet.load.workers streamed.load.workers",
    "an offset or a value of pixels": "arrays.load.mean folder.load.mean streamed.load.mean "
    "tfds.load.mean cutout.fill",
    "weights stay those of config.init; refused without": "sgd.learning_rate adam.learning_rate "
    "adamw.learning_rate",
}
MINUS_ONE = {
    "an offset or a value of pixels": "arrays.load.mean folder.load.mean streamed.load.mean "
    "tfds.load.mean cutout.fill",
}
EMPTY = {"a constant rate": "piecewise.epochs"}
HUGE = {}
"""Numbers that are accepted: the reason, and the settings."""

FIXED = {
    ("holdout", 0): "none",
    ("validation", 0): "none",
    ("seed", 0): "the first",
    ("profile", 0): "no trace",
    ("checkpoint.seconds", 0): "at every chance",
    ("teacher.decay", 0): "the last weights",
    ("teacher.cache_window", 0): "views never repeat",
    ("acceptance.max_drop", 0): "nothing may be lost",
    ("acceptance.min_agreement", 0): "none is asked for",
}
"""The same for keys that every config has."""


def makers() -> Iterator[tuple[str, Any]]:
    """Yields everything that a config can name, with a short name."""
    for package in ("objectives", "models"):
        for value in registry.exported(f"kd.{package}").values():
            if inspect.isclass(value):
                yield value.__name__, value
    for file in registry._files_with("kd.data", "load"):
        yield f"{file}.load", registry.find("kd.data", file, "load")
    returned = (optim.Curve, optax.GradientTransformation, augmentations.Image)
    for module in (optim, augmentations):
        for name, value in registry._public(module).items():
            if inspect.isfunction(value) and inspect.signature(value).return_annotation in returned:
                yield name, value
    for name, value in kind.kinds().items():
        yield f"{name}._make", partial(value.make, None)


def numbers_of(annotation: Any, sequence: bool = False) -> Iterator[tuple[type, bool]]:
    """Yields (int or float, whether in a sequence) for each kind of number of an annotation."""
    for arm in _arms(_declared(annotation)[0]):
        arm = _declared(arm)[0]
        if arm in (int, float):
            yield arm, sequence
        elif _is_type(arm, Sequence) and get_args(arm):
            yield from numbers_of(get_args(arm)[0], True)


def settings() -> Iterator[tuple[str, Any, str, type, bool]]:
    """Yields every setting that takes numbers: its name, maker, keyword, and kind of number."""
    for name, maker in makers():
        for key, annotation in registry.annotations(maker).items():
            if key in (registry.keywords_of(maker) or ()):
                for number, sequence in dict.fromkeys(numbers_of(annotation)):
                    yield f"{name}.{key}", maker, key, number, sequence


def accepted(maker: Any, key: str, value: Any) -> bool:
    """Whether a config may set a number; a refusal names the key."""
    try:
        registry.settings(maker, {key: value}, "section")
    except InputError as error:
        assert f"config.section.{key}" in str(error)
        return False
    return True


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({}, math.nan),
        ({}, math.inf),
        ({}, -math.inf),
        (MINUS_ONE, -1),
        (ZERO, 0),
        (HUGE, 2**62),
        (EMPTY, ()),
    ],
)
def test_every_number_of_everything_that_has_a_name(wanted, value):
    allowed = {name for names in wanted.values() for name in names.split()}
    taken, seen = set(), set()
    for name, maker, key, number, sequence in settings():
        entry = float(value) if number is float and value != () else value
        if (value == () and not sequence) or (number is int and not isinstance(value, int | tuple)):
            entry, sequence = value, False  # a wrong type is refused as well
        seen.add(name)
        default = registry._default(maker, key)
        entries = (entry,) * (len(default) if isinstance(default, tuple) and default else 1)
        if accepted(maker, key, entries if sequence and value != () else entry):
            taken.add(name)
    assert len(seen) > 100
    assert taken == allowed


def test_the_walk_sees_all_settings_with_a_number_by_default():
    seen = {name for name, *_ in settings()}
    for name, maker in makers():
        for key in registry.keywords_of(maker) or ():
            value = registry._default(maker, key)
            entries = value if isinstance(value, tuple) else (value,)
            if any(isinstance(e, int | float) and not isinstance(e, bool) for e in entries):
                assert f"{name}.{key}" in seen


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 0, 2**62])
def test_every_number_under_a_fixed_key(value):
    numbers = [
        key
        for key, v in leaves(
            configs.default().to_dict() | {"acceptance": ACCEPTANCE, "teacher": TEACHER}
        )
        if isinstance(v, int | float) and not isinstance(v, bool) and key != "teacher.cache"
    ]
    assert {*numbers} - {"seed"} <= RANGES.keys()
    for key in numbers:
        section, _, last = key.rpartition(".")
        if key.startswith("teacher"):
            body = {"teacher": {"name": "ema", last: value}}
        else:
            body = {section: {last: value}} if section else {last: value}
        try:
            configs.complete(ConfigDict(body))
        except InputError as error:
            assert f"config.{key}" in str(error)
            assert (key, value) not in FIXED
        else:
            assert (key, value) in FIXED, key


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"optimizer": {"learning_rate": 0.0}}, "learning_rate: expected a number above 0"),
        ({"optimizer": {"learning_rate": -0.1}}, "learning_rate: expected 0 or more"),
        ({"optimizer": {"clip_norm": math.nan}}, "clip_norm: expected .* got nan"),
        ({"optimizer": {"name": "optax.lamb", "weight_decay": -1.0}}, "weight_decay: expected 0"),
        ({"optimizer": {"name": "optax.sgd", "momentum": 1.5}}, r"momentum: expected .*\[0, 1\)"),
        ({"schedule": {"name": "cosine", "warmup": 6.0}}, "schedule.warmup: expected an epoch of"),
        ({"schedule": {"name": "linear", "over": 6.0}}, "schedule.over: expected an epoch of the"),
        ({"schedule": {"name": "piecewise", "epochs": (2.0, 5.0)}}, r"epochs\[1\]: expected an ep"),
        ({"schedule": {"name": "piecewise", "epochs": (3.0, 2.0)}}, "epochs: expected increasing"),
        ({"schedule": {"name": "exponential", "factor": 1e6}}, "factor: expected 251.2 at most"),
        ({"schedule": {"name": "constant", "value": -1.0}}, "schedule.value: expected 0 or more"),
        ({"objective": {"ce": {"weight": -1.0}}}, "objective.ce.weight: expected 0 or more, got"),
        ({"objective": {"ce": {"weight": math.nan}}}, "objective.ce.weight: expected .* got nan"),
        (
            {"objective": {"ce": {"weight": {"name": "linear", "over": 9.0}}}},
            "objective.ce.weight.over: expected an epoch of the run, which ends after 5, got 9",
        ),
        (
            {"objective": {"ce": {"weight": {"name": "linear", "end": -1.0}}}},
            "objective.ce.weight.end: expected 0 or more, got -1",
        ),
        ({"batch_size": 101}, "batch_size: expected 1 to 100, the number of training examples"),
        ({"epochs": 2**31 - 1, "steps_per_call": 1}, "epochs: 2,147,483,647 epochs of 4 updates"),
        ({"student": {"widths": (65_536, 65_536, 65_536)}}, "config.student.*this machine has"),
        ({"seeds": 2**30}, "1,073,741,824 of mlp.MLP with .* parameters.*this machine has"),
        (
            {"student": {"name": "cohort.Cohort", "member": {"name": "mlp.MLP", "dropout": 1.5}}},
            r"peer mlp.MLP: dropout: expected a number in \[0, 1\), got 1.5",
        ),
        ({"teacher": {"name": "ema", "decay": 1.0}}, "teacher.decay: expected .*0, 1"),
    ],
)
def test_what_does_not_fit_the_run_is_refused_before_it_begins(small_data, body, words):
    from kd.build import spell_out
    from kd.train.checks import dry_run

    config = {
        "data": {"name": "arrays", "path": str(small_data)},
        "student": {"name": "mlp.MLP", "widths": (4,)},
        "objective": {"ce": {"name": "ce.CE"}},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "epochs": 5,
        "batch_size": 32,
    }
    for key, value in body.items():
        if not isinstance(value, dict) or "name" in value:
            config[key] = value
        elif key == "objective":
            config[key] = {"ce": config[key]["ce"] | value["ce"]}
        else:
            config[key] = config[key] | value
    if "learning_rate" not in config["optimizer"]:
        config["optimizer"]["learning_rate"] = 0.1
    with pytest.raises(InputError, match=words):
        dry_run(spell_out(configs.complete(ConfigDict(config))))
