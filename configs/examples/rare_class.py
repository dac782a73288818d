"""Digits with 5 % of the eights, and a student that is distilled with and without balance.

uv run kd run --config configs/examples/rare_class.py:balanced
"""

from ml_collections import ConfigDict


def get_config(arg="plain"):
    how, _, role = arg.partition("-")  # plain, balanced, weighted or focal; "balanced-teacher"
    c = ConfigDict()
    c.data = dict(name="imbalanced", source="digits", keep={"8": 0.05})
    c.data.sampling = "balanced" if how == "balanced" else "shuffled"
    names = dict(weighted="weighted_ce.WeightedCE", focal="focal.Focal")
    c.objective = dict(ce=dict(name=names.get(how, "ce.CE"), weight=1.0 if role else 0.5))
    c.seed, c.seeds, c.epochs, c.batch_size = 1000 if role else 0, 5, 40, 32
    c.optimizer = dict(name="adamw", learning_rate=3e-3)
    c.schedule = dict(name="cosine")
    c.student = dict(name="mlp.MLP", widths=(128, 128) if role else (16,))
    if not role:
        c.teacher = dict(config=f"configs/examples/rare_class.py:{how}-teacher", cache=True)
        c.objective.kd = dict(name="kd.KD", weight=0.5, temperature=2.0)
    return c
