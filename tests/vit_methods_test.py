"""Methods between convolutional networks and transformers: they work, or are refused by name."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd.models
from configs.methods import METHODS
from kd import registry
from kd.data.base import class_tables
from kd.errors import InputError
from kd.models.hydra import Hydra
from kd.models.simkd import SimKD
from kd.models.vit import DeiT, ViT
from kd.objective import Weighted
from kd.types import Outputs, View

B, C = 8, 4
SIZE = dict(num_classes=C, patch=4, width=8, depth=4, heads=2)
NETWORKS = {
    "cnn": kd.models.resnet8(num_classes=C),
    "vit": ViT(**SIZE),
    "wide": ViT(**SIZE | {"width": 12}),
    "deit": DeiT(**SIZE),
}
BATCH = {
    "image": jnp.ones((B, 16, 16, 3)),
    "label": jnp.arange(B) % C,
    "index": jnp.arange(B),
    "epoch": jnp.zeros((), jnp.int32),
}


@cache
def outputs(name):
    """Shapes of what the network returns, and of its variables."""
    return jax.eval_shape(NETWORKS[name].init_with_output, jax.random.key(0), BATCH["image"])


def begun(student, teacher, method, **more):
    """The shape of the first loss, with the settings of configs/methods.py and `more`."""
    terms = {}
    for term, section in METHODS[method].items():
        section = section | (more if term == method else {})
        settings = {k: v for k, v in section.items() if k not in ("name", "weight")}
        maker = registry.find("kd.objectives", section["name"])
        terms[term] = registry.make(maker, settings, section["name"])
    objective = Weighted(terms, dict.fromkeys(terms, 1.0))
    tables = class_tables(np.arange(B) % C, C)

    def loss(student, teacher, variables):
        view = View(student, teacher, BATCH, tables, jnp.int32(0), variables)
        keys = {"params": jax.random.key(0), "objective": jax.random.key(1)}
        return objective.init_with_output(keys, view)[0]

    return jax.eval_shape(loss, outputs(student)[0], *outputs(teacher))[0].shape


WORK = ("kd", "dist", "ofa", "crd", "srd", "rkd", "sp", "cc", "fitnet")
QUICK = (("ofa", "vit", "cnn"), ("crd", "cnn", "vit"))
PAIRS = (("cnn", "vit"), ("vit", "cnn"), ("vit", "wide"), ("deit", "cnn"))


@pytest.mark.parametrize(
    ("method", "student", "teacher"),
    [
        pytest.param(m, *pair, marks=() if (m, *pair) in QUICK else pytest.mark.slow)
        for m in WORK
        for pair in PAIRS
    ],
)
def test_methods_that_work_between_architectures(method, student, teacher):
    assert begun(student, teacher, method) == ()


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS[:2], ids="-".join)
@pytest.mark.parametrize("method", ["at", "nst", "vid", "semckd"])
def test_stages_of_another_number_are_paired_by_name(method, pair):
    with pytest.raises(InputError, match=r"stages .* differ"):
        begun(*pair, method)
    assert begun(*pair, method, features=(("stage1", "stage2"), ("stage3", "stage3"))) == ()


@pytest.mark.parametrize(
    ("method", "student", "teacher", "says"),
    [
        ("ofd", "cnn", "vit", "stage1_pre"),
        ("ab_first", "vit", "cnn", "stage1_pre"),
        ("reviewkd", "vit", "wide", "stage1_pre"),
        ("fsp_first", "vit", "wide", "FSP needs equal channels"),
        ("srrl", "cnn", "vit", "SRRL ends its projector with a ReLU, .* srd.SRD"),
    ],
)
def test_methods_that_do_not_fit_are_refused_by_name(method, student, teacher, says):
    with pytest.raises(InputError, match=says) as error:
        begun(student, teacher, method)
    assert len(str(error.value).partition("\n")[0]) < 1200


def test_features_of_many_blocks_are_listed_together():
    shapes = {f"tokens{i}": jnp.ones((2, 5, 8)) for i in range(13)}
    outputs = Outputs(None, {"stem": jnp.ones((2, 3)), **dict(sorted(shapes.items()))})
    assert outputs.listed() == "stem [3], tokens0 to tokens12 [5, 8]"
    assert Outputs(None, {"stage1": jnp.ones((2, 3))}).listed() == "stage1 [3]"
    assert Outputs(None).listed() == "none"


@pytest.mark.parametrize(
    ("student", "says"),
    [
        (Hydra({"name": "vit.DeiT", **SIZE}, C), "DeiT has two heads"),
        (SimKD({"name": "vit.DeiT", **SIZE}, {"name": "resnet_cifar.resnet8"}, C), "two heads"),
        (SimKD({"name": "mlp.MLP"}, {"name": "vit.ViT", **SIZE}, C), "SimKD ends its projector"),
    ],
)
def test_networks_around_a_transformer_that_do_not_fit(student, says, key):
    without = lambda section: {k: v for k, v in section.items() if k != "num_classes"}
    fields = {
        f: without(getattr(student, f)) for f in ("student", "teacher") if hasattr(student, f)
    }
    with pytest.raises(InputError, match=says):
        jax.eval_shape(student.clone(**fields).init, key, BATCH["image"])


def test_a_transformer_as_the_body_of_another_network(key):
    section = {"name": "vit.ViT", **{k: v for k, v in SIZE.items() if k != "num_classes"}}
    for net in (
        Hydra(section, C, heads=3),
        SimKD(section, {"name": "resnet_cifar.resnet8"}, C),
    ):
        outputs, variables = jax.eval_shape(net.init_with_output, key, BATCH["image"])
        assert outputs.logits.shape == (B, C)
        assert "head" not in variables["params"]["student"]
