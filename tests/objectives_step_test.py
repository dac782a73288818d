"""Every objective in the compiled step: alone, for three teachers, for several seeds at once, and
on eight devices.

Several are terms of one sum, so that few programs are compiled; terms are logged by name, so each
is compared by itself. The first group has one of each kind (with parameters, BatchNorm, memory,
randomness; per example, of the whole batch); the others are slow to compile, and two of them are
part of the campaign.
"""

import dataclasses
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kd import registry
from kd.data import digits
from kd.data.base import class_tables
from kd.init import make_init
from kd.models.cnn import CNN
from kd.objective import PerTeacher, Weighted
from kd.step import make_step
from kd.types import Outputs, Teacher, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

CLASSES, N, B = 4, 48, 16

# Settings small enough for a test, weights that bring each term to about 1.
TERMS = {
    "ce.CE": (1.0, {}),
    "kd.KD": (1.0, {}),
    "kd.LogitMSE": (1.0, {}),
    "kd.HardLabel": (1.0, {}),
    "dkd.DKD": (1.0, {}),
    "dist.DIST": (0.1, {}),
    "fitnet.FitNet": (1.0, {}),
    "at.AT": (10.0, {}),
    "sp.SP": (10.0, {}),
    "cc.CC": (0.1, {"width": 8}),
    "vid.VID": (1.0, {}),
    "rkd.RKD": (0.1, {}),
    "pkt.PKT": (100.0, {}),
    "nst.NST": (1.0, {}),
    "fsp.FSP": (1.0, {"features": ("stem", "stage1")}),
    "ab.AB": (1.0, {}),
    "ft.Paraphraser": (1.0, {}),
    "ft.FT": (10.0, {}),
    "crd.CRD": (0.1, {"dim": 4, "num_negatives": 8, "temperature": 0.5}),
    "reviewkd.ReviewKD": (1.0, {}),
    "tfkd.VirtualTeacher": (1.0, {}),
    "pskd.PSKD": (1.0, {}),
    "nkd.NKD": (1.0, {}),
    "wsld.WSLD": (0.1, {}),
    "ttm.TTM": (1.0, {}),
    "ttm.WTTM": (1.0, {}),
    "ctkd.CTKD": (1.0, {"span": 4.0}),
    "mlkd.MLKD": (0.1, {"temperatures": (2.0, 4.0)}),
    "ofd.OFD": (0.01, {}),
    "srrl.SRRL": (1.0, {}),
    "srd.SRD": (0.1, {}),
    "semckd.SemCKD": (1.0, {"features": (("stage2", "stage3"), ("stage2", "stage3"))}),
    "mgd.MGD": (0.1, {}),
    "cwd.CWD": (1.0, {}),
    "ickd.ICKD": (1.0, {}),
    "ofa.OFA": (10.0, {"features": ("stage2", "stage3"), "width": 8}),
}
FIRST = ["dkd.DKD", "rkd.RKD", "fitnet.FitNet", "crd.CRD"]
REST = [name for name in TERMS if name not in FIRST]
GROUPS = [FIRST, REST[:10], REST[10:20], REST[20:]]
DRAWS = {"crd.CRD", "mgd.MGD"}  # their randomness differs between transforms of keys


class Net(nn.Module):
    """Three stages of one convolution."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, image, train=False):
        x = nn.relu(nn.Conv(4, (3, 3), name="stem")(image))
        features = {"stem": x}
        for i, width in enumerate(self.widths, start=1):
            pre = nn.Conv(width, (3, 3), strides=min(i, 2), name=f"stage{i}")(x)
            x = nn.relu(pre)
            features |= {f"stage{i}_pre": pre, f"stage{i}": x}
        features["pooled"] = jnp.mean(x, axis=(1, 2))
        return Outputs(nn.Dense(CLASSES, name="head")(features["pooled"]), features)


STUDENT, TEACHER = Net((4, 5, 6)), Net((4, 6, 8))
LABELS = np.arange(N) % CLASSES


def _batch(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    index = rng.permutation(N)[:B]
    return {
        "image": jnp.asarray(rng.standard_normal((B, 8, 8, 3)), jnp.float32),
        "label": jnp.asarray(LABELS[index]),
        "index": jnp.asarray(index),
        "views": jnp.arange(B) % 2,
        "epoch": jnp.asarray(4),
    }


BATCHES = [_batch(seed) for seed in (0, 1, 2)]
TABLES = {k: jnp.asarray(v) for k, v in class_tables(LABELS, CLASSES).items()}


def _objective(names: list[str], per_teacher: bool = False) -> Weighted:
    terms = {}
    for name in names:
        module = registry.find("kd.objectives", name)(**TERMS[name][1])
        terms[name.replace(".", "_")] = PerTeacher(module) if per_teacher else module
    weights = {name.replace(".", "_"): TERMS[name][0] for name in names}
    return Weighted(terms, weights)


def _teacher(stacked: bool = False) -> Teacher:
    apply = partial(TEACHER.apply, train=False)
    if stacked:
        apply = jax.vmap(apply, (0, None))
    return Teacher(lambda frozen, state, batch: apply(frozen, batch["image"]))


# Programs that run three times: less work for the compiler is less time.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@partial(jit, static_argnums=0)
def _frozen(stacked: bool = False) -> dict:
    init = lambda key: TEACHER.init(key, BATCHES[0]["image"])
    keys = jax.random.split(jax.random.key(9, impl="unsafe_rbg"), 3)
    weights = jax.vmap(init)(keys) if stacked else init(keys[0])
    # Logits of some size, so that the teacher says something.
    weights["params"]["head"]["kernel"] *= 8
    return {"teacher": weights, "tables": TABLES}


class Run:
    """Functions of one training, compiled when they are first used."""

    def __init__(self, names: list[str], stacked: bool = False):
        parts = (STUDENT, _objective(names, stacked), _teacher(stacked), optax.sgd(1e-3))
        self.names, self.objective = names, parts[1]
        self.frozen = _frozen(stacked)
        self._init = jit(make_init(*parts))
        self.raw = make_step(*parts)
        self.step = jit(self.raw)

    def init(self, seed: int, batch=BATCHES[0]):
        """Initial state. Its weights come from another generator, which compiles in a tenth of the
        time.
        """
        state = self._init(jax.random.key(seed, impl="unsafe_rbg"), self.frozen, batch)
        return dataclasses.replace(state, key=jax.random.key(seed))

    def three(self, step, state, batches=BATCHES):
        """State and metrics after each of three steps."""
        history = []
        for batch in batches:
            state, metrics = step(state, self.frozen, batch)
            history.append((state, metrics))
        return history


def _same(ours, theirs, tolerance: float) -> None:
    flat = jax.tree_util.tree_flatten_with_path(ours)[0]
    for (path, a), b in zip(flat, jax.tree.leaves(theirs), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(
            a, b, atol=tolerance * scale, rtol=0, err_msg=jax.tree_util.keystr(path)
        )


@pytest.fixture(
    scope="module",
    params=[
        FIRST,
        pytest.param(GROUPS[1], marks=pytest.mark.slow),
        *(pytest.param(g, marks=pytest.mark.campaign) for g in GROUPS[2:]),
    ],
    ids=["first", "second", "third", "fourth"],
)
def run(request: pytest.FixtureRequest) -> Run:
    return Run(request.param)


@pytest.fixture(scope="module")
def alone(run: Run) -> dict:
    return {i: run.three(run.step, run.init(i)) for i in (0, 1)}


ELSEWHERE = {
    **dict.fromkeys(("ard", "iad", "ibp", "rslad"), "robustness"),
    **dict.fromkeys(("focal", "weighted_ce"), "class_weights"),
    **dict.fromkeys(("deit", "minilm", "tinybert"), "transformer_objectives"),
    "embedding": "stored_features",
    "mutual": "cohort",
    "pskd": "teacher_free",
    "tfkd": "teacher_free",
}
"""Objectives that are tested with what they belong to."""


def test_every_objective_is_here_or_has_a_test_of_its_own():
    own = {p.name.removesuffix("_test.py") for p in Path(__file__).parent.glob("*_test.py")}
    for name in registry.known("kd.objectives"):
        file = name.partition(".")[0]
        tests = {file, f"objectives_{file}", ELSEWHERE.get(file, file)}
        assert name in TERMS or tests & own, name


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
def test_every_objective_gives_a_number_an_example_or_one(dtype):
    """Shapes alone, so that all of them are at least traced when the slow tests are left out.
    Networks may be bfloat16.
    """
    objective, frozen = _objective(list(TERMS)), _frozen()

    def terms(key: jax.Array) -> dict[str, jax.Array]:
        image = BATCHES[0]["image"]
        student = STUDENT.init_with_output(key, image)[0]
        teacher = TEACHER.apply(frozen["teacher"], image)
        step = jnp.zeros((), jnp.int32)
        student, teacher = jax.tree.map(lambda x: x.astype(dtype), (student, teacher))
        view = View(student, teacher, BATCHES[0], TABLES, step, frozen["teacher"])
        rngs = {"params": key, "objective": key}
        return {
            name: term.init_with_output(rngs, view)[0] for name, term in objective.terms.items()
        }

    for name, loss in jax.eval_shape(terms, jax.random.key(0)).items():
        assert loss.shape in ((B,), ()) and loss.dtype == jnp.float32, name


def test_three_steps_are_finite_and_learn(run: Run, alone: dict):
    for _, metrics in alone[0]:
        for name, value in metrics.items():
            assert np.isfinite(value), name
    before, after = run.init(0), alone[0][-1][0]
    moved = lambda a, b: float(jnp.max(jnp.abs(a - b)))
    for path, change in jax.tree_util.tree_leaves_with_path(
        jax.tree.map(moved, before.params["student"], after.params["student"])
    ):
        assert change > 0, path
    # Everything that an objective declares as a parameter is trained by it.
    for path, change in jax.tree_util.tree_leaves_with_path(
        jax.tree.map(moved, before.params["objective"], after.params["objective"])
    ):
        assert change > 0, jax.tree_util.keystr(path)


def test_what_is_remembered_and_what_is_frozen(run: Run, alone: dict):
    stats = [state.stats["objective"] for state, _ in alone[0]]
    if "crd.CRD" in run.names:
        first, _, third = (s["memory"]["terms_crd_CRD"] for s in stats)
        for side in ("student", "teacher"):
            # Set by the first batch, once; a row moves when its image is seen.
            assert first[f"{side}_normalizer"] == third[f"{side}_normalizer"] > 0
            moved = np.any(first[f"{side}_bank"] != third[f"{side}_bank"], axis=-1)
            seen = np.isin(np.arange(N), [b["index"] for b in BATCHES[1:]])
            np.testing.assert_array_equal(moved, seen)
    if "ft.Paraphraser" in run.names:
        frozen = [s["frozen"] for s in stats]
        _same(
            frozen[2]["terms_ft_Paraphraser"]["encoder"],
            alone[0][1][0].params["objective"]["terms_ft_Paraphraser"]["encoder"],
            0.0,
        )
        _same(frozen[2]["terms_ft_FT"], frozen[0]["terms_ft_FT"], 0.0)


def test_the_sum_is_that_of_its_terms(run: Run, alone: dict):
    metrics = alone[0][0][1]
    total = sum(TERMS[name][0] * metrics[name.replace(".", "_")] for name in run.names)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


@pytest.mark.slow
def test_seeds_at_once_are_seeds_alone(run: Run, alone: dict):
    states = [run.init(i) for i in (0, 1)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *states)
    together = run.three(jit(jax.vmap(run.raw, (0, None, None))), stacked)
    for i in (0, 1):
        for (state, metrics), (state1, metrics1) in zip(together, alone[i], strict=True):
            _same(jax.tree.map(lambda x, i=i: x[i], metrics), metrics1, 2e-6)
            _same(jax.tree.map(lambda x, i=i: x[i], state), state1, 2e-6)


@pytest.mark.slow
def test_eight_devices_are_one(run: Run, alone: dict):
    """Methods that compare examples see the global batch, and BatchNorm and memory banks too."""
    mesh = Mesh(np.array(jax.devices()[:8]), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = lambda x: NamedSharding(mesh, PartitionSpec(*["data"] * (x.ndim > 0)))
    batches = [jax.tree.map(lambda x: jax.device_put(x, split(x)), b) for b in BATCHES]
    put = lambda tree: jax.device_put(tree, everywhere)
    state = put(run.init(0))
    frozen = put(run.frozen)
    for batch, (state1, metrics1) in zip(batches, alone[0], strict=True):
        state, metrics = run.step(state, frozen, batch)
        _same(metrics, metrics1, 2e-6)
        _same(state, state1, 2e-6)


def test_init_leaves_nothing_but_initial_values(run: Run):
    """The first batch gives shapes and no more, although init calls the module."""
    first = run.init(3)
    again = run.init(3, BATCHES[1])
    _same(first, again, 0.0)


@pytest.mark.slow
def test_no_gradient_reaches_the_teacher(run: Run):
    state = run.init(0)
    loss = lambda weights: run.raw(state, {"teacher": weights, "tables": TABLES}, BATCHES[0])[1][
        "loss"
    ]
    grads = jit(jax.grad(loss))(run.frozen["teacher"])
    assert all(np.all(g == 0) for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_three_teachers_are_the_mean_of_each(run: Run):
    ensemble = Run(run.names, stacked=True)
    state = ensemble.init(0)
    history = ensemble.three(ensemble.step, state)
    for _, metrics in history:
        assert all(np.isfinite(v) for v in metrics.values())
    # One by one, each with its own slice of the parameters and the memory.
    one = jit(_one_teacher(run.objective))
    of = lambda i: jax.tree.map(lambda x: x[i], ensemble.frozen["teacher"])
    before = [state, *(after for after, _ in history[:-1])]
    found = [
        [one(at, of(i), i, batch) for i in range(3)]
        for at, batch in zip(before, BATCHES, strict=True)
    ]
    for terms, (_, metrics) in zip(found, history, strict=True):
        for name in set(run.names) - DRAWS:
            key = name.replace(".", "_")
            mean = np.mean([t[0][key] for t in terms])
            np.testing.assert_allclose(metrics[key], mean, rtol=5e-5, err_msg=name)
    if "crd.CRD" in run.names:
        banks = history[0][0].stats["objective"]["memory"]["terms_crd_CRD"]
        for i in range(3):
            ours = found[0][i][1]["memory"]["terms_crd_CRD"]["student_bank"]
            theirs = banks["objective"]["student_bank"][i]
            np.testing.assert_allclose(theirs, ours, atol=1e-6)


def _one_teacher(objective: Weighted):
    """Terms and new memory of `objective` for teacher i, given a state of three."""

    def apply(state, weights, i, batch):
        own = lambda tree: {
            name: jax.tree.map(lambda x: x[i], inner["objective"]) for name, inner in tree.items()
        }
        variables = {"params": own(state.params["objective"])}
        variables |= {k: own(v) for k, v in state.stats["objective"].items()}
        student = STUDENT.apply(state.student, batch["image"], train=True)
        target = TEACHER.apply(weights, batch["image"])
        view = View(student, target, batch, TABLES, state.step, weights)
        (_, terms), stats = objective.apply(
            variables,
            view,
            rngs={"objective": jax.random.key(0)},
            mutable=list(state.stats["objective"]),
        )
        return terms, stats

    return apply


@pytest.fixture(scope="module")
def data() -> dict:
    train = digits.load().train
    image = np.repeat(np.repeat(train.image[:512], 2, axis=1), 2, axis=2)
    return {"image": (image / 255).astype(np.float32), "label": train.label[:512]}


@pytest.mark.slow
@pytest.mark.parametrize("name", TERMS)
def test_one_epoch_on_512_digits(name: str, data: dict):
    """Finite, and beside cross entropy it does not keep the student from learning."""
    settings = {**TERMS[name][1]}
    if name == "fsp.FSP":
        settings = {"features": ("stage1", "stage2")}
    if name == "crd.CRD":
        settings = {"num_negatives": 256}
    term = registry.find("kd.objectives", name)(**settings)
    objective = Weighted(
        {"ce": registry.find("kd.objectives", "ce.CE")(), "term": term},
        {"ce": 1.0, "term": 0.1 * TERMS[name][0]},
    )
    student, teacher = CNN(10, widths=(8, 8, 8)), CNN(10, widths=(8, 8, 12))
    weights = teacher.init(jax.random.key(1), jnp.asarray(data["image"][:2]))
    apply = lambda frozen, state, batch: teacher.apply(frozen, batch["image"])
    tables = {k: jnp.asarray(v) for k, v in class_tables(data["label"], 10).items()}
    frozen = {"teacher": weights, "tables": tables}
    parts = (student, objective, Teacher(apply), optax.sgd(0.05, momentum=0.9))
    order = np.random.default_rng(0).permutation(512).reshape(8, 64)

    def batch(epoch: int, rows: np.ndarray) -> dict:
        found = {k: jnp.asarray(v[rows]) for k, v in data.items()}
        found |= {"index": jnp.asarray(rows), "views": jnp.arange(64) % 2}
        return found | {"epoch": jnp.asarray(epoch)}

    init = jit(make_init(*parts))
    state = init(jax.random.key(0, impl="unsafe_rbg"), frozen, batch(0, order[0]))
    state = dataclasses.replace(state, key=jax.random.key(0))
    step = jit(make_step(*parts))
    losses = []
    for rows in order:
        state, metrics = step(state, frozen, batch(0, rows))
        assert all(np.isfinite(v) for v in metrics.values()), metrics
        losses.append(float(metrics["ce"]))
    assert np.mean(losses[-2:]) < losses[0]
