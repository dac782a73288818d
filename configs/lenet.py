"""LeNet-5 and students of half its width, on MNIST and Fashion-MNIST.

    uv run kd prepare mnist
    uv run kd run --config configs/lenet.py:role=kd

Two papers on distillation without data report what LeNet-5 and its students reach with the data;
their data-free methods are not in `kd`:

- `paper=zskd`: Nayak, Mopuri, Shaj, Babu, Chakraborty. Zero-Shot Knowledge Distillation in Deep
  Networks. ICML 2019. https://arxiv.org/abs/1905.08114, tables 1 and 2. The student has half the
  channels. KD alone, without labels, at T = 20, as the public code's default.
- `paper=dafl`: Chen et al. Data-Free Learning of Student Networks. ICCV 2019.
  https://arxiv.org/abs/1904.01186, table 1. The student has half of all widths. KD alone at T = 1,
  the loss of its public code.

`role` is `teacher`, `labels` (the student without it), `kd`, or `kd_labels`: KD and the labels with
a weight of 0.3, the constant that the code of Nayak et al. has for them. Student i learns from
teacher i. `data` is `mnist` or `fashion_mnist`.

Chosen here, and not tuned: Adam at 2e-3 with a cosine, batches of 128, ten epochs, no augmentation.
The code of Nayak et al., for CIFAR-10, trains students for 500 epochs at 1e-3 and keeps the epoch
that is best on the test set. `temperature` is another than the paper's, and `holdout=0.1` evaluates
on a tenth of the training images instead of the test set, for `experiments/zskd2019_choices.py`;
the teacher has ten epochs whatever `epochs` the student has. `smoke` is one epoch on the 8 x 8
digits of scikit-learn, with one convolution.
"""

from ml_collections import ConfigDict

from configs.arguments import check_known, parse_arg, reference

FILE = "configs/lenet.py"
DEFAULTS = dict(
    role="kd",
    paper="zskd",
    data="mnist",
    seeds=5,
    epochs=10,
    temperature=0.0,
    holdout=0.0,
    smoke=False,
)
STUDENTS = {"zskd": "lenet.lenet5_half", "dafl": "lenet.lenet5_half_all"}
ROLES = ("teacher", "labels", "kd", "kd_labels")
TEMPERATURES = {"zskd": 20.0, "dafl": 1.0}


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    check_known("role", a["role"], ROLES)
    check_known("paper", a["paper"], STUDENTS)
    check_known("data", a["data"], ("mnist", "fashion_mnist"))
    c = ConfigDict()
    c.data = dict(name="digits" if a["smoke"] else a["data"])
    c.seeds = a["seeds"]
    c.holdout = a["holdout"]
    c.batch_size = 128
    c.epochs = c.eval_every = 1 if a["smoke"] else a["epochs"]
    c.optimizer = dict(name="adam", learning_rate=2e-3)
    c.schedule = dict(name="cosine")
    c.steps_per_call = 50
    if a["role"] == "teacher":
        c.seed = 1000  # other initial weights and another order of examples than any student
        c.student = dict(name="lenet.lenet5")
    else:
        c.student = dict(name=STUDENTS[a["paper"]])
    if a["smoke"]:
        c.student.widths = (6,) if a["role"] == "teacher" else (3,)
    if a["role"] in ("kd", "kd_labels"):
        temperature = a["temperature"] or TEMPERATURES[a["paper"]]
        c.objective = dict(kd=dict(name="kd.KD", temperature=temperature))
        if a["role"] == "kd_labels":
            c.objective.ce = dict(name="ce.CE", weight=0.3)
        changes = {k: DEFAULTS[k] for k in ("paper", "epochs", "temperature")}
        options = dict(a, role="teacher", **changes)
        teacher = reference(FILE, options, DEFAULTS)
        c.teacher = dict(config=teacher, members="paired", cache=True)
    else:
        c.objective = dict(ce=dict(name="ce.CE"))
    return c
