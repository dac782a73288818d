"""Shapes are compared: of terms, of logits and classes, of student and teacher; nothing is
broadcast, and only what says so is a cohort.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kd
from kd import teachers
from kd.devices import precision
from kd.errors import InputError
from kd.init import make_init
from kd.models.adapted import Adapted, adapt
from kd.models.cohort import Cohort, MixedCohort
from kd.models.contract import check_maker
from kd.models.mlp import MLP
from kd.objective import PerTeacher, Weighted
from kd.objectives.ce import CE
from kd.objectives.dist import DIST
from kd.objectives.kd import KD
from kd.objectives.rkd import RKD
from kd.step import make_step
from kd.types import Mixture, Outputs, Teacher, View

B, C, M = 8, 5, 3
SMALL = {"name": "mlp.MLP", "widths": (3,)}


def batch(n=B):
    return {
        "image": jnp.ones((n, 4)),
        "label": jnp.arange(n) % C,
        "index": jnp.arange(n),
        "epoch": jnp.zeros((), jnp.int32),
    }


class Shaped(nn.Module):
    """A network whose logits have a shape of a test's own."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image, train: bool = False):
        scale = self.param("scale", nn.initializers.ones, ())
        return Outputs((scale * jnp.ones(self.shape)).astype(self.dtype))


class Loss(nn.Module):
    """A term of a shape of a test's own."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, view):
        return jnp.ones(self.shape) * jnp.sum(view.student.logits)


def constant(outputs):
    return Teacher(lambda *_: outputs)


def begin(student=None, objective=None, teacher=None, classes=C, data=None):
    """The shapes of the first state and of the first update, by the functions that every way of
    training uses.
    """
    objective = objective or Weighted({"ce": CE()}, {"ce": 1.0})
    args = student or MLP(C, ()), objective, teacher or teachers.none(), optax.sgd(0.1)
    data = data or batch()
    frozen = {"teacher": (), "tables": {"count": jnp.ones(classes)} if classes else {}}
    state = jax.eval_shape(make_init(*args), jax.random.key(0), frozen, data)
    return jax.eval_shape(make_step(*args), state, frozen, data)


def begins_with_step_alone(student, objective, teacher):
    """The step is traced on a state that another, fitting, teacher has begun."""
    tx = optax.sgd(0.1)
    frozen = {"teacher": (), "tables": {}}
    fitting = constant(Outputs(jnp.ones((B, C))))
    init = make_init(MLP(C, ()), objective, fitting, tx)
    state = jax.eval_shape(init, jax.random.key(0), frozen, batch())
    jax.eval_shape(make_step(student, objective, teacher, tx), state, frozen, batch())


# ------------------------------------------------------------------ terms


@pytest.mark.parametrize("shape", [(), (B,)])
def test_a_term_is_a_scalar_or_one_number_per_example(shape):
    begin(objective=Weighted({"own": Loss(shape)}, {"own": 1.0}))


@pytest.mark.parametrize("shape", [(B, C), (B, 1), (1,), (1, B), (C,), (2, B), (B, B), (B + 1,)])
def test_a_term_of_another_shape_is_refused_by_name(shape):
    objective = Weighted({"ce": CE(), "own": Loss(shape)}, {"ce": 1.0, "own": 1.0})
    with pytest.raises(InputError, match=rf"'own' returns.*{list(shape)}".replace("[", r"\[")):
        begin(objective=objective)


def test_a_term_that_returns_no_array_is_refused():
    class Pair(nn.Module):
        def __call__(self, view):
            return jnp.zeros(B), {}

    with pytest.raises(InputError, match="'own' returns 'tuple'"):
        begin(objective=Weighted({"own": Pair()}, {"own": 1.0}))


@pytest.mark.parametrize("shape", [(B, C), (B, 1), (M,), (M, B)])
def test_a_lifted_term_is_checked_for_each_teacher(shape):
    each = constant(Outputs(jnp.ones((M, B, C))))
    with pytest.raises(InputError, match="term 'own' returns an array"):
        begin(objective=Weighted({"own": PerTeacher(Loss(shape))}, {"own": 1.0}), teacher=each)
    begin(objective=Weighted({"own": PerTeacher(Loss((B,)))}, {"own": 1.0}), teacher=each)


def test_a_term_of_a_cohort_has_a_number_for_each_peer_and_example():
    cohort = Cohort(SMALL, C, 3)
    begin(cohort, Weighted({"own": Loss((3, B))}, {"own": 1.0}))
    for shape in ((), (B,), (3,), (B, 3), (3, B, C), (1, B)):
        with pytest.raises(InputError, match=r"objective\.own gives no loss for each peer"):
            begin(cohort, Weighted({"own": Loss(shape)}, {"own": 1.0}))


@pytest.mark.parametrize("objective", [KD(), Loss((B,)), Loss(())])
def test_an_objective_that_is_no_sum_of_terms_is_refused(objective):
    with pytest.raises(InputError, match=r"expected \(loss, \{term: value\}\)"):
        begin(objective=objective, teacher=constant(Outputs(jnp.ones((B, C)))))


# ------------------------------------------------------------------ the student


@pytest.mark.parametrize(
    "shape", [(8, 16, C), (2, B, C), (1, B, C), (B, 1, C), (B,), (), (16, C), (1, C), (2, 2, B, C)]
)
def test_logits_of_other_axes_are_no_cohort(shape):
    with pytest.raises(InputError, match="the student's logits have the shape"):
        begin(Shaped(shape), classes=0)


@pytest.mark.parametrize("classes", [C - 1, C + 1, 12, 1])
def test_a_student_has_as_many_logits_as_the_data_have_classes(classes):
    with pytest.raises(InputError, match=rf"data have {classes} classes"):
        begin(classes=classes)
    with pytest.raises(InputError, match=rf"data have {classes} classes"):
        begin(Cohort(SMALL, C, 2), classes=classes)


def test_labels_beyond_the_students_classes_are_refused():
    """Where the data's classes are not known, as in a notebook."""
    args = MLP(3, ()), Weighted({"ce": CE()}, {"ce": 1.0}), teachers.none(), optax.sgd(0.1)
    with pytest.raises(InputError, match="labels are 0 to 4, and the student has 3 outputs"):
        make_init(*args)(jax.random.key(0), {"teacher": (), "tables": {}}, batch())


def test_integers_are_no_logits():
    with pytest.raises(InputError, match="int32"):
        begin(Shaped((B, C), "int32"))


@pytest.mark.parametrize("cohort", [Cohort(SMALL, C, 3), MixedCohort((SMALL, SMALL), C)])
def test_a_cohort_says_that_it_is_one(cohort):
    begin(cohort)
    outputs = cohort.init_with_output(jax.random.key(0), batch()["image"])[0]
    assert outputs.peers == len(cohort.peers()) == outputs.logits.shape[0]


def test_a_cohort_of_ones_own_need_not_mark_its_outputs():
    class Own(Cohort):
        def __call__(self, image, train: bool = False):
            return super().__call__(image, train).logits

    begin(Own(SMALL, C, 2))


def test_two_views_have_twice_the_rows_and_their_labels():
    begin(data=batch(2 * B))


# ------------------------------------------------------------------ the teacher


@pytest.mark.parametrize(
    "shape", [(B, 1), (1, C), (1, 1), (B, C + 1), (B + 1, C), (C,), (), (1, 1, C), (M, B, 1)]
)
def test_a_teacher_of_another_shape_is_refused(shape):
    """In the first state and in the step, whatever the objective would do with it."""
    teacher = constant(Outputs(jnp.ones(shape)))
    objective = Weighted({"dist": DIST()}, {"dist": 1.0})
    with pytest.raises(InputError, match="the teacher's logits have the shape"):
        begin(objective=objective, teacher=teacher)
    with pytest.raises(InputError, match="the teacher's logits have the shape"):
        begins_with_step_alone(MLP(C, ()), objective, teacher)


def test_a_student_of_one_logit_beside_a_teacher_of_two_is_refused():
    with pytest.raises(InputError, match="the teacher's logits"):
        teacher = constant(Outputs(jnp.ones((B, 2))))
        begin(MLP(1, ()), Weighted({"kd": KD()}, {"kd": 1.0}), teacher, classes=0)


@pytest.mark.parametrize(
    ("members", "weights"),
    [((M, B, 1), (M,)), ((M, 1, C), (M,)), ((B, C), (M,)), ((M, B, C), (B,)), ((M, B, C), (1,))],
)
def test_members_of_another_shape_are_refused(members, weights):
    teacher = constant(Mixture(jnp.ones(members), jnp.ones(weights)))
    with pytest.raises(InputError, match="the teacher's logits"):
        begin(objective=Weighted({"kd": KD()}, {"kd": 1.0}), teacher=teacher)


@pytest.mark.parametrize(("term", "m"), [(KD(), M), (DIST(), 1), (DIST(), C), (RKD(), B)])
def test_stacked_teachers_are_for_lifted_terms(term, m):
    """However many they are: sizes that agree by chance are not broadcast."""
    teacher = constant(Outputs(jnp.ones((m, B, C)), {"pooled": jnp.ones((m, B, 6))}))
    student = MLP(C, (6,))
    with pytest.raises(InputError, match="PerTeacher"):
        begin(student, Weighted({"own": term}, {"own": 1.0}), teacher)
    terms = {"ce": CE(), "own": PerTeacher(term)}
    begin(student, Weighted(terms, {"ce": 1.0, "own": 1.0}), teacher)


def test_a_lifted_term_needs_several_teachers():
    lifted = Weighted({"kd": PerTeacher(KD())}, {"kd": 1.0})
    for teacher in (Outputs(jnp.ones((B, C))), Mixture(jnp.ones((M, B, C)), jnp.ones(M) / M)):
        with pytest.raises(InputError, match="'kd' is lifted to several teachers"):
            begin(objective=lifted, teacher=constant(teacher))


def test_a_teacher_may_return_its_logits_alone():
    array = Teacher(lambda frozen, state, batch: 2 * batch["image"] @ jnp.ones((4, C)))
    begin(objective=Weighted({"kd": KD()}, {"kd": 1.0}), teacher=array)


def test_a_cohort_may_have_one_teacher_or_its_own_mean():
    cohort, kd_ = Cohort(SMALL, C, 3), Weighted({"kd": KD()}, {"kd": 1.0})
    with jax.numpy_rank_promotion("allow"):  # all peers have the one teacher
        begin(cohort, kd_, constant(Outputs(jnp.ones((B, C)))))
    begin(cohort, kd_, teachers.ema(cohort))
    with pytest.raises(InputError, match="same cohort"):
        begin(cohort, kd_, constant(Outputs(jnp.ones((2, B, C)), peers=2)))


# ------------------------------------------------------------------ networks of one's own


class Plain(nn.Module):
    """Returns logits; its flag is called otherwise."""

    num_classes: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image, deterministic: bool = True):
        x = nn.Dropout(0.5, deterministic=deterministic)(image)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x).astype(jnp.float32)


def test_a_plain_array_is_the_logits():
    student = Plain(C)
    begin(student)
    begin(student, Weighted({"kd": KD()}, {"kd": 1.0}), teachers.ema(adapt(student)))
    variables = student.init(jax.random.key(0), batch()["image"])
    adapted = adapt(student).init(jax.random.key(0), batch()["image"])
    jax.tree.map(np.testing.assert_array_equal, variables, adapted)


def test_an_adapted_network_keeps_its_precision():
    net = precision.network(adapt(Plain(C)), "bfloat16")
    assert isinstance(net, Adapted) and net.adapted.dtype == "bfloat16"
    with pytest.raises(InputError, match="Shapeless has no attribute `dtype`"):

        class Shapeless(nn.Module):
            pass

        precision.network(adapt(Shapeless()), "bfloat16")


def foreign(name):
    """A class as of another library, which need not be installed."""
    base = type("Module", (), {"__module__": name, "__call__": lambda self, x: x})
    return type("Net", (base,), {"__module__": "mine"})


@pytest.mark.parametrize(
    ("cls", "says"),
    [("flax.nnx.module", "ToLinen"), ("equinox._module", "Equinox"), ("torch.nn", "PyTorch")],
)
def test_networks_of_other_libraries_are_refused_in_a_sentence(cls, says):
    cls = foreign(cls)
    for refused in (
        lambda: kd.distill(teacher=None, student=cls(), data=(np.zeros((4, 3)), np.arange(4))),
        lambda: begin(cls()),
        lambda: check_maker(cls, "mine.Net"),
    ):
        with pytest.raises(InputError, match=says):
            refused()


@pytest.mark.parametrize("student", [lambda image: image, MLP, np.tanh, "mlp.MLP", None, 3])
def test_what_is_no_network_is_refused_in_a_sentence(student):
    args = Weighted({"ce": CE()}, {"ce": 1.0}), teachers.none(), optax.sgd(0.1)
    for make in (make_init, make_step):
        with pytest.raises(InputError, match="the student"):
            make(student, *args)


@pytest.mark.parametrize("objective", [CE, lambda view: 0.0, {"ce": (1.0, CE())}, None, "ce.CE"])
def test_what_is_no_objective_is_refused_in_a_sentence(objective):
    for make in (make_init, make_step):
        with pytest.raises(InputError, match="the objective must be a Flax linen module"):
            make(MLP(C, (3,)), objective, teachers.none(), optax.sgd(0.1))


DATA = np.ones((8, 4), np.float32), np.arange(8) % 4


def broken(image):
    raise AttributeError("'Array' object has no attribute 'dim'")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (dict(student=MLP(12, (3,))), "data have 4 classes"),
        (dict(student=Shaped((8, 2, 4))), "the student's logits have the shape"),
        (dict(student=Cohort(SMALL, 5, 2)), "data have 4 classes"),
        (dict(teacher=broken), "the teacher function fails .* no attribute 'dim'"),
        (dict(teacher=lambda x: x[:, :1]), "expected logits"),
        (dict(teacher=lambda x: np.asarray(x)[0]), "expected logits"),
        (dict(teacher=(MLP, {})), "is the class MLP"),
        (dict(teacher=Teacher(lambda *_: jnp.ones((1, 4)))), "the teacher's logits"),
        (dict(objective={"ce": (1.0, CE)}), "expected a module"),
        (dict(objective={"own": (1.0, Loss((8, 4)))}, teacher=None), "'own' returns an array"),
        (dict(objective=KD(), teacher=DATA[0]), "expected \\(loss"),
    ],
)
def test_plain_objects_of_other_shapes_are_refused(settings, says):
    """By `kd.distill`, whose parts are otherwise those of a run."""
    settings = dict(student=MLP(4, (3,)), teacher=None, batch_size=8, progress=False) | settings
    with pytest.raises(InputError, match=says):
        kd.distill(data=DATA, **settings)


# ------------------------------------------------------------------ probabilities


class Softmax(nn.Module):
    num_classes: int = C

    @nn.compact
    def __call__(self, image, train: bool = False):
        return nn.softmax(nn.Dense(self.num_classes)(image.reshape(len(image), -1)))


def test_probabilities_in_place_of_logits_are_warned_of():
    args = Weighted({"ce": CE()}, {"ce": 1.0}), teachers.none(), optax.sgd(0.1)
    frozen = {"teacher": (), "tables": {}}
    with pytest.warns(UserWarning, match="Softmax returns probabilities"):
        make_init(Softmax(), *args)(jax.random.key(0), frozen, batch())
    make_init(MLP(C, ()), *args)(jax.random.key(0), frozen, batch())


def test_shapes_of_a_view_are_compared_wherever_terms_are_summed():
    view = View(Outputs(jnp.ones((B, C))), Outputs(jnp.ones((1, C))), batch(), {}, jnp.int32(0))
    with pytest.raises(InputError, match="the teacher's logits"):
        Weighted({"kd": KD()}, {"kd": 1.0}).apply({}, view)
