"""A teacher that is a finished run and sees images of another size, colour or normalisation than
its student.
"""

import json
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
from kd.config.teachers import groups_of
from kd.data.base import Split
from kd.errors import InputError
from kd.runs import teacher_input
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir
from kd.teachers import input_view
from kd.train import placement
from kd.train.rehearsal import rehearse
from kd.train.teacher import make_teacher

ROOT = Path(__file__).parents[1]
TEACHER = "runs/small-teacher"


@pytest.fixture
def large(finished, small_data):
    """The digits of `small_data` as coloured pictures of 16 x 12; its teacher is trained."""
    with np.load(small_data) as arrays:
        content = dict(arrays)
    for name in ("x_train", "x_test"):
        image = content[name].repeat(2, 1)[:, :, [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 7, 7]]
        content[name] = np.concatenate([image, image // 2, image // 3], -1)
    np.savez("large.npz", **content)
    return Path("large.npz").absolute()


def config_of(path, **teacher):
    c = ConfigDict()
    c.data = dict(name="arrays", path=str(path))
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.objective = dict(kd=dict(name="kd.KD"))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.batch_size = 25
    c.teacher = {"run": TEACHER, "input": {}} | teacher
    return build.spell_out(configs.complete(c))


def teacher_of(config):
    dataset = build.make_data(config)
    workdirs = [Workdir(group.run) for group in groups_of(config.teacher)]
    return make_teacher(config, workdirs, dataset, placement.make_mesh(config)), dataset


def by_hand(dataset, image, result, size):
    """The teacher's images: pixels, resized, grey, normalised as it was trained."""
    pixels = image * np.float32(dataset.std) + np.float32(dataset.mean)
    pixels = jax.image.resize(pixels, (len(image), *size, 3), "linear", antialias=True)
    grey = np.asarray(pixels) @ np.float32([0.299, 0.587, 0.114])
    return jnp.asarray((grey[..., None] - np.float32(result["mean"])) / np.float32(result["std"]))


def test_networks_see_images_as_they_were_trained(large):
    """By hand, and the same for members in groups; the view is recorded."""
    result, trained = Workdir(TEACHER).read("result.json"), load_networks(Workdir(TEACHER))
    config = config_of(large, reduce="logits")
    teacher, dataset = teacher_of(config)
    image = np.random.default_rng(0).normal(size=(3, 16, 12, 3)).astype(np.float32)
    seen = by_hand(dataset, image, result, (8, 8))
    of = lambda v: trained.model.apply(v, seen).logits
    expected = jax.vmap(of)(trained.variables)
    batch = {"image": jnp.asarray(image), "label": None}
    answers = lambda t: np.asarray(t.teacher.apply(t.frozen, (), batch).logits)
    np.testing.assert_allclose(answers(teacher), expected.mean(0), rtol=1e-4, atol=1e-5)
    view = {"size": [8, 8], "channels": 1, "mean": result["mean"], "std": result["std"]}
    assert teacher.origin["input"] == view and teacher.external
    groups = [dict(run=TEACHER, members=1), dict(run=TEACHER, members=0)]
    grouped, _ = teacher_of(config_of(large, run="", groups=groups, reduce="logits"))
    np.testing.assert_allclose(answers(grouped), expected.mean(0), rtol=1e-4, atol=1e-5)
    assert [group["input"] for group in grouped.origin["groups"]] == [view, view]
    other, _ = teacher_of(config_of(large, members=0, input=dict(mean=0.0, std=2.0)))
    raw = (seen * result["std"][0] + result["mean"][0]) / 2
    first = jax.tree.map(lambda x: x[0], trained.variables)
    expected = trained.model.apply(first, raw).logits
    np.testing.assert_allclose(answers(other), expected, rtol=1e-4, atol=1e-5)


def test_an_input_that_changes_nothing_is_none(finished, small_data):
    """The network is left as it is, to the bit, and a config without one keeps its hash."""
    config = config_of(small_data)
    teacher, _ = teacher_of(config)
    assert "input" not in teacher.origin and not teacher.external
    assert type(teacher.stacks[0].model).__name__ == "MLP"
    without = config_of(small_data, input=None).to_dict()
    before = {k: v for k, v in without["teacher"].items() if k != "input"}
    hashes = [config_hash(c) for c in (without, without | {"teacher": before}, config.to_dict())]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (None, r"shape \[8, 8, 1\], the data here have \[16, 12, 3\].*config.teacher.input = dict"),
        (8, "config.teacher.input: expected a dict such as dict.size=224., got 8"),
        (dict(sise=8), "unknown key of config.teacher.input 'sise'.*'size'"),
        (dict(size=(8, 8, 1)), "config.teacher.input.size: expected a number of pixels"),
        (dict(mean=(0.1, 0.2)), "config.teacher.input: .* 2 channels and the data have 3|expected"),
        (dict(std=(0.1, 0.2, 0.3)), "config.teacher.input.std: expected 1 numbers"),
        (dict(channels=3), "takes images of 1 channels, and mean, std or channels here are of 3"),
        (dict(size=4), r"config.teacher.input: the teacher in .* fails on images \[4, 4, 1\]"),
    ],
)
def test_an_input_that_cannot_be_is_refused(large, section, words):
    with pytest.raises(InputError, match=words) as error:
        teacher_of(config_of(large, input=section))
    assert "\n" not in str(error.value)


def test_other_data_are_other_data(finished, small_data, large):
    """Of one shape, evaluated images are still compared; other classes and rows are refused."""
    result = dict(Workdir(TEACHER).read("result.json"))
    dataset = build.make_data(config_of(small_data))
    with pytest.raises(InputError, match="evaluated on other examples"):
        fitting = result | {"evaluated": "0" * 16}
        teacher_input.fitting_view({"mean": 0.5}, fitting, dataset, "it")
    with pytest.raises(InputError, match="num_classes 3"):
        teacher_input.fitting_view({}, result | {"num_classes": 3}, dataset, "it")
    with pytest.raises(InputError, match=r"takes examples \[13\], and the data have \[8, 8, 1\]"):
        teacher_input.fitting_view({}, result | {"shape": [13]}, dataset, "it")


def test_rows_and_series_are_normalised():
    """Their shape stays; only images have a size."""
    view = input_view.make(dict(mean=(1.0, 2.0), std=2.0), (2,), (0.0, 0.5), (1.0, 2.0))
    row = np.float32([[3.0, 4.0]])
    np.testing.assert_allclose(view(row), [[(3 - 1) / 2, (4 * 2 + 0.5 - 2) / 2]])
    assert view.record() == {"mean": [1.0, 2.0], "std": [2.0, 2.0]} and view.changes((2,))
    for section in (dict(size=4), dict(channels=1)):
        with pytest.raises(InputError, match=r"config.teacher.input: "):
            input_view.make(section, (2,), (0.0, 0.5), (1.0, 2.0))


def test_another_unit_is_remarked(large):
    """Pixels to 255 beside pixels to 1, either way round."""
    dataset = build.make_data(config_of(large))
    result = Workdir(TEACHER).read("result.json")
    of = lambda data, **facts: teacher_input.remark(
        teacher_input.fitting_view({}, result | facts, data, "it"), data
    )
    assert of(dataset) == ""
    assert "it sees values from" in of(dataset, mean=[33.0], std=[78.0])
    floats = dataset.train.image.astype(np.float32)
    larger = dataset._replace(
        train=Split(floats, dataset.train.label), mean=(33.0,) * 3, std=(78.0,) * 3
    )
    assert "in the unit of the student's data" in of(larger)


def test_a_number_is_for_every_channel():
    view = input_view.make(dict(mean=0.5, std=0.5), (4, 4, 3), (0.1,) * 3, (0.2,) * 3)
    assert view.channels == 3 and view.mean == (0.5,) * 3
    assert input_view.make(dict(mean=(0.5,), std=0.5), (4, 4, 3), (0.1,) * 3, (0.2,) * 3).channels
    for channels in (0, True, "3", [3]):
        with pytest.raises(InputError, match=r"config.teacher.input: the teacher has"):
            input_view.make(dict(channels=channels), (4, 4, 3), (0.1,) * 3, (0.2,) * 3)


def test_a_teacher_that_is_not_trained_yet_is_tried_with_its_input(small_config, small_data):
    """With the size of its own data, before it is trained."""
    with np.load(small_data) as arrays:
        halves = {k: x[:, ::2, ::2] if k[0] == "x" else x for k, x in arrays.items()}
    np.savez("half.npz", **halves)
    config = config_of(Path("half.npz").absolute(), run="", config="small.py:teacher")
    rehearse(config, "runs")
    config = config_of(
        Path("half.npz").absolute(), run="", config="small.py:teacher", input=dict(channels=3)
    )
    with pytest.raises(InputError, match=r"config.teacher.input"):
        rehearse(config, "runs")


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_a_run_with_another_input(large, capsys):
    """From the command: the teacher's accuracy on the student's images, cached views,
    a report of the network as the student's images reach it.
    """
    Path("mine.py").write_text(
        f"from ml_collections import ConfigDict\ndef get_config(arg=None):\n"
        f"    c = ConfigDict(dict(data=dict(name='arrays', path='{large}')))\n"
        "    c.student = dict(name='mlp.MLP', widths=(4,))\n"
        f"    c.teacher = dict(run='{TEACHER}', input=dict(), cache_window=2)\n"
        "    c.objective = dict(kd=dict(name='kd.KD'))\n    c.augment = 'flip'\n"
        "    c.optimizer = dict(name='sgd', learning_rate=0.1)\n    c.epochs = 2\n    return c\n"
    )
    run = ["run", "--config", "mine.py", "--workdir"]
    assert main([*run, "live"]) == 0
    printed = capsys.readouterr().out
    assert f"members 0, 1 of {TEACHER}" in printed and "teacher, mean of 2" in printed
    assert main([*run, "cached", "--config.teacher.cache=float32"]) == 0
    assert Workdir("live").read("result.json")["teacher"]["input"]["size"] == [8, 8]
    live, cached = (Workdir(w).predictions()["logits"] for w in ("live", "cached"))
    np.testing.assert_allclose(live, cached, rtol=1e-4, atol=1e-5)
    config = config_of(large)
    dataset = build.make_data(config)
    image = (dataset.test.image / np.float32(255) - dataset.mean) / np.float32(dataset.std)
    seen = by_hand(dataset, image.astype(np.float32), Workdir(TEACHER).read("result.json"), (8, 8))
    trained = load_networks(Workdir(TEACHER))
    expected = jax.vmap(lambda v: trained.model.apply(v, seen).logits)(trained.variables)
    stored = Workdir("live").predictions()["member_logits"]
    np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-4)
    assert main(["report", "live", "cached", "--out", "page"]) == 0
    (first, _) = json.loads(Path("page/report.json").read_text())["runs"]
    assert first["teacher"]["costs"]["parameters"] > 0 and first["teacher"]["networks"] == 2
    assert main([*run, "live", "--config.teacher.input.size=4"]) == 2
    assert "belongs to another config" in capsys.readouterr().err
    # Images of two sizes cannot be compared, but their labels can.
    with np.load(large) as arrays:
        turned = {k: x[::-1] if "test" in k else x for k, x in arrays.items()}
    np.savez("turned.npz", **turned)
    argument = f"--config.data.path={Path('turned.npz').absolute()}"
    assert main([*run, "other", argument, "--config.epochs=1"]) == 0
    assert "was evaluated on other examples than this run. Images of two" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_example_of_smaller_images_trains(finished, small_data, capsys):
    """`configs/examples/smaller_images.py`: 8 x 8 digits teach 4 x 4 digits."""
    with np.load(small_data) as arrays:
        np.savez("halved.npz", **{k: x[:, ::2, ::2] if "x" in k else x for k, x in arrays.items()})
    Path(TEACHER).rename("runs/teacher")
    run = ["run", "--config", str(ROOT / "configs/examples/smaller_images.py"), "--workdir", "w"]
    assert main([*run, "--config.epochs=2"]) == 0
    assert "members 0, 1 of runs/teacher" in capsys.readouterr().out
