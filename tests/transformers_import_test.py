"""Files of transformers, written by Hugging Face's, timm's and torchvision's own code, as runs."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd import build, config, registry
from kd.cli.main import main
from kd.data.base import Dataset, Split
from kd.errors import InputError
from kd.runs.workdir import Workdir
from kd.train.imported import _check_classes
from kd.train.run import run
from kd.weights import convert, directory, safetensors
from kd.weights.matching import Network

pytestmark = pytest.mark.usefixtures("unoptimized_module")

GOLDEN = Path(__file__).parent / "golden" / "transformers"
FILES = GOLDEN / "files"
SMALL = dict(patch=4, width=24, depth=2, heads=3, mlp_ratio=2.0)
NETWORKS = {
    "hf_vit": None,
    "hf_deit": None,  # in four parts
    "timm_vit.pth": "vit.ViT",
    "timm_deit.safetensors": "vit.DeiT",
    "torchvision_vit.pth": "vit.ViT",
}


def imported(file):
    model = NETWORKS[file]
    return convert.import_checkpoint(FILES / file, model, None, SMALL if model else None)


def edited(tmp_path, name="hf_vit", **changes):
    """A copy of a directory with keys of its config.json changed; None removes one."""
    out = tmp_path / name
    shutil.copytree(FILES / name, out)
    content = json.loads((out / "config.json").read_text()) | changes
    content = {key: value for key, value in content.items() if value is not None}
    (out / "config.json").write_text(json.dumps(content))
    return out


def refused(path, *args) -> str:
    with pytest.raises(InputError) as caught:
        convert.import_checkpoint(path, *args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


QUICK = ("hf_deit", "timm_vit.pth")


@pytest.mark.parametrize(
    "file", [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in NETWORKS]
)
def test_logits_are_those_of_the_library_that_wrote_the_file(file):
    variables, record = imported(file)
    maker = registry.find("kd.models", record["model"])
    net = registry.make(maker, record["settings"] | {"num_classes": 7}, "net")
    with np.load(FILES / "logits.npz") as golden:
        x, expected = golden["x"], golden[file.partition(".")[0]]
    logits = jax.jit(net.apply)(variables, x).logits
    assert np.linalg.norm(logits - expected) < 1e-5 * np.linalg.norm(expected)
    assert record["num_classes"] == 7 and record["image"] == [12, 12]
    assert record["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(variables))


def test_what_a_directory_says():
    _, record = imported("hf_vit")
    assert record["model"] == "vit.ViT" and record["checkpoint"] == "hf_vit"
    assert record["settings"]["epsilon"] == 1e-12 and record["settings"]["activation"] == "gelu"
    assert record["mean"] == [0.5, 0.4, 0.3] and record["std"] == [0.2, 0.3, 0.4]
    assert list(record["files"]) == [
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    ]
    _, record = imported("hf_deit")
    assert record["model"] == "vit.DeiT" and "mean" not in record
    assert record["settings"]["activation"] == "gelu_tanh" and not record["settings"]["qkv_bias"]
    assert len(record["files"]) == 6
    json.dumps(record)


def test_what_is_packed_has_the_names_of_timm(tmp_path):
    variables, _ = imported("torchvision_vit.pth")
    back = convert.to_torch("vit.ViT", variables)
    assert back.keys() == convert.read(FILES / "timm_vit.pth").keys()
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors.encode(back, {}))
    again = convert.import_checkpoint(path, "vit.ViT", None, SMALL)[0]
    jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("published", "model"),
    [
        ("timm.deit_small_distilled_patch16_224", "deit_small_16"),
        ("torchvision.vit_b_16", "vit_base_16"),
        ("hf.vit-base-patch16-224", "vit_base_16"),
    ],
)
def test_names_and_shapes_of_the_published_networks(published, model):
    shapes = json.loads((GOLDEN / "sizes.json").read_text())[published]
    state = {k: jax.ShapeDtypeStruct(tuple(v), jnp.float32) for k, v in shapes.items()}
    match = Network(convert.full_name(model)).match(state)
    assert match.num_classes == 1000 and match.image == (224, 224, 3)
    assert match.needs_config == published.startswith("hf.")


def test_names_of_torchvision_before_0_13():
    older = {
        name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): array
        for name, array in convert.read(FILES / "torchvision_vit.pth").items()
    }
    again = convert.from_torch("vit.ViT", older, SMALL)
    jax.tree.map(np.testing.assert_array_equal, again, imported("torchvision_vit.pth")[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "swin"}, "model_type 'swin' is not known; known are vit, deit"),
        ({"model_type": ["vit"]}, "malformed"),
        ({"rope_theta": 1e4}, "'rope_theta': kd does not know what this changes"),
        ({"architectures": ["ViTModel"]}, "expected ['ViTForImageClassification']"),
        ({"hidden_act": "swish"}, "unknown hidden_act 'swish'"),
        ({"hidden_size": "24"}, "hidden_size: expected a whole number"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers: expected a whole number from 1 to 200"),
        ({"patch_size": [4, 2]}, "only square patches"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads: only"),
        ({"problem_type": "multi_label_classification"}, "problem_type: only"),
        ({"image_size": 16}, "position_embeddings is [1, 10, 24] in place of [1, 17, 24]"),
        ({"num_hidden_layers": 3}, "missing: vit.encoder.layer.2"),
        ({"num_attention_heads": 5}, "5 heads do not divide a width of 24"),
        ({"qkv_bias": False}, "6 not of this network: vit.encoder.layer.0.attention"),
        ({"model_type": None}, "model_type None is not known"),
        ({"model_type": None, "architecture": "swin_tiny"}, "model_type"),
    ],
)
def test_configs_that_are_refused(tmp_path, changes, words):
    if "architecture" in changes:
        path = tmp_path / "timm"
        path.mkdir()
        (path / "config.json").write_text(json.dumps({"architecture": "swin_tiny"}))
        assert "architecture 'swin_tiny' of timm is not known" in refused(path)
        return
    assert words in refused(edited(tmp_path, **changes))


def test_directories_that_are_refused(tmp_path):
    assert "directory without config.json" in refused(tmp_path)
    path = edited(tmp_path, "hf_deit")
    part, index = path / "model-00002-of-00004.safetensors", path / "model.safetensors.index.json"
    content = part.read_bytes()
    part.unlink()
    line = refused(path)
    assert "the part model-00002-of-00004.safetensors with 1" in line and "is missing" in line
    shutil.copy(path / "model-00001-of-00004.safetensors", part)
    assert "model-00002-of-00004.safetensors and the index disagree on" in refused(path)
    part.write_bytes(content[:-8])
    assert "damaged" in refused(path)
    index.write_text(json.dumps({"weight_map": {"x": "../hf_deit/model.safetensors"}}))
    assert "is no file beside it" in refused(path)
    index.write_text("[]")
    assert "cannot read" in refused(path)
    index.unlink()
    assert "it has no weights" in refused(path)
    (path / "config.json").write_text("{")
    assert "cannot read" in refused(path)
    assert "Leave --model" in refused(FILES / "hf_vit", "vit.ViT")
    assert "say by --model" in refused(FILES / "timm_vit.pth")
    hub = SMALL | {"mlp_ratio": 40 / 24}
    line = refused(FILES / "hf_vit" / "model.safetensors", "vit.ViT", None, hub)
    assert "Give the directory with both" in line


def test_directories_of_timm(tmp_path):
    content = {
        "architecture": "deit_tiny_distilled_patch16_224",
        "num_classes": 1000,
        "num_features": 192,
        "global_pool": "token",
        "model_args": {"img_size": [224, 224], "in_chans": 3, "num_classes": 1000},
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "tag": "x"},
    }

    def opened(**changes):
        (tmp_path / "config.json").write_text(json.dumps(content | changes))
        (tmp_path / "model.safetensors").touch()
        return directory.open_directory(tmp_path).network

    net = opened()
    assert net.name == "vit.DeiT" and net.image == (224, 224, 3) and net.mean == (0.5,) * 3
    assert net.settings == dict(patch=16, width=192, depth=12, heads=3)
    resnet = opened(architecture="resnet50", global_pool="avg", model_args={})
    assert resnet.name == "resnet.resnet50" and resnet.image is None
    for changes, words in (
        ({"architecture": "resnet50d"}, "resnet50d"),
        ({"global_pool": "avg"}, "global_pool: only 'token'"),
        ({"model_args": {"init_values": 1e-5}}, "'init_values' change"),
        ({"reg_tokens": 4}, "'reg_tokens': kd does not know"),
        ({"model_args": 3}, "malformed"),
    ):
        with pytest.raises(InputError, match=words):
            opened(**changes)


def write_data(path, side):
    r = np.random.default_rng(0)
    images = lambda n: r.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    labels = lambda n: (np.arange(n) % 7).astype(np.int32)
    np.savez(path, x_train=images(28), y_train=labels(28), x_test=images(14), y_test=labels(14))
    return path


@pytest.mark.slow
def test_an_imported_directory_teaches_students_of_other_images(tmp_path, capsys):
    """The images of the data become those of the weights, in both runs."""
    data, out = write_data(tmp_path / "data.npz", 8), tmp_path / "teacher"
    argv = ["import", str(FILES / "hf_vit"), "--out", str(out), "--data", "arrays"]
    assert main([*argv, "--data_path", str(data)]) == 0
    printed = capsys.readouterr().out
    assert "resized to 12 x 12, normalised by mean [0.5, 0.4, 0.3]" in printed
    result = Workdir(out).read("result.json")
    assert result["shape"] == [12, 12, 3] and result["mean"] == [0.5, 0.4, 0.3]
    net = registry.make(
        registry.find("kd.models", "vit.ViT"),
        result["imported"]["settings"] | {"num_classes": 7},
        "net",
    )
    with np.load(data) as arrays:
        pixels = arrays["x_test"] / np.float32(255)
    pixels = jax.image.resize(pixels, (14, 12, 12, 3), "linear", antialias=True)
    image = (pixels - np.float32([[[[0.5, 0.4, 0.3]]]])) / np.float32([[[[0.2, 0.3, 0.4]]]])
    expected = net.apply(imported("hf_vit")[0], image).logits
    stored = Workdir(out).predictions()["logits"][0]
    np.testing.assert_allclose(stored, expected, rtol=1e-3, atol=1e-3)

    assert main(["export", str(out), "--format", "stablehlo"]) == 2
    assert "resized to 12 x 12, and this needs data of that size" in capsys.readouterr().err

    c = config.load("configs/digits.py:role=labels,seeds=1")
    c.data = dict(name="arrays", path=str(data))
    c.student = dict(name="mlp.MLP", widths=(4,))
    c.teacher.name, c.teacher.run = "frozen", str(out)
    with c.unlocked():
        c.teacher.input = {}
    c.objective = dict(kd=dict(name="kd.KD", temperature=4.0))
    c.compare = {}
    c.epochs, c.batch_size, c.schedule.warmup = 1, 14, 0.0
    student = run(build.spell_out(c), Workdir(tmp_path / "student"), tmp_path)
    teacher = student.read("result.json")["teacher"]
    assert teacher["run"] == str(out)


def test_arguments_that_are_refused(tmp_path, capsys):
    file, out = FILES / "timm_vit.pth", tmp_path / "out"
    argv = ["import", str(file), "--model", "vit.ViT", "--out", str(out)]
    for more, words in (
        (["--mean", "a,b"], "--mean a,b: expected numbers"),
        (["--std", "0,1,1"], "--std 0,1,1: expected numbers above 0"),
        (["--setting", "width"], "--setting width: expected KEY=VALUE"),
        (["--setting", "num_classes=3"], "The classes are those of the weights"),
        (["--setting", "breadth=3"], "breadth"),
        (["--setting", "patch=x"], "patch"),
        (["--setting", "depth=3"], "not the weights of vit.ViT"),
    ):
        assert main([*argv, *more]) == 2, more
        error = capsys.readouterr().err.strip()
        assert words in error and "\n" not in error, error
    assert not out.exists()


def test_classes_in_another_order_are_refused():
    image, label = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1], np.int32)
    split = Split(image, label)
    data = Dataset(split, split, 2, (0.5,) * 3, (0.5,) * 3, ("tabby cat", "dog"))
    origin = {"checkpoint": "net", "classes": ["Tabby_cat", "dog"]}
    _check_classes(origin, data)
    _check_classes(origin | {"classes": ["LABEL_0", "LABEL_1"]}, data)
    with pytest.raises(InputError, match="order: class 0 is 'dog' there and 'tabby cat' here"):
        _check_classes(origin | {"classes": ["dog", "tabby_cat"]}, data)
