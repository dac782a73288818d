"""Deep mutual learning: two networks that train together and teach each other.

Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/dml.py        # ours, on Fashion-MNIST
    uv run kd table experiments/dml.py:cifar  # the part of Table 2 that kd has; needs a GPU
    uv run kd table experiments/dml.py:smoke  # on scikit-learn's digits, one epoch

Columns are the two peers. Five seeds. Budgets are minutes on two CPU cores.
"""

PAPER = "Zhang et al. 2018 (DML), Table 2"

PAIRS = {"4 and 4 channels": ("4-4", (6, 6, 10)), "4 and 2 channels": ("4-2", (5, 5, 8))}
"""Table -> peers, and minutes of each row."""

CIFAR = {
    "ResNet-32 and ResNet-32": ("resnet32-resnet32", (68.99, 68.99), (71.19, 70.75)),
    "WRN-28-10 and ResNet-32": ("wrn_28_10-resnet32", (78.69, 68.99), (78.96, 70.73)),
    "WRN-28-10 and WRN-28-10": ("wrn_28_10-wrn_28_10", (78.69, 78.69), (80.28, 80.08)),
}
"""Table -> peers, and the paper's accuracy of both, trained independently and mutually.

The numbers could not be looked up again and are printed in brackets. The paper's three pairs with a
MobileNet are left out, because its version for images of 32 x 32 is not known.
"""

COLUMNS = {
    "first peer": dict(metric="accuracy(peer=0)"),
    "second peer": dict(metric="accuracy(peer=1)"),
    "both together": dict(metric="accuracy(together=True)"),
}


def get_experiment(arg=None):
    if arg not in (None, "smoke", "cifar"):
        raise ValueError(f"argument {arg!r}: expected smoke, cifar or nothing.")
    smoke = arg == "smoke"
    common = dict(
        config="configs/dml.py", args=dict(smoke=True) if smoke else {}, seeds=2 if smoke else 5
    )
    if arg == "cifar":
        tables = [
            dict(
                title=title,
                columns=COLUMNS,
                rows=rows(dict(peers=peers), (None,) * 3, [(*n, None) for n in paper]),
            )
            for title, (peers, *paper) in CIFAR.items()
        ]
        return dict(
            **common,
            title="CIFAR-100, deep mutual learning (Zhang et al. 2018, Table 2)",
            source=PAPER,
            unsure=True,
            tables=tables,
        )
    tables = [
        dict(title=title, columns=COLUMNS, rows=rows(dict(peers=peers), budgets))
        for title, (peers, budgets) in PAIRS.items()
    ]
    return dict(
        **common,
        title="Fashion-MNIST, deep mutual learning of two networks (ours)",
        note="In miniature: these numbers mean nothing." if smoke else "",
        tables=tables,
    )


def rows(peers, budgets, numbers=(None, None)):
    """Peers trained independently, updated together, or in turns as in the paper's Algorithm 1."""
    independent, joint, turns = ({} if b is None else dict(budget=b) for b in budgets)
    return {
        "each on its own": dict(args=dict(mutual=0, **peers), paper=numbers[0], **independent),
        "mutually, at once": dict(args=peers, **joint),
        "mutually, in turns": dict(args=dict(alternate=True, **peers), paper=numbers[1], **turns),
    }
