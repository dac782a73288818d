"""CROWN's bounds are those of auto_LiRPA, on a dense, a convolutional and a residual network.

tests/golden/bounds/auto_lirpa.npz was made once by auto_LiRPA 0.3 (PyPI) in float64, with torch
2.14: random float32 weights `NETWORK_w0`, ... (PyTorch's layout), five images, the radius of an
L-infinity ball without limits, the class, and its lower bounds by `method="CROWN"`. Radii are so
small that intervals bound no hidden unit better, of which kd takes the better bound.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.verify.bounds import Balls, unstable
from kd.verify.crown import Crown
from kd.verify.extraction import extract

STORED = Path(__file__).parent / "golden" / "bounds" / "auto_lirpa.npz"


def dense(w, x):
    x = jax.nn.relu(x @ w["w0"].T + w["b0"][None])
    x = jax.nn.relu(x @ w["w1"].T + w["b1"][None])
    return x @ w["w2"].T + w["b2"][None]


def conv(x, w, b, stride=1):
    layout = ("NCHW", "OIHW", "NCHW")
    pads = [(1, 1), (1, 1)]
    x = jax.lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=layout)
    return x + b[None, :, None, None]


def convolutional(w, x):
    x = jax.nn.relu(conv(x, w["w0"], w["b0"]))
    x = jax.nn.relu(conv(x, w["w1"], w["b1"], stride=2))
    return x.reshape(1, -1) @ w["w2"].T + w["b2"][None]


def residual(w, x):
    x = jax.nn.relu(conv(x, w["w0"], w["b0"]))
    y = jax.nn.relu(conv(x, w["w1"], w["b1"]))
    x = jax.nn.relu(x + conv(y, w["w2"], w["b2"]))
    return x.reshape(1, -1) @ w["w3"].T + w["b3"][None]


@pytest.mark.parametrize(
    ("name", "network"), [("dense", dense), ("conv", convolutional), ("residual", residual)]
)
def test_linear_bounds_equal_those_of_auto_lirpa(name, network):
    with np.load(STORED) as stored:
        part = {key.removeprefix(f"{name}_"): stored[key] for key in stored if name in key}
    image = part["image"].astype(np.float64)
    weights = {key: jnp.asarray(x) for key, x in part.items() if key[0] in "wb"}
    graph = extract(network, weights, image.shape[1:])
    flat = image.reshape(len(image), -1)
    balls = Balls(flat, flat - part["radius"], flat + part["radius"])
    crown = Crown(graph)
    limits = crown.bounds(balls)
    cut = [
        (node, *(x[node.inputs[0]] for x in (limits.low, limits.high))) for _, node in graph.cut()
    ]
    assert all(unstable(*each).any() for each in cut)
    margins = crown.margins(balls, limits, part["target"])
    margins[np.arange(len(image)), part["target"]] = 0
    np.testing.assert_allclose(margins, part["crown"], atol=1e-9)
