"""The recipe of the CIFAR-100 tables: that of RepDistiller (Tian et al. 2020), which mdistiller and
all later tables kept.

240 epochs in batches of 64, the last of an epoch being of 16; SGD with momentum 0.9, without
Nesterov; weight decay 5e-4 on everything that is trained, BatchNorm and the method's own modules
included; the rate times 0.1 after epochs 150, 180, 210; zero padding before the normalisation,
random crop and flip. Numbers are of the last epoch.
"""

import difflib

from ml_collections import ConfigDict

EPOCHS = 240

FAMILY = {
    **dict.fromkeys(
        [
            "resnet8",
            "resnet14",
            "resnet20",
            "resnet32",
            "resnet44",
            "resnet56",
            "resnet110",
            "resnet8x4",
            "resnet32x4",
            "ResNet50",
        ],
        "resnet_cifar",
    ),
    **dict.fromkeys(["wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "wrn_28_10"], "wrn"),
    **dict.fromkeys(["vgg8", "vgg11", "vgg13", "vgg16", "vgg19"], "vgg"),
    "MobileNetV2": "mobilenet",
    "ShuffleV1": "shufflenet",
    "ShuffleV2": "shufflenet",
}
"""The zoo: network -> file of kd/models."""

SLOW = ("MobileNetV2", "ShuffleV1", "ShuffleV2")
"""Students whose learning rate is 0.01 in place of 0.05."""


BEYOND = {
    "wrn": ("bn1", "head"),
    "MobileNetV2": ("last_conv", "last_bn", "head"),
    "ShuffleV2": ("conv2", "bn2", "head"),
}
"""Layers after the last stage, by network or file of kd/models; of all others the head alone."""


def beyond(name: str) -> tuple[str, ...]:
    """Layers of a network after its last stage."""
    return BEYOND.get(name) or BEYOND.get(FAMILY[name], ("head",))


def network(name: str) -> dict[str, str]:
    """The section `student` of a network of the zoo. Raises ValueError that lists them where there
    is none of that name.
    """
    if name not in FAMILY:
        near = difflib.get_close_matches(name, FAMILY, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown network {name!r}.{hint} Known: {', '.join(FAMILY)}.")
    return dict(name=f"{FAMILY[name]}.{name}")


LENGTHS = ("warmup_epochs", "hold", "epochs")
"""Settings of objectives that count epochs, in whole ones; `over` of a weight that changes does,
too.
"""


def shortened(objective: dict, epochs: int, whole: int = EPOCHS) -> dict:
    """The section `objective` of a method, whose settings are meant for `whole` epochs, in
    proportion for another number of them.

    A weight's `over` is meant for 240, the whole of a run by the recipe here: so it is the whole of
    any.
    """

    def own(key, value):
        if key == "weight" and isinstance(value, dict) and "over" in value:
            return {**value, "over": max(value["over"] * epochs / EPOCHS, 1.0)}
        return round(value * epochs / whole) if key in LENGTHS else value

    return {
        term: {key: own(key, value) for key, value in section.items()}
        for term, section in objective.items()
    }


def recipe(name: str, seeds: int, epochs: int, holdout: float) -> ConfigDict:
    """The run that trains this network from labels. Fewer epochs shrink the milestones of the rate
    in proportion.
    """
    c = ConfigDict()
    c.data = dict(name="cifar100")
    c.seeds = seeds
    c.holdout = holdout
    c.batch_size = 64
    c.augment = "crop(4)|flip"
    c.student = network(name)
    c.objective = dict(ce=dict(name="ce.CE"))
    c.optimizer = dict(
        name="sgd",
        learning_rate=0.01 if name in SLOW else 0.05,
        momentum=0.9,
        nesterov=False,
        weight_decay=5e-4,
    )
    c.schedule = dict(
        name="piecewise", epochs=tuple(e * epochs / EPOCHS for e in (150, 180, 210)), factor=0.1
    )
    c.epochs = epochs
    return c
