"""CRD, Table 1: many methods, with teacher and student of one architecture family.

Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020. arXiv 1910.10699.

    uv run kd prepare cifar100
    uv run kd table experiments/crd_table1.py --dry_run     # what would run
    uv run kd table experiments/crd_table1.py --only "kd,"  # one row
    uv run kd table experiments/crd_table1.py:smoke --only resnet8  # one epoch: shows that it runs

The paper's numbers are of the last epoch, means of five runs with one teacher, from the README of
RepDistiller. Meant for a GPU: 240 epochs of these networks take days on CPU cores. FSP, AB and FT
train in two runs; the first is trained if it does not exist. FSP needs equal widths, which wrn_40_2
and wrn_40_1 do not have.
"""

PAPER = "Tian, Krishnan, Isola 2020 (CRD), Table 1"

TEACHERS = {
    "wrn_40_2": 75.61,
    "resnet56": 72.34,
    "resnet110": 74.31,
    "resnet32x4": 79.42,
    "vgg13": 74.64,
}
STUDENTS = {
    "wrn_16_2": 73.26,
    "wrn_40_1": 71.98,
    "resnet20": 69.06,
    "resnet32": 71.14,
    "resnet8x4": 72.5,
    "vgg8": 70.36,
}
"""Networks trained from labels -> the paper's accuracy in %."""

PAIRS = (
    "wrn_40_2->wrn_16_2",
    "wrn_40_2->wrn_40_1",
    "resnet56->resnet20",
    "resnet110->resnet20",
    "resnet110->resnet32",
    "resnet32x4->resnet8x4",
    "vgg13->vgg8",
)

METHODS = {
    "KD": ("kd", [74.92, 73.54, 70.66, 70.67, 73.08, 73.33, 72.98]),
    "FitNet": ("fitnet", [73.58, 72.24, 69.21, 68.99, 71.06, 73.5, 71.02]),
    "AT": ("at", [74.08, 72.77, 70.55, 70.22, 72.31, 73.44, 71.43]),
    "SP": ("sp", [73.83, 72.43, 69.67, 70.04, 72.69, 72.94, 72.68]),
    "CC": ("cc", [73.56, 72.21, 69.63, 69.48, 71.48, 72.97, 70.71]),
    "VID": ("vid", [74.11, 73.3, 70.38, 70.16, 72.61, 73.09, 71.23]),
    "RKD": ("rkd", [73.35, 72.22, 69.61, 69.25, 71.82, 71.9, 71.48]),
    "PKT": ("pkt", [74.54, 73.45, 70.34, 70.25, 72.61, 73.64, 72.88]),
    "AB": ("ab", [72.5, 72.38, 69.47, 69.53, 70.98, 73.17, 70.94]),
    "FT": ("ft", [73.25, 71.59, 69.84, 70.22, 72.37, 72.86, 70.58]),
    "FSP": ("fsp", [72.91, None, 69.95, 70.11, 71.89, 72.62, 70.23]),
    "NST": ("nst", [73.68, 72.24, 69.6, 69.53, 71.96, 73.3, 71.53]),
    "CRD": ("crd", [75.48, 74.14, 71.16, 71.46, 73.48, 75.51, 73.94]),
    "CRD+KD": ("crd_kd", [75.64, 74.38, 71.63, 71.56, 73.75, 75.46, 74.29]),
}
"""Row -> method of `configs/cifar100.py`, and the paper's accuracy in % for each of PAIRS."""


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    short = dict(epochs=1) if arg else {}
    return dict(
        title="CIFAR-100, teacher and student of one family (Tian, Krishnan, Isola 2020, Table 1)",
        note="After one epoch: these numbers mean nothing." if arg else "",
        source=PAPER,
        digits=2,
        tables=[from_labels(short), distilled(short)],
    )


def from_labels(short):
    """Teachers, one seed each, and students, five seeds."""
    config = "configs/cifar100_teacher.py"
    return dict(
        title="Networks from labels",
        config=config,
        rows={
            **{
                f"{name}, teacher": dict(args=dict(model=name, **short), paper=paper)
                for name, paper in TEACHERS.items()
            },
            **{
                f"{name}, student": dict(
                    args=dict(model=name, seed=0, **short), seeds=5, paper=paper
                )
                for name, paper in STUDENTS.items()
            },
        },
    )


def distilled(short):
    columns = {}
    for pair in PAIRS:
        teacher, student = pair.split("->")
        columns[pair] = dict(args=dict(teacher=teacher, student=student, **short))
    return dict(
        title="Distilled students",
        config="configs/cifar100.py",
        seeds=5,
        columns=columns,
        rows={
            row: dict(
                args=dict(method=method),
                paper=numbers,
                cells={p: None for p, n in zip(PAIRS, numbers, strict=True) if not n},
            )
            for row, (method, numbers) in METHODS.items()
        },
    )
