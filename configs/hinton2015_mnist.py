"""MNIST as in Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015, section 3.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_mnist.py

arXiv 1503.02531. One file describes three kinds of runs: `:role=teacher` (two layers of 1200,
regularised), `:role=labels` (the student without a teacher, not regularised) and `:role=distilled`.
The teacher of student i is network i of the teacher's run; with `:of=ensemble` it is their mean.
Further options:

- `T` and `hard`, the weight of the labels (0: the student sees none).
- `units` of the student's two layers; `optimizer=adam|sgd`, `rate`, `batch` and `epochs` of its
  training.
- `transfer=all|no3|only78`: the classes in the transfer set.
- `shifted`: the student's images are shifted as the teacher's are, which is not the paper's.
- `validation`: the fraction of training images kept to choose the bias correction on.
- `holdout`: evaluates on a fraction of the training images instead of the test set, for the choices
  below.
- `seeds`, `teacher_epochs`, and `drop`, the dropout rate of the teacher's inputs.
- `teachers`: how many networks the teacher's run has, if not as many as students. All students then
  have all of them as their teacher.
- `smoke`: the 8 x 8 digits of scikit-learn for one epoch, so that hours become seconds.

What the paper leaves open is marked "chosen". Such choices were made on `holdout=0.1`, never on the
test set; `experiments/hinton2015_choices.py` repeats most of them. Those marked "earlier" are by
the mean of two seeds, too, on other processors, and were not repeated.
"""

from ml_collections import ConfigDict

from configs.arguments import parse_arg, reference

DEFAULTS = dict(
    role="distilled",
    T=20.0,
    hard=0.9,
    optimizer="adam",
    rate=1e-3,
    batch=100,
    units=800,
    transfer="all",
    shifted=False,
    of="paired",
    validation=0.0,
    holdout=0.0,
    seeds=5,
    teachers=0,
    epochs=30,
    teacher_epochs=50,
    drop=0.0,
    smoke=False,
)

TRANSFER = {"all": (), "no3": (0, 1, 2, 4, 5, 6, 7, 8, 9), "only78": (7, 8)}

OF_TEACHER = ("holdout", "seeds", "teacher_epochs", "drop", "smoke")
"""Options on which the teacher's run depends. Students that agree in these share it."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    for key, known in (
        ("role", ("teacher", "labels", "distilled")),
        ("transfer", tuple(TRANSFER)),
        ("of", ("paired", "ensemble")),
        ("optimizer", ("adam", "sgd")),
    ):
        if a[key] not in known:
            raise ValueError(f"{key}={a[key]}: expected {', '.join(known)}.")
    c = ConfigDict()
    # The digits need no preparation. All other settings stay, so that a smoke run of each cell runs
    # the code of that cell.
    c.data = dict(name="digits" if a["smoke"] else "mnist")
    c.seeds = a["seeds"]
    c.holdout = a["holdout"]
    c.objective = dict(ce=dict(name="ce.CE"))
    c.steps_per_call = 100
    c.eval_every = 5
    teacher(c, a) if a["role"] == "teacher" else student(c, a)
    return c


def teacher(c, a):
    """Sets 784-1200-1200-10, "strongly regularized using dropout and weight-constraints".

    Inputs are jittered by up to two pixels.
    """
    c.seed = 1000  # other initial weights and another order of examples than any student
    # Dropout of half the hidden units, and the squared norm of a unit's incoming weights at most
    # 15: Hinton et al. 2012 (arXiv 1207.0580), appendix A.1, to which section 3 refers. They also
    # drop a fifth of the inputs. Chosen, earlier: none. Two seeds then had 71 errors of 6,000
    # held-out images on average, 77 and 75 on other processors; with a fifth dropped 77, and 72
    # after twice the epochs. Two seeds differ by five to seven, so this is a weak preference.
    c.student = dict(name="mlp.MLP", widths=(1200, 1200), dropout=0.5, input_dropout=a["drop"])
    c.augment = "crop(2)"
    c.batch_size = 100  # as in Hinton et al. 2012
    # They train by SGD for 3000 epochs, with momentum rising to 0.99 and a learning rate that falls
    # by a factor of 0.998 per epoch. We have hours, not days. Chosen, earlier: Adam at 1e-3. After
    # 8 epochs on holdout=0.1, one seed had 128 errors of 6,000; SGD with momentum 0.9 had 151 at
    # 0.03 and 192 at 0.01, and was unstable at 0.1 (2 epochs). The number of epochs is what two
    # cores do in half an hour; six times as many have the paper's errors
    # (`experiments/hinton2015_longer.py`).
    c.optimizer = dict(name="adam", learning_rate=1e-3, max_norm=15**0.5)
    c.schedule = dict(name="cosine", warmup=1.0)
    c.epochs = 1 if a["smoke"] else a["teacher_epochs"]


def student(c, a):
    """Sets 784-800-800-10 (or other `units`), "with no regularization" and no jitter."""
    c.student = dict(name="mlp.MLP", widths=(a["units"], a["units"]))
    c.batch_size = a["batch"]
    c.validation = a["validation"]
    c.train_classes = TRANSFER[a["transfer"]]
    c.augment = "crop(2)" if a["shifted"] else ""
    # With Adam one learning rate serves all temperatures, widths and transfer sets. Chosen on 6,000
    # held-out images by the mean of two seeds: 1e-3, with 99 errors on labels (earlier, 3e-4: 119)
    # and 80 distilled. SGD with momentum 0.9 had 119 on labels at 0.1, and distilled 89 at 0.1 and
    # 92 at 0.03. Batches of 32 had 81; earlier, with weight 0.5 on labels, twice the epochs had 87
    # instead of 84, batches of 200 had 91, 3e-4 had 92. Two seeds differ by up to thirteen.
    c.optimizer = dict(name=a["optimizer"], learning_rate=a["rate"])
    c.schedule = dict(name="cosine")
    c.epochs = 1 if a["smoke"] else a["epochs"]
    if a["role"] == "labels":
        return
    options = {**DEFAULTS, **{key: a[key] for key in OF_TEACHER}, "role": "teacher"}
    options["seeds"] = a["teachers"] or a["seeds"]
    file = "configs/hinton2015_mnist.py"
    c.teacher = dict(
        config=reference(file, options, DEFAULTS),
        members="paired" if a["of"] == "paired" and not a["teachers"] else "all",
        cache=not a["shifted"],  # the paper's transfer set is not augmented
    )
    # "Regularized solely by adding the additional task of matching the soft targets": the paper
    # uses both and does not give the weights. Chosen as above: with weight 0.9 on labels the
    # student had 80 errors, as with 0.95; 0.5 had 89 and 0 had 95 (98 after 120 epochs).
    # Earlier, of other teachers: 0.9 had 71 and 82, 0.8 had 79, 0.5 had 84, 0.1 had 91. The loss
    # has a factor T^2, so at T = 20 equal weights are nearly all soft target.
    c.objective.ce.weight = a["hard"]
    c.objective.kd = dict(name="kd.KD", weight=1 - a["hard"], temperature=a["T"])
    if not a["hard"]:
        del c.objective["ce"]
