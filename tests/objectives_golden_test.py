"""Every objective against values of the public PyTorch code (tests/golden/objectives/README.md says
which and how).
"""

from functools import partial
from pathlib import Path

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd.features import ConvRegressor
from kd.objectives import (
    ab,
    at,
    cc,
    ce,
    crd,
    ctkd,
    cwd,
    dist,
    dkd,
    fitnet,
    fsp,
    ft,
    ickd,
    kd,
    mgd,
    mlkd,
    nkd,
    nst,
    ofa,
    ofd,
    pkt,
    reviewkd,
    rkd,
    semckd,
    sp,
    srrl,
    ttm,
    vid,
    wsld,
)
from kd.types import Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

HERE = Path(__file__).parent / "golden" / "objectives"
DATA = dict(np.load(HERE / "functions.npz"))
MODULES = dict(np.load(HERE / "modules.npz"))
softmax = jax.nn.softmax
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def _cross_layer(s, t):
    weight = softmax(jnp.arange(s.shape[0] * 6.0).reshape(-1, 2, 3) / 7)
    distance = [[fitnet.hint(s * i, t + j) for j in range(3)] for i in (1, 2)]
    return semckd.cross_layer(jnp.moveaxis(jnp.array(distance), -1, 0), weight)


FUNCTIONS = {
    "distill_kl.1": partial(kd.distill_kl, temperature=1),
    "distill_kl.4": partial(kd.distill_kl, temperature=4.0),
    "logit_mse": kd.logit_mse,
    "standardize": lambda s, t: jnp.sum(kd.standardize(s) * t),
    "lskd": lambda s, t: kd.distill_kl(kd.standardize(s), kd.standardize(t), 2.0),
    "cross_entropy": lambda s, t, label: ce.cross_entropy(s, label),
    "cross_entropy.smooth": lambda s, t, label: ce.cross_entropy(s, label, 0.1),
    "decoupled_kl": partial(dkd.decoupled_kl, alpha=1.0, beta=8.0, temperature=4.0),
    "inter_class": lambda s, t: dist.inter_class(softmax(s), softmax(t)),
    "intra_class": lambda s, t: dist.intra_class(softmax(s), softmax(t)),
    "hint": fitnet.hint,
    "attention": lambda s, t: jnp.sum(at.attention(s) * at.attention(t)),
    "attention_transfer": at.attention_transfer,
    "attention_transfer.wide": at.attention_transfer,
    "similarity": sp.similarity_preserving,
    "correlation": cc.correlation_congruence,
    "gaussian_nll": lambda s, t, variance: vid.gaussian_nll(s, variance, t),
    "rkd_distance": rkd.rkd_distance,
    "rkd_angle": rkd.rkd_angle,
    "pkt": pkt.neighbour_kl,
    "nst": nst.channel_mmd,
    "nst.wide": nst.channel_mmd,
    "flow": lambda bottom, top: jnp.sum(fsp.flow(bottom, top) ** 3),
    "fsp": lambda a, b, c, d: fsp.flow_mse((a, b), (c, d)),
    "activation_boundary": ab.activation_boundary,
    "factor_transfer": ft.factor_transfer,
    "hierarchical_context": reviewkd.hierarchical_context,
    "nce": partial(crd.nce, num_data=50),
    "normalized_kd": partial(nkd.normalized_kd, gamma=1.5, temperature=2.0),
    "weighted_soft_label": partial(wsld.weighted_soft_label, temperature=4.0),
    "transformed_kl": partial(ttm.transformed_kl, exponent=0.3),
    "weighted_transformed_kl": lambda s, t: ttm.power_sum(t, 0.3) * ttm.transformed_kl(s, t, 0.3),
    "batch_relation": lambda s, t: mlkd.batch_relation(softmax(s), softmax(t)),
    "class_relation": lambda s, t: mlkd.class_relation(softmax(s), softmax(t)),
    "partial_distance": ofd.partial_distance,
    "channel_kl": partial(cwd.channel_kl, temperature=4.0),
    "channel_correlation": ickd.channel_correlation,
    "enhanced_cross_entropy": partial(ofa.enhanced_cross_entropy, exponent=1.5, temperature=2.0),
    "cross_layer": _cross_layer,
}


def _close(ours, theirs, tolerance: float, what: str) -> None:
    error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert error < tolerance, f"{what}: {error} from the public code's {theirs}"


@pytest.fixture(scope="module")
def computed() -> dict[str, tuple[jax.Array, jax.Array]]:
    """Value and gradient of every function, compiled at once: that is many times faster than one by
    one.
    """

    def one(name: str) -> tuple[jax.Array, jax.Array]:
        names = str(DATA[f"out.{name}.args"]).split(",")
        first, *rest = (jnp.asarray(DATA[f"in.{a}"]) for a in names)
        return jax.value_and_grad(lambda x: jnp.mean(FUNCTIONS[name](x, *rest)))(first)

    return jit(lambda: {name: one(name) for name in FUNCTIONS})()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_is_the_public_one(computed: dict, name: str):
    value, grad = computed[name]
    _close(np.float64(value), DATA[f"out.{name}"], 1e-5, name)
    _close(grad, DATA[f"out.{name}.grad"], 1e-4, f"gradient of {name}")


def test_every_stored_function_is_checked():
    stored = {k[4:-5] for k in DATA if k.startswith("out.") and k.endswith(".args")}
    assert stored == {*FUNCTIONS, "negative_mean"}


def test_margin_of_ofd_is_the_public_one():
    ours = ofd.negative_mean(DATA["in.bn_scale"] * jnp.ones(6), DATA["in.bn_bias"] * jnp.ones(6))
    np.testing.assert_allclose(ours, DATA["out.negative_mean"], rtol=1e-4)
    assert ours[0] == -3 * abs(DATA["in.bn_scale"][0])  # hardly ever negative


def test_flow_keeps_the_order_of_the_paper():
    bottom, top = jnp.asarray(DATA["in.student_map"]), jnp.asarray(DATA["in.student_map2"])
    assert fsp.flow(bottom, top).shape == (8, 4, 6)


# Modules with weights: kernels are moved to the layout of Flax, then the loss must be the same.


def _weights(name: str, layers: dict[str, str]) -> dict:
    """Params of Flax from PyTorch's: {path in Flax: prefix in PyTorch}."""
    params = {}
    for path, prefix in layers.items():
        weight = MODULES[f"{name}.w.{prefix}.weight"]
        entry = {}
        if weight.ndim == 1:
            entry["scale"] = weight
        elif weight.ndim == 2:
            entry["kernel"] = weight.T
        elif name == "regressor_double":  # transposed: IOHW, and mirrored
            entry["kernel"] = weight.transpose(2, 3, 0, 1)[::-1, ::-1]
        else:
            entry["kernel"] = weight.transpose(2, 3, 1, 0)
        if f"{name}.w.{prefix}.bias" in MODULES:
            entry["bias"] = MODULES[f"{name}.w.{prefix}.bias"]
        params[tuple(path.split("/"))] = jax.tree.map(lambda x: jnp.asarray(x.copy()), entry)
    return flax.traverse_util.unflatten_dict(params)


def _view(student: dict, teacher: dict, logits=None, variables=None, **batch) -> View:
    features = [{k: jnp.asarray(MODULES[v]) for k, v in s.items()} for s in (student, teacher)]
    b = next(iter(features[0].values())).shape[0]
    zeros = jnp.zeros((b, 2))
    return View(
        Outputs(zeros, features[0]),
        Outputs(zeros if logits is None else jnp.asarray(logits), features[1]),
        {"epoch": jnp.asarray(19), "label": jnp.zeros(b, jnp.int32), **batch},
        {},
        jnp.asarray(0),
        variables,
    )


def _check(name: str, module, view: View, params: dict, tolerance=1e-5) -> None:
    shapes = lambda tree: {k: v.shape for k, v in flax.traverse_util.flatten_dict(tree).items()}
    rngs = {"params": jax.random.key(0), "objective": jax.random.key(1)}
    ours = jax.eval_shape(module.init, rngs, view)
    assert shapes(ours["params"]) == shapes(params)
    apply = lambda params, view: module.apply(
        {"params": params}, view, rngs={"objective": jax.random.key(0)}, mutable=["batch_stats"]
    )
    loss, _ = jit(apply)(params, view)
    _close(np.float64(jnp.mean(loss)), MODULES[f"{name}.out"], tolerance, name)


@pytest.mark.parametrize("kind", ["same", "half", "double", "valid"])
def test_regressor_is_the_public_one(kind: str):
    name = f"regressor_{kind}"
    view = _view({"stage2": f"{name}.student"}, {"stage2": f"{name}.teacher"})
    weights = _weights(name, {"regressor/conv": "conv", "regressor/norm": "bn"})
    _check(name, fitnet.FitNet(), view, weights)


def test_regressor_refuses_a_teacher_much_larger():
    with pytest.raises(ValueError, match="may shrink or double"):
        ConvRegressor((9, 9, 2)).init(jax.random.key(0), jnp.zeros((1, 3, 3, 2)))


def test_vid_is_the_public_one():
    view = _view({"stage1": "vid.student"}, {"stage1": "vid.teacher"})
    layers = {f"regressor1_conv{i}": f"regressor.{2 * i - 2}" for i in (1, 2, 3)}
    params = _weights("vid", layers)
    params["log_scale1"] = jnp.asarray(MODULES["vid.w.log_scale"])
    _check("vid", vid.VID(), view, params)


def test_reviewkd_is_the_public_one():
    student = {"stage1": "s1", "stage2": "s2", "pooled": "sp"}
    teacher = {
        "stage1": "t1",
        "stage2": "t2",
        "stage1_pre": "t1",
        "stage2_pre": "t2",
        "pooled": "tp",
    }
    view = _view(*({k: f"reviewkd.{v}" for k, v in s.items()} for s in (student, teacher)))
    layers = {}
    for i in (0, 1, 2):
        for j in (1, 2):
            layers[f"fusion{i + 1}/conv{j}"] = f"{i}.conv{j}.0"
            layers[f"fusion{i + 1}/norm{j}"] = f"{i}.conv{j}.1"
        if i < 2:
            layers[f"fusion{i + 1}/attention"] = f"{i}.att_conv.0"
    _check("reviewkd", reviewkd.ReviewKD(), view, _weights("reviewkd", layers))


def test_srrl_is_the_public_one():
    head = {"kernel": MODULES["srrl.kernel"].T, "bias": MODULES["srrl.bias"]}
    variables = {"params": {"head": jax.tree.map(jnp.asarray, head)}}
    view = _view(
        {"pooled": "srrl.student"}, {"pooled": "srrl.teacher"}, MODULES["srrl.logits"], variables
    )
    params = _weights("srrl", {"connector": "transfer.0", "norm": "transfer.1"})
    params["connector"]["kernel"] = params["connector"]["kernel"][0, 0]  # a 1 x 1 one
    _check("srrl", srrl.SRRL(), view, params)


def test_semckd_is_the_public_one():
    view = _view(
        {"stage1": "semckd.s1", "stage2": "semckd.s2"},
        {"stage1": "semckd.t1", "stage2": "semckd.t2"},
    )
    layers = {}
    for i in (0, 1):
        for ours, theirs in (("query", "query"), ("key", "key")):
            layers[f"{ours}{i + 1}_hidden"] = f"{theirs}_{i}.linear1"
            layers[f"{ours}{i + 1}_out"] = f"{theirs}_{i}.linear2"
        for j in (0, 1):
            for k, place in ((1, 0), (2, 3), (3, 6)):
                layers[f"conv{k}_{i + 1}_{j + 1}"] = f"regressor{i}{j}.regressor.{place}"
                if k < 3:
                    layers[f"norm{k}_{i + 1}_{j + 1}"] = f"regressor{i}{j}.regressor.{place + 1}"
    _check("semckd", semckd.SemCKD(), view, _weights("semckd", layers), 2e-5)


def test_mgd_without_masking_is_the_public_one():
    view = _view({"stage1": "mgd.student"}, {"stage1": "mgd.teacher"})
    layers = {"align": "align", "generate1": "generation.0", "generate2": "generation.2"}
    _check("mgd", mgd.MGD(masked=0.0), view, _weights("mgd", layers))


def test_ickd_is_the_public_one():
    view = _view({"stage1": "ickd.student"}, {"stage1": "ickd.teacher"})
    layers = {"embed": "embed_s.conv2d", "norm": "embed_s.l2norm"}
    _check("ickd", ickd.ICKD(), view, _weights("ickd", layers))


def test_ctkd_reverses_the_gradient_of_the_temperature():
    student, teacher = (jnp.asarray(MODULES[f"ctkd.{k}"]) for k in ("student", "teacher"))
    # The public code counts epochs from 1, the batch from 0.
    batch = {"label": jnp.zeros(4, jnp.int32), "epoch": jnp.asarray(MODULES["ctkd.epoch"] - 1)}
    view = lambda s: View(Outputs(s), Outputs(teacher), batch, {}, jnp.asarray(0))
    loss = lambda params, s: jnp.mean(ctkd.CTKD().apply({"params": params}, view(s)))
    value, (params, grad) = jit(jax.value_and_grad(loss, argnums=(0, 1)))(
        {"theta": jnp.asarray(MODULES["ctkd.theta"])}, student
    )
    _close(np.float64(value), MODULES["ctkd.out"], 1e-5, "ctkd")
    _close(grad, MODULES["ctkd.grad"], 1e-4, "gradient of ctkd")
    _close(params["theta"], MODULES["ctkd.theta_grad"][0], 1e-3, "gradient of theta")


def test_two_steps_of_crd_are_the_public_ones(monkeypatch: pytest.MonkeyPatch):
    get = lambda k: jnp.asarray(MODULES[f"crd.{k}"])
    module = crd.CRD(dim=4, num_negatives=6, temperature=0.2)
    params = _weights("crd", {"embed_student": "embed_s.linear", "embed_teacher": "embed_t.linear"})
    memory = {
        "student_bank": get("bank_s0"),
        "teacher_bank": get("bank_t0"),
        "student_normalizer": jnp.zeros(()),
        "teacher_normalizer": jnp.zeros(()),
    }
    tables = {"order": jnp.arange(20), "start": jnp.array([0]), "count": jnp.array([20])}
    for i in (0, 1):
        monkeypatch.setattr(crd, "draw_negatives", lambda *_, i=i: get("negatives")[i])
        zeros = jnp.zeros((4, 2))
        view = View(
            Outputs(zeros, {"pooled": get("student")[i]}),
            Outputs(zeros, {"pooled": get("teacher")[i]}),
            {"index": get("index")[i], "label": jnp.zeros(4, jnp.int32)},
            tables,
            jnp.asarray(i),
        )
        apply = partial(module.apply, rngs={"objective": jax.random.key(0)}, mutable=["memory"])
        loss, state = jit(apply)({"params": params, "memory": memory}, view)
        memory = state["memory"]
        _close(np.float64(jnp.mean(loss)), MODULES["crd.out"][i], 1e-5, f"step {i}")
    for side, name in (("student", "bank_s"), ("teacher", "bank_t")):
        np.testing.assert_allclose(memory[f"{side}_bank"], get(name), atol=1e-6)
    # Their v1 is the student's score against the teacher's bank.
    _close(memory["teacher_normalizer"], MODULES["crd.z"][2], 1e-5, "normaliser")
    _close(memory["student_normalizer"], MODULES["crd.z"][3], 1e-5, "normaliser")
