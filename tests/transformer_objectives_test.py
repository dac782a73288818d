"""Objectives of transformers: the public code's values, maps of layers, and what does not fit."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.errors import InputError
from kd.models.cnn import CNN
from kd.models.vit import DeiT as Network
from kd.models.vit import ViT
from kd.objective import Weighted
from kd.objectives.ce import CE, cross_entropy
from kd.objectives.deit import DeiT
from kd.objectives.kd import KD, HardLabel
from kd.objectives.minilm import MiniLM
from kd.objectives.tinybert import TinyBERT, uniform_map
from kd.types import Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

DATA = dict(np.load(Path(__file__).parent / "golden/objectives/transformers.npz"))
CLASSES = 7


def features(who):
    return {
        name.partition(".")[2]: jnp.asarray(value)
        for name, value in DATA.items()
        if name.startswith(f"{who}.")
    }


def view(student, teacher, **batch):
    b = len(student.logits)
    known = {"label": jnp.asarray(DATA["label"][:b]), "epoch": jnp.int32(0)}
    return View(student, teacher, known | batch, {}, jnp.int32(0))


def of_tokens(changed):
    """A student with some features replaced, and the teacher."""
    zeros = jnp.zeros((5, CLASSES))
    return view(Outputs(zeros, features("student") | changed), Outputs(zeros, features("teacher")))


def assert_public(name, loss, inputs):
    value, grads = jax.jit(jax.value_and_grad(loss))(inputs)
    np.testing.assert_allclose(value, DATA[f"{name}.loss"], rtol=1e-5)
    ours = np.concatenate([np.ravel(grads[key]) for key in inputs])
    np.testing.assert_allclose(ours, DATA[f"{name}.grad"], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_deit_is_the_public_one(kind):
    module = DeiT(kind, alpha=0.3, temperature=3.0)
    teacher = Outputs(jnp.asarray(DATA["deit"]))

    def loss(inputs):
        student = Outputs(inputs["logits"], {"distillation_logits": inputs["distilled"]})
        return jnp.mean(module.apply({}, view(student, teacher)))

    assert_public(f"deit_{kind}", loss, {k: jnp.asarray(DATA[k]) for k in ("logits", "distilled")})


def test_minilm_is_the_public_one():
    """Three relation heads across two attention heads, and widths that differ."""
    loss = lambda changed: jnp.mean(MiniLM(heads=3).apply({}, of_tokens(changed)))
    names = ("query2", "key2", "value2")
    assert_public("minilm", loss, {name: features("student")[name] for name in names})


def test_tinybert_is_the_public_one():
    params = {"projection": {"kernel": jnp.asarray(DATA["weight"].T), "bias": DATA["bias"]}}
    loss = lambda changed: jnp.mean(TinyBERT().apply({"params": params}, of_tokens(changed)))
    names = ("tokens0", "tokens1", "tokens2", "query1", "query2")
    assert_public("tinybert", loss, {name: features("student")[name] for name in names})


def test_a_map_of_layers_may_be_named():
    even = of_tokens({})
    variables = TinyBERT().init(jax.random.key(0), even)
    named = TinyBERT(((0, 0), (1, 2), (2, 4))).apply(variables, even)
    np.testing.assert_allclose(named, TinyBERT().apply(variables, even), rtol=1e-6)
    alone = TinyBERT(((2, 4),), hidden=0.0).apply({}, even)
    assert alone.shape == (5,) and (alone < named).all()
    assert uniform_map(3, 3) == ((1, 1), (2, 2), (3, 3))


def test_deit_is_its_two_terms():
    """With mixed images, too; with the whole weight on the teacher it reads no label."""
    random = np.random.default_rng(0).normal(size=(3, 4, CLASSES)).astype(np.float32)
    student = Outputs(jnp.asarray(random[0]), {"distillation_logits": jnp.asarray(random[1])})
    pairs = {"partner_label": jnp.array([3, 1, 0, 6]), "share": jnp.array([0.5, 1.0, 0.2, 0.9])}
    both = view(student, Outputs(jnp.asarray(random[2])), **pairs)
    distilled = both.replace(student=Outputs(student.features["distillation_logits"]))
    terms = CE(0.1).apply({}, both), HardLabel().apply({}, distilled)
    np.testing.assert_allclose(DeiT().apply({}, both), 0.5 * terms[0] + 0.5 * terms[1], rtol=1e-6)
    soft = KD(2.0).apply({}, distilled) / CLASSES
    alone = DeiT("soft", alpha=1.0, temperature=2.0)
    np.testing.assert_allclose(alone.apply({}, both), soft, rtol=1e-6)
    assert alone.needs == () and DeiT().needs == ("batch.label",)
    assert cross_entropy(student.logits, both.batch["label"]).shape == (4,)


IMAGE = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)
SIZES = dict(num_classes=3, patch=4, width=12, depth=2, heads=3)
STUDENT, TEACHER = ViT(**SIZES), ViT(**SIZES | dict(width=24, depth=4))


def shapes(objective, student=STUDENT, teacher=TEACHER):
    """Shapes of an objective's loss on two networks."""

    def outputs(network):
        returned = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x), IMAGE)
        return returned[0]

    both = outputs(student), outputs(teacher)
    weighted = Weighted({"term": objective}, {"term": 1.0})

    def loss(student, teacher):
        seen = View(student, teacher, {"label": jnp.array([0, 2])}, {}, jnp.int32(0))
        return weighted.init_with_output(jax.random.key(0), seen)[0]

    return jax.eval_shape(loss, *both)


@pytest.mark.parametrize("objective", [MiniLM(), TinyBERT(), TinyBERT([[1, 4]])])
def test_transformers_of_other_widths_and_depths_fit(objective):
    assert shapes(objective)[0].shape == ()


@pytest.mark.parametrize(
    ("objective", "student", "words"),
    [
        (MiniLM(heads=5), STUDENT, r"5 relation heads do not divide the student's width of 12"),
        (
            MiniLM(),
            CNN(3, (4, 4)),
            r"MiniLM needs transformers.*The student has stem|MiniLM needs .*stage1 \[",
        ),
        (MiniLM(student_block=3), STUDENT, r"no pair of 'query3' of the student and 'query4'"),
        (MiniLM(), Network(**SIZES), r"the student has 6 and the teacher 5"),
        (TinyBERT(), CNN(3, (4, 4)), r"TinyBERT needs transformers"),
        (TinyBERT(), ViT(**SIZES | dict(depth=3)), r"3 blocks evenly onto the teacher's 4.*layers"),
        (TinyBERT(), ViT(**SIZES | dict(heads=2)), r"head by head: the student has 2 and .* 3"),
        (TinyBERT([[1, 5]]), STUDENT, r"layers has \[1, 5\]; expected .* 1 to 2, .* 1 to 4"),
        (TinyBERT(()), STUDENT, r"no pair of layers"),
        (TinyBERT(), Network(**SIZES), r"the student has 6 and the teacher 5"),
        (
            DeiT(),
            STUDENT,
            r"no 'distillation_logits': it needs a network with a distillation token",
        ),
        (DeiT("firm"), Network(**SIZES), r"value of kind in deit.DeiT 'firm'"),
    ],
)
def test_what_does_not_fit_is_refused(objective, student, words):
    with pytest.raises(InputError, match=words):
        shapes(objective, student)
