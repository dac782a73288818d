"""Few labels and many images: the label -1 is unknown, and what reads labels counts the others."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kd
from kd import build, config
from kd.config.identity import config_hash
from kd.data import digits
from kd.data.base import drop_unlabelled, hold_out, keep_labels
from kd.errors import InputError

pytestmark = pytest.mark.usefixtures("unoptimized_module")


def test_labels_are_kept_by_class_and_by_the_seed():
    dataset = digits.load()
    few = keep_labels(dataset, 128, seed=0)
    known = few.train.label >= 0
    assert known.sum() == 128 and (few.train.label[known] == dataset.train.label[known]).all()
    assert np.ptp(np.bincount(few.train.label[known])) <= 1  # digits have equal frequencies
    assert few.train.image is dataset.train.image and few.test is dataset.test
    again, other = keep_labels(dataset, 128, seed=0), keep_labels(dataset, 128, seed=1)
    assert (again.train.label == few.train.label).all()
    assert (other.train.label != few.train.label).any()
    labelled = drop_unlabelled(few)
    assert len(labelled.train.image) == len(labelled.train.label) == 128
    assert (labelled.train.image == dataset.train.image[known]).all()


def test_each_class_keeps_a_label_and_the_number_is_exact():
    label = np.repeat(np.arange(4), [97, 1, 1, 1]).astype(np.int32)
    dataset = digits.load()
    dataset = dataset._replace(
        train=dataset.train._replace(image=dataset.train.image[:100], label=label), num_classes=4
    )
    for size in (4, 5, 50, 99):
        kept = keep_labels(dataset, size).train.label
        assert (kept >= 0).sum() == size and set(kept[kept >= 0]) == {0, 1, 2, 3}
    assert keep_labels(dataset, 0) is dataset and keep_labels(dataset, 100) is dataset
    for size in (-1, 3, 101):
        with pytest.raises(InputError, match=r"from 4 to 100, or 0 for all"):
            keep_labels(dataset, size)


def test_images_without_a_label_are_never_held_out():
    divided = hold_out(keep_labels(digits.load(), 200), 0.25)
    assert len(divided.test.label) == 50 and (divided.test.label >= 0).all()
    assert len(divided.train.label) == 1387 and (divided.train.label >= 0).sum() == 150


def test_a_config_that_keeps_all_labels_has_the_hash_that_it_had():
    spelled = build.load_config("configs/digits.py:labelled=all")
    assert spelled.data.labelled == 0 and spelled.data.unlabelled == "keep"
    before = spelled.to_dict()
    before["data"] = {"name": "digits"}
    assert config_hash(before) == config_hash(spelled.to_dict())
    few = build.load_config("configs/digits.py:labelled=64")
    assert config_hash(few.to_dict()) != config_hash(spelled.to_dict())
    assert (build.make_data(few).train.label >= 0).sum() == 64


class Logits(nn.Module):
    """The images are the logits, plus a bias."""

    @nn.compact
    def __call__(self, x, train):
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return kd.types.Outputs(x + bias[None])


def gradients(terms, label, teacher=None, weights=None):
    image = jax.random.normal(jax.random.key(1), (6, 4))
    objective = kd.Weighted(terms, weights or dict.fromkeys(terms, 1.0))
    teacher = teacher or kd.types.Teacher(lambda frozen, state, batch: None)
    parts = Logits(), objective, teacher, optax.sgd(1.0)
    batch = {"image": image, "label": jnp.array(label), "index": jnp.arange(len(label))}
    batch["image"] = batch["image"][: len(label)]
    frozen = {"teacher": {}, "tables": {}}
    state = kd.make_init(*parts)(jax.random.key(0), frozen, batch)
    state, metrics = jax.jit(kd.make_step(*parts))(state, frozen, batch)
    return state.params["student"]["bias"], metrics


def test_cross_entropy_is_the_mean_over_the_labelled_examples():
    few, metrics = gradients({"ce": kd.objectives.CE()}, [0, -1, 2, -1, -1, 1])
    image = np.asarray(jax.random.normal(jax.random.key(1), (6, 4)))[[0, 2, 5]]
    log_p = image - np.log(np.exp(image).sum(-1, keepdims=True))
    np.testing.assert_allclose(metrics["ce"], -log_p[[0, 1, 2], [0, 2, 1]].mean(), rtol=1e-6)
    expected = (np.eye(4)[[0, 2, 1]] - np.exp(log_p)).mean(0)
    np.testing.assert_allclose(few, expected, atol=1e-6)
    right = (image.argmax(-1) == [0, 2, 1]).mean()
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["ce.CE", "dkd.DKD", "nkd.NKD", "tfkd.VirtualTeacher", "wsld.WSLD"]
)
def test_a_batch_without_labels_gives_no_loss_and_no_gradient(name):
    teach = kd.types.Teacher(lambda frozen, state, batch: kd.types.Outputs(batch["image"][:, ::-1]))
    maker = kd.registry.find("kd.objectives", name)
    bias, metrics = gradients({"term": maker()}, [-1] * 6, teach)
    assert metrics["loss"] == 0 and not np.asarray(bias).any() and np.isnan(metrics["accuracy"])


def test_distillation_sees_the_images_without_a_label():
    teach = kd.types.Teacher(lambda frozen, state, batch: kd.types.Outputs(batch["image"][:, ::-1]))
    few, _ = gradients({"kd": kd.objectives.KD()}, [0, -1, -1, -1, -1, 1], teach)
    every, _ = gradients({"kd": kd.objectives.KD()}, [0, 1, 2, 3, 2, 1], teach)
    assert (np.asarray(few) == np.asarray(every)).all()


SMALL = """
def get_config(arg=None):
    from ml_collections import ConfigDict
    c = ConfigDict()
    c.data = dict(name="digits", labelled=60)
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(ce=dict(name="ce.CE"), {term})
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    return c
"""


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("own=dict(name='own.Own')", "config.objective.own reads labels, and some"),
        ("pskd=dict(name='pskd.PSKD')", "config.objective.pskd: .* label of every"),
    ],
)
def test_what_cannot_do_without_a_label_is_refused_by_its_name(
    term, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import flax.linen as nn\n"
        "from kd.losses import cross_entropy\n"
        "class Own(nn.Module):\n"
        "    def __call__(self, view):\n"
        "        return cross_entropy(view.student.logits, view.batch['label'])\n"
    )
    (tmp_path / "c.py").write_text(SMALL.replace("{term}", term))
    with pytest.raises(InputError, match=message):
        kd.run("c.py", workdir=tmp_path / "run")


@pytest.mark.parametrize(
    ("term", "reduce", "message"),
    [
        (kd.objectives.KD(), "confidence", r"reduce = 'confidence' needs the label of every"),
        (kd.objectives.PSKD(), "probs", "config.objective.term: PSKD needs the label of every"),
    ],
)
def test_objects_that_need_every_label_are_refused_too(term, reduce, message):
    image = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    logits = np.zeros((2, 8, 2), np.float32)
    with pytest.raises(InputError, match=message):
        kd.distill(
            teacher=logits,
            student=kd.models.MLP(2, (4,)),
            data=(image, np.array([0, 1, -1, -1, 0, 1, -1, 0])),
            objective={"term": (1.0, term), "kd": (1.0, kd.objectives.KD())},
            optimizer=optax.sgd(0.1),
            epochs=1,
            reduce=reduce,
        )


def test_the_number_of_labels_is_counted_over_all_devices():
    """Of two devices one has one label and the other three."""
    label = jnp.array([0, -1, -1, 2, 3, 1])
    expected, alone = gradients({"ce": kd.objectives.CE()}, label)
    image = jax.random.normal(jax.random.key(1), (6, 4))
    objective = kd.Weighted({"ce": kd.objectives.CE()}, {"ce": 1.0})
    parts = Logits(), objective, kd.types.Teacher(lambda *_: None), optax.sgd(1.0)
    batch, frozen = {"image": image, "label": label}, {"teacher": {}, "tables": {}}
    state = kd.make_init(*parts)(jax.random.key(0), frozen, batch)
    step = jax.pmap(
        kd.make_step(*parts, axis_name="data"), "data", in_axes=(None, None, 0), out_axes=None
    )
    halves = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), batch)
    state, metrics = step(state, frozen, halves)
    np.testing.assert_allclose(state.params["student"]["bias"], expected, atol=1e-6)
    for name in ("loss", "ce", "accuracy"):
        np.testing.assert_allclose(metrics[name], alone[name], rtol=1e-6)


def saved(tmp_path, train, test=(0, 1, 0, 1)):
    path = tmp_path / "data.npz"
    image = np.random.default_rng(0).integers(0, 255, (12, 4, 4, 1), dtype=np.uint8)
    arrays = {"x_train": image[:8], "y_train": np.array(train), "x_test": image[8:]}
    np.savez(path, **arrays, y_test=np.array(test))
    return str(path)


def test_images_of_a_users_own_may_have_no_label(tmp_path):
    dataset = kd.data.load("arrays", path=saved(tmp_path, [0, -1, 1, -1, -1, 0, 1, -1]))
    assert dataset.num_classes == 2 and (dataset.train.label == -1).sum() == 4


@pytest.mark.slow
def test_images_without_any_label_train_a_student():
    image = np.zeros((8, 2, 2, 1), np.float32)
    student = kd.distill(
        teacher=np.eye(4, dtype=np.float32)[np.arange(8) % 4],
        student=kd.models.MLP(4, (2,)),
        data=(image, np.full(8, -1)),
        test=(image[:4], np.arange(4)),
        objective={"kd": (1.0, kd.objectives.KD(2.0))},
        batch_size=4,
        epochs=1,
    )
    assert student.scores["accuracy"] == [0.25]


def test_the_classes_of_images_without_any_label_are_those_of_the_test_images():
    from kd.train.objects import make_dataset

    image = np.zeros((4, 2, 2, 1), np.float32)
    dataset = make_dataset((image, np.full(4, -1)), (image, np.array([0, 1, 2, 3])), None)
    assert dataset.num_classes == 4


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, -1, 1, -1, -1, 0, 1, -1], [0, -1, 1, 0], "test: 1 labels are -1.*Only training"),
        ([1, -1, 1, -1, -1, 1, 1, -1], [1, -1, 1, -1], "labels run from 1 to 1 and none is 0"),
        ([0, -2, 1, -1, -1, 0, 1, -1], [0, 1, 1, 0], "run from -2"),
    ],
)
def test_a_label_that_is_negative_otherwise_is_refused(tmp_path, train, test, message):
    with pytest.raises(InputError, match=message):
        kd.data.load("arrays", path=saved(tmp_path, train, test))


def load(labelled: str = "none"):
    return digits.load()._replace(class_names=tuple(f"{labelled}{k}" for k in range(10)))


def test_a_loader_of_ones_own_may_take_a_setting_of_that_name():
    c = config.load("configs/digits.py:role=labels,labelled=all")
    c.data = dict(name=f"{__name__}.load", labelled="x")
    spelled = build.spell_out(c)
    assert dict(spelled.data) == {
        "name": f"{__name__}.load",
        "labelled_seed": 0,
        "unlabelled": "keep",
        "sampling": "shuffled",
        "labelled": "x",
    }
    assert build.make_data(spelled).class_names[0] == "x0"


@pytest.mark.parametrize("key", ["labelled", "labelled_seed"])
@pytest.mark.parametrize("value", [-1, 2**62, 0.5, True, float("nan"), "12"])
def test_numbers_that_are_none_are_refused(key, value):
    c = config.load("configs/digits.py:role=labels")
    with c.unlocked(), c.ignore_type():
        c.data[key] = value
    with pytest.raises(InputError, match=f"config.data.{key}: expected"):
        build.spell_out(c)


def test_an_unknown_choice_is_refused():
    c = config.load("configs/digits.py:role=labels")
    c.data.unlabelled = "forget"
    with pytest.raises(InputError, match=r"config.data.unlabelled .forget..*Known: keep, drop"):
        build.spell_out(config.complete(c))
