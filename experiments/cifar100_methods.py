"""Labels, KD, DKD, DIST and CRD on two pairs of CIFAR-100: what a GPU runs first, in this order.

    experiments/launch/gpu.sh --part full  # in pieces, benchmarks first
    uv run kd table experiments/cifar100_methods.py:precision=bfloat16  # the same runs only
    uv run kd table experiments/cifar100_methods.py:toy  # digits, one epoch: shows that it runs

Five seeds in one program. The papers' numbers for labels, KD and CRD are those of the last epoch in
Tian et al. (2020), that for DKD is of the best test epoch in Zhao et al. (2022), and that for DIST
is from Huang et al. (2022), which does not say how the epoch was selected. Ours are of the last
epoch.
"""

from configs.common import parse_arg

CRD = "Tian, Krishnan, Isola 2020 (CRD), Table 1"
DKD = "Zhao et al. 2022 (DKD), Table 6, best test epoch"
DIST = "Huang et al. 2022 (DIST), CIFAR-100"

PAIRS = {
    "wrn_40_2->wrn_16_2": [75.61, 73.26, 74.92, 76.24, None, 75.48],
    "resnet32x4->resnet8x4": [79.42, 72.5, 73.33, 76.32, 76.31, 75.51],
}
"""Pair -> the papers' accuracy in %, for each of ROWS."""

ROWS = {
    "teacher": ("", CRD),
    "student from labels": ("", CRD),
    "KD": ("kd", CRD),
    "DKD": ("dkd", DKD),
    "DIST": ("dist", DIST),
    "CRD": ("crd", CRD),
}
"""Row -> method of `configs/cifar100.py`, and source of the paper's number."""

TOY = {"resnet14->resnet8": [None] * 6}

DEFAULTS = dict(toy=False, precision="default", seeds=5)


def get_experiment(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    settings = {} if a["precision"] == "default" else dict(precision=a["precision"])
    if a["toy"]:
        settings |= dict(data="digits", epochs=1)
    pairs = TOY if a["toy"] else PAIRS
    return dict(
        title="CIFAR-100, five methods on two pairs",
        note="Digits after one epoch: these numbers mean nothing." if a["toy"] else "",
        digits=2,
        # A table for each pair, so that the first is finished before the second begins.
        tables=[
            pair_table(pair, paper, settings, a["seeds"], a["toy"]) for pair, paper in pairs.items()
        ],
    )


def pair_table(pair, paper, settings, seeds, toy):
    teacher, student = pair.split("->")
    rows = {}
    for (row, (method, source)), number in zip(ROWS.items(), paper, strict=True):
        if toy and method not in ("", "kd"):
            continue
        if method:
            args = dict(method=method, teacher=teacher, student=student, **settings)
            rows[row] = dict(config="configs/cifar100.py", args=args, seeds=seeds)
        else:
            config = "configs/cifar100_teacher.py"
            args = dict(model=teacher, **settings)
            if row != "teacher":
                args = dict(model=student, seed=0, **settings)
            rows[row] = dict(config=config, args=args)
            if row != "teacher":
                rows[row]["seeds"] = seeds
        if number is not None:
            rows[row] |= dict(paper=number, source=source)
    return dict(title=pair, rows=rows)
