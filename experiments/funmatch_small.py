"""Patient and consistent? Fixed targets against one view for teacher and student, at three lengths.

A table of ours, in the manner of Beyer et al. (2022, https://arxiv.org/abs/2106.05237, figure 3),
of small sizes: 12,000 of Fashion-MNIST's training images (stratified by class), a convolutional
teacher of 16, 32 and 64 channels and a student of 4, 8 and 16, which learns from the teacher alone,
without labels; 2, 6 and 20 epochs, where the paper has up to 9,600 on Flowers.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/funmatch_small.py

Three seeds in one program. Budgets are minutes on one CPU core: about twenty in total.
"""

BUDGET_OF_TIMES = {1: 1, 3: 2, 10: 4}


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    row = lambda view, mix: dict(args=dict(view=view, mix=mix))
    return dict(
        title="Fashion-MNIST, function matching at three lengths (ours)",
        note=(
            "Students learn from one teacher alone, on 12,000 images. Fixed: both networks see the "
            "images as they are; crops: both see the same random shift and flip; mixup(1.0): both "
            "see the same mixture of two images. Nothing was tuned."
        ),
        config="configs/funmatch.py",
        args=dict(data="fashion_mnist"),
        seeds=3,
        tables=[
            dict(
                title="Student of 4, 8 and 16 channels, by epochs",
                columns={
                    f"{2 * times} epochs": dict(args=dict(times=times), budget=budget)
                    for times, budget in BUDGET_OF_TIMES.items()
                },
                rows={
                    "fixed targets": row("fixed", "none"),
                    "fixed images, mixup": row("fixed", "mixup(1.0)"),
                    "same crops": row("same", "none"),
                    "same crops, mixup (FunMatch)": row("same", "mixup(1.0)"),
                    "same crops over fixed targets": row("same", "none")
                    | dict(contrast="fixed targets"),
                    "FunMatch over fixed targets": row("same", "mixup(1.0)")
                    | dict(contrast="fixed targets"),
                },
            ),
        ],
    )
