"""Pictures that are decoded during training: random crops, batches, evaluation, resumed runs."""

import contextlib
import io
import os
import signal
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import two_processes
from ml_collections import ConfigDict
from PIL import Image

from configs import imagenet as imagenet_config
from kd import config as configs
from kd import data, signals
from kd.cli.main import main
from kd.data import crop
from kd.devices import mesh as sharding
from kd.errors import InputError
from kd.predict import make_logits
from kd.runs.record import read_rows
from kd.runs.workdir import Workdir
from kd.train import streaming
from kd.train.placement import check_streamed
from kd.train.plan import Plan
from kd.train.result import VARYING
from kd.train.sampling import Streamed
from kd.train.streaming import Batches, Evaluated, EvaluationBatches, TrainingBatches, shuffled
from kd.types import Outputs

ROOT = Path(__file__).parents[1]
CLASSES = 1000


class Source:
    """Encoded examples as array_record gives them, made on the fly: JPEGs of all sizes whose colour
    tells the index.
    """

    corrected = 0

    def __init__(self, n: int):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        from tensorflow_datasets.proto import tf_example_pb2

        if not 0 <= index < self.n:
            raise IndexError(index)
        height, width = 12 + index % 7, 12 + index % 5
        pixels = np.full((height, width, 3), 10 * (index % 20) + 20, np.uint8)
        pixels[: height // 2] //= 2
        file = io.BytesIO()
        mode = "L" if index % 4 == 3 else "RGB"  # some photographs are grey
        Image.fromarray(pixels).convert(mode).save(file, "jpeg", quality=95)
        record = tf_example_pb2.Example()
        feature = record.features.feature
        feature["image"].bytes_list.value.append(file.getvalue())
        feature["label"].int64_list.value.append((index + self.corrected) % 3)
        return record.SerializeToString()


SIZES = {"train": 22, "validation": 13}


@pytest.fixture
def mocked(tmp_path, monkeypatch):
    """A working directory where `mocking` is in force."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with mocking(tmp_path):
        data._load.cache_clear()
        yield tmp_path


@contextlib.contextmanager
def mocking(home):
    """`imagenet2012` as `tfds.testing.mock_data` mocks it, where its metadata say that it is
    prepared.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder("imagenet2012", data_dir=home)
    splits = [tfds.core.SplitInfo(name=k, shard_lengths=[n], num_bytes=n) for k, n in SIZES.items()]
    builder.info.set_splits(tfds.core.splits.SplitDict(splits))
    where = home / "imagenet2012" / str(builder.version)
    if not where.exists():  # another process of the test may be reading it
        where.mkdir(parents=True)
        builder.info.write_to_directory(where)

    def sources(builder, split, **kwargs):
        return Source(SIZES[split])

    with tfds.testing.mock_data(as_data_source_fn=sources, data_dir=str(where)):
        yield


def small(workers=0):
    return data.load("imagenet", size=8, resize=9, scale=[0.3, 1.0], workers=workers)


def test_random_boxes_by_hand():
    """A picture 60 high and 100 wide, area 6000."""
    numbers = [0.5, 0.5] * crop.TRIES + [0.5, 0.999]
    # Half of (0, 1/3) is a sixth of the area, 1000; the middle of log ratios -log 2 and log 2 is 1:
    # a square of side 31.6.
    box = crop.random_box(numbers, 60, 100, (0.0, 1 / 3), (0.5, 2.0))
    assert box == (68, 14, 100, 46)  # 0.5 of 29 places from above, 0.999 of 69
    # Ratio 4 and area 1024: 64 wide, 16 high.
    numbers = [0.5, 1.0, *numbers[2:]]
    box = crop.random_box(numbers, 60, 100, (0.0, 2048 / 6000), (0.25, 4.0))
    assert box == (36, 22, 100, 38)
    # 4 times as wide as high cannot fit with the whole area; the second try can: a square of side
    # 30.
    scale = (0.15, 0.15)
    numbers = [0.0, 1.0, 0.0, 0.5, *[0.0] * 18]
    assert crop.random_box(numbers, 60, 100, scale, (1 / 16, 16.0)) == (0, 0, 30, 30)
    # The whole area never fits a square: the middle, as high as the picture.
    numbers = [1.0, 0.5] * crop.TRIES + [0.0, 0.0]
    assert crop.random_box(numbers, 60, 100, (1.0, 1.0), (1.0, 1.0)) == (20, 0, 80, 60)
    assert crop.random_box(numbers, 100, 60, (1.0, 1.0), (1.0, 1.0)) == (0, 20, 60, 80)


def test_pixels_of_crops_by_hand():
    ramp = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8, 1).repeat(3, 2)
    picture = Image.fromarray(ramp)
    # The shorter side is 6 already: rows 1 to 4, columns 2 to 5.
    np.testing.assert_array_equal(crop.center_crop(picture, 6, 4), ramp[1:5, 2:6])
    key = (3, 1, 4)
    numbers = crop.uniforms(*key, 2 * crop.TRIES + 2)
    box = crop.random_box(numbers, 6, 8, (0.3, 1.0), (3 / 4, 4 / 3))
    cut = crop.random_resized_crop(picture, key, 5, (0.3, 1.0))
    expected = picture.crop(box).resize((5, 5), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(cut, np.asarray(expected))


def test_draws_depend_on_seed_epoch_and_index():
    """The golden number is what was drawn when this was written: another stream would cut old runs
    apart from new ones.
    """
    one = crop.uniforms(1, 2, 3, 4)
    assert one == crop.uniforms(1, 2, 3, 4) and 0 <= min(one) <= max(one) < 1
    others = [(0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3), (1, 3, 2)]
    assert len({tuple(crop.uniforms(*key, 4)) for key in others} | {tuple(one)}) == 6
    order = shuffled(7, 0, 10)
    assert sorted(order) == list(range(10))
    assert order.tolist() != shuffled(7, 1, 10).tolist()


def test_each_batch_depends_on_its_step_alone(mocked):
    pictures = small().train.image
    plan = Plan(22, 8, 2, 16)
    steps = TrainingBatches(pictures, (5, 6), plan)
    assert [steps[i].shape[1] for i in range(3)] == [8, 8, 6] and len(steps) == 6
    order = shuffled(6, 1, 22)
    expected = pictures.cropped(order[8:16], 6, 1)
    np.testing.assert_array_equal(steps[4][1], expected)
    assert (steps[0] != steps[3]).any()  # another order and other crops


def test_a_picture_that_comes_twice_in_an_epoch_is_cropped_anew(mocked):
    """Balanced sampling: 22 pictures, two of them of the rare class."""
    pictures, plan = small().train.image, Plan(22, 8, 2, 16)
    order = Streamed(np.array([0] * 20 + [1] * 2))
    steps = TrainingBatches(pictures, (5,), plan, order=order)
    expected = order(5, 1)
    assert np.bincount(expected >= 20).tolist() == [11, 11]
    shown = np.concatenate([steps[i][0] for i in range(3, 6)])
    again = pictures.cropped(expected, 5, 1, np.arange(22))
    np.testing.assert_array_equal(shown, again)
    crops = {crop.tobytes() for crop in shown[expected == 20]}
    assert len(crops) > 1
    part = TrainingBatches(pictures, (5,), plan, local={8: ((2, 4), (6, 8))}, order=order)
    np.testing.assert_array_equal(part[4][0], again[[10, 11, 14, 15]])


@pytest.mark.parametrize("size", [5, 13, 64])
def test_evaluation_reads_each_picture_once(mocked, size):
    """13 pictures in batches of 5: the last has three, and is filled up."""
    split = small().test
    assert split.label.tolist() == [i % 3 for i in range(13)]
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    mean = lambda w, batch: Outputs(w * batch["image"].mean((1, 2), dtype=np.float32))
    logits = make_logits(mean, size)(np.ones(1, np.float32), Evaluated(split.image, place))
    expected = split.image.centered(range(13)).mean((1, 2))
    assert logits.shape == (1, 13, 3)
    np.testing.assert_allclose(logits[0], expected, rtol=1e-5)
    assert len(EvaluationBatches(split.image, 5)) == 3


CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="imagenet", size=8, resize=9, scale=(0.3, 1.0), workers=0)
    c.augment = "flip"
    c.seeds = 2
    c.batch_size = 8
    c.epochs = 2
    c.eval_batch_size = 5
    c.steps_per_call = 1
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.optimizer = dict(name="sgd", learning_rate=0.1)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.checkpoint = dict(seconds=0.0)
    if arg != "teacher":
        c.teacher = dict(config="stream.py:teacher")
        c.objective.kd = dict(name="kd.KD", temperature=2.0)
    return c
"""


def same(a, b):
    for one, other in zip(read_rows(a), read_rows(b), strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {
            k: v for k, v in other.items() if k != "seconds"
        }
    left, right = a.predictions(), b.predictions()
    np.testing.assert_array_equal(left["logits"], right["logits"])
    results = [w.read("result.json") for w in (a, b)]
    for result in results:
        for key in VARYING:
            result.pop(key, None)
    assert results[0] == results[1]


def test_workers_that_end_by_a_signal_are_a_stop_and_no_failure():
    """Ctrl-C reaches all processes of a terminal; the workers ignore it."""

    class Ended:
        def __next__(self):
            os.kill(os.getpid(), signal.SIGINT)
            raise ValueError("a worker process was terminated")

    with signals.Listener(), pytest.raises(signals.Stopped, match="last checkpoint is kept"):
        next(streaming._OneLineErrors(Ended()))
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    try:
        streaming._ignore_signals(0, 2)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGHUP, before[1])


@pytest.mark.slow
def test_a_cut_run_ends_as_an_uninterrupted_one(mocked, stopped_at, capsys):
    """Teacher and student by the command, on mocked ImageNet; SIGTERM in the middle of an epoch of
    the student.
    """
    mocked.joinpath("stream.py").write_text(CONFIG)
    command = ["run", "--config", "stream.py"]
    assert main(command) == 0
    whole = Workdir("runs/stream")
    result = whole.read("result.json")
    assert (result["examples"], result["steps"]) == (13, 6)
    assert len(result["final"]["agreement"]) == 2  # the ensemble taught both students
    accuracy = np.array(result["final"]["accuracy"])
    np.testing.assert_allclose(accuracy * 13, np.round(accuracy * 13))

    cut = ["run", "--config", "stream.py", "--workdir", "cut"]
    with stopped_at(step=4):
        assert main(cut) == 0
    assert "stopped at step" in capsys.readouterr().out
    assert not Workdir("cut").finished
    assert main(cut) == 0
    same(whole, Workdir("cut"))


PROCESS = f"""
import signal
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from streamed_test import mocking
from kd.cli.main import main
with mocking(Path()):
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.campaign
def test_each_of_two_processes_decodes_its_part(mocked):
    """Two devices in each, as a 2 x 2 mesh: the run equals that of one device, though no process
    decodes all pictures of a batch.
    """
    mocked.joinpath("stream.py").write_text(CONFIG)
    assert main(["run", "--config", "stream.py"]) == 0
    command = [sys.executable, "-c", PROCESS, "run", "--config", "stream.py"]
    command += ["--runs", "both", "--workdir", "two"]
    mesh = ["--config.devices.teacher=2", "--config.devices.data=2"]
    statuses, told = two_processes.run(command, mesh)
    assert statuses == [0, 0], told
    for two, one in (("two", "runs/stream"), ("both/stream-teacher", "runs/stream-teacher")):
        ours, theirs = (Workdir(w).predictions()["logits"] for w in (two, one))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_process_decodes_only_the_part_of_its_devices(mocked):
    """The second half of batches of 8; all of the last batch of 6, which four devices cannot
    share.
    """
    pictures = small().train.image
    plan = Plan(22, 8, 2, 16)
    own = TrainingBatches(pictures, (5, 6), plan, local={8: ((4, 6), (6, 8)), 6: ((0, 6),)})
    whole = TrainingBatches(pictures, (5, 6), plan)
    np.testing.assert_array_equal(own[3], whole[3][:, 4:])
    np.testing.assert_array_equal(own[5], whole[5])


@pytest.mark.parametrize("size", [8, 6])
def test_each_device_gets_its_part_of_a_batch(mocked, size):
    """On four devices, each with two pictures of a batch of 8, and all with the whole one of 6."""
    mesh = sharding.make_mesh(2, 2)
    plan = Plan(22, 8, 2, 16)
    place = sharding.replicated(mesh)
    split = partial(sharding.image_sharding, mesh)
    pictures = small().train.image
    batches = Batches(pictures, (5, 6), plan, place, split)
    first = 0 if size == 8 else 16
    found = batches.pictures(1, first)
    batches.close()
    expected = TrainingBatches(pictures, (5, 6), plan)[3 + first // 8]
    np.testing.assert_array_equal(found, expected)
    assert {s.data.shape[1] for s in found.addressable_shards} == {2 if size == 8 else 6}


@pytest.mark.slow
def test_decoding_processes_change_no_pixel(mocked):
    """Processes of Grain decode the same pixels as threads, from any step on."""
    from kd.train.streaming import _pipeline

    plan = Plan(22, 8, 2, 16)
    given = {}
    for workers in (0, 2):
        steps = TrainingBatches(small(workers).train.image, (0,), plan)
        pipeline = _pipeline(steps, 2)
        given[workers] = list(pipeline)
        pipeline.close()
    assert len(given[0]) == 4
    for a, b in zip(given[0], given[2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_the_imagenet_config_end_to_end(mocked):
    """Its teacher and its student by the command, decoded by two processes; evaluation in batches
    of 5 counts all 13.
    """
    (mocked / "configs").symlink_to(ROOT / "configs")
    small = ["--config.data.size=40", "--config.data.resize=44"]
    small += ["--config.batch_size=11", "--config.eval_batch_size=5"]
    config = "configs/imagenet.py:epochs=1,workers=2"
    teach = f"{config},student=resnet18,method=labels,seed=1000"
    assert main(["run", "--config", teach, "--workdir", "teacher", *small]) == 0
    learn = f"{config},teacher=resnet18,student=resnet18,method=kd,run=teacher"
    assert main(["run", "--config", learn, "--workdir", "student", *small]) == 0
    result = Workdir("student").read("result.json")
    assert (result["examples"], result["steps"], result["num_classes"]) == (13, 2, 1000)
    assert Workdir("student").predictions()["logits"].shape == (1, 13, 1000)
    own = Workdir("teacher").predictions()["logits"][0].argmax(-1)
    learnt = Workdir("student").predictions()["logits"][0].argmax(-1)
    assert result["final"]["agreement"][0] == pytest.approx(np.mean(own == learnt))


def test_labels_are_cached_until_the_set_is_prepared_again(mocked, monkeypatch):
    """Corrected labels can have the same version, number of examples and bytes."""

    def labels():
        data._load.cache_clear()
        return small().train.label

    first = labels()
    np.testing.assert_array_equal(first, np.arange(22) % 3)
    monkeypatch.setattr(Source, "corrected", 1)
    np.testing.assert_array_equal(labels(), first)  # not read again
    (info,) = (mocked / "imagenet2012").glob("*/dataset_info.json")
    os.utime(info, (0, 0))
    np.testing.assert_array_equal(labels(), (np.arange(22) + 1) % 3)


def test_invalid_settings_are_refused(mocked, capsys):
    for settings, told in [
        (dict(size=300), "at most resize"),
        (dict(scale=[0.0, 1.0]), r"scale\[0\]: expected a number in \(0, 1\]"),
        (dict(scale=[0.5, 0.2]), "least and the largest"),
        (dict(workers=-1), "from 0 to 1,024"),
    ]:
        with pytest.raises(InputError, match=told):
            data.load("imagenet", **settings)
    with pytest.raises(InputError, match="imagenet2012 is not prepared"):
        data.load("imagenet", data_dir=str(mocked / "nowhere"))


@pytest.mark.parametrize("devices", [dict(seeds=2), dict(transform="pmap", data=2)])
def test_streamed_pictures_need_the_transform_jit(devices):
    config = configs.default()
    config.seeds, config.devices = 2, ConfigDict({**config.devices, **devices})
    with pytest.raises(InputError, match="under transform = 'jit'"):
        check_streamed(config)


def test_the_imagenet_recipe_is_that_of_mdistiller():
    c = configs.load("configs/imagenet.py")
    assert (c.batch_size, c.epochs, c.optimizer.learning_rate) == (512, 100, 0.2)
    assert tuple(c.schedule.epochs) == (30, 60, 90)
    assert c.optimizer.weight_decay == 1e-4 and c.optimizer.nesterov is False
    assert c.objective.kd.to_dict() == dict(name="kd.KD", weight=0.5, temperature=1.0)
    teacher = configs.load(c.teacher.config)
    assert teacher.student.name == "resnet.resnet34" and teacher.teacher.name == "none"
    pair = "teacher=resnet50,student=MobileNetV1"
    c = configs.load(f"configs/imagenet.py:{pair},method=dkd,run=runs/r50")
    assert c.student.name == "mobilenet.MobileNetV1" and c.teacher.run == "runs/r50"
    assert c.objective.dkd.beta == 2.0
    assert imagenet_config.get_config("method=crd").batch_size == 256
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        configs.load("configs/imagenet.py:student=resnet19")
    assert isinstance(c, ConfigDict)


def test_methods_have_the_same_parts_on_imagenet_as_on_cifar():
    of = lambda method, more="": imagenet_config.get_config(f"method={method}{more}")
    for free in ("labels", "tf_kd_reg", "pskd"):
        assert "teacher" not in of(free)
    for several, seeds in (("camkd", 3), ("end2", 5), ("hydra", 5)):
        teacher = configs.load(of(several).teacher.config)
        assert teacher.seeds == seeds and teacher.teacher.name == "none"
    assert of("camkd").teacher.reduce == "confidence"
    assert of("camkd", ",reduce=each").teacher.reduce == "each"
    assert "seeds=2" in of("kd", ",teachers=2").teacher.config
    assert of("hydra").student.heads == 5
    assert of("simkd").student.teacher.name == "resnet.resnet34"


def test_epochs_of_an_objective_scale_with_the_epochs_of_the_run():
    of = lambda method, epochs: (
        imagenet_config.get_config(f"method={method},epochs={epochs}").objective
    )
    assert [of("fitnet_second", e).kd.weight.over for e in (100, 50)] == [100, 50]
    assert [of("dkd", e).dkd.warmup_epochs for e in (100, 30)] == [1, 0]
    assert [of("ctkd", e).ctkd.epochs for e in (100, 30)] == [10, 3]
    assert [of("end2", e).end2.hold for e in (100, 50)] == [30, 15]
