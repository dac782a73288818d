"""Fashion-MNIST with few labels: many images, and a small multilayer perceptron.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/fashion_mnist_labels.py

128 of the 60,000 training images keep their label, a fixed choice; `:labelled=512` keeps four times
as many and `:labelled=all` all. `:role=teacher` are five networks with two layers of 256 units,
trained on the labelled images. `:role=student` (the default) has one layer of 32 units and is
distilled from their ensemble on all images, without any label; with all labels, from both.
`:role=labels` is the same student trained on the labelled images, and `:role=strong` by a stronger
recipe, with as many updates as the distilled student has: labels are smoothed and images mixed, as
in `configs/fashion_mnist.py`.

`:holdout=0.1` evaluates on a tenth of the training images instead of the test set. Learning rates,
temperature and augmentation were chosen there, by the mean of two seeds; widths, most numbers of
epochs and the recipe with all labels were not varied. Held-out accuracies with 2,048 labels: one
teacher with augmentation 84.0 %, with flips alone 83.2 %; the student distilled from two teachers
without augmentation at T = 1 83.3 %, at T = 4 82.9 %; the student from labels at a learning rate of
3e-3 or 1e-3 81.6 %. With 128 labels: one teacher without augmentation 72.1 %, with it 70.5 %; the
student from labels at 3e-3 70.9 %, at 1e-3 71.6 %. Convolutional teachers of 8, 16 and 32 channels
were worse within these times of training (76.7 % with 2,048 labels).
"""

from ml_collections import ConfigDict

from configs.arguments import parse_arg, reference
from configs.fashion_mnist import batches, strengthen

DEFAULTS = dict(role="student", labelled="128", seeds=5, holdout=0.0)
EPOCHS = {32: 400, 128: 200, 512: 60, 2048: 30, 8192: 20}
"""Of runs on labelled images, by their number at most; 15 for more."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["role"] not in ("student", "teacher", "labels", "strong"):
        raise ValueError(f"role={a['role']}: expected student, teacher, labels or strong.")
    if a["labelled"] != "all" and not a["labelled"].isdecimal():
        raise ValueError(f"labelled={a['labelled']}: expected a number of images, or all.")
    ref = lambda role: reference("configs/fashion_mnist_labels.py", a, DEFAULTS, role=role)
    few = a["labelled"] != "all"
    labelled = int(a["labelled"]) if few else 60000
    c = ConfigDict()
    c.data = dict(name="fashion_mnist")
    if few:
        c.data.labelled = labelled
    c.seeds = a["seeds"]
    c.holdout = a["holdout"]
    c.batch_size = 128
    c.optimizer = dict(name="adamw", learning_rate=3e-3, weight_decay=1e-2)
    c.schedule = dict(name="cosine", warmup=1.0)
    c.epochs = 15
    c.objective = dict(ce=dict(name="ce.CE"))
    if a["role"] != "student":
        c.epochs = next((epochs for most, epochs in EPOCHS.items() if labelled <= most), 15)
    if few and a["role"] != "student":  # these two learn from labels alone
        c.data.unlabelled = "drop"
        c.batch_size = min(64, labelled)
    if a["role"] == "teacher":
        c.seed = 1000  # other initial weights and another order of examples than any student
        c.student = dict(name="mlp.MLP", widths=(256, 256), dropout=0.3)
        c.optimizer.learning_rate = 1e-3
        if labelled >= 2048:  # of fewer images a network of this kind learns worse with it
            c.augment = "crop(1)|flip"
            c.epochs = 2 * c.epochs if few else 20
    else:
        c.student = dict(name="mlp.MLP", widths=(32,))
    if a["role"] in ("labels", "strong") and labelled <= 128:
        c.optimizer.learning_rate = 1e-3
    if a["role"] == "strong":
        strengthen(c)
        c.epochs = round(15 * batches(60000, 128) / batches(labelled, c.batch_size))
    if a["role"] == "student":
        c.teacher = dict(config=ref("teacher"), cache=True)
        if few:
            c.objective = ConfigDict()
        else:
            c.objective.ce.weight = 0.1
        c.objective.kd = dict(name="kd.KD", weight=1.0 if few else 0.9, temperature=1.0)
        c.compare = {"student from labels": ref("labels")}
    c.eval_every = c.epochs
    return c
