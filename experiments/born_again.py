"""Born-again networks: generations of one network, and the ensemble of generations.

Furlanello et al. Born-Again Neural Networks. ICML 2018.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/born_again.py        # ours, on Fashion-MNIST
    uv run kd table experiments/born_again.py:cifar  # CIFAR-100, three networks; needs a GPU
    uv run kd table experiments/born_again.py:smoke  # on scikit-learn's digits, one epoch

Five lineages (seeds). Budgets are minutes on two CPU cores.
"""

GENERATIONS = 3
NETWORKS = ("resnet32x4", "wrn_40_2", "vgg13")


def get_experiment(arg=None):
    if arg not in (None, "smoke", "cifar"):
        raise ValueError(f"argument {arg!r}: expected smoke, cifar or nothing.")
    smoke = arg == "smoke"
    common = dict(
        config="configs/born_again.py",
        args=dict(smoke=True) if smoke else {},
        seeds=2 if smoke else 5,
    )
    if arg == "cifar":
        columns = {name: dict(args=dict(network=name)) for name in NETWORKS}
        return dict(
            **common,
            title="CIFAR-100, generations of one network (after Furlanello et al. 2018)",
            note=(
                "The paper's networks are DenseNets and wide ResNets; its abstract has 15.5 % "
                "test error on CIFAR-100, a number that could not be looked up again. The "
                "networks here are those of the other tables, so that no number stands beside "
                "ours."
            ),
            tables=[dict(title="Test accuracy", columns=columns, rows=rows({}))],
        )
    return dict(
        **common,
        title="Fashion-MNIST, generations of a network of 8 channels (ours)",
        note="In miniature: these numbers mean nothing." if smoke else "",
        tables=[
            dict(
                title="Test accuracy, by generation", rows=rows({"first": 7, "next": 7, "last": 8})
            )
        ],
    )


def rows(budget):
    """Generation 0, later ones, one without labels, and the student of the ensemble."""
    minutes = lambda row: dict(budget=budget[row]) if budget else {}
    table_rows = {"generation 0, from labels": dict(args=dict(generation=0), **minutes("first"))}
    for g in range(1, GENERATIONS + 1):
        table_rows[f"generation {g}"] = dict(args=dict(generation=g), **minutes("next"))
    table_rows["generation 1, without labels"] = dict(
        args=dict(generation=1, labels=0), **minutes("next")
    )
    student_of_all = dict(args=dict(generation=GENERATIONS, ensemble=True), **minutes("last"))
    table_rows[f"ensemble of generations 0 to {GENERATIONS - 1}, first lineage"] = dict(
        student_of_all, metric="teacher_accuracy"
    )
    table_rows["what learns from that ensemble"] = student_of_all
    return table_rows
