"""Vision transformers: their sizes, features and settings, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd.models
from kd.errors import InputError
from kd.models import cost
from kd.models.attention import Heads, attend
from kd.models.contract import check_outputs
from kd.models.patches import resized
from kd.models.vit import DeiT, ViT
from kd.types import Outputs

pytestmark = pytest.mark.usefixtures("unoptimized_module")

# Parameters of timm's networks of the same sizes (deit_*: its `distilled` ones), and MACs with
# those of the attention; torchvision publishes 17.564 G for vit_b_16.
SIZES = {
    "vit_tiny_16": (5_717_416, 1_253_683_200),
    "vit_small_16": (22_050_664, 4_598_882_304),
    "vit_base_16": (86_567_656, 17_563_828_224),
    "deit_tiny_16": (5_910_800, 1_261_003_776),
    "deit_small_16": (22_436_432, 4_624_140_288),
}
SMALL = dict(num_classes=5, patch=4, width=8, depth=2, heads=2)


def images(*shape):
    return jax.random.normal(jax.random.key(7), shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_of_timm(name):
    net = getattr(kd.models, name)(num_classes=1000)
    initial = lambda image: net.init(jax.random.key(0), image)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(initial, image)["params"]
    assert (cost.count(params), cost.macs(initial, image)) == SIZES[name]


@pytest.mark.parametrize(("network", "tokens"), [(ViT, 1), (DeiT, 2)])
def test_features(network, tokens, key):
    net = network(**SMALL)
    outputs, _ = jax.eval_shape(net.init_with_output, key, jnp.zeros((3, 8, 12, 1)))
    t = 6 + tokens
    shapes = {name: feature.shape for name, feature in outputs.features.items()}
    expected = {"stem": (3, 2, 3, 8), "final": (3, 2, 3, 8), "pooled": (3, 8), "tokens0": (3, t, 8)}
    for i in (1, 2):
        expected |= {f"stage{i}": (3, 2, 3, 8), f"tokens{i}": (3, t, 8)}
        expected |= {f"{name}{i}": (3, t, 2, 4) for name in ("query", "key", "value")}
    if network is DeiT:
        expected["distillation_logits"] = (3, 5)
    assert shapes == expected
    assert outputs.logits.shape == (3, 5)


@pytest.mark.slow
def test_stages_are_equal_shares_of_the_blocks(key):
    net = ViT(**SMALL | {"depth": 6})
    outputs, _ = jax.jit(net.init_with_output)(key, images(1, 8, 8, 3))
    for stage, block in ((1, 1), (2, 3), (3, 4), (4, 6)):
        patches = outputs.feature(f"tokens{block}")[:, 1:].reshape(1, 2, 2, 8)
        np.testing.assert_array_equal(outputs.feature(f"stage{stage}"), patches)
    assert "stage5" not in outputs.features


@pytest.mark.slow
def test_deit_trains_two_heads_and_predicts_their_mean(key):
    net, image = DeiT(**SMALL | {"depth": 1}), images(2, 8, 8, 3)
    variables = jax.jit(net.init)(key, image)
    trained, evaluated = (net.apply(variables, image, train=train) for train in (True, False))
    second = trained.feature("distillation_logits")
    assert not np.allclose(trained.logits, second)
    np.testing.assert_allclose(evaluated.logits, (trained.logits + second) / 2, rtol=1e-5)


def test_attention_is_that_of_jax():
    query, key_, value = images(3, 2, 5, 3, 4)
    expected = jax.nn.dot_product_attention(query, key_, value)
    np.testing.assert_allclose(attend(Heads(query, key_, value)), expected, rtol=1e-5, atol=1e-6)


def test_stochastic_depth_drops_branches_of_examples_in_training_alone(key):
    net, image = ViT(**SMALL | {"drop_path": 0.5}), jnp.ones((64, 4, 4, 3))
    variables = jax.jit(net.init)(key, image)
    train = jax.jit(lambda rng: net.apply(variables, image, train=True, rngs={"dropout": rng}))
    outputs = train(jax.random.key(1))
    # The first block drops nothing, the second each of its two branches for half of the examples.
    assert len(np.unique(outputs.feature("tokens1")[:, 0, 0])) == 1
    assert len(np.unique(outputs.feature("tokens2")[:, 0, 0])) == 4
    kept = np.asarray(outputs.feature("tokens2") == outputs.feature("tokens1")).all((1, 2))
    assert 5 < kept.sum() < 30
    np.testing.assert_array_equal(train(jax.random.key(1)).logits, outputs.logits)
    evaluated = jax.jit(net.apply)(variables, image).feature("tokens2")
    assert len(np.unique(evaluated[:, 0, 0])) == 1


@pytest.mark.slow
def test_half_precision_computes_in_it_and_answers_in_float32(key):
    image = images(2, 8, 8, 3)
    half, full = (ViT(**SMALL | {"depth": 1}, dtype=d) for d in ("bfloat16", "float32"))
    variables = jax.jit(half.init)(key, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    outputs = jax.jit(half.apply)(variables, image)
    assert outputs.feature("tokens1").dtype == jnp.bfloat16
    assert outputs.logits.dtype == outputs.feature("pooled").dtype == jnp.float32
    exact = jax.jit(full.apply)(variables, image).logits
    assert 0 < np.abs(outputs.logits - exact).max() < 0.05 * np.abs(exact).max()


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("settings", "shape", "says"),
    [
        (
            {},
            (1, 30, 20, 3),
            r"divide these of 30 x 20. Set patch .*\(1, 2, 5, 10\), or .* 32 x 20",
        ),
        ({"patch": 16}, (1, 28, 28, 1), r"\(1, 2, 4, 7, 14, 28\), or give images of 32 x 32"),
        ({"patch": 16}, (1, 8, 8, 1), "give images of 16 x 16"),
        ({"heads": 3}, (1, 8, 8, 3), r"3 heads .* width of 8. .*\(1, 2, 4, 8\), .* such as 6"),
        ({"activation": "glu"}, (1, 8, 8, 3), "activation of ViT 'glu'. Did you mean 'gelu'"),
        ({"pool": "max"}, (1, 8, 8, 3), "pool of ViT 'max'.*token, mean"),
        ({"mlp_ratio": 0.01}, (1, 8, 8, 3), "leaves no hidden unit"),
        ({}, (8, 8, 3), "takes images"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, shape, says, key):
    with pytest.raises(InputError, match=says):
        jax.eval_shape(ViT(**SMALL | settings).init, key, jnp.zeros(shape))


@pytest.mark.parametrize("settings", [{"pool": "mean"}, {"pre_logits": 4}])
def test_deit_has_its_two_tokens(settings, key):
    with pytest.raises(InputError, match=r"distillation token: .* or take vit\.ViT"):
        jax.eval_shape(DeiT(**SMALL, **settings).init, key, jnp.zeros((1, 8, 8, 3)))


def test_logits_of_every_token_are_refused():
    logits = jax.ShapeDtypeStruct((4, 17, 10), jnp.float32)
    with pytest.raises(InputError, match=r"shape \[4, 17, 10\] .* read one token, or the mean"):
        check_outputs(Outputs(logits), 4, 10, "mine.Net")


# ------------------------------------------------------------------ positions of another grid


def test_images_of_another_size_get_interpolated_positions(key):
    net = ViT(**SMALL)
    variables = jax.eval_shape(net.init, key, images(1, 8, 8, 3))
    with pytest.warns(UserWarning, match="of 2 x 2 patches, and its images have 3 x 4"):
        outputs = jax.eval_shape(net.apply, variables, images(1, 12, 16, 3))
    assert outputs.features["stage1"].shape == (1, 3, 4, 8)
    variables = jax.eval_shape(net.init, key, images(1, 8, 24, 3))
    with pytest.raises(InputError, match=r"of 12 patches, which are no grid .* 2 x 3"):
        jax.eval_shape(net.apply, variables, images(1, 8, 12, 3))


def test_other_tokens_keep_their_positions():
    table = images(1, 2 + 4, 3)
    with pytest.warns(UserWarning, match="interpolated"):
        larger = resized(table, 2, (4, 4), "ViT")
    assert larger.shape == (1, 18, 3)
    np.testing.assert_array_equal(larger[:, :2], table[:, :2])
    assert resized(table, 2, (2, 2), "ViT") is table
