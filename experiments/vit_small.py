"""A small vision transformer on Fashion-MNIST: labels, mixed images, a convolutional teacher.

A table of ours, of small sizes: 12,000 of the 60,000 training images (stratified by class), six
epochs, a ViT of three blocks of width 48 with 16 tokens, an ensemble of five small convolutional
teachers of the same images; and back, a convolutional student from the five ViTs. All 60,000 images
are one seed of the same recipe, with one teacher.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/vit_small.py

Five seeds in one program. Budgets are minutes on one CPU core: about half an hour for the 12,000
images, and as much for all of them.
"""

SMALL, ALL = "12,000 images", "all 60,000, one seed, one teacher"


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    vit = lambda budget, **args: dict(args=args, budget=budget)
    cnn = lambda **args: dict(args=dict(network="cnn", **args), budget=2)
    return dict(
        title="Fashion-MNIST, a small vision transformer and convolutional networks (ours)",
        note=(
            "Six epochs, without augmentation. The ViT has three blocks of width 48 on 16 patches; "
            "its teachers are five convolutional networks, whose students are the ViTs; "
            "the five ViTs from labels teach the convolutional student. Nothing was tuned."
        ),
        config="configs/deit.py",
        args=dict(data="fashion_mnist"),
        seeds=5,
        tables=[
            dict(
                title="Vision transformer",
                columns={SMALL: {}, ALL: dict(args=dict(images=0), seeds=1)},
                rows={
                    "ensemble of the convolutional teachers": dict(
                        args=dict(network="teacher"), metric="accuracy(ensemble=True)", budget=3
                    ),
                    "from labels": vit(3),
                    "from labels, mixup(0.2)": vit(3, mix="mixup(0.2)"),
                    "from labels, mixup(0.8) or cutmix(1.0)": vit(
                        3, mix="mixup(0.8) or cutmix(1.0)"
                    ),
                    "soft distillation": vit(3, method="soft"),
                    "hard distillation": vit(3, method="hard"),
                    "hard distillation, token": vit(3, method="token"),
                    "OFA": vit(5, method="ofa"),
                    "gain of mixup(0.2)": vit(3, mix="mixup(0.2)") | dict(contrast="from labels"),
                    "gain of soft distillation": vit(3, method="soft")
                    | dict(contrast="from labels"),
                    "gain of hard distillation": vit(3, method="hard")
                    | dict(contrast="from labels"),
                    "gain of the token": vit(3, method="token") | dict(contrast="from labels"),
                    "gain of OFA": vit(5, method="ofa") | dict(contrast="from labels"),
                },
            ),
            dict(
                title="Convolutional student of 8, 16 and 32 channels",
                columns={SMALL: {}, ALL: dict(args=dict(images=0), seeds=1)},
                rows={
                    "ensemble of the ViTs from labels": dict(
                        metric="accuracy(ensemble=True)", budget=3
                    ),
                    "from labels": cnn(),
                    "distilled from the ViTs": cnn(method="soft"),
                    "gain": cnn(method="soft") | dict(contrast="from labels"),
                },
            ),
        ],
    )
