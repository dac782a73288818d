"""CRD, Table 2: many methods, with teacher and student of two architecture families.

Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020. arXiv 1910.10699.

    uv run kd prepare cifar100
    uv run kd table experiments/crd_table2.py --dry_run     # what would run
    uv run kd table experiments/crd_table2.py --only "kd,"  # one row
    uv run kd table experiments/crd_table2.py:smoke --only resnet8  # one epoch: shows that it runs

The paper's numbers are of the last epoch, means of five runs with one teacher, from the README of
RepDistiller. Meant for a GPU: 240 epochs of these networks take days on CPU cores. AB and FT train
in two runs; the first is trained if it does not exist.
"""

PAPER = "Tian, Krishnan, Isola 2020 (CRD), Table 2"

TEACHERS = {"vgg13": 74.64, "ResNet50": 79.34, "resnet32x4": 79.42, "wrn_40_2": 75.61}
STUDENTS = {"MobileNetV2": 64.6, "vgg8": 70.36, "ShuffleV1": 70.5, "ShuffleV2": 71.82}
"""Networks trained from labels -> the paper's accuracy in %."""

PAIRS = (
    "vgg13->MobileNetV2",
    "ResNet50->MobileNetV2",
    "ResNet50->vgg8",
    "resnet32x4->ShuffleV1",
    "resnet32x4->ShuffleV2",
    "wrn_40_2->ShuffleV1",
)

METHODS = {
    "KD": ("kd", [67.37, 67.35, 73.81, 74.07, 74.45, 74.83]),
    "FitNet": ("fitnet", [64.14, 63.16, 70.69, 73.59, 73.54, 73.73]),
    "AT": ("at", [59.4, 58.58, 71.84, 71.73, 72.73, 73.32]),
    "SP": ("sp", [66.3, 68.08, 73.34, 73.48, 74.56, 74.52]),
    "CC": ("cc", [64.86, 65.43, 70.25, 71.14, 71.29, 71.38]),
    "VID": ("vid", [65.56, 67.57, 70.3, 73.38, 73.4, 73.61]),
    "RKD": ("rkd", [64.52, 64.43, 71.5, 72.28, 73.21, 72.21]),
    "PKT": ("pkt", [67.13, 66.52, 73.01, 74.1, 74.69, 73.89]),
    "AB": ("ab", [66.06, 67.2, 70.65, 73.55, 74.31, 73.34]),
    "FT": ("ft", [61.78, 60.99, 70.29, 71.75, 72.5, 72.03]),
    "NST": ("nst", [58.16, 64.96, 71.28, 74.12, 74.68, 74.89]),
    "CRD": ("crd", [69.73, 69.11, 74.3, 75.11, 75.65, 76.05]),
    "CRD+KD": ("crd_kd", [69.94, 69.54, 74.58, 75.12, 76.05, 76.27]),
}
"""Row -> method of `configs/cifar100.py`, and the paper's accuracy in % for each of PAIRS."""


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    short = dict(epochs=1) if arg else {}
    return dict(
        title=(
            "CIFAR-100, teacher and student of two families (Tian, Krishnan, Isola 2020, Table 2)"
        ),
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
            row: dict(args=dict(method=method), paper=numbers)
            for row, (method, numbers) in METHODS.items()
        },
    )
