"""Teacher-free distillation of a network with 6,274 parameters.

A table of ours, on Fashion-MNIST.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/teacher_free.py
    uv run kd table experiments/teacher_free.py:smoke  # on scikit-learn's digits, one epoch

Five seeds. Budgets are minutes on two CPU cores.
"""

ROWS = {
    "labels": "from labels",
    "smoothing": "labels, smoothed by 0.1",
    "tf_kd": "virtual teacher (Tf-KD)",
    "pskd": "its own predictions of the epoch before (PS-KD)",
    "mean_teacher": "the mean of its own weights (mean teacher)",
}


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    rows = {row: dict(args=dict(method=method), budget=8) for method, row in ROWS.items()}
    mean = dict(rows[ROWS["mean_teacher"]], metric="teacher_accuracy")
    return dict(
        title="Fashion-MNIST, students that are their own teacher (ours)",
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/teacher_free.py",
        args=dict(smoke=True) if smoke else {},
        seeds=2 if smoke else 5,
        tables=[dict(title="Test accuracy", rows={**rows, "that mean itself": mean})],
    )
