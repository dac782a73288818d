"""Labels, KD and CRD from wrn_40_2 to wrn_16_2, in a quarter of an hour of one GPU.

    experiments/launch/gpu.sh  # measures first, and chooses precision, how, loop and epochs
    uv run kd table experiments/quarter_hour.py:epochs=20,precision=bfloat16  # the same runs only

The recipe of the CIFAR-100 tables in so few epochs as there is time for, its schedule shortened in
proportion, so that the papers' numbers (240 epochs) are not set beside these. Five seeds in one
program, one teacher. `path` is CIFAR-100, or a part of it, in one `.npz` file; without it the
prepared data set is read.
"""

from configs.arguments import parse_arg
from configs.crd import PLACED

TEACHER, STUDENT = "wrn_40_2", "wrn_16_2"
TOYS = "resnet8", "resnet8"

ROWS = {"teacher": "", "student from labels": "", "KD": "kd", "CRD": "crd"}
"""Row -> method of `configs/cifar100.py`, the most valuable first."""

DEFAULTS = dict(toy=False, epochs=20, seeds=5, **PLACED)


def get_experiment(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    big, small = TOYS if a["toy"] else (TEACHER, STUDENT)
    settings = dict(epochs=a["epochs"])
    settings |= {k: a[k] for k in PLACED if a[k] != PLACED[k]}
    rows = {}
    for row, method in ROWS.items():
        if method:
            args = dict(teacher=big, student=small, method=method, **settings)
            rows[row] = dict(config="configs/cifar100.py", args=args, seeds=a["seeds"])
            continue
        # As the students' configs refer to it: one network, for which `how` says nothing.
        alone = {k: v for k, v in settings.items() if k != "how"}
        if row == "teacher":
            args = dict(model=big, **alone)
            rows[row] = dict(config="configs/cifar100_teacher.py", args=args)
        else:
            args = dict(model=small, seed=0, **settings)
            rows[row] = dict(config="configs/cifar100_teacher.py", args=args, seeds=a["seeds"])
    return dict(
        title=f"{big} to {small}, {a['epochs']} epochs on one GPU",
        note="Toy sizes: these numbers mean nothing." if a["toy"] else "",
        digits=2,
        tables=[dict(title="", rows=rows)],
    )
