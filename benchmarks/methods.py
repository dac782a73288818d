"""The methods of kd: paper, year, what each needs, and the cost of its step relative to plain KD.

Data of the tables in the documents.
"""

from typing import NamedTuple

from benchmarks import objectives, record


class Method(NamedTuple):
    """A row. The last four are what a method needs, as text; "" for nothing."""

    objectives: tuple[str, ...]  # as a config names them
    methods: tuple[str, ...]  # of configs.common.METHODS
    paper: str
    link: str
    year: int
    logits: str = ""
    features: str = ""
    labels: str = ""
    more: str = ""


ALL = (
    Method(
        ("ce.CE",),
        ("labels",),
        "cross entropy, with label smoothing (Szegedy et al.)",
        "",
        2016,
        labels="yes",
    ),
    Method(
        ("weighted_ce.WeightedCE",),
        ("weighted_ce",),
        "cross entropy with [class weights](data.md#rare-classes)",
        "",
        2001,
        labels="yes",
    ),
    Method(
        ("focal.Focal",),
        ("focal",),
        "Focal loss, Lin et al.",
        "https://arxiv.org/abs/1708.02002",
        2017,
        labels="yes",
    ),
    Method(
        ("kd.KD",),
        ("kd",),
        "Hinton, Vinyals, Dean",
        "https://arxiv.org/abs/1503.02531",
        2015,
        logits="yes",
    ),
    Method(
        ("kd.KD(standardize=True)",),
        ("kd_ls",),
        "logit standardization, Sun et al.",
        "https://arxiv.org/abs/2403.01427",
        2024,
        logits="yes",
    ),
    Method(
        ("kd.LogitMSE",),
        ("logit_mse",),
        "Ba, Caruana",
        "https://arxiv.org/abs/1312.6184",
        2014,
        logits="yes",
    ),
    Method(
        ("kd.HardLabel",),
        ("hard_label",),
        "DeiT, Touvron et al.",
        "https://arxiv.org/abs/2012.12877",
        2021,
        logits="yes",
    ),
    Method(
        ("dkd.DKD",),
        ("dkd", "dkd_ls"),
        "Decoupled KD, Zhao et al.",
        "https://arxiv.org/abs/2203.08679",
        2022,
        logits="yes",
        labels="yes",
    ),
    Method(
        ("dist.DIST",),
        ("dist",),
        "DIST, Huang et al.",
        "https://arxiv.org/abs/2205.10536",
        2022,
        logits="yes, of the batch",
    ),
    Method(
        ("fitnet.FitNet",),
        ("fitnet", "fitnet_first", "fitnet_second"),
        "FitNets, Romero et al.",
        "https://arxiv.org/abs/1412.6550",
        2015,
        features="one stage",
        more="regressor; in one run, or two as in the paper",
    ),
    Method(
        ("at.AT",),
        ("at",),
        "Attention transfer, Zagoruyko, Komodakis",
        "https://arxiv.org/abs/1612.03928",
        2017,
        features="stages",
    ),
    Method(
        ("sp.SP",),
        ("sp",),
        "Similarity-preserving, Tung, Mori",
        "https://arxiv.org/abs/1907.09682",
        2019,
        features="last stage, of the batch",
    ),
    Method(
        ("cc.CC",),
        ("cc",),
        "Correlation congruence, Peng et al.",
        "https://arxiv.org/abs/1904.01802",
        2019,
        features="pooled, of the batch",
        more="two embeddings",
    ),
    Method(
        ("vid.VID",),
        ("vid",),
        "Variational information, Ahn et al.",
        "https://arxiv.org/abs/1904.05835",
        2019,
        features="stages",
        more="regressors, variances",
    ),
    Method(
        ("rkd.RKD",),
        ("rkd",),
        "Relational KD, Park et al.",
        "https://arxiv.org/abs/1904.05068",
        2019,
        features="pooled, of the batch",
    ),
    Method(
        ("pkt.PKT",),
        ("pkt",),
        "Probabilistic transfer, Passalis, Tefas",
        "https://arxiv.org/abs/1803.10837",
        2018,
        features="pooled, of the batch",
    ),
    Method(
        ("nst.NST",),
        ("nst",),
        "Neuron selectivity, Huang, Wang",
        "https://arxiv.org/abs/1707.01219",
        2017,
        features="stages",
    ),
    Method(
        ("fsp.FSP",),
        ("fsp_first", "fsp"),
        "Flow of solution procedure, Yim et al.",
        "https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html",
        2017,
        features="stem and stages, equal widths",
        labels="second run",
        more="two runs",
    ),
    Method(
        ("ab.AB",),
        ("ab_first", "ab"),
        "Activation boundaries, Heo et al.",
        "https://arxiv.org/abs/1811.03233",
        2019,
        features="stages before the ReLU",
        labels="second run",
        more="connectors; two runs",
    ),
    Method(
        ("ft.Paraphraser", "ft.FT"),
        ("ft_first", "ft"),
        "Factor transfer, Kim et al.",
        "https://arxiv.org/abs/1802.04977",
        2018,
        features="last stage",
        more="paraphraser, translator; two runs",
    ),
    Method(
        ("crd.CRD",),
        ("crd", "crd_kd"),
        "Contrastive representation, Tian et al.",
        "https://arxiv.org/abs/1910.10699",
        2020,
        features="pooled",
        labels="yes",
        more="two banks of n x 128, two embeddings",
    ),
    Method(
        ("reviewkd.ReviewKD",),
        ("reviewkd",),
        "Knowledge review, Chen et al.",
        "https://arxiv.org/abs/2104.09044",
        2021,
        features="stages (teacher's before the ReLU), pooled",
        more="fusion blocks",
    ),
    Method(
        ("nkd.NKD",),
        ("nkd",),
        "Normalized KD, Yang et al.",
        "https://arxiv.org/abs/2303.13005",
        2023,
        logits="yes",
        labels="yes",
    ),
    Method(
        ("wsld.WSLD",),
        ("wsld",),
        "Weighted soft labels, Zhou et al.",
        "https://arxiv.org/abs/2102.00650",
        2021,
        logits="yes",
        labels="yes",
    ),
    Method(
        ("ttm.TTM", "ttm.WTTM"),
        ("ttm", "wttm"),
        "Transformed teacher matching, Zheng, Yang",
        "https://arxiv.org/abs/2402.11148",
        2024,
        logits="yes",
    ),
    Method(
        ("ctkd.CTKD",),
        ("ctkd",),
        "Curriculum temperature, Li et al.",
        "https://arxiv.org/abs/2211.16231",
        2023,
        logits="yes",
        more="a temperature",
    ),
    Method(
        ("mlkd.MLKD",),
        ("mlkd",),
        "Multi-level logits, Jin, Wang, Lin",
        "https://openaccess.thecvf.com/content/CVPR2023/html/Jin_Multi-Level_Logit_Distillation_CVPR_2023_paper.html",
        2023,
        logits="yes, of the batch",
        more="two views of each image",
    ),
    Method(
        ("ofd.OFD",),
        ("ofd",),
        "Overhaul of feature distillation, Heo et al.",
        "https://arxiv.org/abs/1904.01866",
        2019,
        features="stages before the ReLU",
        more="connectors; margins, remembered or of the teacher's BatchNorm",
    ),
    Method(
        ("srrl.SRRL",),
        ("srrl",),
        "Softmax regression representation, Yang et al.",
        "https://openreview.net/forum?id=ZzwDy_wiWv",
        2021,
        logits="yes",
        features="pooled",
        more="connector; the teacher's classifier",
    ),
    Method(
        ("simkd.SimKD",),
        ("simkd",),
        "Reused teacher classifier, Chen et al.",
        "https://arxiv.org/abs/2203.14001",
        2022,
        features="last map",
        more="deploys a projector and the teacher's classifier with the student",
    ),
    Method(
        ("srd.SRD",),
        ("srd",),
        "The role of the projector, Miles, Mikolajczyk",
        "https://arxiv.org/abs/2303.11098",
        2024,
        features="pooled, of the batch",
        more="projector",
    ),
    Method(
        ("semckd.SemCKD",),
        ("semckd",),
        "Semantic calibration, Chen et al.",
        "https://arxiv.org/abs/2012.03236",
        2021,
        features="stages, all with all, of the batch",
        more="attention and regressors; one batch size",
    ),
    Method(
        ("mgd.MGD",),
        ("mgd",),
        "Masked generative, Yang et al.",
        "https://arxiv.org/abs/2205.01529",
        2022,
        features="last stage, equal sizes",
        more="generator",
    ),
    Method(
        ("cwd.CWD",),
        ("cwd",),
        "Channel-wise, Shu et al.",
        "https://arxiv.org/abs/2011.13256",
        2021,
        features="last stage, equal sizes",
        more="alignment where widths differ",
    ),
    Method(
        ("ickd.ICKD",),
        ("ickd",),
        "Inter-channel correlation, Liu et al.",
        "https://arxiv.org/abs/2202.03680",
        2021,
        features="last stage",
        more="embedding",
    ),
    Method(
        ("ofa.OFA",),
        ("ofa",),
        "One for all, Hao et al.",
        "https://arxiv.org/abs/2310.19444",
        2023,
        logits="yes",
        features="the student's stages alone",
        labels="yes",
        more="exits",
    ),
    Method(
        ("mutual.Mutual",),
        (),
        "Deep mutual learning, Zhang et al.",
        "https://arxiv.org/abs/1706.00384",
        2018,
        more="a cohort of students; configs/dml.py",
    ),
    Method(
        ("tfkd.VirtualTeacher",),
        ("tf_kd_self", "tf_kd_reg"),
        "Teacher-free KD, Yuan et al.",
        "https://arxiv.org/abs/1909.11723",
        2020,
        labels="yes",
        more="`self`: a run of the student as its teacher",
    ),
    Method(
        ("pskd.PSKD",),
        ("pskd",),
        "Progressive self-distillation, Kim et al.",
        "https://arxiv.org/abs/2006.12000",
        2021,
        labels="yes",
        more="a memory of n x c",
    ),
    Method(
        ("kd.KD",),
        ("camkd",),
        "Confidence-aware multi-teacher, Zhang et al.",
        "https://arxiv.org/abs/2201.00007",
        2022,
        logits="of each member",
        labels="yes",
        more="an ensemble, `teacher.reduce = 'confidence'`",
    ),
    Method(
        ("end2.END2",),
        ("end2",),
        "Ensemble distribution distillation, Malinin et al.",
        "https://arxiv.org/abs/1905.00076",
        2020,
        logits="of each member",
        more="an ensemble",
    ),
    Method(
        ("hydra.Hydra",),
        ("hydra",),
        "Hydra, Tran et al.",
        "https://arxiv.org/abs/2001.04694",
        2020,
        logits="of each member",
        more="an ensemble; deploys a head for each member",
    ),
    Method(
        ("ibp.IBP",),
        ("ibp", "kd_ibp"),
        "Interval bound propagation, Gowal et al.",
        "https://arxiv.org/abs/1810.12715",
        2018,
        labels="yes",
        more="the student as a function; [certificates](#robust-students)",
    ),
    Method(
        ("ibp.CROWNIBP",),
        ("crown_ibp",),
        "CROWN-IBP, Zhang et al.",
        "https://arxiv.org/abs/1906.06316",
        2020,
        labels="yes",
        more="the student as a function; a backward pass per class",
    ),
    Method(
        ("ard.ARD",),
        ("ard",),
        "Adversarially robust distillation, Goldblum et al.",
        "https://arxiv.org/abs/1905.09747",
        2020,
        logits="yes",
        labels="yes",
        more="the student as a function; an attack in each step",
    ),
    Method(
        ("rslad.RSLAD",),
        ("rslad",),
        "Robust soft labels, Zi et al.",
        "https://arxiv.org/abs/2108.07969",
        2021,
        logits="yes",
        more="the student as a function; an attack in each step",
    ),
    Method(
        ("iad.IAD",),
        ("iad",),
        "Introspective adversarial distillation, Zhu et al.",
        "https://arxiv.org/abs/2106.04928",
        2022,
        logits="yes",
        labels="yes",
        more="student and teacher as functions; an attack in each step",
    ),
    Method(
        ("deit.DeiT",),
        (),
        "DeiT, Touvron et al.",
        "https://arxiv.org/abs/2012.12877",
        2021,
        logits="yes",
        labels="yes",
        more="a student with a [distillation token](#transformers)",
    ),
    Method(
        ("minilm.MiniLM",),
        (),
        "MiniLMv2, Wang et al.",
        "https://arxiv.org/abs/2012.15828",
        2021,
        features="queries, keys, values of one block",
        more="two [transformers](#transformers)",
    ),
    Method(
        ("tinybert.TinyBERT",),
        (),
        "TinyBERT, Jiao et al.",
        "https://arxiv.org/abs/1909.10351",
        2020,
        features="attention scores, tokens of the blocks",
        more="two [transformers](#transformers); projector",
    ),
    Method(
        ("embedding.Embedding",),
        ("embedding",),
        "Vectors such as embeddings, by the distance of BYOL, Grill et al.",
        "https://arxiv.org/abs/2006.07733",
        2020,
        features="pooled",
        more="projector",
    ),
)


def _cost(method: Method, measured: dict[str, record.Row]) -> tuple[str, str]:
    """Step time and memory relative to plain KD, of the row's first method that was measured."""
    for name in method.methods:
        if name in measured:
            row = measured[name]
            return f"{objectives.time(row).median:.2f}", f"{objectives.memory(row):.2f}"
    return "", ""


def _measured() -> dict[str, record.Row]:
    return {row["case"]: row for row in record.rows("objectives")}


def _paper(method: Method) -> str:
    return f"[{method.paper}]({method.link})" if method.link else method.paper


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def full() -> list[list[str]]:
    """The table of docs/methods.md."""
    head = ["objective", "method", "paper", "year", "logits", "features", "labels"]
    head += ["memory and more", "step time", "memory"]
    measured = _measured()
    return [head] + [
        [
            _code(m.objectives),
            _code(m.methods),
            _paper(m),
            str(m.year),
            m.logits,
            m.features,
            m.labels,
            m.more,
            *_cost(m, measured),
        ]
        for m in ALL
    ]
