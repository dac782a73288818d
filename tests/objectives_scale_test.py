"""How terms grow with maps and batches: what docs/methods.md says of weights at other sizes."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.objectives import ab, at, cwd, fitnet, fsp, ft, mlkd, nst, ofd, pkt, reviewkd, sp, vid

pytestmark = pytest.mark.usefixtures("unoptimized_module")

ROOT = Path(__file__).parents[1]
MAPS = [
    jnp.asarray(x, jnp.float32)
    for x in np.abs(np.random.default_rng(0).standard_normal((2, 3, 8, 8, 4))) + 0.1
]
ONES = jnp.ones(4)

PLACES = {
    "at.AT": (at.attention_transfer, 1 / 4),
    "ft.FT": (ft.factor_transfer, 1 / 2),
    "ofd.OFD": (lambda s, t: ofd.partial_distance(s, t, -ONES), 4),
    "ab.AB": (ab.activation_boundary, 4),
    "mgd.MGD": (lambda s, t: jnp.sum((s - t) ** 2, axis=(1, 2, 3)), 4),
    "nst.NST": (nst.channel_mmd, 1),
    "cwd.CWD": (lambda s, t: cwd.channel_kl(s, t, 4.0), 1),
    "fitnet.FitNet": (fitnet.hint, 1),
    "vid.VID": (lambda s, t: vid.gaussian_nll(s, ONES, t), 1),
    "reviewkd.ReviewKD": (reviewkd.hierarchical_context, 1),
    "fsp.FSP": (lambda s, t: fsp.flow_mse((s, s), (t, t)), 1),
}
"""Objective -> its distance of two maps, and how it changes with four times the places."""

BATCH = {
    "sp.SP": (sp.similarity_preserving, 1 / 2),
    "pkt.PKT": (pkt.neighbour_kl, 1 / 2),
    "mlkd.MLKD": (lambda s, t: mlkd.class_relation(jax.nn.softmax(s), jax.nn.softmax(t)), 4),
}
"""Objective -> its distance, and how it changes with twice the examples."""


def fine(map):
    """The same map with each place as four, of 16 x 16 in place of 8 x 8."""
    return jnp.repeat(jnp.repeat(map, 2, axis=1), 2, axis=2)


@pytest.mark.parametrize("name", PLACES)
def test_a_finer_map_of_the_same_picture(name):
    distance, factor = PLACES[name]
    ratio = jax.jit(lambda s, t: jnp.mean(distance(fine(s), fine(t))) / jnp.mean(distance(s, t)))
    # ReviewKD also pools its maps, to sizes that become places of finer ones.
    np.testing.assert_allclose(ratio(*MAPS), factor, rtol=0.1 if "review" in name else 1e-3)


@pytest.mark.parametrize("name", BATCH)
def test_a_larger_batch_of_the_same_examples(name):
    distance, factor = BATCH[name]
    twice = lambda x: jnp.concatenate([x, x])
    flat = [x.reshape(3, -1) for x in MAPS]
    found = distance(*map(twice, flat)) / distance(*flat)
    np.testing.assert_allclose(found, factor, rtol=1e-3)


def test_the_page_says_the_same():
    """Each of these is in the table of docs/methods.md, in the line of its factor."""
    text = (ROOT / "docs/methods.md").read_text()
    section = text.partition("## Weights at other sizes")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    factors = {name: factor for name, (_, factor) in (PLACES | BATCH).items()}
    said = {}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+\.\w+)`", cells[0]):
            word = {"a quarter": 1 / 4, "half": 1 / 2, "four times": 4, "the same": 1}[cells[2]]
            said[name] = word
    assert said == factors
