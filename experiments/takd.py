"""Teacher assistants (TAKD), and students that learn from all of them (DGKD).

Mirzadeh et al. Improved Knowledge Distillation via Teacher Assistant. AAAI 2020. Son et al. Densely
Guided Knowledge Distillation using Multiple Teacher Assistants. ICCV 2021.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/takd.py        # ours, on Fashion-MNIST
    uv run kd table experiments/takd.py:cifar  # ResNets of the paper's Table 1; needs a GPU
    uv run kd table experiments/takd.py:smoke  # on scikit-learn's digits, one epoch

Teacher and assistants are one network each, shared by all rows; there are five students. Budgets
are minutes on two CPU cores.
"""

PAPER = "Mirzadeh et al. 2020 (TAKD), Table 1"

ROWS = {
    "from labels": ("{s}", False),
    "from the teacher": ("{t}-{s}", False),
    "by a large assistant": ("{t}-{l}-{s}", False),
    "by a small assistant": ("{t}-{m}-{s}", False),
    "by both assistants": ("{t}-{l}-{m}-{s}", False),
    "from all three at once (DGKD)": ("{t}-{l}-{m}-{s}", True),
}
"""Row -> path of networks, and whether the student learns from all of them.

The networks are a teacher t, a large assistant l, a small assistant m, and a student s.
"""

BUDGET = 5
"""Minutes of each row.

Training the teacher and the assistants takes ten more in total. Their logits are computed once, so
that learning from them costs nothing.
"""


def get_experiment(arg=None):
    if arg not in (None, "smoke", "cifar"):
        raise ValueError(f"argument {arg!r}: expected smoke, cifar or nothing.")
    if arg == "cifar":
        return cifar()
    smoke = arg == "smoke"
    names = dict(t=16, l=8, m=4, s=2)
    rows = {}
    for row, (path, dense) in ROWS.items():
        args = dict(path=path.format(**names))
        args |= dict(dense=True) if dense else {}
        rows[row] = dict(args=args, budget=BUDGET)
    return dict(
        title=(
            "Fashion-MNIST, teacher assistants between a network of 16 channels and one of 2 (ours)"
        ),
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/takd.py",
        args=dict(smoke=True) if smoke else {},
        seeds=2 if smoke else 5,
        tables=[
            dict(title="Students of 2 channels in the first stage, by who taught them", rows=rows)
        ],
    )


def cifar():
    """The paper's numbers could not be looked up again and are printed in brackets."""
    path = lambda *names: dict(args=dict(path="-".join(names)))
    rows = {
        "ResNet-8 from labels": dict(**path("resnet8"), paper=[88.52, 61.37]),
        "from ResNet-110": dict(**path("resnet110", "resnet8"), paper=[88.65, 61.41]),
        "by assistant ResNet-20": dict(
            **path("resnet110", "resnet20", "resnet8"), paper=[88.98, 61.82]
        ),
        "from both at once (DGKD)": dict(args=dict(path="resnet110-resnet20-resnet8", dense=True)),
    }
    columns = {
        "CIFAR-10": dict(args=dict(data="cifar10")),
        "CIFAR-100": dict(args=dict(data="cifar100")),
    }
    return dict(
        title="CIFAR, ResNet-110 teaches ResNet-8 by an assistant (Mirzadeh et al. 2020, Table 1)",
        note=(
            "The paper searched temperature, weight and rate and kept the best on the test set; "
            "here they are Hinton's, see configs/takd.py."
        ),
        config="configs/takd.py",
        seeds=5,
        source=PAPER,
        unsure=True,
        tables=[dict(title="Test accuracy of ResNet-8", columns=columns, rows=rows)],
    )
