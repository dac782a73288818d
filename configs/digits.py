"""Handwritten digits, 8 x 8 pixels: five teachers into a student that fits a microcontroller. The embedded default.

    uv run kd run --config configs/digits.py

One file describes the three runs that belong together: `:role=student` (the default) is distilled from the ensemble
`:role=teacher`, and `:role=labels` is the same student without a teacher.
"""

from ml_collections import ConfigDict

from configs.common import parse_arg


def get_config(arg=None):
    a = parse_arg(arg, role="student", seeds=5, holdout=0.0)
    same = f"seeds={a['seeds']},holdout={a['holdout']}"
    ref = lambda role: f"configs/digits.py:role={role},{same}"
    c = ConfigDict()
    c.data = dict(name="digits")
    c.seeds = a["seeds"]
    c.holdout = a["holdout"]
    c.batch_size = 64
    c.epochs = 60
    c.augment = "crop(1)"
    c.optimizer = dict(name="adamw", learning_rate=3e-3, weight_decay=1e-2)
    c.schedule = dict(name="cosine", warmup=2.0)
    c.eval_every = 5
    if a["role"] == "teacher":
        c.student = dict(name="mlp.MLP", widths=(256, 256), dropout=0.3)
        c.objective = dict(ce=dict(name="ce.CE"))
        return c
    c.student = dict(name="mlp.MLP", widths=(16,))
    if a["role"] == "labels":
        c.objective = dict(ce=dict(name="ce.CE"))
        return c
    if a["role"] != "student":
        raise ValueError(f"role={a['role']}: expected student, teacher or labels.")
    c.teacher = dict(config=ref("teacher"), reduce="probs")
    c.objective = dict(
        ce=dict(name="ce.CE", weight=0.1),
        kd=dict(name="kd.KD", weight=0.9, temperature=4.0),
    )
    c.compare = {} if a["holdout"] else {"student from labels": ref("labels")}
    c.acceptance = dict(max_drop=0.02, min_agreement=0.95)
    return c
