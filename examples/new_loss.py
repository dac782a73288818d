"""A loss of your own: the Huber distance between logits, beside cross entropy.

    uv run python examples/new_loss.py

A loss is a Flax module that takes a `kd.View` and returns one number per example. In a config it is
named by its dotted path, `c.objective.huber = dict(name="my_project.losses.Huber", weight=0.5)`.
"""

import flax.linen as nn
import jax
import numpy as np
import optax

import kd


class Huber(nn.Module):
    """Huber distance between the logits of student and teacher, [b]."""

    delta: float = 1.0

    def __call__(self, view: kd.View) -> jax.Array:
        return optax.huber_loss(view.student.logits, view.target(1.0), delta=self.delta).mean(-1)


def main() -> None:
    """Distils with both losses, and with cross entropy only."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(512, 8, 8, 1)).astype(np.float32)
    secret = rng.normal(size=(64, 4)).astype(np.float32)
    teacher = lambda x: np.reshape(x, (len(x), 64)) @ secret  # any function images -> logits
    labels = teacher(images).argmax(-1).astype(np.int32)

    terms = {"ce": (0.5, kd.objectives.CE()), "huber": (0.5, Huber())}
    for name, objective in {"labels": {"ce": terms["ce"]}, "labels and Huber": terms}.items():
        student = kd.distill(
            teacher=teacher if "huber" in objective else None,
            student=kd.models.MLP(4, (32,)),
            data=(images, labels),
            objective=objective,
            optimizer=optax.adamw(1e-2),
            epochs=10,
            seeds=2,
            progress=False,
        )
        new = rng.normal(size=(2000, 8, 8, 1)).astype(np.float32)
        agreement = (student.logits(new).argmax(-1) == teacher(new).argmax(-1)).mean()
        print(f"{name}: {100 * agreement:.1f} % agreement with the teacher on new images")


if __name__ == "__main__":
    main()
