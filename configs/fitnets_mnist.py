"""MNIST as in FitNets: a maxout network of 361 thousand parameters and a deep, thin one of 30.

    uv run kd prepare mnist
    uv run kd table experiments/fitnets_mnist.py

Romero, Ballas, Kahou, Chassang, Gatta, Bengio. FitNets: Hints for Thin Deep Nets. ICLR 2015.
https://arxiv.org/abs/1412.6550, section 3.3 and appendix A.2. `role=teacher`; `labels`, the student
without it ("standard backprop"); `kd`, from the teacher's soft outputs; `hint`, the first stage, in
which the student's layers up to the fourth learn the teacher's second; and `fitnet`, the second
stage, which is `kd` begun there.

Of the paper: the networks, batches of 128, RMSProp at 5e-4 for the student, its
loss H(y, p) + lambda H(p_t, p) at T = 3 with lambda from 4 to 1 over the first 30 % of the epochs
(150 of at most 500). Of the teacher's public code (pylearn2, papers/maxout/mnist.yaml): SGD at 0.05
with momentum, dropout of a fifth of the pixels and half of the activations, initial weights uniform
on +-0.005, incoming weights of at most 1.9365. With initial weights of variance 1 / fan_in the
teacher diverges at this rate.

Departures: the student's initial weights have the variance 1 / fan_in. With the paper's, uniform on
+-0.005, it is at chance after 190 updates (6,000 images, 4 epochs, one seed; `initial=0.005` has
them). Fixed numbers of epochs on all 60,000 images, `teacher_epochs`, `hint_epochs` and `epochs`,
in place of early stopping on 10,000; momentum 0.7 at once; the rate falls to 0 by a cosine; the
first layer's weights have the limit of the others; the regressor of the first stage is linear,
behind BatchNorm. `seeds` of each; student i learns from teacher i. `smoke` is one epoch on the
digits of scikit-learn, 8 x 8 pixels, with smaller kernels.
"""

from ml_collections import ConfigDict

from configs.arguments import parse_arg, reference

FILE = "configs/fitnets_mnist.py"
DEFAULTS = dict(
    role="fitnet",
    initial=0.0,
    seeds=5,
    teacher_epochs=20,
    hint_epochs=10,
    epochs=30,
    smoke=False,
)
ROLES = ("teacher", "labels", "kd", "hint", "fitnet")
SMALL = dict(kernels=(3, 3, 3), paddings=(1, 1, 1), pools=(2, 2, 2))
SMALL_STUDENT = dict(kernels=(3,) * 6, paddings=(1,) * 6, pools=(0, 2, 0, 2, 0, 2))


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["role"] not in ROLES:
        raise ValueError(f"role={a['role']}: expected one of {', '.join(ROLES)}.")
    ref = lambda role: reference(FILE, a, DEFAULTS, role=role)
    c = ConfigDict()
    c.data = dict(name="digits" if a["smoke"] else "mnist")
    c.seeds = a["seeds"]
    c.batch_size = 128
    c.schedule = dict(name="cosine")
    c.objective = dict(ce=dict(name="ce.CE"))
    if a["role"] == "teacher":
        c.seed = 1000  # other initial weights and another order of examples than any student
        c.student = dict(
            name="maxout.fitnet_mnist_teacher", dropout=0.5, input_dropout=0.2, initial=0.005
        )
        c.optimizer = dict(name="sgd", learning_rate=0.05, momentum=0.7, max_norm=1.9365)
        c.epochs = a["teacher_epochs"]
    else:
        c.student = dict(name="maxout.fitnet_mnist", initial=a["initial"])
        c.optimizer = dict(name="optax.rmsprop", learning_rate=5e-4, max_norm=1.9365)
        c.epochs = a["hint_epochs"] if a["role"] == "hint" else a["epochs"]
    if a["smoke"]:
        c.epochs = 1
        c.student.update(SMALL if a["role"] == "teacher" else SMALL_STUDENT)
    if a["role"] in ("teacher", "labels"):
        return c
    c.teacher = dict(config=ref("teacher"), members="paired")
    if a["role"] == "hint":
        c.objective = dict(fitnet=dict(name="fitnet.FitNet", feature="stage2", relu=False))
        return c
    c.teacher.cache = True
    decay = dict(name="linear", start=4.0, end=1.0, over=max(1.0, 0.3 * c.epochs), value=1 / 9)
    c.objective.kd = dict(name="kd.KD", weight=decay, temperature=3.0)
    if a["role"] == "fitnet":
        c.init = dict(config=ref("hint"), take="^student/")
    return c
