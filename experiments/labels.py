"""Few labels, many images: accuracy by the number of labelled images, with and without a teacher.

A table of ours, on scikit-learn's handwritten digits: 1,437 training images, of which some keep
their label. Teachers and the student from labels learn from the labelled images; the distilled
student from the ensemble of teachers on all images. No choice was made on the test images; those at
128 labels were made on held-out images, see `configs/digits.py`.

    uv run kd table experiments/labels.py
"""

LABELLED = ("32", "64", "128", "256", "512", "all")


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    return dict(
        title="Handwritten digits, students of 1,210 parameters, by labelled images (ours)",
        note=(
            "Distilled students learn from the ensemble on all 1,437 images without labels; with "
            "all labels, from both. Strong recipe: smoothed labels, mixed images, and as many "
            "updates as the distilled student has."
        ),
        config="configs/digits.py",
        seeds=5,
        tables=[
            dict(
                title="Accuracy by labelled images",
                against="labelled",
                columns={
                    f"{n} labels" if n != "all" else "all 1,437": dict(args=dict(labelled=n))
                    for n in LABELLED
                },
                rows={
                    "ensemble of five teachers": dict(
                        args=dict(role="teacher"), metric="accuracy(ensemble=True)", budget=2
                    ),
                    "student from labels": dict(args=dict(role="labels"), budget=1),
                    "student from labels, strong recipe": dict(args=dict(role="strong"), budget=1),
                    "distilled student": dict(args=dict(role="student"), budget=1),
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
