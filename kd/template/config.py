"""A small student, distilled from an ensemble of five larger networks.

    kd run --config config.py

Three runs in one file: `config.py:role=teacher`, `config.py:role=labels` and the student, without
an argument. `kd run --config config.py --print_config` prints every key that can be set.
"""

from ml_collections import ConfigDict


def get_config(arg=None):
    """The run of `key=value,...` as plain data: role, width and seeds, as tables pass them."""
    options = {"role": "student", "width": "16", "seeds": "5"}
    for part in filter(None, (arg or "").split(",")):
        key, _, value = part.partition("=")
        if key not in options or not value:
            raise ValueError(f"{part}: expected role=..., width=... or seeds=....")
        options[key] = value
    role, width, seeds = options["role"], int(options["width"]), int(options["seeds"])

    c = ConfigDict()
    c.seeds = seeds  # networks, trained in one program
    c.batch_size = 64
    c.optimizer = dict(name="adamw", learning_rate=3e-2, weight_decay=1e-2)
    c.schedule = dict(name="cosine", warmup=2.0)
    c.epochs = 100
    c.eval_every = 50

    # my_project/data.py. Of 1,437 training images 128 keep their label.
    c.data = dict(name="my_project.data.load", labelled=128)
    # my_project/networks.py
    c.student = dict(name="my_project.networks.Small", width=width)

    if role == "student":
        # It learns from the teachers on all images, without any label.
        c.teacher = dict(config="config.py:role=teacher")
        c.objective = dict(
            kd=dict(name="kd.KD", weight=1.0, temperature=4.0),
            brier=dict(name="my_project.losses.Brier", weight=0.1),  # my_project/losses.py
        )
        others = f"config.py:role=labels,width={width},seeds={seeds}"
        c.compare = {"student from labels": others}
        return c

    # The other two learn from the labels alone.
    c.objective = dict(ce=dict(name="ce.CE"))
    c.data.unlabelled = "drop"
    if role == "teacher":
        c.seed = 1000  # other first weights than any student
        c.student = dict(name="mlp.MLP", widths=(256, 256), dropout=0.3)
        c.augment = "crop(1)"
        c.optimizer.learning_rate = 3e-3
        c.epochs = 300
    elif role != "labels":
        raise ValueError(f"role={role}: expected teacher, labels or student.")
    return c
