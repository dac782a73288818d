"""Methods of distillation: their settings with sources, and what else a config needs for them."""

from typing import Any

from configs.arguments import check_known
from configs.pairs import PAIRS

# The section `objective` of each method. Numbers without a comment are those of RepDistiller's
# scripts (scripts/run_cifar_distill.sh: -r is the weight of cross entropy, -a that of KD at T = 4,
# -b that of the method), with which the tables of CRD (Tian et al. 2020, Table 1) and all later
# ones on CIFAR-100 were made. What papers tuned per pair of networks is in configs/pairs.py.


def _with(weight: float, name: str, **settings: Any) -> dict[str, Any]:
    """Cross entropy with weight 1 and one more term, as in most tables."""
    term = name.partition(".")[0]
    return dict(ce=dict(name="ce.CE"), **{term: dict(name=name, weight=weight, **settings)})


def _with_kd(weight: float, name: str, **settings: Any) -> dict[str, Any]:
    """`_with` and KD at T = 4 with weight 1, as in all comparisons of Chen et al. (2022, SimKD)."""
    kd = dict(name="kd.KD", weight=1.0, temperature=4.0)
    return dict(_with(weight, name, **settings), kd=kd)


LABELS = dict(ce=dict(name="ce.CE"))

METHODS: dict[str, dict[str, Any]] = {
    "labels": LABELS,
    "kd": dict(
        ce=dict(name="ce.CE", weight=0.1), kd=dict(name="kd.KD", weight=0.9, temperature=4.0)
    ),
    # In no table. Weight 0.5: at high temperature KD's gradient is half that of the squared
    # distance.
    "logit_mse": _with(0.5, "kd.LogitMSE"),
    # Touvron et al. 2021 (DeiT), Eq. 3: equal weights.
    "hard_label": dict(ce=dict(name="ce.CE", weight=0.5), kd=dict(name="kd.HardLabel", weight=0.5)),
    # Sun et al. 2024, tools/train.py and the names of the published logs: CE 0.1; weight and base
    # temperature are tuned per pair.
    "kd_ls": dict(
        ce=dict(name="ce.CE", weight=0.1),
        kd=dict(name="kd.KD", weight=9.0, temperature=2.0, standardize=True),
    ),
    # mdistiller configs/cifar100/dkd: CE 1, alpha 1, T 4, 20 epochs of warm-up, beta per pair. Beta
    # 8 for pairs that the authors did not run ("1, 8, 4 for CIFAR-100", mdistiller issue 49).
    "dkd": _with(1.0, "dkd.DKD", alpha=1.0, beta=8.0, temperature=4.0, warmup_epochs=20),
    # Sun et al. 2024: the weight multiplies both alpha = 1 and beta. Weight, beta and base
    # temperature are tuned per pair.
    "dkd_ls": _with(
        9.0, "dkd.DKD", alpha=1.0, beta=8.0, temperature=2.0, warmup_epochs=20, standardize=True
    ),
    # hunto/image_classification_sota configs/strategies/distill/dist_cifar.yaml: T 4 on CIFAR,
    # weight 2.
    "dist": _with(2.0, "dist.DIST", temperature=4.0, beta=1.0, gamma=1.0),
    "fitnet": _with(100.0, "fitnet.FitNet", feature="stage2"),
    # Romero et al. 2015 train in two runs: first the layers up to the hint, then H(y, p) + lambda
    # H(p_t, p) at T = 3 with lambda from 4 to 1 (their section on CIFAR). Their H has no factor
    # T^2, so it is a ninth of `kd.distill_kl`.
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
    # Two runs, see FIRST: the second starts from the first run's student and has cross entropy
    # only.
    "fsp_first": dict(fsp=dict(name="fsp.FSP")),
    "fsp": LABELS,
    "ab_first": dict(ab=dict(name="ab.AB", margin=1.0)),
    "ab": LABELS,
    # The second run takes over the paraphraser of the first.
    "ft_first": dict(ft=dict(name="ft.Paraphraser", rate=0.5)),
    "ft": _with(200.0, "ft.FT", rate=0.5),
    "crd": _with(0.8, "crd.CRD", dim=128, num_negatives=16384, temperature=0.07, momentum=0.5),
    "crd_kd": _with_kd(
        0.8, "crd.CRD", dim=128, num_negatives=16384, temperature=0.07, momentum=0.5
    ),
    # mdistiller configs/cifar100/reviewkd.yaml. Weights per pair are from dvlab-research/ReviewKD,
    # which trained with batch size 128, learning rate 0.1 and Nesterov momentum.
    "reviewkd": _with(5.0, "reviewkd.ReviewKD", warmup_epochs=20),
    # yzd-v/cls_KD configs/distillers/cifar100/res34_distill_res18_cifar.py.
    "nkd": _with(1.0, "nkd.NKD", gamma=3.5, temperature=3.0),
    "wsld": _with(2.25, "wsld.WSLD", temperature=4.0),
    # zkxufo/TTM README: vgg13 to vgg8. WTTM's weight there is that of WTTM combined with CRD.
    "ttm": _with(45.0, "ttm.TTM", exponent=0.1),
    "wttm": _with(4.0, "ttm.WTTM", exponent=0.2),
    # zhengli97/CTKD scripts/run_cifar_distill.sh.
    "ctkd": dict(
        ce=dict(name="ce.CE", weight=0.1),
        ctkd=dict(name="ctkd.CTKD", weight=0.9, lowest=1.0, span=20.0, epochs=10),
    ),
    # Jin-Ying/Multi-Level-Logit-Distillation: CE 0.1 on each of two views (SECOND_VIEW), hence 0.2
    # here, where `ce` is the mean over views; weight 0.9. The published numbers need 480 epochs and
    # learning rate 0.025.
    "mlkd": dict(
        ce=dict(name="ce.CE", weight=0.2),
        mlkd=dict(name="mlkd.MLKD", weight=0.9, temperatures=(2.0, 3.0, 4.0, 5.0, 6.0)),
    ),
    # mdistiller engine/cfg.py; clovaai/overhaul-distillation also divides by 1000.
    "ofd": _with(1e-3, "ofd.OFD"),
    # DefangChen/SimKD scripts/run_distill.sh.
    "srrl": _with_kd(1.0, "srrl.SRRL"),
    # The authors train without labels: -c 0 -d 0 -b 1.
    "simkd": dict(simkd=dict(name="simkd.SimKD")),
    "semckd": _with_kd(400.0, "semckd.SemCKD", softness=1.0),
    # torchdistill's SRDLoss (ImageNet): the logarithm with weight 2, and KD at T = 1.
    "srd": dict(
        _with(2.0, "srd.SRD", exponent=4.0), kd=dict(name="kd.KD", weight=1.0, temperature=1.0)
    ),
    # yzd-v/MGD cls: alpha_mgd and lambda_mgd (ImageNet).
    "mgd": _with(7e-5, "mgd.MGD", masked=0.15),
    # Shu et al. 2021, section 4: weight 50 and T = 4 for feature maps (segmentation).
    "cwd": _with(50.0, "cwd.CWD", temperature=4.0),
    # ADLab-AutoDrive/ICKD Cifar100/train_student.sh.
    "ickd": _with(4.0, "ickd.ICKD"),
    # Yuan et al. 2020, with a run of the student's own network as the teacher (`teacher` and
    # `student` have the same name). Their weight and temperature, tuned per network, were not
    # available: these are of the size that their public code shows.
    "tf_kd_self": dict(
        ce=dict(name="ce.CE", weight=0.1), kd=dict(name="kd.KD", weight=0.9, temperature=20.0)
    ),
    # The same paper without a teacher: alpha 0.1 and T 20 as in its public code, without the
    # `multiplier`, which they tuned per network.
    "tf_kd_reg": dict(
        ce=dict(name="ce.CE", weight=0.9),
        tfkd=dict(name="tfkd.VirtualTeacher", weight=0.1, correct=0.99, temperature=20.0),
    ),
    # Kim et al. 2021, section 4: alpha grows with the epoch, to 0.8.
    "pskd": dict(
        ce=dict(name="ce.CE", weight=dict(name="by_epoch", start=1.0, end=0.2)),
        pskd=dict(name="pskd.PSKD", weight=dict(name="by_epoch", end=0.8)),
    ),
    # Hao840/OFAKD train.py: all weights 1, T 1, exponent 1; 1.5 in its ImageNet command.
    "ofa": _with(1.0, "ofa.OFA", exponent=1.0, temperature=1.0),
    # Rorozhl/CA-MKD scripts/run.sh, with teacher.reduce = "confidence": CE 1, and KD 1 at T = 4
    # with three teachers; the code divides by their number. Without its loss on features (weight
    # 50).
    "camkd": _with(1 / 3, "kd.KD", temperature=4.0),
    # KaosEngineer/PriorNetworks: no labels; T = 10 for 30 epochs, then down to 1 over 60 epochs. It
    # spreads a thousandth of each prediction over the classes, and clips the gradient's norm at 10.
    "end2": dict(end2=dict(name="end2.END2", temperature=10.0, hold=30, epochs=60, smoothing=1e-3)),
    # Tran et al. 2020 train without labels: each head learns from its teacher.
    "hydra": dict(hydra=dict(name="hydra.Hydra", temperature=1.0)),
    # For rare classes; gamma of Lin et al. 2017, section 5.1.
    "weighted_ce": dict(ce=dict(name="weighted_ce.WeightedCE", class_weights="balanced")),
    "focal": dict(focal=dict(name="focal.Focal", gamma=2.0)),
    # CROWN-IBP's config/cifar_dm-large_8_255.json: radius 8, after a tenth of the training a ramp
    # over half of it, kappa from 1 to 0.5 and beta from 1 to 0. It trains for 3200 epochs.
    "ibp": dict(ibp=dict(name="ibp.IBP", radius=8.0, nominal=0.5, start=24, ramp=120)),
    "crown_ibp": dict(
        ibp=dict(name="ibp.CROWNIBP", radius=8.0, nominal=0.5, linear=0.0, start=24, ramp=120)
    ),
    # In no paper: KD with IBP beside it, as in experiments/verified.py.
    "kd_ibp": dict(
        ce=dict(name="ce.CE", weight=0.1),
        kd=dict(name="kd.KD", weight=0.9, temperature=4.0),
        ibp=dict(name="ibp.IBP", radius=8.0, nominal=0.5, start=24, ramp=120),
    ),
    # goldblum/AdversariallyRobustDistillation main.py: alpha 1, so no cross entropy, and T = 30.
    "ard": dict(ard=dict(name="ard.ARD", temperature=30.0, radius=8.0, step=2.0, steps=10)),
    # zibojia/RSLAD: 5/6 under attack and 1/6 at the images, T = 1.
    "rslad": dict(
        kd=dict(name="kd.KD", weight=1 / 6, temperature=1.0),
        rslad=dict(name="rslad.RSLAD", weight=5 / 6, radius=8.0, step=2.0, steps=10),
    ),
    # ZFancy/IAD IAD-I.py: T = 1, beta 0.1 after 60 of 200 epochs.
    "iad": dict(
        iad=dict(name="iad.IAD", exponent=0.1, begin=72, radius=8.0, step=2.0, steps=10),
    ),
    # In no paper: labels beside an embedding, which alone trains no classifier.
    "embedding": dict(ce=dict(name="ce.CE"), embedding=dict(name="embedding.Embedding")),
}

SEVERAL = {"camkd": 3, "end2": 5, "hydra": 5}
"""Methods that learn from each member of an ensemble -> default number of members."""

REDUCE = {"camkd": "confidence"}
"""Methods that need one reduction of the ensemble -> `config.teacher.reduce`."""

TEACHER_FREE = ("labels", "weighted_ce", "focal", "tf_kd_reg", "pskd", "ibp", "crown_ibp")
"""Methods without a teacher."""

SECOND_VIEW = {"mlkd": "crop(4)|flip|rand_augment(2)"}
"""Methods that compare two views of each image -> `config.second_view` on CIFAR."""

DROP_LAST = ("semckd",)
"""Methods that need batches of equal size: they drop an epoch's short last batch, as the authors
do (`config.drop_last`).
"""

CLIP_NORM = {"end2": 10.0}
"""Methods whose gradients are too large without a limit -> `config.optimizer.clip_norm`, as in
their public code.
"""

FIRST = {"fsp": "fsp_first", "ab": "ab_first", "ft": "ft_first", "fitnet_second": "fitnet_first"}
"""Methods that take two runs: method of the second run -> method of the first."""


def complete(c: Any, name: str, second_view: str = "") -> None:
    """Gives a config what a method needs beyond its objective: clipping, batches, a second view.

    Args:
      c: the config to change, with its optimizer.
      name: the method.
      second_view: that of the data, if the method compares two views; "": that of CIFAR.
    """
    if name in CLIP_NORM:
        c.optimizer.clip_norm = CLIP_NORM[name]
    if name in DROP_LAST:
        c.drop_last = True
    if name in SECOND_VIEW:
        c.second_view = second_view or SECOND_VIEW[name]


def first_run(c: Any, name: str) -> None:
    """Changes a config into that of a method's first run.

    It has an eighth of the epochs (RepDistiller: 30 of 240) and a constant learning rate. Romero et
    al. train only the layers up to the hint; without weight decay those above do not change.

    Args:
      c: the config to change.
      name: the method of the first run, a value of FIRST.
    """
    c.epochs = max(1, round(c.epochs / 8))
    c.schedule = dict(name="constant")
    if name == "fitnet_first":
        c.optimizer.weight_decay = 0.0


def taken_over(name: str, beyond: tuple[str, ...]) -> str:
    """`config.init.take` of a second run: the variables that it takes over from the first.

    Factor transfer takes over the paraphraser only, FitNets the student. FSP and AB take over the
    student without the layers after its last stage: these get no gradient in the first run, but do
    decay with the others. RepDistiller does not train them in the first run.

    Args:
      name: the method of the second run, a key of FIRST.
      beyond: names of the student's layers after its last stage.
    """
    if name == "ft":
        return "^objective/"
    if name == "fitnet_second":
        return "^student/"
    return f"^student/(?!({'|'.join(beyond)})/)"


DEPLOYED: dict[str, str] = {"simkd": "simkd.SimKD"}
"""Methods that deploy more than the student -> the network in kd/models that wraps it."""


def deployed(
    name: str, teacher: dict[str, Any], student: dict[str, Any], members: int = 1
) -> dict[str, Any]:
    """The section `student` of a method: the student, wrapped if the method deploys more than it.

    Args:
      name: the method.
      teacher: the section of the teacher's network.
      student: the section of the student's network.
      members: members of the teacher's ensemble; Hydra has a head for each.
    """
    if name == "hydra":
        return dict(name="hydra.Hydra", student=student, heads=members)
    if name not in DEPLOYED:
        return student
    return dict(name=DEPLOYED[name], student=student, teacher=teacher)


def method(name: str, teacher: str, student: str) -> dict[str, Any]:
    """The section `objective` of a method: METHODS, updated by PAIRS for a pair of networks.

    Args:
      name: the method, a key of METHODS.
      teacher: name of the teacher's network, as in PAIRS; "" for the settings without a pair.
      student: name of the student's network.

    Raises:
      ValueError: if the method is unknown. The message lists the known ones.
    """
    check_known("method", name, METHODS)
    section = {term: dict(spec) for term, spec in METHODS[name].items()}
    for term, settings in PAIRS.get(name, {}).get(f"{teacher}->{student}", {}).items():
        section[term].update(settings)
    return section
