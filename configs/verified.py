"""Students that are trained to be provable, beside those that are not; see experiments/verified.py.

    uv run kd run --config configs/verified.py:method=kd_ibp

`data=digits` (the default) has the student, the teachers and the settings of
`configs/digits.py:labelled=all`, and `data=fashion_mnist` those of
`configs/fashion_mnist_labels.py:labelled=all`, a layer of 32 units and multilayer perceptrons.
`data=fashion_mnist_cnn` has the convolutional ones of `configs/fashion_mnist.py`, which take hours.
`method` is one of

- `labels`, `kd`: cross entropy; distillation;
- `ibp`: interval bounds of the worst case, from labels; half of the weight stays with the images;
- `kd_ibp`, `kd_crown_ibp`: distillation, and the worst case beside it by intervals, or at first by
  linear bounds;
- `ard`, `rslad`, `iad`: distillation under attack, with the settings of `configs/methods.py`. The
  teachers are not robust themselves, which these papers assume.

`radius` is that of training, in levels of the pixels: 16 for the digits, 4 for Fashion-MNIST. It
grows over the first half of the training. None of this was tuned: the settings are those of the
papers and of the two configs. `smoke` trains for two epochs, with a student from labels as teacher.
`holdout=0.25` evaluates on a part of the training images, for choices.
"""

from configs import digits, fashion_mnist, fashion_mnist_labels
from configs.arguments import check_known, parse_arg, reference
from configs.methods import method

DEFAULTS = dict(
    data="digits", method="kd_ibp", radius=0.0, seeds=5, epochs=0, holdout=0.0, smoke=False
)
METHODS = ("labels", "kd", "ibp", "kd_ibp", "kd_crown_ibp", "ard", "rslad", "iad")
DATA = {
    "digits": (digits, "labelled=all,", 16.0, 4.0),
    "fashion_mnist": (fashion_mnist_labels, "labelled=all,", 4.0, 1.0),
    "fashion_mnist_cnn": (fashion_mnist, "", 4.0, 2.0),
}
"""Config file and arguments, radius, and temperature of distillation in that file."""


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    check_known("method", a["method"], METHODS)
    check_known("data", a["data"], DATA)
    file, more, radius, temperature = DATA[a["data"]]
    free = a["method"] in ("labels", "ibp")
    role = "labels" if free else "student"
    c = file.get_config(f"{more}role={role},holdout={a['holdout']},seeds={a['seeds']}")
    for key in ("compare", "acceptance"):
        if key in c:
            del c[key]
    c.epochs = 2 if a["smoke"] else a["epochs"] or c.epochs
    if a["smoke"]:
        c.schedule.warmup = 0.0
        c.eval_every = 1
        if not free:
            plain = dict(method="labels", radius=0.0)
            c.teacher = dict(config=reference("configs/verified.py", a, DEFAULTS, **plain))
    c.objective = objective(a["method"], a["radius"] or radius, temperature, c.epochs)
    if a["method"] == "iad" and not a["smoke"]:
        c.teacher.cache = False  # the teachers are asked about attacked images, too
    return c


def objective(name, radius, temperature, epochs):
    """The section `objective` of a method."""
    ce = dict(name="ce.CE", weight=0.1)
    kd = dict(name="kd.KD", weight=0.9, temperature=temperature)
    ibp = dict(name="ibp.IBP", radius=radius, ramp=epochs / 2)
    terms = {
        "labels": dict(ce=dict(name="ce.CE")),
        "kd": dict(ce=ce, kd=kd),
        "ibp": dict(ibp=dict(ibp, nominal=0.5)),
        "kd_ibp": dict(ce=ce, kd=kd, ibp=dict(ibp, nominal=0.0)),
        "kd_crown_ibp": dict(ce=ce, kd=kd, ibp=dict(ibp, name="ibp.CROWNIBP", nominal=0.0)),
    }
    if name in terms:
        return terms[name]
    section = method(name, "", "")
    section[name] |= dict(radius=radius, step=radius / 4)
    if name == "iad":
        section[name]["begin"] = 0.3 * epochs
    return section
