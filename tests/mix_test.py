"""Mixed images: what mixup and CutMix make of a pair, whom they pair, where they are refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd
from kd import build, labels
from kd import config as configs
from kd.cli.main import main
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.augment import make_augment
from kd.data.mix import Mix
from kd.data.mixtures import cutmix, mixup
from kd.errors import InputError
from kd.objectives.ce import CE, cross_entropy
from kd.objectives.focal import Focal
from kd.objectives.weighted_ce import WeightedCE
from kd.runs.workdir import Workdir
from kd.step import correct
from kd.train.checks import dry_run
from kd.train.setup import prepare

pytestmark = pytest.mark.usefixtures("unoptimized_module")

KEY = jax.random.key(3)
ZERO, ONE = jnp.zeros((32, 24, 1)), jnp.ones((32, 24, 1))


# ------------------------------------------------------------------ of two images


def test_mixup_is_a_weighted_mean_with_a_share_of_the_beta_distribution():
    keys = jax.random.split(KEY, 2000)
    of_ones = lambda key: mixup(key, ONE[0, 0], ZERO[0, 0], 0.4)
    mixed, share = jax.jit(jax.vmap(of_ones))(keys)
    np.testing.assert_allclose(mixed[:, 0], share, rtol=1e-6)
    # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)).
    np.testing.assert_allclose(share.mean(), 0.5, atol=0.03)
    np.testing.assert_allclose(share.var(), 1 / 7.2, atol=0.01)


def test_cutmix_puts_a_box_of_the_partner_whose_area_is_its_share():
    keys = jax.random.split(KEY, 300)
    mixed, share = jax.jit(jax.vmap(lambda key: cutmix(key, ONE, ZERO)))(keys)
    np.testing.assert_allclose(mixed.mean((1, 2, 3)), share, atol=1e-6)
    assert share.min() < 0.2 and share.max() > 0.98
    for image in np.asarray(mixed[..., 0]):
        rows, columns = (image == 0).any(1), (image == 0).any(0)
        assert (image == 0).sum() == rows.sum() * columns.sum()  # one box
        for line in (rows, columns):
            assert np.abs(np.diff(line.astype(int))).sum() <= 2


def test_cutmix_of_a_series_is_a_stretch_of_time_and_of_rows_is_refused():
    mixed, share = cutmix(KEY, jnp.ones((40, 2)), jnp.zeros((40, 2)))
    assert 0 < share < 1 and (mixed[:, 0] == mixed[:, 1]).all()
    np.testing.assert_allclose(mixed.mean(), share, atol=1e-6)
    with pytest.raises(InputError, match=r"cutmix needs images.*not \[7\].*Take mixup"):
        Mix("cutmix", jax.ShapeDtypeStruct((7,), jnp.float32))


# ------------------------------------------------------------------ of a batch


def batch(n=8, first=0, epoch=2):
    image = jnp.asarray(np.random.default_rng(0).integers(0, 255, (n, 4, 4, 1), dtype=np.uint8))
    index = jnp.arange(n)
    label = (index * 3 + 1) % 5
    return {"image": image, "label": label, "index": index, "epoch": jnp.int32(epoch)}


def mixed(text, examples=None, key=KEY, first=0, augment="crop(1)"):
    mix = Mix(text)
    examples = batch() if examples is None else examples
    paired = mix.pair(key, examples, first)
    plain = make_augment(augment, (0.5,), (0.5,))
    return paired, plain(key, examples)["image"], jax.jit(mix.augment(plain))(key, paired)


def test_a_batch_has_the_labels_of_both_images_and_the_share_of_the_first():
    paired, plain, shown = mixed("mixup(1.0)")
    partner = np.asarray(paired["partner_index"])
    assert sorted(partner) == list(range(8))
    np.testing.assert_array_equal(shown["partner_label"], batch()["label"][partner])
    assert len(set(np.asarray(shown["share"]).tolist())) == 1
    share = shown["share"][:, None, None, None]
    np.testing.assert_allclose(shown["image"], share * plain + (1 - share) * plain[partner])
    assert set(shown) == {"image", "label", "index", "epoch", "partner_label", "share"}


def test_each_pair_or_a_part_of_them_may_have_its_own_share():
    _, _, shown = mixed("mixup(1.0, each=True)")
    assert len(set(np.asarray(shown["share"]).tolist())) == 8
    _, plain, shown = mixed("mixup(1.0, each=True, probability=0.5)")
    alone = np.asarray(shown["share"]) == 1
    assert 0 < alone.sum() < 8
    np.testing.assert_array_equal(shown["image"][alone], plain[alone])
    assert (mixed("mixup(probability=0)")[2]["share"] == 1).all()


def test_pairs_and_shares_differ_by_key_epoch_and_place_in_the_epoch():
    mix = Mix("mixup(1.0)")
    plain = make_augment("", (0.5,), (0.5,))

    @jax.jit
    def draw(key, epoch, first):
        paired = mix.pair(key, {**batch(), "epoch": epoch}, first)
        return paired["partner_index"], mix.augment(plain)(key, paired)["share"][0]

    def drawn(key=KEY, first=0, epoch=2):
        partner, share = draw(key, jnp.int32(epoch), jnp.int32(first))
        return (*np.asarray(partner).tolist(), float(share))

    others = [drawn(), drawn(jax.random.key(4)), drawn(first=8), drawn(epoch=3)]
    assert len({other[-1] for other in others}) == 4 and len(set(others)) == 4
    assert drawn() == others[0]


def test_of_several_operations_each_batch_draws_one():
    mix = Mix("mixup(1.0) or cutmix(1.0)")
    plain = make_augment("", (0.5,), (0.5,))
    show = jax.jit(lambda first: mix.augment(plain)(KEY, mix.pair(KEY, batch(), first))["image"])
    pixels = plain(KEY, batch())["image"]
    from_cutmix = [bool(np.isin(show(first), pixels).all()) for first in np.arange(24)]
    assert 4 < sum(from_cutmix) < 20


def test_a_mixture_of_ones_own_by_its_dotted_path(tmp_path, monkeypatch):
    text = "def half(key, image, partner, share: float = 0.5):\n"
    text += "    return share * image + (1 - share) * partner, share\n\n"
    text += "def wrong(key, image, partner):\n    return image\n"
    (tmp_path / "own_mixtures.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert (mixed("own_mixtures.half(0.25)")[2]["share"] == 0.25).all()
    with pytest.raises(InputError, match=r"makes float32 \[4, 4, 1\] of two .* and its share"):
        Mix("own_mixtures.wrong", jax.ShapeDtypeStruct((4, 4, 1), jnp.float32))


# ------------------------------------------------------------------ losses and accuracy


LOGITS = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)), jnp.float32)
PAIRS = {
    "label": jnp.array([0, 1, 2, 0]),
    "partner_label": jnp.array([1, 1, 0, 2]),
    "share": jnp.array([0.75, 0.5, 1.0, 0.0]),
}


def term(module):
    view = kd.View(kd.Outputs(LOGITS), None, PAIRS, {}, jnp.int32(0))
    return np.asarray(module.apply({}, view))


def test_cross_entropy_is_that_of_the_mixed_target():
    share = PAIRS["share"][:, None]
    target = share * jnp.eye(3)[PAIRS["label"]] + (1 - share) * jnp.eye(3)[PAIRS["partner_label"]]
    for smoothing in (0.0, 0.1):
        soft = (1 - smoothing) * target + smoothing / 3
        by_hand = -(soft * jax.nn.log_softmax(LOGITS)).sum(-1)
        np.testing.assert_allclose(term(CE(smoothing)), by_hand, rtol=1e-5)
    weights = jnp.array([1.0, 3.0, 5.0])
    by_hand = -(target * weights[None] * jax.nn.log_softmax(LOGITS)).sum(-1)
    np.testing.assert_allclose(term(WeightedCE((1.0, 3.0, 5.0))), by_hand, rtol=1e-5)
    np.testing.assert_allclose(term(Focal(0.0)), term(CE()), rtol=1e-5)


def test_the_accuracy_is_the_share_of_the_label_that_is_hit():
    logits = jnp.eye(3)[jnp.array([0, 1, 0, 1])]
    right = labels.of_labels(lambda label: correct(logits, label), PAIRS)
    np.testing.assert_allclose(right, [0.75, 1.0, 0.0, 0.0])


def test_a_cohort_has_a_loss_for_each_peer():
    loss = lambda label: cross_entropy(jnp.stack([LOGITS, 2 * LOGITS]), label)
    assert labels.of_labels(loss, PAIRS).shape == (2, 4)


# ------------------------------------------------------------------ runs


def config_of(path, **keys):
    c = ConfigDict({"data": {"name": "arrays", "path": str(path)}})
    c.student = {"name": "mlp.MLP", "widths": (8,)}
    c.objective = {"ce": {"name": "ce.CE"}}
    c.optimizer = {"name": "sgd", "learning_rate": 0.1}
    c.batch_size, c.epochs, c.augment, c.mix = 32, 2, "crop(1)", "mixup(1.0)"
    for key, value in keys.items():
        section, _, last = key.rpartition("__")
        if section and section not in c:
            c[section] = ConfigDict()
        (c[section] if section else c)[last] = value
    return build.spell_out(configs.complete(c))


def trained(path, **keys):
    """Parameters after two updates and their metrics, and the metrics of one with the last four."""
    setup = prepare(config_of(path, **keys))
    state, order = setup.init(), setup.order(jnp.int32(0))
    numbers = lambda *values: (jnp.int32(value) for value in values)
    state, first = setup.updates[32](state, *setup.inputs, order, *numbers(0, 0, 2))
    state, last = setup.updates[4](state, *setup.inputs, order, *numbers(0, 96, 1))
    return jax.device_get((state.params, {k: (v[:, :2], last[k][:, :1]) for k, v in first.items()}))


@pytest.fixture(scope="module")
def alone(small_data):
    return trained(small_data, mix="mixup(1.0, each=True)")


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(dict(devices__data=4, accumulate=4), marks=pytest.mark.slow),
        *(
            pytest.param(keys, marks=pytest.mark.campaign)
            for keys in (
                dict(accumulate=4),
                dict(devices__data=8),
                dict(devices__data=8, devices__transform="pmap"),
                dict(loop="host", seeds_how="map"),
            )
        ),
    ],
    ids=lambda keys: " ".join(keys),
)
def test_a_batch_in_parts_and_one_on_several_devices_have_the_pairs_of_one(small_data, alone, keys):
    """With a share for each pair, and a short last batch."""
    several = trained(small_data, mix="mixup(1.0, each=True)", **keys)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)
    jax.tree.map(close, several, alone)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(small_config, stopped_at):
    """Two seeds; balanced, so that images come twice."""
    keys = ["--config.mix=mixup(1.0) or cutmix(1.0)", "--config.data.sampling=balanced"]
    run = ["run", "--config", "small.py:teacher", *keys]
    assert main([*run, "--workdir", "at_once"]) == 0
    with stopped_at(step=6):
        assert main([*run, "--workdir", "cut"]) == 0
    assert not Workdir("cut").finished
    assert main([*run, "--workdir", "cut"]) == 0
    logits = [Workdir(name).predictions()["logits"] for name in ("at_once", "cut")]
    np.testing.assert_array_equal(*logits)
    assert json.loads(Path("cut/config.json").read_text())["mix"] == "mixup(1.0) or cutmix(1.0)"


def test_a_config_without_it_has_the_hash_that_it_had(small_data):
    plain = config_of(small_data, mix="").to_dict()
    before = {key: value for key, value in plain.items() if key != "mix"}
    assert config_hash(plain) == config_hash(before) != config_hash(config_of(small_data).to_dict())


@pytest.mark.slow
def test_distill_mixes(small_data):
    data = np.load(small_data)
    train = (data["x_train"], data["y_train"])
    student = kd.models.MLP(10, (4,))
    settings = dict(teacher=None, data=train, objective={"ce": (1.0, CE())}, epochs=1)
    mixed = kd.distill(student=student, mix="mixup(1.0)", progress=False, **settings)
    rows = [row for row in mixed.history if row["kind"] == "train"]
    assert 0 < rows[-1]["accuracy"][0] < 1
    with pytest.raises(InputError, match=r"mix = 'mixup' changes the images at every step"):
        kd.distill(student=student, mix="mixup", **settings | {"teacher": np.zeros((100, 10))})


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (dict(data__labelled=50), r"labels of two images for config.objective.ce, and 50 of the"),
        (dict(objective__dkd={"name": "dkd.DKD"}), r"objective.dkd: DKD reads one class"),
        (dict(objective__crd={"name": "crd.CRD"}), r"objective.crd: CRD reads one class or one im"),
        (dict(objective__p={"name": "pskd.PSKD"}), r"objective.p: PSKD reads one class or one im"),
        (dict(objective__v={"name": "ibp.IBP", "ramp": 1.0}), r"objective.v: IBP reads one class"),
        (dict(second_view="crop(1)", objective__m={"name": "mlkd.MLKD"}), r"config.second_view"),
        (dict(mix="os.system"), r"'os.system' is no mixture: .* two images"),
        (dict(mix="mixap(0.2)"), r"unknown mixture 'mixap'.*'mixup'"),
        (dict(mix="mixup(0.2) | cutmix"), r"cannot read .* joined by 'or', such as 'mixup\(0.8\)"),
        (dict(mix="mixup(alpha=0)"), r"mix: mixup.alpha: expected .*, got 0"),
        (dict(mix="mixup(probability=1.5)"), r"mixup.probability: expected .*, got 1.5"),
        (dict(mix="mixup(each=1)"), r"mix: mixup.each: expected bool, got 1"),
        (dict(mix="mixup(beta=1)"), r"unknown setting of mixture mixup 'beta'.*alpha"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_line(small_data, keys, message):
    with pytest.raises(InputError, match=message) as error:
        dry_run(config_of(small_data, **keys))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (dict(cache=True), "config.teacher.cache: mix = 'mixup(1.0)' shows the teacher mixtures"),
        (dict(cache_window=2), "do not repeat after config.teacher.cache_window = 2 epochs"),
        (dict(reduce="confidence"), "config.teacher.reduce = 'confidence' needs the one class"),
    ],
)
def test_what_the_teacher_cannot_is_refused_before_it_is_trained(
    small_config, capsys, keys, message
):
    arguments = [f"--config.teacher.{key}={value}" for key, value in keys.items()]
    arguments += ["--config.augment=", "--config.mix=mixup(1.0)"]
    assert main(["run", "--config", "small.py", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not any(Path().rglob("checkpoints"))


def test_an_objective_that_reads_labels_without_saying_so_is_refused(small_data):
    class Reads(kd.objectives.KD):
        def __call__(self, view):
            return 0.0 * view.batch["label"]

    data = np.load(small_data)
    with pytest.raises(InputError, match=r"config.objective.mine: Reads reads one class"):
        kd.distill(
            teacher=None,
            student=kd.models.MLP(10, (4,)),
            data=(data["x_train"], data["y_train"]),
            objective={"mine": (1.0, Reads())},
            mix="mixup",
        )


def test_unlabelled_images_may_be_mixed_where_no_term_reads_labels(small_data):
    keys = dict(data__labelled=50, objective={"kd": {"name": "kd.KD"}})
    dry_run(config_of(small_data, **keys))
