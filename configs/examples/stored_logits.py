"""A student of logits in a file, `logits.npz` in the working directory: docs/teachers.md.

uv run kd run --config configs/examples/stored_logits.py
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="digits", labelled=128)  # the other images have the label -1: unknown
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.teacher = dict(logits="logits.npz")  # train [n, c] or [m, n, c], and test likewise
    c.objective = dict(
        ce=dict(name="ce.CE", weight=0.1),
        kd=dict(name="kd.KD", weight=0.9, temperature=4.0),
    )
    c.optimizer = dict(name="adamw", learning_rate=1e-2)
    c.epochs = 30
    return c
