"""Fashion-MNIST in int8: a small student, distilled in float and fine-tuned with int8 rounding.

    uv run kd prepare fashion_mnist
    uv run kd run --config configs/quantization.py:role=int8

`:role=float` is distilled in floating point, where BatchNorm learns its statistics. `:role=int8`
(the default) starts from it and continues for a few epochs with the same teacher and objective.
`:role=longer` continues as long without quantization, to separate the two effects. `:size=small`
has fewer than 10,000 parameters, `:size=large` fewer than 50,000. The teacher of all is the one
network of `:role=teacher`. The students' images are not augmented, so its logits are cached, and
two cores train five students in minutes.
"""

from ml_collections import ConfigDict

from configs.arguments import parse_arg, reference

DEFAULTS = dict(role="int8", size="small", seeds=5, holdout=0.0)

WIDTHS = {"small": (8, 16, 32), "large": (8, 16, 32, 128)}


def get_config(arg=None):
    a = parse_arg(arg, **DEFAULTS)
    if a["role"] not in ("teacher", "float", "longer", "int8"):
        raise ValueError(f"role={a['role']}: expected teacher, float, longer or int8.")
    if a["size"] not in WIDTHS:
        raise ValueError(f"size={a['size']}: expected {' or '.join(WIDTHS)}.")
    ref = lambda **changes: reference("configs/quantization.py", a, DEFAULTS, **changes)
    c = ConfigDict()
    c.data = dict(name="fashion_mnist")
    c.seeds = a["seeds"]
    c.holdout = a["holdout"]
    c.batch_size = 128
    c.steps_per_call = 20
    c.optimizer = dict(name="sgd", learning_rate=0.1, nesterov=True, weight_decay=5e-4)
    c.schedule = dict(name="cosine", warmup=1.0)
    c.objective = dict(ce=dict(name="ce.CE"))
    if a["role"] == "teacher":
        c.seed, c.seeds, c.epochs = 1000, 1, 5
        c.augment = "crop(2)|flip"
        c.student = dict(name="cnn.CNN", widths=(16, 32, 64, 128))
        return c
    c.student = dict(name="cnn.CNN", widths=WIDTHS[a["size"]])
    c.teacher = dict(config=ref(role="teacher", size="small", seeds=DEFAULTS["seeds"]), cache=True)
    c.objective.ce.weight = 0.1
    c.objective.kd = dict(name="kd.KD", weight=0.9, temperature=4.0)
    c.epochs = 6
    c.export = "int8"
    if a["role"] != "float":
        c.init = dict(config=ref(role="float"))
        c.epochs = 2
        # with BatchNorm's statistics fixed 0.01 diverges, in floating point too
        c.optimizer.learning_rate = 0.001
        c.schedule = dict(name="cosine")
    if a["role"] == "int8":
        c.student.quantize = "int8"
    return c
