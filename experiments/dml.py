"""Zhang, Xiang, Hospedales, Lu. Deep Mutual Learning. CVPR 2018: two networks that learn together.

    uv run kd prepare fashion_mnist uv run kd table experiments/dml.py            # ours, on
    Fashion-MNIST uv run kd table experiments/dml.py:cifar      # of the paper's Table 2 what the
    zoo has: wants a GPU uv run kd table experiments/dml.py:smoke      # on the embedded digits, one
    epoch

Columns are the two peers. Budgets are minutes on two CPU cores, five seeds.
"""

PAPER = "Zhang et al. 2018 (DML), Table 2"

PAIRS = {"4 and 4 channels": ("4-4", (6, 6, 10)), "4 and 2 channels": ("4-2", (5, 5, 8))}
"""Title -> peers, and minutes of each row."""

CIFAR = {
    "ResNet-32 and ResNet-32": ("resnet32-resnet32", (68.99, 68.99), (71.19, 70.75)),
    "WRN-28-10 and ResNet-32": ("wrn_28_10-resnet32", (78.69, 68.99), (78.96, 70.73)),
    "WRN-28-10 and WRN-28-10": ("wrn_28_10-wrn_28_10", (78.69, 78.69), (80.28, 80.08)),
}
"""Title -> peers, and the paper's accuracy of both without one another and with.

Its numbers could not be looked up again: they stand in brackets. Its three pairs with a MobileNet
are left out, for what the paper made of that network for images of 32 x 32 is not known here.
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
    """Without one another, together at once, and one after the other, which is the paper's
    Algorithm 1.
    """
    alone, both, turns = ({} if b is None else dict(budget=b) for b in budgets)
    return {
        "each on its own": dict(args=dict(mutual=0, **peers), paper=numbers[0], **alone),
        "mutually, at once": dict(args=peers, **both),
        "mutually, in turns": dict(args=dict(alternate=True, **peers), paper=numbers[1], **turns),
    }
