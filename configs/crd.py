"""The recipe of the CIFAR-100 tables: that of RepDistiller (Tian et al. 2020).

mdistiller and all later tables kept it. 240 epochs in batches of 64, the last of an epoch being of
16; SGD with momentum 0.9, without Nesterov; weight decay 5e-4 on everything that is trained,
BatchNorm and the method's own modules included; learning rate times 0.1 after epochs 150, 180 and
210; zero padding before the normalisation, random crop and flip. Accuracy is that of the last
epoch.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known

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
"""Network -> file in kd/models."""

SLOW = ("MobileNetV2", "ShuffleV1", "ShuffleV2")
"""Students with learning rate 0.01 instead of 0.05."""


PLACED = dict(precision="default", how="auto", loop="auto", data="cifar100", path="")
"""Options of every config of this recipe: precision, how and where seeds and updates are computed,
and the data set, or its images in one `.npz` file.
"""


def placed(c: ConfigDict, options: dict) -> None:
    """Sets what the options PLACED say."""
    c.precision, c.seeds_how, c.loop = (options[key] for key in ("precision", "how", "loop"))
    c.data.name = options["data"]
    if options["path"]:
        c.data = dict(name="arrays", path=options["path"])


BEYOND = {
    "wrn": ("bn1", "head"),
    "MobileNetV2": ("last_conv", "last_bn", "head"),
    "ShuffleV2": ("conv2", "bn2", "head"),
}
"""Network or file in kd/models -> layers after the last stage; ("head",) for all others."""


def beyond(name: str) -> tuple[str, ...]:
    """Names of a network's layers after its last stage."""
    return BEYOND.get(name) or BEYOND.get(FAMILY[name], ("head",))


def network(name: str) -> dict[str, str]:
    """The section `student` of a network.

    Raises:
      ValueError: if the network is unknown. The message lists the known ones.
    """
    check_known("network", name, FAMILY)
    return dict(name=f"{FAMILY[name]}.{name}")


LENGTHS = ("warmup_epochs", "hold", "epochs", "start", "ramp", "begin")
"""Settings of objectives that are a number of epochs."""


def shortened(objective: dict, epochs: int, full: int = EPOCHS) -> dict:
    """Scales the schedules in a section `objective` to another number of epochs.

    Args:
      objective: the section of a method.
      epochs: the length of the run.
      full: the length that the settings in LENGTHS are meant for. A weight's `over` is always meant
        for the EPOCHS of the recipe here.
    """

    def scaled(key, value):
        if key == "weight" and isinstance(value, dict) and "over" in value:
            return {**value, "over": max(value["over"] * epochs / EPOCHS, 1.0)}
        return round(value * epochs / full) if key in LENGTHS else value

    return {
        term: {key: scaled(key, value) for key, value in section.items()}
        for term, section in objective.items()
    }


def recipe(name: str, seeds: int, epochs: int, holdout: float) -> ConfigDict:
    """The config that trains a network on labels; milestones scale with the number of epochs."""
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
