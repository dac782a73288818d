"""A teacher of larger, coloured pictures: a Flax module `Net` in `my_teacher.py`, and its weights
in `net.msgpack`, both in the working directory.

uv run kd run --config configs/examples/teacher_input.py
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="digits")  # 8 x 8, grey
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.teacher = dict(apply="my_teacher.Net", variables="net.msgpack")
    c.teacher.input = dict(size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    c.objective = dict(kd=dict(name="kd.KD", temperature=4.0))
    c.optimizer = dict(name="adamw", learning_rate=1e-2)
    c.epochs = 30
    return c
