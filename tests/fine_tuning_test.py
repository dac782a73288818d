"""Students that start from a network of other data: images of another size, other classes."""

from pathlib import Path

import jax
import numpy as np
import pytest

from kd.cli import main
from kd.models.vit import DeiT, ViT
from kd.runs.networks import load_networks
from kd.runs.workdir import Workdir

pytestmark = pytest.mark.usefixtures("unoptimized_module")

CONFIG = '''
from ml_collections import ConfigDict

def get_config(arg=None):
    """A transformer of 8 x 8 digits (`first`), and one of five digits at 16 x 16."""
    c = ConfigDict()
    c.data = dict(name="arrays", path="small.npz" if arg == "first" else "large.npz")
    c.batch_size, c.epochs = 32, 1
    c.student = dict(name="vit.ViT", patch=4, width=8, depth=1, heads=2)
    c.optimizer = dict(name="sgd", learning_rate=0.1 if arg == "first" else 0.0)
    c.objective = dict(ce=dict(name="ce.CE"))
    if arg != "first":
        c.init = dict(config="tuned.py:first", take="^student/(?!head/)", other_data=True)
    return c
'''
FIRST, SECOND = Workdir("runs/tuned-first"), Workdir("runs/tuned")


@pytest.fixture
def configs(small_data: Path, tmp_path: Path, monkeypatch) -> Path:
    """A directory with `tuned.py` and its two data sets."""
    monkeypatch.chdir(tmp_path)
    arrays = dict(np.load(small_data))
    np.savez("small.npz", **arrays)
    large = {}
    for part in ("train", "test"):
        image, label = arrays[f"x_{part}"], arrays[f"y_{part}"]
        few = label < 5
        large[f"x_{part}"] = image[few].repeat(2, axis=1).repeat(2, axis=2)
        large[f"y_{part}"] = label[few]
    np.savez("large.npz", **large)
    Path("tuned.py").write_text(CONFIG)
    return tmp_path


def run(*options: str) -> int:
    return main.main(["run", "--config", "tuned.py", *(f"--config.{o}" for o in options)])


@pytest.mark.parametrize(("network", "side"), [(ViT, 12), (DeiT, 16)])
def test_fitted_variables_compute_what_the_first_networks_do(network, side):
    """A network interpolates positions at each call; once they are fitted, it has none to do."""
    net = network(num_classes=3, patch=4, width=8, depth=1, heads=2)
    image = jax.random.normal(jax.random.key(0), (2, side, side, 1))
    variables = net.init(jax.random.key(1), jax.numpy.zeros((1, 8, 8, 1)), train=False)
    with pytest.warns(UserWarning, match="are interpolated"):
        expected = net.apply(variables, image, train=False).logits
    with pytest.warns(UserWarning, match="are interpolated"):
        position = net.fitted("position", variables["params"]["position"], image.shape[1:])
    fitted = {"params": {**variables["params"], "position": position}}
    logits = net.apply(fitted, image, train=False).logits
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the positions of this ViT")
def test_a_network_of_other_images_and_classes_is_fine_tuned(configs):
    """At learning rate 0 the student is the first one but for its positions and its head."""
    assert run() == 0
    assert FIRST.read("result.json")["num_classes"] == 10
    assert SECOND.read("result.json")["num_classes"] == 5
    first, second = (load_networks(r).variables["params"] for r in (FIRST, SECOND))
    np.testing.assert_array_equal(first["block1"]["up"]["kernel"], second["block1"]["up"]["kernel"])
    old, new = (p["position"][0] for p in (first, second))
    assert old.shape == (1, 1 + 2 * 2, 8) and new.shape == (1, 1 + 4 * 4, 8)
    expected = ViT(patch=4, width=8).fitted("position", old, (16, 16, 1))
    np.testing.assert_array_equal(new, expected)
    assert second["head"]["kernel"].shape == (1, 8, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["init.other_data=False"], "set config.init.other_data = True"),
        (["init.take="], "take = '^student/(?!head)' leaves the head out"),
        (["student.patch=8"], "student/patch/kernel is [8, 8, 1, 8] here and [4, 4, 1, 8] there"),
        (["data.path=small.npz", "holdout=0.2"], "will be evaluated on other examples"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_run_is_trained(
    configs, capsys, options, words
):
    assert run(*options) == 2
    message = capsys.readouterr().err
    assert words in message.splitlines()[-1]
    assert not FIRST.path.exists() and not SECOND.path.exists()
