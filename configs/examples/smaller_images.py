"""A student of smaller images, `halved.npz` in the working directory: docs/data.md.

Its teacher is a finished run, `runs/teacher`, on the images at their full size.

uv run kd run --config configs/examples/smaller_images.py
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    c = ConfigDict()
    c.data = dict(name="arrays", path="halved.npz")
    c.student = dict(name="mlp.MLP", widths=(16,))
    c.teacher = dict(run="runs/teacher")  # of `kd run`, or of `kd import net.pth`
    c.teacher.input = dict()  # its images: size, channels, mean and std as it was trained
    c.objective = dict(kd=dict(name="kd.KD", temperature=4.0))
    c.optimizer = dict(name="adamw", learning_rate=1e-2)
    c.epochs = 30
    return c
