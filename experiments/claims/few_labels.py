"""Few labels, many images: a student of unlabelled images beats one of the labels alone.

Ours (`experiments/labels.py`), after Hinton, Vinyals, Dean (2015, section 6) turned around:
teachers of few labelled images, a student of all images without any label.

    uv run kd table experiments/claims/few_labels.py
    uv run kd table experiments/claims/few_labels.py:smoke
"""

LABELLED = ("32", "128", "512")


def get_experiment(arg=None):
    if arg not in (None, "", "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    labelled = LABELLED[-1:] if smoke else LABELLED
    return dict(
        title="Few labels, many images",
        config="configs/digits.py",
        seeds=2 if smoke else 5,
        claim=dict(
            sentence=(
                "A student that learns from an ensemble of teachers on all images, without a "
                "label, is better than one that learns from the labelled images that the teachers "
                "had"
            ),
            paper="ours; after Hinton, Vinyals, Dean 2015, section 6",
            on=(
                "handwritten digits of 8 x 8 pixels, 1,437 training images of which 32, 128 or 512 "
                "have a label; five teachers of two hidden layers of 256 units, student of 16"
            ),
            hypotheses={
                f"with {n} labels": dict(
                    of=f"distilled, {n} labels",
                    minus=f"from labels, {n} labels",
                    expected="greater",
                )
                for n in labelled
            },
        ),
        tables=[
            dict(
                title="Accuracy by labelled images",
                columns={f"{n} labels": dict(args=dict(labelled=n), budget=2) for n in labelled},
                rows={
                    "ensemble of the teachers": dict(
                        args=dict(role="teacher"), metric="accuracy(ensemble=True)"
                    ),
                    "from labels": dict(args=dict(role="labels")),
                    "distilled": dict(args=dict(role="student")),
                },
            )
        ],
    )
