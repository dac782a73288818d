"""Tests of this project: `pip install pytest`, then `python -m pytest`."""

import jax
import jax.numpy as jnp
import numpy as np
from my_project import data, losses, networks

import kd


def test_the_data_have_one_label_for_each_image():
    loaded = data.load(test=100)
    assert len(loaded.test.image) == 100
    for split in (loaded.train, loaded.test):
        assert split.image.shape == (len(split.label), 8, 8, 1) and split.image.dtype == np.uint8
        assert set(split.label) == set(range(loaded.num_classes))


def test_the_network_returns_one_logit_for_each_class():
    net = networks.Small(num_classes=10)
    images = jnp.zeros((2, 8, 8, 1))
    outputs = net.apply(net.init(jax.random.key(0), images), images)
    assert outputs.logits.shape == (2, 10)


def test_the_loss_by_hand():
    sure, unsure = jnp.array([[50.0, 0.0]]), jnp.array([[0.0, 0.0]])
    view = kd.View(kd.Outputs(sure), kd.Outputs(unsure), batch={}, tables={}, step=0)
    assert jnp.allclose(losses.Brier()(view), 0.5)  # (1 - 0.5)^2 + (0 - 0.5)^2
