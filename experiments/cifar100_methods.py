"""Labels, KD, DKD, DIST and CRD for two pairs of CIFAR-100, five seeds in one program: what a GPU
runs first, in this order.

    experiments/launch/gpu.sh                                                # in pieces under ten
    minutes, benchmarks first uv run kd table experiments/cifar100_methods.py:precision=bfloat16
    # the same runs without them uv run kd table experiments/cifar100_methods.py:toy
    # digits, one epoch: shows that it runs

Numbers of labels, KD and CRD are those of Tian et al. (2020), of the last epoch; that of DKD is of
Zhao et al. (2022), of the best test epoch, and that of DIST of Huang et al. (2022), whose selection
is not told. Ours are of the last epoch.
"""

from configs.common import parse_arg

CRD = "Tian, Krishnan, Isola 2020 (CRD), Table 1"
DKD = "Zhao et al. 2022 (DKD), Table 6, best test epoch"
DIST = "Huang et al. 2022 (DIST), CIFAR-100"

PAIRS = {
    "wrn_40_2->wrn_16_2": [75.61, 73.26, 74.92, 76.24, None, 75.48],
    "resnet32x4->resnet8x4": [79.42, 72.5, 73.33, 76.32, 76.31, 75.51],
}
"""Pair -> the papers' accuracy in % of ROWS."""

ROWS = {
    "teacher": ("", CRD),
    "student from labels": ("", CRD),
    "KD": ("kd", CRD),
    "DKD": ("dkd", DKD),
    "DIST": ("dist", DIST),
    "CRD": ("crd", CRD),
}
"""Row -> method of `configs/cifar100.py`, and the source of the number."""

TOY = {"resnet14->resnet8": [None] * 6}

DEFAULTS = dict(toy=False, precision="default", seeds=5)


def get_experiment(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    own = {} if a["precision"] == "default" else dict(precision=a["precision"])
    if a["toy"]:
        own |= dict(data="digits", epochs=1)
    pairs = TOY if a["toy"] else PAIRS
    return dict(
        title="CIFAR-100, five methods on two pairs",
        note="Digits after one epoch: these numbers mean nothing." if a["toy"] else "",
        digits=2,
        # A table for each pair: the first is finished before the second begins.
        tables=[
            pair_table(pair, paper, own, a["seeds"], a["toy"]) for pair, paper in pairs.items()
        ],
    )


def pair_table(pair, paper, own, seeds, toy):
    teacher, student = pair.split("->")
    rows = {}
    for (row, (method, source)), number in zip(ROWS.items(), paper, strict=True):
        if toy and method not in ("", "kd"):
            continue
        if method:
            args = dict(method=method, teacher=teacher, student=student, **own)
            rows[row] = dict(config="configs/cifar100.py", args=args, seeds=seeds)
        else:
            config = "configs/cifar100_teacher.py"
            args = dict(model=teacher, **own)
            if row != "teacher":
                args = dict(model=student, seed=0, **own)
            rows[row] = dict(config=config, args=args)
            if row != "teacher":
                rows[row]["seeds"] = seeds
        if number is not None:
            rows[row] |= dict(paper=number, source=source)
    return dict(title=pair, rows=rows)
