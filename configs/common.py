"""What config files share: their arguments, naming one another, and the settings of each method
with their sources.
"""

import difflib
from typing import Any


def parse_arg(arg: str | None, **defaults: Any) -> dict[str, Any]:
    """Options of a config file from its argument, `FILE.py:key=value,key=value`.

    Each option has the type of its default: bool (a bare `key` means True), int, float or str.

    Raises:
      ValueError: an unknown option, or a value that is not of the default's type.
    """
    options = dict(defaults)
    for part in filter(None, (arg or "").split(",")):
        key, given, value = part.partition("=")
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown argument {key!r}.{hint} Known: {', '.join(defaults)}.")
        kind = type(defaults[key])
        try:
            options[key] = _boolean(value or "1") if kind is bool else kind(value)
        except ValueError:
            raise ValueError(f"argument {part!r}: expected {key}={kind.__name__}.") from None
        if not given and kind is not bool:
            raise ValueError(f"argument {key!r} needs a value, {key}=....")
    return options


def reference(file: str, options: dict[str, Any], defaults: dict[str, Any], **changes: Any) -> str:
    """`FILE.py:key=value,...` for the same options but for the changes; those at their default are
    left out.
    """
    new = {**options, **changes}
    given = [f"{key}={new[key]}" for key in new if new[key] != defaults[key]]
    return file + (":" + ",".join(given) if given else "")


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "0": False, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


# Sections `objective`, by method. What papers tune per pair of networks is in PAIRS. Unless said
# otherwise a number is that of RepDistiller's scripts (scripts/run_cifar_distill.sh: -r weighs
# cross entropy, -a KD at T = 4, -b the method), which the tables of CRD (Tian et al. 2020, Table 1)
# and all later ones on CIFAR-100 were made with.


def _with(weight: float, name: str, **settings: Any) -> dict[str, Any]:
    """Cross entropy of weight 1 beside one term, as most tables ran."""
    term = name.partition(".")[0]
    return dict(ce=dict(name="ce.CE"), **{term: dict(name=name, weight=weight, **settings)})


def _with_kd(weight: float, name: str, **settings: Any) -> dict[str, Any]:
    """The same and KD at T = 4 of weight 1, as Chen et al. (2022, SimKD) ran all they compare."""
    kd = dict(name="kd.KD", weight=1.0, temperature=4.0)
    return dict(_with(weight, name, **settings), kd=kd)


LABELS = dict(ce=dict(name="ce.CE"))

METHODS: dict[str, dict[str, Any]] = {
    "labels": LABELS,
    "kd": dict(
        ce=dict(name="ce.CE", weight=0.1), kd=dict(name="kd.KD", weight=0.9, temperature=4.0)
    ),
    # No table has it: weight as KD's at high temperature, whose gradient is 1 / 2 of the squared
    # distance's.
    "logit_mse": _with(0.5, "kd.LogitMSE"),
    # Touvron et al. 2021 (DeiT), Eq. 3: half and half.
    "hard_label": dict(ce=dict(name="ce.CE", weight=0.5), kd=dict(name="kd.HardLabel", weight=0.5)),
    # Sun et al. 2024, tools/train.py and the names of the published logs: CE 0.1, weight and base
    # temperature per pair.
    "kd_ls": dict(
        ce=dict(name="ce.CE", weight=0.1),
        kd=dict(name="kd.KD", weight=9.0, temperature=2.0, standardize=True),
    ),
    # mdistiller configs/cifar100/dkd: CE 1, alpha 1, T 4, 20 epochs of warm-up, beta per pair; 8
    # where the authors ran none ("1, 8, 4 for CIFAR-100", mdistiller issue 49).
    "dkd": _with(1.0, "dkd.DKD", alpha=1.0, beta=8.0, temperature=4.0, warmup_epochs=20),
    # Sun et al. 2024: alpha 1 and beta both times the weight, T the base temperature, per pair.
    "dkd_ls": _with(
        9.0, "dkd.DKD", alpha=1.0, beta=8.0, temperature=2.0, warmup_epochs=20, standardize=True
    ),
    # hunto/image_classification_sota configs/strategies/distill/dist_cifar.yaml: T 4 on CIFAR,
    # weight 2.
    "dist": _with(2.0, "dist.DIST", temperature=4.0, beta=1.0, gamma=1.0),
    "fitnet": _with(100.0, "fitnet.FitNet", feature="stage2"),
    # Romero et al. 2015 train in two runs: up to the hint, then H(y, p) + lambda H(p_t, p) at T = 3
    # with lambda from 4 to 1 (their section on CIFAR). H at T is a ninth of `kd.distill_kl`, whose
    # T^2 it lacks.
    "fitnet_first": dict(fitnet=dict(name="fitnet.FitNet", feature="stage2")),
    "fitnet_second": dict(
        ce=dict(name="ce.CE"),
        kd=dict(
            name="kd.KD",
            weight=dict(name="linear", start=4.0, end=1.0, over=240.0, value=1 / 9),
            temperature=3.0,
        ),
    ),
    "at": _with(1000.0, "at.AT"),
    "sp": _with(3000.0, "sp.SP"),
    "cc": _with(0.02, "cc.CC", width=128),
    "vid": _with(1.0, "vid.VID", variance=5.0, eps=1e-5),
    "rkd": _with(1.0, "rkd.RKD", distance=25.0, angle=50.0),
    "pkt": _with(30000.0, "pkt.PKT"),
    "nst": _with(50.0, "nst.NST"),
    # Two runs, see FIRST: the second starts from the first one's student, with cross entropy alone.
    "fsp_first": dict(fsp=dict(name="fsp.FSP")),
    "fsp": LABELS,
    "ab_first": dict(ab=dict(name="ab.AB", margin=1.0)),
    "ab": LABELS,
    # The second takes over the paraphraser.
    "ft_first": dict(ft=dict(name="ft.Paraphraser", rate=0.5)),
    "ft": _with(200.0, "ft.FT", rate=0.5),
    "crd": _with(0.8, "crd.CRD", dim=128, num_negatives=16384, temperature=0.07, momentum=0.5),
    "crd_kd": _with_kd(
        0.8, "crd.CRD", dim=128, num_negatives=16384, temperature=0.07, momentum=0.5
    ),
    # mdistiller configs/cifar100/reviewkd.yaml; weights per pair from dvlab-research/ReviewKD,
    # which trained with batch 128, learning rate 0.1 and Nesterov momentum.
    "reviewkd": _with(5.0, "reviewkd.ReviewKD", warmup_epochs=20),
    # yzd-v/cls_KD configs/distillers/cifar100/res34_distill_res18_cifar.py.
    "nkd": _with(1.0, "nkd.NKD", gamma=3.5, temperature=3.0),
    "wsld": _with(2.25, "wsld.WSLD", temperature=4.0),
    # zkxufo/TTM README: vgg13 to vgg8. WTTM's weight is that of its combination with CRD there.
    "ttm": _with(45.0, "ttm.TTM", exponent=0.1),
    "wttm": _with(4.0, "ttm.WTTM", exponent=0.2),
    # zhengli97/CTKD scripts/run_cifar_distill.sh.
    "ctkd": dict(
        ce=dict(name="ce.CE", weight=0.1),
        ctkd=dict(name="ctkd.CTKD", weight=0.9, lowest=1.0, span=20.0, epochs=10),
    ),
    # Jin-Ying/Multi-Level-Logit-Distillation: CE 0.1 on each of two views (SECOND_VIEW), of which
    # `ce` is the mean; weight 0.9. Wants 480 epochs and learning rate 0.025 for its numbers.
    "mlkd": dict(
        ce=dict(name="ce.CE", weight=0.2),
        mlkd=dict(name="mlkd.MLKD", weight=0.9, temperatures=(2.0, 3.0, 4.0, 5.0, 6.0)),
    ),
    # mdistiller engine/cfg.py; clovaai/overhaul-distillation divides by 1000 too.
    "ofd": _with(1e-3, "ofd.OFD"),
    # DefangChen/SimKD scripts/run_distill.sh.
    "srrl": _with_kd(1.0, "srrl.SRRL"),
    # The authors use no labels: -c 0 -d 0 -b 1.
    "simkd": dict(simkd=dict(name="simkd.SimKD")),
    "semckd": _with_kd(400.0, "semckd.SemCKD", softness=1.0),
    # torchdistill's SRDLoss: twice the logarithm, and the divergence at T = 1 (ImageNet).
    "srd": dict(
        _with(2.0, "srd.SRD", exponent=4.0), kd=dict(name="kd.KD", weight=1.0, temperature=1.0)
    ),
    # yzd-v/MGD cls: alpha_mgd and lambda_mgd (ImageNet).
    "mgd": _with(7e-5, "mgd.MGD", masked=0.15),
    # Shu et al. 2021, section 4: weight 50 and T 4 for feature maps (segmentation).
    "cwd": _with(50.0, "cwd.CWD", temperature=4.0),
    # ADLab-AutoDrive/ICKD Cifar100/train_student.sh.
    "ickd": _with(4.0, "ickd.ICKD"),
    # Yuan et al. 2020, from a run of the student itself (`teacher` and `student` of the same name);
    # weight and temperature, which they tuned per network, are not at hand: these are of the size
    # that their public code shows.
    "tf_kd_self": dict(
        ce=dict(name="ce.CE", weight=0.1), kd=dict(name="kd.KD", weight=0.9, temperature=20.0)
    ),
    # The same paper without any teacher: alpha 0.1 and T 20 as in its public code, whose
    # `multiplier`, tuned per network, is left out.
    "tf_kd_reg": dict(
        ce=dict(name="ce.CE", weight=0.9),
        tfkd=dict(name="tfkd.VirtualTeacher", weight=0.1, correct=0.99, temperature=20.0),
    ),
    # Kim et al. 2021, section 4: alpha grows to 0.8 with the epoch.
    "pskd": dict(
        ce=dict(name="ce.CE", weight=dict(name="by_epoch", start=1.0, end=0.2)),
        pskd=dict(name="pskd.PSKD", weight=dict(name="by_epoch", end=0.8)),
    ),
    # Hao840/OFAKD train.py: all weights 1, T 1, exponent 1; 1.5 in its ImageNet command.
    "ofa": _with(1.0, "ofa.OFA", exponent=1.0, temperature=1.0),
    # Rorozhl/CA-MKD scripts/run.sh with teacher.reduce = "confidence": CE 1, and KD 1 at T = 4 of
    # three teachers, whose number the code divides by. Without its loss on features (weight 50).
    "camkd": _with(1 / 3, "kd.KD", temperature=4.0),
    # KaosEngineer/PriorNetworks-EnD2: no labels, T from 10 down to 1 over 60 epochs after 30; clips
    # the gradient's norm at 10.
    "end2": dict(end2=dict(name="end2.END2", temperature=10.0, hold=30, epochs=60)),
    # Tran et al. 2020 learn from the heads' teachers alone.
    "hydra": dict(hydra=dict(name="hydra.Hydra", temperature=1.0)),
}

SEVERAL = {"camkd": 3, "end2": 5, "hydra": 5}
"""Methods that learn from the members of an ensemble, and of how many where nothing else is said.
"""

REDUCE = {"camkd": "confidence"}
"""Methods that are one of the reductions of an ensemble (config.teacher.reduce)."""


TEACHER_FREE = ("labels", "tf_kd_reg", "pskd")
"""Methods whose runs have no teacher."""


def _kd_ls(temperature: float, weight: float) -> dict[str, Any]:
    return dict(kd=dict(temperature=temperature, weight=weight))


def _dkd_ls(temperature: float, weight: float, beta: float) -> dict[str, Any]:
    return dict(dkd=dict(temperature=temperature, weight=weight, beta=beta))


def _dkd(beta: float) -> dict[str, Any]:
    return dict(dkd=dict(beta=beta))


def _review(weight: float) -> dict[str, Any]:
    return dict(reviewkd=dict(weight=weight))


# Of ImageNet: 100 epochs, cross entropy and method as mdistiller's configs/imagenet have them
# unless said otherwise.
_KD_IMAGENET = dict(ce=dict(weight=0.5), kd=dict(weight=0.5, temperature=1.0))
_DIST_IMAGENET = dict(dist=dict(temperature=1.0))  # Huang et al. 2022, dist.yaml
_NKD_IMAGENET = dict(nkd=dict(gamma=1.5, temperature=1.0))  # yzd-v/cls_KD nkd.md
_WSLD_IMAGENET = dict(wsld=dict(weight=2.5, temperature=2.0))  # the authors' code

PAIRS: dict[str, dict[str, dict[str, Any]]] = {
    "kd": {"resnet34->resnet18": _KD_IMAGENET, "resnet50->MobileNetV1": _KD_IMAGENET},
    # Names of the logs published with logit-standardization-KD.
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
    # Names of the logs published with logit-standardization-KD.
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
    # ImageNet from mdistiller, where the student's stages count before the ReLU.
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


SECOND_VIEW = {"mlkd": "crop(4)|flip|rand_augment(2)"}
"""Methods that compare two views of each image: how the second is augmented on CIFAR
(config.second_view).
"""

DROP_LAST = ("semckd",)
"""Methods that take batches of one size alone: the short last one of an epoch is left out, as the
authors do (config.drop_last).
"""

FIRST = {"fsp": "fsp_first", "ab": "ab_first", "ft": "ft_first", "fitnet_second": "fitnet_first"}
"""Methods of two runs, by the second: the first, which it starts from."""


def first_run(c: Any, name: str) -> None:
    """Makes a config that of a method's first run: an eighth of the epochs, at a constant rate
    (RepDistiller: 30 of 240).

    Romero et al. train up to the hint alone. Without weight decay the layers above it stay as they
    are.
    """
    c.epochs = max(1, round(c.epochs / 8))
    c.schedule = dict(name="constant")
    if name == "fitnet_first":
        c.optimizer.weight_decay = 0.0


def taken_over(name: str, beyond: tuple[str, ...]) -> str:
    """`config.init.take` of a second run.

    A student's layers `beyond` its last stage learn nothing in the first run of FSP and AB, but
    decay with all the others: the second starts with fresh ones, as in RepDistiller, which does not
    train them. Of factor transfer the paraphraser alone is taken over.
    """
    if name == "ft":
        return "^objective/"
    if name == "fitnet_second":
        return "^student/"
    return f"^student/(?!({'|'.join(beyond)})/)"


DEPLOYED: dict[str, str] = {"simkd": "simkd.SimKD"}
"""Methods that deploy more than the student: the network of kd/models that wraps it, told of both.
"""


def deployed(
    name: str, teacher: dict[str, Any], student: dict[str, Any], members: int = 1
) -> dict[str, Any]:
    """The section `student` of a method for a pair of sections: the student as it is, as DEPLOYED
    wraps it, or with a head for each of so many members.
    """
    if name == "hydra":
        return dict(name="hydra.Hydra", student=student, heads=members)
    if name not in DEPLOYED:
        return student
    return dict(name=DEPLOYED[name], student=student, teacher=teacher)


def method(name: str, teacher: str, student: str) -> dict[str, Any]:
    """The section `objective` of a method for a pair of networks: METHODS with what PAIRS says of
    that pair.

    Raises:
      ValueError: no such method; it lists those that there are.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown method {name!r}.{hint} Known: {', '.join(METHODS)}.")
    section = {term: dict(spec) for term, spec in METHODS[name].items()}
    for term, changed in PAIRS.get(name, {}).get(f"{teacher}->{student}", {}).items():
        section[term].update(changed)
    return section
