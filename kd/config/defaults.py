"""Defaults of a config: every key on one screen."""

from collections.abc import Sequence
from typing import Annotated, Any

import ml_collections

from kd.ranges import Count, Fraction, Natural, NonNegative, Probability, Range

ConfigDict = ml_collections.ConfigDict


def default() -> ConfigDict:
    """Every key that a config may have, with its default.

    A section with a `name` also takes the settings of the thing that it names.
    """
    c = ConfigDict()
    c.seed = 0  # the first of `seeds`: initial weights, order of examples, augmentation
    c.seeds = 1  # students trained in one program; together they are an ensemble
    c.seeds_how = "auto"  # vmap | map | unroll | auto: equal results; see kd.devices.vectorize
    c.loop = "auto"  # over updates: device | host | auto; see kd.train.program
    c.data = ConfigDict({"name": ""})  # a file of kd/data, or a dotted path
    c.augment = ""  # such as "crop(4)|flip"; see kd.data.augment
    c.second_view = ""  # augmentation of a second view, for methods that compare two
    c.mix = ""  # pairs of images, such as "mixup(0.8) or cutmix(1.0)"; see kd.data.mix
    c.holdout = 0.0  # fraction of train held out and evaluated in place of test
    c.validation = 0.0  # fraction of train held out beside test: its predictions are stored
    c.train_classes = ()  # classes whose training images are used (a transfer set); (): all
    c.batch_size = 64  # examples of an update
    # Parts of a batch that are computed one after the other, to save memory: one update of their
    # gradients, equal to that of the batch at once; see docs/runs.md. It divides batch_size.
    c.accumulate = 1
    # Times that each image comes in a batch, each time augmented anew; an epoch stays as long, and
    # has so many times fewer images (repeated augmentation). See kd.train.sampling.
    c.repeats = 1
    c.drop_last = False  # whether to skip the short last batch of an epoch
    c.epochs = 1
    c.student = ConfigDict({"name": ""})  # a class in kd/models, or a dotted path
    c.teacher = ConfigDict(TEACHER)
    c.init = ConfigDict(INIT)
    c.objective = ConfigDict()  # {term: dict(name=..., weight=..., settings)}
    c.optimizer = ConfigDict({"name": "sgd"})  # see kd.optim
    c.schedule = ConfigDict({"name": "constant"})  # of the learning rate, see kd.optim
    c.precision = "default"  # default | float32 | tf32 | bfloat16; see kd.devices.precision
    c.steps_per_call = 64  # updates per dispatch to the device
    c.eval_every = 1  # epochs between evaluations; the last epoch always has one
    c.eval_batch_size = 1000
    c.devices = ConfigDict(DEVICES)
    c.checkpoint = ConfigDict({"seconds": 30.0, "keep": 1})  # at most one in so many seconds
    c.export = ""  # "int8": also export the networks and evaluate the files; see kd.export.run_end
    c.tensorboard = False  # also write event files (the extra `tensorboard`)
    c.profile = 0  # number of updates to trace; the trace is in the run's profile/
    c.compilation_cache = "default"  # a directory | "default" | "none"; see kd.devices.compilation
    c.compare = ConfigDict()  # {label: config of an ordinary run} for the closing table
    c.acceptance = ConfigDict()  # see ACCEPTANCE; empty: no verdict
    return c


DEVICES = {
    "data": 1,  # devices that a batch is split over
    "teacher": 1,  # times as many, that the members of an ensemble are split over
    "seeds": 1,  # or devices that the seeds are split over; then nothing else is
    "transform": "jit",  # "jit" | "pmap": equal results; see kd.devices.pmap
    # On CPUs, whose code computes convolutions: "onednn" | "xla" | "auto", which is oneDNN's where
    # the extra `cpu` is installed: results equal up to rounding; see kd.convolutions.
    "convolutions": "auto",
}
"""Keys of `config.devices`. They change where a run is computed, not what it learns."""

TEACHER = {
    # "frozen": trained networks; "ema"; "none"; a dotted path to a `kd.teachers.kind.Kind`. Empty:
    # "frozen" where run, config or groups name networks, else "none".
    "name": "",
    "decay": 0.999,  # setting of "ema"; in every config, as config hashes contain it
    "run": "",  # directory of the run that trained it
    "config": "",  # config of that run, which is trained if it is missing
    "members": "all",  # "all" | "paired" (student i learns from member i) | such as "0,2"
    "weights": (),  # one for each member, normalised to sum one; (): equal
    "groups": (),  # or members of several runs: dicts with the keys `kd.config.teachers.GROUP`
    # Of several members: probs | logits | each | random | confidence, or a dotted path; see
    # kd.teachers.reduction.
    "reduce": "probs",
    # Compute its logits once: True in memory, "float32", "float16" or the k largest as in "top16"
    # on disk; see kd.train.cache.
    "cache": False,
    "cache_window": 0,  # epochs after which augmentation repeats, cache or not; 0: never
    "cache_dir": "",  # directory of the cache; "": in the directory of the teacher's run
    "how": "auto",  # over members: vmap | map | unroll | auto: equal results
}
"""Keys of `config.teacher` that every kind of teacher has; a kind may add settings."""

SOURCES = {
    "logits": "logits",  # a file of logits, see kd.teachers.stored_logits
    "features": "features",  # a file of features, see kd.teachers.stored_features
    # A dotted path to a function images -> logits, or to a Flax module whose variables are in the
    # file `variables`; see kd.teachers.own_function.
    "apply": "function",
    "onnx": "onnx",  # an ONNX file, see kd.teachers.onnx_file
}
"""Keys of `config.teacher` that say what a teacher is that is no run, and the kinds they choose."""

LABELS = {
    "labelled": 0,  # training images that keep their label, by the class frequencies; 0: all
    "labelled_seed": 0,  # of the choice of these images
    "unlabelled": "keep",  # "keep" | "drop": whether to train on the others, with the label -1
    # "shuffled": each image once an epoch; "balanced": each class equally often, see
    # kd.train.sampling.
    "sampling": "shuffled",
}
"""Keys of `config.data` that every data set has, beside the settings of its `load`."""

LABELS_RANGES = {"labelled": Natural, "labelled_seed": Annotated[int, Range(0, 2**32 - 1)]}
"""Of the numbers in `LABELS`."""

INIT = {
    "run": "",  # directory of a finished run whose variables the students start with
    "config": "",  # config of that run, which is trained if it is missing
    # Regular expression on paths such as student/head/kernel: what to load; "": all shared paths.
    "take": "",
    "freeze": "",  # likewise: what stays as it is loaded; "": nothing
    # Whether that run may be of other data: other images, of another size, other classes.
    "other_data": False,
}
"""Keys of `config.init`; see kd.train.warm_start."""

ACCEPTANCE = {"max_drop": 1.0, "min_agreement": 0.0}
"""Keys of `config.acceptance`, as fractions: the accuracy that may be lost against the teacher, and
the agreement with it that is required.
"""

LIMITS = {
    "min_accuracy": 0.0,
    "min_balanced_accuracy": 0.0,  # the mean of the classes' recalls
    "min_recall": 0.0,  # of each class; or of some, {"Shirt": 0.6}, as for the next two
    "min_precision": 0.0,
    "min_f1": 0.0,
    "max_balanced_accuracy_drop": 1.0,  # what may be lost against the teacher
    "max_recall_drop": 1.0,  # of each class; or of some, as for the next two
    "max_precision_drop": 1.0,
    "max_f1_drop": 1.0,
}
"""Further keys of `config.acceptance`, as fractions; a config has those that it names. Those that
begin with min need no teacher.
"""

RANGES: dict[str, Any] = {
    "seeds": Count,
    "holdout": Probability,
    "validation": Probability,
    "train_classes": Sequence[Natural],
    "batch_size": Count,
    "accumulate": Count,
    "repeats": Count,
    "epochs": Count,
    "steps_per_call": Count,
    "eval_every": Count,
    "eval_batch_size": Count,
    "profile": Natural,
    "devices.data": Count,
    "devices.teacher": Count,
    "devices.seeds": Count,
    "checkpoint.seconds": NonNegative,
    "checkpoint.keep": Count,
    "teacher.decay": Probability,
    "teacher.weights": Sequence[NonNegative],
    "teacher.cache_window": Natural,
    "acceptance.max_drop": Fraction,
    "acceptance.min_agreement": Fraction,
}
"""The numbers that a config may have under its fixed keys; see `kd.ranges`. Settings of the things
that it names declare theirs themselves.
"""

OPEN = ("data", "student", "teacher", "optimizer", "schedule", "objective")
"""Sections whose keys depend on the thing that they name; checked when it is built."""
