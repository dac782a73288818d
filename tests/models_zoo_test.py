"""The zoo against the numbers and outputs of the PyTorch networks on which published tables
stand.
"""

import importlib
import json
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.models import torch_weights

import kd.models
from kd import registry
from kd.errors import InputError
from kd.models import cost, initializers
from kd.models.residual import BasicBlock, ResNet
from kd.weights import convert

pytestmark = pytest.mark.usefixtures("unoptimized_module")

GOLDEN = Path(__file__).parent / "golden" / "models"

# Parameters, and multiply-accumulates of convolutions and linear layers: of the PyTorch networks
# with 100 classes on 32 x 32 images, and with 1000 on 224 x 224.
CIFAR = {
    "resnet_cifar.resnet8": (83892, 12507392),
    "resnet_cifar.resnet14": (181108, 26663168),
    "resnet_cifar.resnet20": (278324, 40818944),
    "resnet_cifar.resnet32": (472756, 69130496),
    "resnet_cifar.resnet44": (667188, 97442048),
    "resnet_cifar.resnet56": (861620, 125753600),
    "resnet_cifar.resnet110": (1736564, 253155584),
    "resnet_cifar.resnet8x4": (1233540, 177071104),
    "resnet_cifar.resnet32x4": (7433860, 1083040768),
    "resnet_cifar.ResNet50": (23705252, 1298014208),
    "wrn.wrn_16_1": (180916, 26663168),
    "wrn.wrn_16_2": (703284, 101118464),
    "wrn.wrn_40_1": (569780, 83286272),
    "wrn.wrn_40_2": (2255156, 327610880),
    "wrn.wrn_28_10": (36536884, 5243386368),  # by hand
    "vgg.vgg8": (3965028, 96192512),
    "vgg.vgg11": (9277284, 209438720),
    "vgg.vgg13": (9462180, 284936192),
    "vgg.vgg16": (14774436, 398182400),
    "vgg.vgg19": (20086692, 511428608),
    "mobilenet.MobileNetV2": (812836, 6523648),
    "shufflenet.ShuffleV1": (949258, 38691456),
    "shufflenet.ShuffleV2": (1355528, 44504448),
}
IMAGENET = {
    "mobilenet.MobileNetV1": (4231976, 568740352),
    "resnet.resnet18": (11689512, 1814073344),
    "resnet.resnet34": (21797672, 3663761408),
    "resnet.resnet50": (25557032, 4089184256),
}
ZOO = CIFAR | IMAGENET
DEEPER = ("wrn_28_10",)
"""Of a class whose other depths and widths are compared with PyTorch's outputs."""
WHOLE = ("resnet20", "wrn_16_2", "MobileNetV2", "vgg8", "resnet8x4", "ShuffleV1")


def make(name, **options):
    return registry.make(registry.find("kd.models", name), options, name)


@cache
def compiled(name):
    net = make(name)
    return jax.jit(lambda variables, image: net.apply(variables, image, train=False))


@cache
def others():
    with np.load(GOLDEN / "others.npz") as file:
        return dict(file)


def relative(ours, theirs):
    return np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs)


def moments(feature):
    feature = np.asarray(feature, np.float64)
    return feature.mean(), feature.std(ddof=1)  # as PyTorch takes it


@pytest.mark.parametrize("name", ZOO)
def test_cost(name):
    net, side = make(name), 32 if name in CIFAR else 224
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    initial = lambda image: net.init(jax.random.key(0), image)
    variables = jax.eval_shape(initial, image)
    assert (cost.count(variables["params"]), cost.macs(initial, image)) == ZOO[name]


def test_the_list_of_models_is_the_zoo():
    listed = set(registry.known("kd.models"))
    assert set(ZOO) <= listed
    files = {name.partition(".")[0] for name in ZOO}
    assert {name for name in listed if name.partition(".")[0] in files} == set(ZOO)
    helpers = {
        "adapted",
        "attention",
        "contract",
        "cost",
        "initializers",
        "keras",
        "layers",
        "norm",
        "patches",
        "peers",
        "residual",
        "wrapped",
    }
    assert helpers < set(registry.files("kd.models"))
    assert not helpers & {n.split(".")[0] for n in listed}


def test_every_network_is_an_attribute_of_the_package():
    """Whatever was imported before: a submodule of the same name would replace a network."""
    files = registry.files("kd.models")
    modules = {file: importlib.import_module(f"kd.models.{file}") for file in files}
    public = registry.exported("kd.models")
    for name in registry.known("kd.models"):
        file, _, bare = name.partition(".")
        assert public[bare] is getattr(modules[file], bare), f"{bare} is not unique"
    assert {"CNN", "Cohort", "Hydra", "SimKD", "VGG", "WideResNet", "resnet8x4"} <= set(public)
    assert not {"BasicBlock", "BatchNorm", "Conv", "Norm", "count", "head"} & set(public)
    assert not set(public) & set(files)
    assert {*public, *files} <= set(dir(kd.models))
    for name in public:
        assert getattr(kd.models, name) is public[name]
    for file in files:
        assert getattr(kd.models, file) is modules[file]
    with pytest.raises(AttributeError, match=r"'kd\.models' has no attribute 'resnet9'"):
        kd.models.resnet9  # noqa: B018


def test_an_unknown_name_cannot_be_imported():
    with pytest.raises(ImportError, match="cannot import name 'errors_of_nothing'"):
        from kd.models import errors_of_nothing  # noqa: F401


@pytest.mark.slow
@pytest.mark.parametrize(
    "bare", [pytest.param(n, marks=pytest.mark.slow if n == "ShuffleV1" else ()) for n in WHOLE]
)
def test_outputs_of_repdistiller(bare):
    golden = np.load(GOLDEN / f"{bare}.npz")
    name = convert.full_name(bare)
    variables = convert.from_torch(bare, torch_weights.state_dict(golden))
    outputs = compiled(name)(variables, golden["x"])
    assert relative(outputs.logits, golden["logits"]) < 1e-4
    assert relative(outputs.feature("pooled"), golden["pooled"]) < 1e-4
    shapes = json.loads(str(golden["feature_shapes"]))
    stages = [f"stage{i}" for i in range(1, len(shapes) - 1)]
    for i, key in enumerate(["stem", *stages, "pooled"]):
        b, d, *area = shapes[i]
        assert outputs.feature(key).shape == (b, *area, d), key
        expected = golden["feature_means"][i], golden["feature_stds"][i]
        np.testing.assert_allclose(moments(outputs.feature(key)), expected, rtol=1e-4, err_msg=key)
    for key in stages:
        before, after = outputs.feature(f"{key}_pre"), outputs.feature(key)
        if bare.startswith(("resnet", "vgg", "ShuffleV1")):
            assert np.array_equal(np.maximum(before, 0), after), key


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in ZOO if n.split(".")[1] not in WHOLE + DEEPER])
def test_outputs_of_the_other_peers(name):
    stored = {k[len(name) + 1 :]: v for k, v in others().items() if k.startswith(name + ".")}
    names, shapes = (stored.pop(k).tobytes().decode() for k in ("names", "shapes"))
    weights = torch_weights.state_dict({"names": names, "shapes": shapes})
    side = 32 if name in CIFAR else 224
    image = np.random.default_rng(1).standard_normal((2, side, side, 3))
    variables = convert.from_torch(name, weights)
    outputs = compiled(name)(variables, image.astype(np.float32))
    assert relative(outputs.logits, stored.pop("logits")) < 1e-4
    assert relative(outputs.feature("pooled"), stored.pop("pooled")) < 1e-4
    assert len(stored) >= 6
    for key, expected in stored.items():
        np.testing.assert_allclose(
            moments(outputs.feature(key)), expected, rtol=1e-4, atol=1e-4, err_msg=key
        )


@pytest.mark.slow
def test_training_step_updates_every_statistic():
    net = ResNet(BasicBlock, (1, 1), (4, 8), 4, imagenet=False, num_classes=5)
    image = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.normal(1, 0.3, leaf.shape).astype(np.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), image)
    variables = jax.tree.map(draw, shapes)

    @jax.jit
    def grad(params, stats, image):
        def loss(params):
            outputs, updated = net.apply(
                {"params": params, "batch_stats": stats}, image, train=True, mutable=["batch_stats"]
            )
            return -jnp.mean(jax.nn.log_softmax(outputs.logits)[:, 0]), updated

        return jax.grad(loss, has_aux=True)(params)

    grads, updated = grad(variables["params"], variables["batch_stats"], image)
    assert all(np.isfinite(g).all() and np.any(g != 0) for g in jax.tree.leaves(grads))
    before, after = variables["batch_stats"], updated["batch_stats"]
    changed = jax.tree.map(lambda a, b: bool(np.all(a != b)), before, after)
    assert all(jax.tree.leaves(changed))


def test_half_precision_computes_in_it_and_answers_in_float32():
    golden = np.load(GOLDEN / "resnet20.npz")
    variables = convert.from_torch("resnet20", torch_weights.state_dict(golden))
    net = make("resnet_cifar.resnet20", dtype="bfloat16")
    outputs = jax.jit(net.apply)(variables, golden["x"])
    assert outputs.feature("stage1").dtype == jnp.bfloat16
    assert outputs.logits.dtype == outputs.feature("pooled").dtype == jnp.float32
    assert 1e-4 < relative(outputs.logits, golden["logits"]) < 3e-2
    fresh = jax.eval_shape(net.init, jax.random.key(0), jnp.asarray(golden["x"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("name", "kernel", "std", "bias"),
    [
        # sqrt(2 / (9 * 64)) normal; a uniform on +-a has deviation a / sqrt(3), here with a = 1 /
        # sqrt(fan_in).
        ("resnet_cifar.resnet20", ("layer3_2", "conv2"), np.sqrt(2 / 576), None),
        ("resnet_cifar.resnet20", ("head",), 1 / np.sqrt(3 * 64), 1 / np.sqrt(3 * 64)),
        ("wrn.wrn_16_2", ("head",), 1 / np.sqrt(3 * 128), 0),
        ("vgg.vgg8", ("block2_conv0",), np.sqrt(2 / (9 * 256)), 0),
        ("vgg.vgg8", ("head",), 0.01, 0),
        ("shufflenet.ShuffleV1", ("layer3_1", "conv3"), 1 / np.sqrt(3 * 80), None),
        ("mobilenet.MobileNetV2", ("block4_1", "depthwise_conv"), np.sqrt(2 / 2592), None),
    ],
)
def test_initial_weights_are_those_of_pytorch(name, kernel, std, bias):
    @jax.jit  # compiles what this layer needs and no more
    def layer(key):
        params = make(name).init(key, jnp.zeros((1, 32, 32, 3)))["params"]
        for part in kernel:
            params = params[part]
        return params

    params = layer(jax.random.key(0))
    weights = np.asarray(params["kernel"])
    assert weights.std() == pytest.approx(std, rel=0.06)
    uniform = name.startswith("shuffle") or (kernel == ("head",) and std != 0.01)
    assert (np.abs(weights).max() > 2.5 * std) != uniform
    assert ("bias" in params) == (bias is not None)
    if bias is not None:
        assert np.asarray(params["bias"]).std() == pytest.approx(bias, rel=0.2)


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("vgg.vgg8", (1, 8, 8, 3), "at least 16 x 16, these are 8 x 8"),
        ("resnet.resnet18", (1, 32, 32, 3), "at least 33 x 33"),
        ("mobilenet.MobileNetV2", (1, 32, 16, 3), "at least 17 x 17"),
        ("resnet_cifar.resnet8", (1, 4, 4, 3), "at least 5 x 5"),
        ("wrn.wrn_16_1", (7, 32), r"not an array of shape \(7, 32\)"),
    ],
)
def test_images_that_do_not_fit(name, shape, told):
    with pytest.raises(InputError, match=told):
        jax.eval_shape(make(name).init, jax.random.key(0), jnp.zeros(shape))


def test_images_of_another_kind_than_the_weights(key):
    net = make("resnet_cifar.resnet8")
    variables = jax.eval_shape(net.init, key, jnp.zeros((1, 8, 8, 1)))
    with pytest.raises(InputError, match="of 1 channels, these have 3"):
        jax.eval_shape(net.apply, variables, jnp.zeros((1, 8, 8, 3)))
    with pytest.raises(InputError, match="not uint8"):
        net.init(key, jnp.zeros((1, 32, 32, 3), jnp.uint8))


def test_numbers_drawn_as_a_vector_are_those_drawn_in_shape(key):
    flat = initializers.kaiming_normal(key, (4, 5))
    shaped = jax.random.normal(key, (4, 5)) * np.sqrt(2 / 5)
    np.testing.assert_allclose(flat, shaped, rtol=1e-6)


def test_weights_may_be_numpy_arrays():
    golden = np.load(GOLDEN / "vgg8.npz")
    variables = convert.from_torch("vgg8", torch_weights.state_dict(golden))
    assert isinstance(variables["params"]["head"]["kernel"], np.ndarray)
    net = make("vgg.vgg8")
    logits = jax.eval_shape(lambda: net.apply(variables, golden["x"]).logits)
    assert logits.shape == (3, 100)


def test_unknown_settings_are_told_with_the_known_ones():
    with pytest.raises(InputError, match="Known: num_classes, dtype, axis_name"):
        make("wrn.wrn_16_2", classes=10)
