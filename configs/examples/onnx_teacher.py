"""A student of an ONNX file, `teacher.onnx` in the working directory, of 32 x 32 coloured pixels.

uv run --extra onnx kd run --config configs/examples/onnx_teacher.py
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="digits")  # 8 x 8, grey
    c.augment = "crop(1)"
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.teacher = dict(onnx="teacher.onnx", cache_window=5)  # evaluated on the views of 5 epochs
    c.teacher.input = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    c.objective = dict(kd=dict(name="kd.KD", temperature=4.0))
    c.optimizer = dict(name="adamw", learning_rate=1e-2)
    c.epochs = 30
    return c
