"""A teacher that is a file of features: read in the order of the images, or refused; and the run of
two stages, from features without labels to a classifier.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import build
from kd import config as configs
from kd.cli.main import main
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.base import Dataset, Split
from kd.data.fingerprints import fingerprint
from kd.errors import InputError
from kd.objective import check_view
from kd.objectives.embedding import Embedding, unit_distance
from kd.objectives.fitnet import hint
from kd.objectives.kd import KD
from kd.runs.workdir import Workdir
from kd.train import external, freezing
from kd.types import DistillState, Outputs, Teacher, View

ROOT = Path(__file__).parents[1]
N, D = 12, 5
FEATURES = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The working directory with a data set, none of whose images has a label."""
    monkeypatch.chdir(tmp_path)
    image = np.arange(N * 4, dtype=np.uint8).reshape(N, 2, 2, 1)
    label = np.full(N, -1, np.int32)
    test = (255 - image[:4], np.arange(4, dtype=np.int32) % 3)
    np.savez("data.npz", x_train=image, y_train=label, x_test=test[0], y_test=test[1])
    return Dataset(Split(image, label), Split(*test), 3, (0.5,), (0.5,))


def config_of(objective="embedding.Embedding", **settings):
    c = ConfigDict()
    c.data = dict(name="arrays", path=str(Path("data.npz").absolute()), classes=3)
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(term=dict(name=objective))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.batch_size = 4
    c.teacher = dict(features="embeddings.npz")
    for key, value in settings.items():
        c[key] = value
    return build.spell_out(configs.complete(c))


def features_of(data, **arrays):
    np.savez("embeddings.npz", **arrays)
    teacher = external.load(config_of(), data)
    batch = {"index": np.array([4, 2])}
    outputs = teacher.teacher.apply(teacher.frozen, (), batch)
    assert outputs.logits is None
    return np.asarray(outputs.features["pooled"])


def test_features_are_those_of_the_images(data):
    np.testing.assert_array_equal(features_of(data, train=FEATURES), FEATURES[[4, 2]])
    order = np.random.default_rng(1).permutation(N)
    for about in (dict(index=order), dict(fingerprint=fingerprint(data.train.image[order]))):
        np.testing.assert_array_equal(
            features_of(data, train=FEATURES[order], **about), FEATURES[[4, 2]]
        )
    half = features_of(data, train=FEATURES.astype(np.float16), test=FEATURES[:2])
    assert half.dtype == np.float32


BAD = {
    "none": (dict(test=FEATURES), "lacks the array 'train'"),
    "shape": (dict(train=FEATURES[0]), r"train is float32 \[5\]; expected numbers \[n, d\]"),
    "words": (dict(train=np.full((N, D), "a")), "expected numbers"),
    "NaN": (dict(train=FEATURES * np.nan), "60 entries that are NaN"),
    "length": (dict(train=FEATURES[:3]), "has features of 3 training images in train, and the da"),
    "order": (
        dict(train=FEATURES, index=np.arange(N), fingerprint=np.arange(N, dtype=np.uint64)),
        "config.teacher.features: embeddings.npz is in another order",
    ),
    "name": (dict(train=FEATURES, trian=FEATURES), "unknown array in embeddings.npz 'trian'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused(data, case):
    arrays, words = BAD[case]
    with pytest.raises(InputError, match=words) as error:
        features_of(data, **arrays)
    assert "\n" not in str(error.value)


def test_what_a_file_of_features_cannot_teach(data, capsys):
    """Augmented images, and terms that read logits: in one line, before anything is trained."""
    np.savez("embeddings.npz", train=FEATURES)
    with pytest.raises(InputError, match=r"config.augment .*has the teacher's features of the im"):
        external.check(config_of(augment="crop(1)"), data)
    with pytest.raises(InputError, match=r"config.teacher.reduce"):
        config_of(teacher=dict(features="embeddings.npz", reduce="logits"))
    outputs = Outputs(jnp.zeros((2, 3)), {"pooled": jnp.ones((2, 4))})
    view = View(outputs, Outputs(None, {"pooled": jnp.ones((2, 5))}), {}, {}, 0)
    check_view(view)
    with pytest.raises(InputError, match=r"this teacher has features alone.*embedding.Embedding"):
        KD(4.0)(view)
    before = config_hash(config_of().to_dict())
    Path("moved.npz").write_bytes(Path("embeddings.npz").read_bytes())
    moved = config_of(teacher=dict(features="moved.npz"))
    assert config_hash(moved.to_dict()) == before


def test_distances_of_vectors():
    """By hand; each through a linear layer without an activation."""
    a, b = jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.array([[4.0, 3.0], [1.0, 0.0]])
    np.testing.assert_allclose(unit_distance(a, b), [2 - 2 * 24 / 25, 1.0], atol=1e-6)
    view = View(
        Outputs(jnp.zeros((2, 3)), {"pooled": jnp.eye(2, 4)}),
        Outputs(None, {"pooled": b}),
        {},
        {},
        0,
    )
    for distance, expected in (("cosine", unit_distance), ("mse", hint)):
        term = Embedding(distance=distance)
        loss, variables = term.init_with_output(jax.random.key(0), view)
        projector = variables["params"]["projector"]
        projected = jnp.eye(2, 4) @ projector["kernel"] + projector["bias"][None]
        np.testing.assert_allclose(loss, expected(projected, b), rtol=1e-5)
    with pytest.raises(InputError, match=r"value of distance in embedding.Embedding 'l1'"):
        Embedding(distance="l1").init(jax.random.key(0), view)


def test_a_part_is_frozen(data):
    """By path, BatchNorm's averages and the mean teacher's included; no match is refused."""
    np.savez("embeddings.npz", train=FEATURES)
    tree = lambda x: {"body": {"kernel": x}, "head": {"kernel": 2 * x}}

    def state_of(x):
        params, stats = {"student": tree(x), "objective": {}}, {"student": {"batch_stats": tree(x)}}
        return DistillState(0, 0, params, stats, (), ())

    teacher = Teacher(lambda *_: None, update=lambda state, student: student["params"])
    step = freezing.freeze(lambda state, *_: (state_of(1.0), {}), "student/body", teacher)
    state, _ = step(state_of(0.0), {}, {})
    expected = {"body": {"kernel": 0.0}, "head": {"kernel": 2.0}}
    assert state.params["student"] == state.stats["student"]["batch_stats"] == expected
    assert state.teacher == expected
    c = config_of(init=dict(run="runs/first", freeze="body"))
    freezing.check(c, state)
    for pattern, words in (("tail", "matches no parameter .student/body/kernel, "), ("k", "every")):
        c = config_of(init=dict(run="runs/first", freeze=pattern))
        with pytest.raises(InputError, match=f"config.init.freeze = '{pattern}' .*{words}"):
            freezing.check(c, state)
    with pytest.raises(InputError, match=r"config.init.freeze: no run to take it from"):
        config_of(init=dict(freeze="body"))
    with pytest.raises(InputError, match=r"config.init.freeze: '\[' is no regular expression"):
        config_of(init=dict(run="runs/first", freeze="["))
    stored = config_of(init=dict(run="runs/first")).to_dict()
    before = stored | {"init": {k: v for k, v in stored["init"].items() if k != "freeze"}}
    assert config_hash(stored) == config_hash(before) != config_hash(c.to_dict())


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_example_trains_without_labels_and_is_fine_tuned(tmp_path, monkeypatch, capsys):
    """`configs/examples/stored_features.py` on the real digits; the embeddings are random cosines
    of the pixels, so that nothing but the images is in them.
    """
    from kd.data import digits

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    pixels = digits.load().train.image.reshape(1437, -1) / 255.0
    w = np.random.default_rng(0).normal(size=(64, 32))
    np.savez("embeddings.npz", train=np.cos(pixels @ w).astype(np.float32))
    run = ["run", "--config", "configs/examples/stored_features.py", "--workdir", "w"]
    short = ["--config.student={'name': 'mlp.MLP', 'widths': (32,)}", "--config.epochs=4"]
    first = [*run[:2], f"{run[2]}:embedding", "--workdir", "first", *short]
    assert main(first) == 0
    printed = capsys.readouterr().out
    assert "every student learned from embeddings.npz (sha256" in printed
    assert "agreement" not in printed
    assert main(["report", "first", "--out", "page"]) == 0
    start = ["--config.init.config=", "--config.init.run=first", "--config.init.freeze=layer1"]
    assert main([*run, *short, *start]) == 0
    assert "every student started from what first had learnt" in capsys.readouterr().out
    from kd.runs.networks import load_networks

    before, after = (load_networks(Workdir(w)).variables["params"] for w in ("first", "w"))
    hidden = [name for name in before if name != "head"]
    for name in hidden:
        jax.tree.map(np.testing.assert_array_equal, before[name], after[name])
    assert np.abs(before["head"]["kernel"] - after["head"]["kernel"]).max() > 1e-3
