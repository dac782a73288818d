"""Reused teacher classifier (SimKD): the student reproduces the teacher's last map."""

import flax.linen as nn
from jaxtyping import Array, Float

from kd.errors import InputError
from kd.features import final_map, pool, teacher_outputs
from kd.objectives.fitnet import hint
from kd.types import View


class SimKD(nn.Module):
    """Mean squared error between the projected map and the teacher's last map, [b].

    The teacher's map is pooled where it is larger.

    Chen, Mei, Zhang, Wang, Feng, Chen. Knowledge Distillation with the Reused Teacher Classifier.
    CVPR 2022. https://arxiv.org/abs/2203.14001, Eq. 5, with the mean in place of the sum, as in the
    public code. The authors use it alone: no labels.

    The student is `kd.models.simkd.SimKD`, whose projector and inherited classifier are deployed
    with it.

    Attributes:
      feature: the student's map, of the teacher's width. The teacher's is its last map, after the
        ReLU.
    """

    feature: str = "projected"

    @nn.compact
    def __call__(self, view: View) -> Float[Array, " b"]:
        if self.feature not in view.student.features:
            raise InputError(
                f"this objective compares the student's feature {self.feature!r}, which this "
                "student does not have. Wrap it: config.student = dict(name='simkd.SimKD', "
                "student=dict(name=...), teacher=dict(name=...))."
            )
        student = view.student.features[self.feature]
        teacher = final_map(teacher_outputs(view))
        if student.shape[-1] != teacher.shape[-1]:
            raise InputError(
                f"the projector gives {student.shape[-1]} channels, this teacher's last map has "
                f"{teacher.shape[-1]}: config.student.teacher must name the same network as "
                "config.teacher."
            )
        return hint(student, pool(teacher, student.shape[1:3]))
