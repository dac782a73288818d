"""Ensembles of teachers: how many, of which architectures, and how their outputs are combined.

Tables of ours.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/ensembles.py
    uv run kd table experiments/ensembles.py:smoke  # in miniature, on scikit-learn's digits
    uv run kd prepare cifar100 && uv run kd table experiments/ensembles.py:cifar100  # needs a GPU

Then the uncertainty of the students in the last two rows, or of any other:

    uv run kd prepare mnist
    uv run kd uncertainty "runs/ensembles-method=end2,seeds=5" --foreign mnist

All 60 000 training images, five students in one program. Budgets are minutes on two CPU cores,
about 75 in total, from the CPU seconds of an epoch: 10 for the eight dense teachers, 95 for the
four convolutional ones, 4 for five students.
"""

BUDGETS = dict(dense=4, conv=15, student=1.5)

REDUCE = {
    "probs": "mean of probabilities",
    "logits": "mean of logits",
    "each": "each on its own",
    "random": "one drawn for each update",
    "confidence": "weights of each example (CA-MKD)",
}


def get_experiment(arg=None):
    if arg == "cifar100":
        return cifar100()
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke, cifar100 or nothing.")
    smoke = arg == "smoke"
    counts = (2,) if smoke else (2, 4, 8)
    student = dict(budget=BUDGETS["student"])
    mixed = {
        f"both, {words}": dict(args=dict(mixed=True, reduce=reduce), **student)
        for reduce, words in REDUCE.items()
    }
    return dict(
        title=(
            "Fashion-MNIST, ensembles of small networks distilled into one of 12,730 parameters "
            "(ours)"
        ),
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/ensembles.py",
        args=dict(smoke=True) if smoke else {},
        tables=[
            dict(title="Teachers", rows=teachers()),
            dict(
                title="Students, by the number of teachers",
                seeds=2 if smoke else 5,
                columns={f"{n} teachers": dict(args=dict(teachers=n)) for n in counts},
                rows={
                    **{
                        f"dense, {words}": dict(args=dict(reduce=reduce), **student)
                        for reduce, words in REDUCE.items()
                    },
                    **mixed,
                    "both, convolutional ones twice": dict(
                        args=dict(mixed=True, weight=2.0), **student
                    ),
                },
            ),
            dict(
                title="Students of one teacher, and of none",
                seeds=2 if smoke else 5,
                rows={
                    "from labels": dict(args=dict(role="labels"), **student),
                    "one dense teacher": dict(args=dict(teachers=1), **student),
                },
            ),
            dict(
                title="Students that keep the members apart, of eight dense teachers",
                seeds=2 if smoke else 5,
                columns={"accuracy": {}, "NLL": dict(metric="nll")},
                rows={
                    "KD": dict(args=dict(method="kd"), **student),
                    "EnD2": dict(args=dict(method="end2"), **student),
                    "Hydra": dict(args=dict(method="hydra"), **student),
                },
            ),
        ],
    )


def teachers():
    """Mean accuracy of single networks, and accuracy of their ensemble."""
    ensemble = dict(metric="accuracy(ensemble=True)")
    dense = dict(args=dict(role="dense"), budget=BUDGETS["dense"])
    conv = dict(args=dict(role="conv"), budget=BUDGETS["conv"])
    return {
        "dense, one": dense,
        "dense, all eight": {**dense, **ensemble},
        "convolutional, one": conv,
        "convolutional, all four": {**conv, **ensemble},
    }


def cifar100():
    """Three teachers of one architecture, as in the public code of CA-MKD.

    Its numbers could not be verified and are left out.
    """
    reduced = {
        "mean of the losses": dict(reduce="each", method="camkd"),
        "mean of probabilities": dict(reduce="probs", method="camkd"),
        "weights of each example (CA-MKD, without its loss on features)": dict(
            reduce="confidence", method="camkd"
        ),
        "one drawn for each update": dict(reduce="random", method="camkd"),
    }
    pairs = ("resnet32x4->vgg8", "vgg13->vgg8", "resnet56->resnet20")
    columns = {
        pair: dict(args=dict(zip(("teacher", "student"), pair.split("->"), strict=True)))
        for pair in pairs
    }
    return dict(
        title="CIFAR-100, three teachers of one architecture",
        config="configs/cifar100.py",
        args=dict(teachers=3),
        seeds=3,
        tables=[
            dict(columns=columns, rows={words: dict(args=args) for words, args in reduced.items()})
        ],
    )
