"""A student of features in a file, `embeddings.npz` in the working directory: docs/teachers.md.

Few of the digits have a label: the embeddings teach a CNN without labels, then it is fine-tuned.

uv run kd run --config configs/examples/stored_features.py
"""

from ml_collections import ConfigDict

FIRST = "configs/examples/stored_features.py:embedding"


def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="digits", labelled=128, unlabelled="keep" if arg else "drop")
    c.student = dict(name="cnn.CNN")
    c.optimizer = dict(name="adamw", learning_rate=1e-3)
    c.epochs = 30
    if arg == "embedding":
        c.teacher = dict(features="embeddings.npz")  # train [n, d]: docs/teachers.md
        c.objective = dict(embedding=dict(name="embedding.Embedding", distance="cosine"))
    else:
        c.init = dict(config=FIRST, take="student/")
        c.objective = dict(ce=dict(name="ce.CE"))
    return c
