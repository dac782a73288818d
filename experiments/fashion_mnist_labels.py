"""Few labels, many images, on Fashion-MNIST: accuracy by the number of labelled images.

A table of ours, as `experiments/labels.py` is for the digits: 60,000 training images, of which some
keep their label. Teachers and the student from labels learn from the labelled images; the distilled
student from the ensemble of teachers on all images. What was chosen on held-out images is said in
`configs/fashion_mnist_labels.py`.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/fashion_mnist_labels.py

Five seeds in one program. Budgets are minutes on one CPU core: an hour in total.
"""

LABELLED = {"32": 1, "128": 1, "512": 1, "2048": 1, "8192": 2, "all": 6}
"""Numbers of labelled images, and minutes that the teachers may take."""


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    column = lambda n: f"{int(n):,} labels" if n != "all" else "all 60,000"
    return dict(
        title="Fashion-MNIST, students of 25,450 parameters, by labelled images (ours)",
        note=(
            "Teachers are multilayer perceptrons. Distilled students learn from the ensemble on "
            "all 60,000 images without labels; with all labels, from both. Strong recipe: smoothed "
            "labels, mixed images, and as many updates as the distilled student has."
        ),
        config="configs/fashion_mnist_labels.py",
        seeds=5,
        tables=[
            dict(
                title="Accuracy on Fashion-MNIST by labelled images",
                against="labelled",
                columns={column(n): dict(args=dict(labelled=n)) for n in LABELLED},
                rows={
                    "ensemble of five teachers": dict(
                        args=dict(role="teacher"),
                        metric="accuracy(ensemble=True)",
                        cells={column(n): dict(budget=m) for n, m in LABELLED.items()},
                    ),
                    "student from labels": dict(args=dict(role="labels"), budget=1),
                    "student from labels, strong recipe": dict(args=dict(role="strong"), budget=3),
                    "distilled student": dict(args=dict(role="student"), budget=3),
                    "gain over labels": dict(
                        args=dict(role="student"), contrast="student from labels"
                    ),
                    "gain over the strong recipe": dict(
                        args=dict(role="student"), contrast="student from labels, strong recipe"
                    ),
                    "share of the gap closed": dict(
                        gap=(
                            "student from labels",
                            "distilled student",
                            "ensemble of five teachers",
                        )
                    ),
                },
            ),
        ],
    )
