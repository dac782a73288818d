"""MLPerf Tiny's networks against their published figures.

Those of `FILES` are of the suite's own int8 files (mlcommons/tiny, benchmark/training,
trained_models, as of May 2026): the numbers that their constants hold, of which two are the shape
of a reshape, and multiply-accumulates by the shapes of their operations.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_test import held_to, made_source
from verify_bounds_test import balls
from verify_bounds_test import network as extracted

from configs import mlperf_tiny
from kd import build, config
from kd.errors import InputError
from kd.export import graph, kernels
from kd.models import cost
from kd.models.ds_cnn import DSCNN
from kd.models.initializers import he_normal
from kd.models.keras import glorot_uniform
from kd.models.mobilenet_tiny import MobileNetTiny
from kd.models.resnet_tiny import ResNet8
from kd.verify.crown import Crown

IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

# Name of the file: network, one input, its constants and MACs.
FILES = {
    "pretrainedResnet_quant": (ResNet8(), (32, 32, 3), 77_708, 12_501_632),
    "pretrainedResnet_large_int8": (ResNet8(width=40), (32, 32, 3), 480_332, 76_473_920),
    "kws_ref_model": (DSCNN(), (49, 10, 1), 22_606, 2_656_768),
    "vww_96_int8": (MobileNetTiny(), (96, 96, 3), 210_852, 7_489_664),
}


@pytest.mark.parametrize("name", FILES)
def test_constants_and_macs_are_those_of_the_published_file(name):
    """In the file each BatchNorm is folded into the convolution before it."""
    network, shape, constants, macs = FILES[name]
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x), image)
    folded = cost.count(variables["batch_stats"])  # as many as scales and shifts
    assert cost.count(variables["params"]) - folded + 2 == constants
    assert cost.macs(lambda v, x: network.apply(v, x, train=False), variables, image) == macs


@pytest.mark.parametrize(
    ("network", "shape", "numbers", "trained"),
    [
        (DSCNN(), (49, 10, 1), 24_908, 23_756),
        (MobileNetTiny(), (96, 96, 3), 221_794, 216_322),
        (ResNet8(width=40), (32, 32, 3), 482_730, 481_530),
    ],
)
def test_numbers_with_batch_norms_statistics(network, shape, numbers, trained):
    """As Keras counts them."""
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(lambda x: network.init(jax.random.key(0), x), image)
    assert (cost.count(variables), cost.parameters(variables)) == (numbers, trained)


@pytest.fixture(scope="module")
def speech():
    """A narrow keyword spotter, its variables, and two maps of features."""
    network = DSCNN(num_classes=3, width=2)
    maps = jax.random.normal(jax.random.key(1), (2, 49, 10))
    return network, jax.jit(network.init)(jax.random.key(0), maps), maps


def test_a_series_of_features_is_a_map_of_one_channel(speech):
    network, variables, maps = speech
    run = jax.jit(network.apply)
    series, image = run(variables, maps), run(variables, maps[..., None])
    np.testing.assert_array_equal(series.logits, image.logits)
    with pytest.raises(InputError, match="at least 4 x 4, these are 49 x 3"):
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 49, 3)))


def test_the_last_of_25_rows_is_not_pooled(speech):
    """AveragePooling2D of Keras with a window of 24 x 5 leaves it out."""
    network, variables, maps = speech
    outputs = jax.jit(network.apply)(variables, maps)
    stage = np.asarray(outputs.feature("stage4"))
    assert stage.shape == (2, 25, 5, 2)
    np.testing.assert_allclose(outputs.feature("pooled"), stage[:, :24].mean((1, 2)), atol=1e-6)


def test_stages_of_the_person_detector_are_at_each_resolution():
    network, image = MobileNetTiny(width=2), jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    outputs = jax.eval_shape(lambda x: network.init_with_output(jax.random.key(0), x)[0], image)
    sizes = {name: x.shape[1:] for name, x in outputs.features.items() if "_pre" not in name}
    assert sizes == {
        "stem": (48, 48, 2),
        "stage1": (24, 24, 8),
        "stage2": (12, 12, 16),
        "stage3": (6, 6, 32),
        "stage4": (3, 3, 64),
        "pooled": (64,),
    }


def test_other_kernels_start_as_kerass():
    """A depthwise kernel has the fans of one channel and of all, in either layout the same sum."""
    drawn = glorot_uniform(jax.random.key(0), (3, 3, 1, 64))
    bound = (6 / (9 + 9 * 64)) ** 0.5
    assert float(jnp.abs(drawn).max()) == pytest.approx(bound, rel=0.02)
    assert float(drawn.std()) == pytest.approx(bound / 3**0.5, rel=0.06)


@pytest.fixture(scope="module")
def shapes():
    return jax.eval_shape(lambda x: ResNet8().init(jax.random.key(0), x), IMAGE)


def test_parameters_are_those_of_the_published_log(shapes):
    """mlcommons/tiny, image_classification/Logs/training_log.txt: total, trainable and
    non-trainable, and of three layers.
    """
    params = shapes["params"]
    assert cost.parameters(shapes) == 78_186
    assert cost.count(shapes["batch_stats"]) == 480
    assert cost.count(shapes) == 78_666
    assert cost.count(params["block2"]["shortcut"]) == 544
    assert cost.count(params["block3"]["conv2"]) == 36_928
    assert cost.count(params["head"]) == 650


def test_it_makes_12_5_million_multiply_accumulates(shapes):
    """By hand: the stem, two convolutions in stage 1, three in stages 2 and 3, which are of the
    same cost, and the classifier.
    """
    stem = 32 * 32 * 27 * 16
    first = 2 * 32 * 32 * 9 * 16 * 16
    later = 16 * 16 * (9 * 16 * 32 + 9 * 32 * 32 + 16 * 32)
    found = cost.macs(lambda v, x: ResNet8().apply(v, x, train=False), shapes, IMAGE)
    assert found == stem + first + 2 * later + 640 == 12_501_632


def test_stages_halve_the_map(shapes):
    look = lambda v, x: ResNet8().apply(v, x, train=False)
    outputs = jax.eval_shape(look, shapes, IMAGE)
    sizes = {name: x.shape[1:] for name, x in outputs.features.items()}
    assert sizes["stem"] == sizes["stage1"] == (32, 32, 16)
    assert sizes["stage2"] == sizes["stage2_pre"] == (16, 16, 32)
    assert sizes["stage3"] == (8, 8, 64)
    assert sizes["pooled"] == (64,)


def test_kernels_start_as_kerass():
    drawn = he_normal(jax.random.key(0), (3, 3, 16, 64))
    deviation = (2 / 144) ** 0.5
    assert float(drawn.std()) == pytest.approx(deviation, rel=0.02)
    assert float(jnp.abs(drawn).max()) <= 2 * deviation / 0.8796


def test_the_three_runs_belong_together():
    student = config.load("configs/mlperf_tiny.py:epochs=60,seeds=2")
    teacher = config.load(student.teacher.config)
    labels = config.load(student.compare["student from labels"])
    assert student.student.name == labels.student.name == "resnet_tiny.ResNet8"
    assert teacher.student.name == "wrn.wrn_40_2"
    assert (student.seeds, teacher.seeds, labels.seeds) == (2, 1, 2)
    assert {c.epochs for c in (student, teacher, labels)} == {60}
    assert {c.data.name for c in (student, teacher, labels)} == {"cifar10"}
    assert teacher.seed != student.seed
    with pytest.raises(ValueError, match="expected student"):
        mlperf_tiny.get_config("role=pupil")


def test_the_larger_image_network_teaches_the_smaller():
    student = config.load("configs/mlperf_tiny.py:from=ic02,epochs=60")
    teacher = config.load(student.teacher.config)
    labels = config.load(student.compare["student from labels"])
    assert teacher.student.to_dict() == {"name": "resnet_tiny.ResNet8", "width": 40}
    assert student.student.to_dict() == labels.student.to_dict() == {"name": "resnet_tiny.ResNet8"}
    assert {c.epochs for c in (student, teacher, labels)} == {60}
    plain = config.load("configs/mlperf_tiny.py:epochs=60")
    assert student.compare.to_dict() == plain.compare.to_dict()  # one run from labels for both
    assert plain.teacher.config != student.teacher.config


@pytest.mark.parametrize(
    ("task", "epochs", "name", "wide"),
    [("kws", 36, "ds_cnn.DSCNN", 276), ("vww", 50, "mobilenet_tiny.MobileNetTiny", 32)],
)
@pytest.mark.parametrize("path", ["data.npz", "pictures"])
def test_tasks_whose_data_a_user_brings(task, epochs, name, wide, path):
    """Of a file of arrays, or of a directory of pictures, of which keywords have none."""
    if (task, path) == ("kws", "pictures"):
        with pytest.raises(InputError, match=r"kws takes one \.npz"):
            config.load(f"configs/mlperf_tiny.py:task={task},path={path}")
        return
    student = config.load(f"configs/mlperf_tiny.py:task={task},path={path}")
    runs = [student, *(config.load(r) for r in (student.teacher.config, *student.compare.values()))]
    assert [c.student.get("width") for c in runs] == [None, wide, None]
    assert {c.student.name for c in runs} == {name} and {c.epochs for c in runs} == {epochs}
    assert {c.data.path for c in runs} == {path}
    assert {c.data.name for c in runs} == {"arrays" if path.endswith("npz") else "folder"}
    for c in runs:
        build.spell_out(c)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("task=kwz", "Did you mean 'kws'"),
        ("from=ic03", "unknown network to distil from 'ic03'"),
        ("task=vww,from=ic02", "from=ic02 is a teacher of task=ic"),
        ("from=ic02,teacher=vgg8", "leave task and teacher out"),
        ("path=a.npz", "path is for task=kws and task=vww"),
    ],
)
def test_arguments_that_do_not_go_together(argument, message):
    with pytest.raises(InputError, match=message):
        config.load(f"configs/mlperf_tiny.py:{argument}")


KEYWORDS = {"DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D"}


def settled(source, image):
    """The source with BatchNorm statistics of these images, as after a long training."""
    x = (image if image.dtype == np.float32 else image / 255).astype(np.float32)
    x = (x - np.float32(source.dataset.mean)) / np.float32(source.dataset.std)
    kind = lambda path: path[-1].key  # mean or var
    old = jax.tree.map_with_path(
        lambda path, x: jnp.full_like(x, kind(path) == "var"), source.variables["batch_stats"]
    )
    train = lambda v, x: source.model.apply(
        v, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    _, new = jax.jit(train)({**source.variables, "batch_stats": old}, x)
    stats = jax.tree.map_with_path(  # the running average has moved a hundredth of the way
        lambda path, old, new: jnp.maximum(
            old + 100 * (new - old), 1e-3 if kind(path) == "var" else -jnp.inf
        ),
        old,
        new["batch_stats"],
    )
    return source._replace(variables={**source.variables, "batch_stats": stats})


@pytest.mark.parametrize(
    ("network", "shape", "kinds"),
    [
        pytest.param(DSCNN(10, width=4), (49, 10), KEYWORDS, marks=pytest.mark.slow),
        pytest.param(DSCNN(10, width=4), (49, 10, 1), KEYWORDS, marks=pytest.mark.campaign),
    ],
)
def test_the_exported_files_are_the_network_and_have_kernels(network, shape, kinds, tmp_path):
    """Of few channels: floats and integers against jax, and C sources."""
    draw, channels = np.random.default_rng(0), shape[-1]
    if channels == 3:
        image, moments = draw.integers(0, 256, (100, *shape), np.uint8), (0.5, 0.25)
    else:
        image, moments = draw.normal(size=(100, *shape)).astype(np.float32), (0.0, 1.0)
    source = made_source(network, image, *((m,) * channels for m in moments))
    made = held_to(settled(source, image), image)
    names = {op.name for op in graph.operations(made.content)}
    assert names - {"RESHAPE"} == {"CONV_2D", "FULLY_CONNECTED", *kinds}
    assert kernels.generate(made, tmp_path).arena > 0


@pytest.mark.slow
def test_bounds_of_balls_have_rules_for_the_keyword_spotter(unoptimized):
    shape = (9, 6)
    function, found = extracted(DSCNN(3, width=2), shape)
    part = balls(shape, 2.0)
    limits = Crown(found).bounds(part)
    logits = np.asarray(function(jnp.asarray(part.image.reshape(-1, *shape), jnp.float32)))
    np.testing.assert_allclose(found.logits(part.image), logits, atol=0.01)
    assert (limits.low[-1] <= logits).all() and (logits <= limits.high[-1]).all()
    assert np.isfinite(limits.high[-1] - limits.low[-1]).all()
