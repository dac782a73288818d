"""A student of a JAX function, `logits` in `my_teacher.py` of the working directory.

uv run kd run --config configs/examples/own_function.py
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="digits")
    c.augment = "crop(1)"  # the function is evaluated in the step, on what the student sees
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.teacher = dict(apply="my_teacher.logits")  # or a Flax module, and variables="net.msgpack"
    c.objective = dict(
        ce=dict(name="ce.CE", weight=0.1),
        kd=dict(name="kd.KD", weight=0.9, temperature=4.0),
    )
    c.optimizer = dict(name="adamw", learning_rate=1e-2)
    c.epochs = 30
    return c
