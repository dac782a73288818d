"""What does not fit is refused when an objective is initialised, with what exists and what to
do.
"""

import re

import jax
import jax.numpy as jnp
import pytest

from kd.errors import InputError
from kd.objectives import (
    ab,
    at,
    crd,
    cwd,
    dkd,
    fitnet,
    fsp,
    ft,
    kd,
    mgd,
    mlkd,
    nst,
    ofa,
    ofd,
    reviewkd,
    semckd,
    sp,
    srrl,
    vid,
)
from kd.types import Mixture, Outputs, View

pytestmark = pytest.mark.usefixtures("unoptimized_module")

B = 4


def outputs(**shapes) -> Outputs:
    features = {name: jnp.ones((B, *shape)) for name, shape in shapes.items()}
    return Outputs(jnp.ones((B, 3)), features)


def view(student: Outputs, teacher=None, **kwargs) -> View:
    batch = {"label": jnp.zeros(B, jnp.int32), "index": jnp.arange(B)}
    return View(student, teacher, batch, {}, jnp.asarray(0), **kwargs)


def refused(module, view: View, words: str) -> str:
    rngs = {"params": jax.random.key(0), "objective": jax.random.key(1)}
    with pytest.raises(InputError, match=words) as error:
        jax.eval_shape(module.init, rngs, view)
    return str(error.value)


SHALLOW = outputs(stage1=(8, 8, 4), stage2=(4, 4, 6), pooled=(6,))
DEEP = outputs(stage1=(8, 8, 4), stage2=(4, 4, 8), stage3=(2, 2, 8), pooled=(8,))


@pytest.mark.parametrize(
    "module", [at.AT(), nst.NST(), vid.VID(), reviewkd.ReviewKD(), semckd.SemCKD()]
)
@pytest.mark.parametrize("sides", [(SHALLOW, DEEP), (DEEP, SHALLOW)])
def test_stages_that_differ_in_number_are_not_cut(module, sides):
    message = refused(module, view(*sides), "stages .* differ")
    assert "stage2 [4, 4, 6]" in message and "stage3 [2, 2, 8]" in message
    assert "features = [[" in message  # how to pair them


def test_named_pairs_join_networks_of_different_depth():
    pairs = (("stage1", "stage1"), ("stage2", "stage3"))
    loss = at.AT(features=pairs).apply({}, view(SHALLOW, DEEP))
    assert loss.shape == (B,)


def test_the_last_stages_pair_whatever_the_depth():
    both = view(SHALLOW, DEEP)
    ours = sp.SP().apply({}, both)
    assert ours == sp.similarity_preserving(SHALLOW.features["stage2"], DEEP.features["stage3"])


def test_missing_features_are_named():
    refused(fitnet.FitNet("stage4"), view(SHALLOW, DEEP), "'stage4' of the student")
    refused(fitnet.FitNet(("stage1", "stage9")), view(SHALLOW, DEEP), "'stage9' of the teacher")
    refused(fitnet.FitNet(("a", "b", "c")), view(SHALLOW, DEEP), "two names")
    refused(ab.AB(), view(SHALLOW, SHALLOW), "stage1_pre")
    refused(fsp.FSP(), view(SHALLOW, SHALLOW), "'stem'")


def test_equal_channels_are_needed_by_fsp():
    module = fsp.FSP(features=("stage1", "stage2"))
    message = refused(module, view(SHALLOW, DEEP), re.escape("(4, 6) and (4, 8)"))
    assert "stage3 [2, 2, 8]" in message and "features = [[" in message
    with pytest.raises(InputError, match="FSP needs equal channels"):
        two = [[outputs.features[f"stage{i}"] for i in (1, 2)] for outputs in (SHALLOW, DEEP)]
        fsp.flow_mse(*two)
    refused(fsp.FSP(features=("stage1",)), view(SHALLOW, DEEP), "two or more")


def test_vectors_are_not_maps():
    flat = outputs(stage1=(8,), stage2=(8,))
    refused(at.AT(), view(flat, flat), "not vectors")
    refused(ofa.OFA(), view(flat, flat), "is a vector")
    refused(cwd.CWD(), view(flat, flat), "two places or more")


def test_sizes_that_no_layer_joins():
    refused(mgd.MGD(("stage1", "stage2")), view(SHALLOW, SHALLOW), "maps of one size")
    refused(cwd.CWD(("stage1", "stage2")), view(SHALLOW, SHALLOW), "the same size")
    listed = "shrink or double.* the teacher has pooled"
    refused(fitnet.FitNet(("stage3", "stage1")), view(DEEP, DEEP), listed)


def test_no_teacher_and_averaged_teachers():
    refused(at.AT(), view(SHALLOW), "the run has none")
    mixture = Mixture(jnp.ones((2, B, 3)), jnp.ones(2) / 2)
    refused(at.AT(), view(SHALLOW, mixture), "teacher.reduce = 'each'")


def test_needs_beyond_logits_and_features():
    refused(mlkd.MLKD(), view(SHALLOW, DEEP), "batch.views")
    refused(crd.CRD(), view(SHALLOW, DEEP), "tables.order")
    refused(srrl.SRRL(), view(SHALLOW, DEEP), "teacher_variables")
    variables = {"params": {"fc": {"kernel": jnp.ones((8, 3))}}}
    both = view(SHALLOW, DEEP, teacher_variables=variables)
    refused(srrl.SRRL(), both, "'head'. Known: fc")
    maps = outputs(stage1_pre=(4, 4, 2))
    module = ofd.OFD(batch_norms=("stage1/norm",))
    refused(ofd.OFD(batch_norms=("a", "b")), view(maps, maps), "1 features, 2 in")
    refused(
        module, view(maps, maps, teacher_variables=variables), "'stage1/norm' 'stage1'. Known: fc"
    )


def test_margins_from_the_teachers_batch_norm():
    norm = {"scale": jnp.ones(2), "bias": jnp.array([0.0, 9.0])}
    maps = outputs(stage1_pre=(4, 4, 2))
    both = view(maps, maps, teacher_variables={"params": {"stage1": {"norm": norm}}})
    init = lambda module: jax.eval_shape(module.init, jax.random.key(0), both)
    # Nothing to remember, against running means.
    assert "memory" not in init(ofd.OFD(batch_norms=("stage1/norm",)))
    assert "memory" in init(ofd.OFD())


def test_standardized_logits_of_two_classes_teach_nothing():
    two = Outputs(jnp.ones((B, 2)))
    for module in (kd.KD(standardize=True), dkd.DKD(standardize=True)):
        refused(module, view(two, two), "of two classes")


def test_the_second_run_of_ft_finds_what_the_first_leaves():
    both = view(SHALLOW, DEEP)
    init = lambda module: jax.eval_shape(module.init, jax.random.key(0), both)
    first, second = init(ft.Paraphraser()), init(ft.FT())
    assert first["frozen"] == second["frozen"]
    assert "encoder" not in second["params"]  # out of reach of weight decay


def test_a_batch_of_another_size_is_refused_by_semckd():
    module, both = semckd.SemCKD(), outputs(stage1=(2, 2, 3))
    half = jax.tree.map(lambda x: x[:2], both)

    def two_batches(key: jax.Array):
        variables = module.init(key, view(both, both))
        return module.apply(variables, view(half, half), mutable=["batch_stats"])

    with pytest.raises(InputError, match="batches of 4 and cannot take one of 2"):
        jax.eval_shape(two_batches, jax.random.key(0))
