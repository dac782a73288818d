"""Every method of METHODS, trained: Fashion-MNIST at 14 x 14 pixels, one pair of networks.

A table of ours: 12,000 training images, all test images, eight epochs, five seeds. What that can
and cannot show is said in `docs/tables.md`; the papers' tables are of 240 epochs on CIFAR-100 or of
ImageNet. `kd_ibp`, `ibp`, `crown_ibp`, `ard`, `rslad` and `iad` train for proofs and against
attacks, and are in `experiments/verified.py`.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/methods.py
    uv run kd table experiments/methods.py:smoke  # in miniature
    uv run kd table experiments/methods.py:images=60000  # on all training images

On all training images are the five best methods of the 12,000, and those that are worse than labels
with the papers' weights. Five seeds in one program. Budgets are minutes on one CPU core; the runs
on 12,000 images took two and a quarter hours in total, those on all images nearly four.
"""

from configs.arguments import check_known

FAMILY = {
    "labels": "labels",
    "KD": "kd",
    "labels, strong recipe": dict(method="labels", strong=True),
    "the same, twice as long": dict(method="labels", strong=True, epochs=16),
    "AT": "at",
    "FitNet": "fitnet",
    "CRD": "crd",
    "DKD": "dkd",
    "ReviewKD": "reviewkd",
    "SimKD": "simkd",
    "DIST": "dist",
    "EnD2 (three teachers)": "end2",
    "factor transfer": "ft",
    "CWD": "cwd",
    "NST": "nst",
    "MGD": "mgd",
    "OFD": "ofd",
    "KD, standardized logits": "kd_ls",
    "DKD, standardized logits": "dkd_ls",
    "squared distance of logits": "logit_mse",
    "hard labels of the teacher": "hard_label",
    "FitNet in two stages": "fitnet_second",
    "AB": "ab",
    "SP": "sp",
    "CC": "cc",
    "VID": "vid",
    "RKD": "rkd",
    "PKT": "pkt",
    "CRD and KD": "crd_kd",
    "NKD": "nkd",
    "WSLD": "wsld",
    "TTM": "ttm",
    "WTTM": "wttm",
    "CTKD": "ctkd",
    "MLKD": "mlkd",
    "SRRL": "srrl",
    "SemCKD": "semckd",
    "SRD": "srd",
    "ICKD": "ickd",
    "OFA": "ofa",
    "embedding": "embedding",
    "Tf-KD, itself": "tf_kd_self",
    "Tf-KD, virtual teacher": "tf_kd_reg",
    "PS-KD": "pskd",
    "CA-MKD (three teachers)": "camkd",
    "Hydra (three teachers)": "hydra",
    "class weights": "weighted_ce",
    "focal loss": "focal",
}
"""Row -> method, or arguments of the config."""

CHOSEN = {
    "AT, a hundredth of the weight": dict(method="at", weight=0.01),
    "FitNet, a hundredth of the weight": dict(method="fitnet", weight=0.01),
    "NST, a hundredth of the weight": dict(method="nst", weight=0.01),
    "OFD, a hundredth of the weight": dict(method="ofd", weight=0.01),
    "factor transfer, a tenth of the weight": dict(method="ft", weight=0.1),
    "CWD, a tenth of the weight": dict(method="cwd", weight=0.1),
    "ReviewKD, a tenth of the weight": dict(method="reviewkd", weight=0.1),
    "MLKD, a tenth of the weight": dict(method="mlkd", weight=0.1),
    "MGD, ten times the weight": dict(method="mgd", weight=10.0),
}
"""Row -> method and factor of its weight, the best one of a first run of
`experiments/methods_choices.py`.
"""

WIDE = {"labels": "labels", "KD": "kd", "FSP": "fsp"}
"""Row -> method, of a student of the teacher's widths, which FSP needs."""

OTHER = {
    "labels": "labels",
    "KD": "kd",
    "CRD": "crd",
    "DKD": "dkd",
    "DIST": "dist",
    "KD, standardized logits": "kd_ls",
    "SRRL": "srrl",
    "SP": "sp",
    "CC": "cc",
    "RKD": "rkd",
    "PKT": "pkt",
    "VID": "vid",
}
"""Row -> method, of a student of another family: the papers have tables of such pairs."""

FULL = {
    "labels": 3,
    "KD": 4,
    "labels, strong recipe": 3,
    "the same, twice as long": 5,
    "WTTM": 4,
    "DIST": 4,
    "SRD": 8,
    "SemCKD": 60,
    "CRD and KD": 100,
    "AT": 8,
    "FitNet": 6,
    "SimKD": 8,
    "EnD2 (three teachers)": 5,
    "factor transfer": 10,
    "CWD": 8,
    "NST": 10,
    "MLKD": 15,
    "Tf-KD, itself": 4,
    "PS-KD": 4,
}
"""Row -> minutes, on all training images: the five best methods, and those worse than labels."""

ALONE = ("labels", "tf_kd_reg", "pskd", "weighted_ce", "focal")
"""Methods without a teacher to agree with."""

SMOKE = ("labels", "KD", "AT", "FSP", "Hydra (three teachers)")

COLUMNS = {
    "accuracy": {},
    "vs labels": dict(contrast="labels"),
    "vs KD": dict(contrast="KD"),
    "agreement": dict(metric="agreement"),
    "KL": dict(metric="kl"),
    "NLL": dict(metric="nll"),
    "ECE": dict(metric="ece"),
    "time of an update / KD": dict(metric="update_time", over="KD"),
}


def get_experiment(arg=None):
    if arg:
        check_known("argument", arg, ("smoke", "images=60000"))
    smoke, full = arg == "smoke", arg == "images=60000"
    common = {"smoke": True} if smoke else {"images": 60000} if full else {}
    budget = lambda name: FULL[name] if full else 1
    names = SMOKE if smoke else FULL if full else None
    chosen = lambda rows: {k: v for k, v in rows.items() if names is None or k in names}
    table = lambda title, methods, **args: dict(
        title=title,
        columns=COLUMNS,
        args=args,
        rows={name: row(of, budget(name)) for name, of in chosen(methods).items()},
    )
    family = table("Students of the teacher's family, 8, 16 and 32 channels", FAMILY | CHOSEN)
    wide = table("Students of the teacher's widths, one convolution a stage", WIDE, student="wide")
    other = table("Students of another family, layers of 64 units", OTHER, student="mlp")
    teachers = dict(
        title="Teachers, 16, 32 and 64 channels, two convolutions in each stage",
        args=dict(role="teacher"),
        seeds=3,
        budget=20 if full else 5,
        rows={"teacher": {}, "ensemble": dict(metric="accuracy(ensemble=True)")},
    )
    every = "12,000 training images, every method"
    images = "60,000 training images, the best and the worst methods" if full else every
    return dict(
        title=f"Fashion-MNIST at 14 x 14, {images} (ours)",
        note=(
            "In miniature: these numbers mean nothing."
            if smoke
            else "Settings are the papers', schedules in proportion to eight epochs. "
            "Updates are compared by processor time; KD's teacher computes its logits once. Strong "
            "recipe: smoothed labels and mixed images."
        ),
        config="configs/fashion_methods.py",
        args=common,
        seeds=2 if smoke else 5,
        tables=[family, teachers] if full else [family, wide, other, teachers],
    )


def row(of, budget):
    """The settings of the row of a method, or of arguments that name one."""
    args = of if isinstance(of, dict) else dict(method=of)
    cells = dict.fromkeys(("agreement", "KL")) if args["method"] in ALONE else {}
    return dict(args=args, budget=budget, cells=cells)
