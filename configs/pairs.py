"""Hyper-parameters that papers tuned per pair of networks, over those of `configs/methods.py`."""

from typing import Any


def _kd_ls(temperature: float, weight: float) -> dict[str, Any]:
    return dict(kd=dict(temperature=temperature, weight=weight))


def _dkd_ls(temperature: float, weight: float, beta: float) -> dict[str, Any]:
    return dict(dkd=dict(temperature=temperature, weight=weight, beta=beta))


def _dkd(beta: float) -> dict[str, Any]:
    return dict(dkd=dict(beta=beta))


def _review(weight: float) -> dict[str, Any]:
    return dict(reviewkd=dict(weight=weight))


# ImageNet, 100 epochs: weights of cross entropy and of the method are those of mdistiller's
# configs/imagenet, unless a comment names another source.
_KD_IMAGENET = dict(ce=dict(weight=0.5), kd=dict(weight=0.5, temperature=1.0))
_DIST_IMAGENET = dict(dist=dict(temperature=1.0))  # Huang et al. 2022, dist.yaml
_NKD_IMAGENET = dict(nkd=dict(gamma=1.5, temperature=1.0))  # yzd-v/cls_KD nkd.md
_WSLD_IMAGENET = dict(wsld=dict(weight=2.5, temperature=2.0))  # the authors' code

PAIRS: dict[str, dict[str, dict[str, Any]]] = {
    "kd": {"resnet34->resnet18": _KD_IMAGENET, "resnet50->MobileNetV1": _KD_IMAGENET},
    # From the names of the logs that were published with logit-standardization-KD.
    "kd_ls": {
        "resnet32x4->resnet8x4": _kd_ls(2.0, 9.0),
        "vgg13->vgg8": _kd_ls(3.0, 9.0),
        "wrn_40_2->wrn_40_1": _kd_ls(2.0, 9.0),
        "wrn_40_2->wrn_16_2": _kd_ls(2.0, 9.0),
        "resnet56->resnet20": _kd_ls(2.0, 9.0),
        "resnet110->resnet32": _kd_ls(2.0, 9.0),
        "resnet110->resnet20": _kd_ls(4.0, 12.0),
        "resnet32x4->ShuffleV2": _kd_ls(2.0, 9.0),
        "resnet32x4->wrn_16_2": _kd_ls(3.0, 9.0),
        "resnet32x4->wrn_40_2": _kd_ls(3.0, 9.0),
        "wrn_40_2->resnet8x4": _kd_ls(2.0, 9.0),
        "wrn_40_2->MobileNetV2": _kd_ls(3.0, 9.0),
        "vgg13->MobileNetV2": _kd_ls(3.0, 9.0),
        "ResNet50->MobileNetV2": _kd_ls(3.0, 1.0),
    },
    # mdistiller configs/cifar100/dkd and configs/imagenet.
    "dkd": {
        "resnet56->resnet20": _dkd(2.0),
        "resnet110->resnet32": _dkd(2.0),
        "resnet32x4->resnet8x4": _dkd(8.0),
        "wrn_40_2->wrn_16_2": _dkd(6.0),
        "wrn_40_2->wrn_40_1": _dkd(6.0),
        "vgg13->vgg8": _dkd(6.0),
        "vgg13->MobileNetV2": _dkd(6.0),
        "ResNet50->MobileNetV2": _dkd(8.0),
        "resnet32x4->ShuffleV1": _dkd(8.0),
        "resnet32x4->ShuffleV2": _dkd(8.0),
        "wrn_40_2->ShuffleV1": _dkd(8.0),
        "resnet34->resnet18": dict(dkd=dict(beta=0.5, temperature=1.0, warmup_epochs=1)),
        "resnet50->MobileNetV1": dict(dkd=dict(beta=2.0, temperature=1.0, warmup_epochs=1)),
    },
    # From the names of the logs that were published with logit-standardization-KD.
    "dkd_ls": {
        "resnet32x4->resnet8x4": _dkd_ls(2.0, 9.0, 8.0),
        "vgg13->vgg8": _dkd_ls(2.0, 15.0, 2.0),
        "wrn_40_2->wrn_40_1": _dkd_ls(2.0, 12.0, 2.0),
        "wrn_40_2->wrn_16_2": _dkd_ls(2.0, 12.0, 2.0),
        "resnet56->resnet20": _dkd_ls(3.0, 18.0, 2.0),
        "resnet110->resnet32": _dkd_ls(2.0, 15.0, 2.0),
        "resnet110->resnet20": _dkd_ls(2.0, 15.0, 2.0),
        "resnet32x4->ShuffleV2": _dkd_ls(2.0, 9.0, 8.0),
        "resnet32x4->wrn_16_2": _dkd_ls(2.0, 9.0, 2.0),
        "resnet32x4->wrn_40_2": _dkd_ls(2.0, 9.0, 8.0),
        "wrn_40_2->resnet8x4": _dkd_ls(2.0, 18.0, 2.0),
        "wrn_40_2->MobileNetV2": _dkd_ls(2.0, 15.0, 2.0),
        "vgg13->MobileNetV2": _dkd_ls(3.0, 9.0, 2.0),
        "ResNet50->MobileNetV2": _dkd_ls(2.0, 15.0, 2.0),
    },
    "dist": {"resnet34->resnet18": _DIST_IMAGENET, "resnet50->MobileNetV1": _DIST_IMAGENET},
    # dvlab-research/ReviewKD script/reviewKD.sh; ResNet50 to MobileNetV2 from mdistiller issue 39;
    # ImageNet from mdistiller, which takes the student's stages before the ReLU.
    "reviewkd": {
        "wrn_40_2->wrn_16_2": _review(5.0),
        "wrn_40_2->wrn_40_1": _review(5.0),
        "wrn_40_2->ShuffleV1": _review(5.0),
        "resnet32x4->resnet8x4": _review(5.0),
        "resnet32x4->ShuffleV1": _review(5.0),
        "resnet32x4->ShuffleV2": _review(8.0),
        "resnet56->resnet20": _review(0.6),
        "resnet110->resnet32": _review(1.0),
        "ResNet50->MobileNetV2": _review(30.0),
        **{
            pair: dict(
                reviewkd=dict(
                    weight=weight,
                    warmup_epochs=1,
                    features=(*(f"stage{i}_pre" for i in (1, 2, 3, 4)), "pooled"),
                )
            )
            for pair, weight in (("resnet34->resnet18", 1.0), ("resnet50->MobileNetV1", 8.0))
        },
    },
    # mdistiller configs/imagenet: 0.0001.
    "ofd": {
        "resnet34->resnet18": dict(ofd=dict(weight=1e-4)),
        "resnet50->MobileNetV1": dict(ofd=dict(weight=1e-4)),
    },
    "nkd": {"resnet34->resnet18": _NKD_IMAGENET, "resnet50->MobileNetV1": _NKD_IMAGENET},
    "wsld": {"resnet34->resnet18": _WSLD_IMAGENET, "resnet50->MobileNetV1": _WSLD_IMAGENET},
}
"""Method -> "teacher->student" -> term -> settings that replace those in METHODS."""
