"""A teacher that is a file of logits: read in the order of the images, or refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import kd
from kd import build
from kd import config as configs
from kd.cli.main import main
from kd.config import ConfigDict
from kd.config.identity import config_hash
from kd.data.base import Dataset, Split
from kd.data.fingerprints import fingerprint
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.train import external, logits_file

N, TESTS, CLASSES = 12, 5, 3
ROOT = Path(__file__).parents[1]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data set in `data.npz` of the working directory, all of whose images differ."""
    monkeypatch.chdir(tmp_path)
    r = np.random.default_rng(0)
    image = r.integers(0, 256, (N + TESTS, 4, 4, 1)).astype(np.uint8)
    label = (np.arange(N + TESTS) % CLASSES).astype(np.int32)
    label[7] = -1
    np.savez("data.npz", x_train=image[:N], y_train=label[:N], x_test=image[N:], y_test=label[N:])
    return Dataset(
        Split(image[:N], label[:N]), Split(image[N:], label[N:]), CLASSES, (0.0,), (1.0,)
    )


def logits_of(n=N, m=2, seed=1):
    return np.random.default_rng(seed).normal(size=(m, n, CLASSES)).astype(np.float32)


def config_of(path="logits.npz", **teacher):
    c = ConfigDict()
    c.data = dict(name="arrays", path="data.npz")
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(kd=dict(name="kd.KD"))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.batch_size = 4
    c.teacher = dict(logits=path, **teacher)
    return c


def spelled(c):
    return build.spell_out(configs.complete(c))


def read(dataset, **arrays):
    np.savez("logits.npz", **arrays)
    return logits_file.read(spelled(config_of()), dataset)


def test_rows_find_their_images(data):
    """In the order of the images, by their places, or by their fingerprints; and more than that."""
    train, test = logits_of(), logits_of(TESTS)
    plain = read(data, train=train, test=test, label=data.train.label)
    np.testing.assert_array_equal(plain.train, train)
    np.testing.assert_array_equal(plain.evaluated, test)
    mixed = np.random.default_rng(2).permutation(N)
    by_index = read(data, train=train[:, mixed], index=mixed.astype(np.uint8))
    assert by_index.evaluated is None
    images = np.concatenate([data.test.image, data.train.image[mixed][..., 0].reshape(N, 4, 4, 1)])
    by_print = read(
        data,
        train=np.concatenate([test, train[:, mixed]], 1),
        fingerprint=fingerprint(images),
        test=test[:, ::-1],
        test_index=np.arange(TESTS)[::-1],
    )
    np.testing.assert_array_equal(by_index.train, train)
    np.testing.assert_array_equal(by_print.train, train)
    np.testing.assert_array_equal(by_print.evaluated, test)
    assert read(data, train=train[0].astype(np.float16)).train.shape == (1, N, CLASSES)


def test_a_part_of_the_images_has_its_own_rows(data):
    """Held-out images are evaluated by their rows of `train`."""
    train = logits_of()
    np.savez("logits.npz", train=train)
    for changes in (
        dict(holdout=0.3),
        dict(validation=0.3),
        dict(train_classes=(0, 2)),
        dict(data=dict(name="arrays", path="data.npz", unlabelled="drop")),
    ):
        c = spelled(ConfigDict({**config_of().to_dict(), **changes}))
        dataset = build.make_data(c)
        stored = logits_file.read(c, dataset)
        place = {x.tobytes(): i for i, x in enumerate(data.train.image)}
        rows = [place[x.tobytes()] for x in dataset.train.image]
        assert 0 < len(rows) < N
        np.testing.assert_array_equal(stored.train, train[:, rows])
        if c.holdout:
            rows = [place[x.tobytes()] for x in dataset.test.image]
            np.testing.assert_array_equal(stored.evaluated, train[:, rows])


GOOD = {"train": logits_of()}
WITH_NAN = logits_of()
WITH_NAN[1, 3, 0] = np.nan
BAD = {
    "no train": (dict(test=logits_of(TESTS)), "lacks the array 'train'"),
    "a shorter one": (dict(train=logits_of(N - 1)), "11 training images in train.*has 12"),
    "other classes": (dict(train=np.zeros((N, 4))), r"is \[12, 4\]; expected logits \[n, 3\]"),
    "one axis": (dict(train=np.zeros(N)), r"is \[12\]; expected"),
    "none": (dict(train=np.zeros((0, N, CLASSES))), r"is \[0, 12, 3\]"),
    "NaN": (dict(train=WITH_NAN), "has 1 entries that are NaN.*row 3"),
    "too large": (dict(train=np.full((N, CLASSES), 1e300)), "NaN, infinite or beyond"),
    "texts": (dict(train=np.full((N, CLASSES), "a")), "expected numbers, got <U1"),
    "objects": (dict(train=np.full((N, CLASSES), None)), "pickled Python objects"),
    "probabilities": (dict(train=np.full((N, CLASSES), 1 / 3)), "probabilities.*numpy.log"),
    "another name": (GOOD | dict(indx=np.arange(N)), "'indx'.*Did you mean 'index'"),
    "twice": (GOOD | dict(index=np.zeros(N, int)), "distinct places from 0 to 11"),
    "beyond": (GOOD | dict(index=np.arange(1, N + 1)), "distinct places from 0 to 11"),
    "floats": (GOOD | dict(index=np.arange(N) / 1), "expected one integer for each"),
    "short": (GOOD | dict(index=np.arange(N - 1)), "expected one integer for each"),
    "some": (
        dict(train=logits_of(3), index=np.arange(3)),
        "9 of the 12 training images.*number 3",
    ),
    "others": (
        GOOD | dict(fingerprint=np.arange(N, dtype=np.uint64)),
        "12 of the 12 training images.*have no row",
    ),
    "another order": (
        GOOD | dict(label=np.arange(N)[::-1] % CLASSES),
        "another order.*8 of 12 training images have another label, the first of them number 0",
    ),
    "members of test": (GOOD | dict(test=logits_of(TESTS, 3)), "2 members in train and 3 in test"),
    "test of train": (GOOD | dict(test=logits_of()), "12 test images in test.*has 5"),
    "no test": (GOOD | dict(test_index=np.arange(TESTS)), "has test_index and no array 'test'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused(data, case):
    arrays, words = BAD[case]
    with pytest.raises(InputError, match=f"(?s)logits.npz.*{words}|{words}") as error:
        read(data, **arrays)
    assert "\n" not in str(error.value)


def test_order_and_fingerprints_are_compared_with_places(data):
    prints = fingerprint(data.train.image)
    index = np.arange(N)
    np.testing.assert_array_equal(
        read(data, train=logits_of(), index=index, fingerprint=prints).train, logits_of()
    )
    with pytest.raises(InputError, match="12 of 12 training images have another fingerprint"):
        read(data, train=logits_of(), index=index, fingerprint=prints[::-1].copy())


def test_the_content_of_the_file_identifies_the_run(data):
    """Not its path; and configs of other teachers keep their hash."""
    np.savez("logits.npz", train=logits_of())
    Path("elsewhere").mkdir()
    Path("elsewhere/other.npz").write_bytes(Path("logits.npz").read_bytes())
    of = lambda path, **teacher: config_hash(spelled(config_of(path, **teacher)).to_dict())
    first = of("logits.npz")
    assert first == of("elsewhere/other.npz") != of("logits.npz", reduce="logits")
    stored = spelled(config_of())
    np.savez("logits.npz", train=logits_of(seed=2))
    os.utime("logits.npz", ns=(1, 1))
    assert of("logits.npz") != first
    with pytest.raises(InputError, match=r"config.teacher.digest: logits.npz has the sha256"):
        external.load(stored, build.make_data(stored))
    Path("logits.npz").unlink()
    assert build.as_today(stored.to_dict())["teacher"]["logits"] == "logits.npz"
    with pytest.raises(InputError, match=r"config.teacher.logits: there is no file"):
        of("logits.npz")
    with pytest.raises(InputError, match="is a directory"):
        of("elsewhere")


def test_members_weights_and_pairs(data):
    """As those of runs: chosen, weighted, reduced or one for each student."""
    train, test = logits_of(m=3), logits_of(TESTS, 3)
    np.savez("logits.npz", train=train, test=test)

    def load(**teacher):
        c = config_of(**{k: v for k, v in teacher.items() if k != "seeds"})
        c.seeds = teacher.get("seeds", 1)
        return external.load(spelled(c), data)

    one = load(members=1)
    batch = {"image": None, "index": np.array([4, 2]), "epoch": 0}
    np.testing.assert_array_equal(one.teacher.apply(one.frozen, (), batch).logits, train[1, [4, 2]])
    np.testing.assert_array_equal(one.evaluated, test[[1]])
    some = load(members=(0, 2), weights=(3.0, 1.0), reduce="logits")
    np.testing.assert_allclose(
        some.teacher.apply(some.frozen, (), batch | {"label": None}).logits,
        (3 * train[0, [4, 2]] + train[2, [4, 2]]) / 4,
        rtol=1e-5,
    )
    assert some.origin["members"] == [0, 2] and some.origin["shares"] == [0.75, 0.25]
    assert load(reduce="each").lifted_weights == (None,)
    paired = load(members="paired", seeds=3)
    assert paired.per_student and paired.frozen["logits"].shape == (3, 1, N, CLASSES)
    assert external.of_one_student(paired).frozen["logits"].shape == (1, N, CLASSES)
    for teacher, words in (
        (dict(members="paired", seeds=2), "needs as many teachers as seeds: logits.npz has 3"),
        (dict(members=3), "logits.npz has members 0 to 2"),
        (dict(weights=(1.0,)), "1 weights for 3 members"),
        (dict(members=0, reduce="confidence"), "Name more members"),
        (dict(cache=True), "'logits' .logits in a file. uses none"),
        (dict(run="runs/x"), "is about networks of finished runs"),
        (dict(logit="x"), "Did you mean 'logits'"),
    ):
        with pytest.raises(InputError, match=words):
            load(**teacher)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["augment=crop(1)"], "config.augment = 'crop(1)' changes the images at every step"),
        (["teacher.logits=none.npz"], "config.teacher.logits: there is no file 'none.npz'"),
        (["teacher.logits=data.npz"], "unknown array in data.npz 'x_train'"),
    ],
)
def test_refused_in_one_line_before_anything_is_written(data, capsys, arguments, words):
    np.savez("logits.npz", train=logits_of())
    text = json.dumps(config_of().to_dict())
    Path("mine.py").write_text(
        f"from ml_collections import ConfigDict\ndef get_config(arg=None):\n"
        f"    return ConfigDict({text})\n"
    )
    before = {path.name for path in Path().iterdir()}
    assert main(["run", "--config", "mine.py", *(f"--config.{a}" for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1
    assert {path.name for path in Path().iterdir()} - before <= {"__pycache__"}


def test_pictures_that_are_decoded_have_no_stored_logits(data):
    from kd.data.pictures import Pictures

    pictures = Pictures([], np.arange(0), 4, 4, (0.1, 1.0), 0, "x")
    np.savez("logits.npz", train=logits_of())
    dataset = data._replace(train=Split(pictures, np.zeros(0, np.int32)))
    with pytest.raises(InputError, match="decoded during training"):
        external._check_views(spelled(config_of()), dataset, "logits.npz")
    with pytest.raises(InputError, match="decoded from files"):
        fingerprint(pictures)


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_example_trains_reports_and_exports(tmp_path, monkeypatch, capsys):
    """`configs/examples/stored_logits.py` on the real digits, most of them without a label."""
    from kd.data import digits

    monkeypatch.chdir(tmp_path)
    dataset = digits.load()
    table = np.eye(10, dtype=np.float32)
    of = lambda label, k: 4 * table[label] + table[(label + k) % 10]
    answers = lambda label: np.stack([of(label, 1), of(label, 2)])
    np.savez("logits.npz", train=answers(dataset.train.label), test=answers(dataset.test.label))
    run = ["run", "--config", str(ROOT / "configs/examples/stored_logits.py"), "--workdir", "w"]
    assert main([*run, "--config.epochs=12", "--config.seeds=2"]) == 0
    printed = capsys.readouterr().out
    assert "from the mean of their probabilities: members 0, 1 of logits.npz (sha256" in printed
    assert "ensemble of 2" in printed and "whose teacher's size is not" in printed
    workdir = Workdir("w")
    result, predictions = workdir.read("result.json"), workdir.predictions()
    assert result["teacher"]["source"] == "logits.npz" and result["labelled_examples"] == 128
    assert predictions["member_logits"].shape == (2, 360, 10)
    assert min(result["final"]["accuracy"]) > 0.85 and "kl" in result["final"]
    assert main([*run, "--config.epochs=12", "--config.seeds=2"]) == 0  # finished: read again
    assert capsys.readouterr().out == printed
    assert kd.load("w").table().startswith(printed.partition("\n\nResults")[0])
    for arguments in (["w"], ["w", "--stored"]):
        assert main(["report", *arguments, "--out", "page"]) == 0
    (content,) = json.loads(Path("page/report.json").read_text())["runs"]
    assert content["teacher"]["networks"] == 2 and content["teacher"]["costs"] is None
    assert content["teacher"]["accuracy"] == 1.0
    assert main(["export", "w", "--format", "stablehlo", "--out", "out"]) == 0
    assert "of logits.npz (sha256" in Path("out/model_card.md").read_text()


@pytest.mark.slow
def test_stored_logits_of_an_imported_network_teach_as_the_network(tmp_path, monkeypatch):
    """A PyTorch teacher by its logits and by its weights: one student, to the bit."""
    from imported_test import CLASSES as TEN
    from imported_test import call, resnet8, write_data, write_safetensors

    monkeypatch.chdir(tmp_path)
    data = write_data(tmp_path / "pictures.npz", TEN)
    weights = {k: v for k, v in resnet8(classes=TEN).items() if "num_batches" not in k}
    write_safetensors(tmp_path / "net.safetensors", weights)
    assert call("net.safetensors", "net", data) == 0
    c = config_of()
    c.teacher = dict(run="net", cache="float32", cache_dir="cached")
    c.data.path, c.epochs = str(data), 2
    by_network = kd.run(c, "by_network")
    with np.load("cached/all.npz") as cached:
        train = cached["logits"][:, 0]  # [m, w, n, c]: one view without augmentation
    np.savez("logits.npz", train=train, test=kd.load("net").predictions["logits"])
    c.teacher = dict(logits="logits.npz")
    by_file = kd.run(c, "by_file")
    assert by_file.result["weights"] == by_network.result["weights"]
    for array in ("logits", "label"):
        np.testing.assert_array_equal(by_file.predictions[array], by_network.predictions[array])
    assert by_file.result["final"] == by_network.result["final"]
