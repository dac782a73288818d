"""Knowledge distillation on MNIST, section 3 of Hinton et al. 2015.

Hinton, Vinyals, Dean. Distilling the Knowledge in a Neural Network. 2015. arXiv 1503.02531.

    uv run kd prepare mnist
    uv run kd table experiments/hinton2015_mnist.py          # runs what is missing and prints
    uv run kd table experiments/hinton2015_mnist.py --print  # only prints
    uv run kd table experiments/hinton2015_mnist.py:smoke    # in miniature

`experiments/hinton2015_temperatures.py` compares temperatures. Five seeds in one program. Budgets
are minutes of a run that has two CPU cores to itself. They are computed from the time of an update
with 100 images: 70 ms for five teachers, 25 ms for five students.
"""

PAPER = "Hinton, Vinyals, Dean 2015, section 3"

TEACHER = dict(role="teacher")
NO3 = dict(transfer="no3", hard=0.0, validation=0.1)
ONLY78 = dict(transfer="only78", hard=0.0, validation=0.1)


def get_experiment(arg=None):
    if arg not in (None, "smoke"):
        raise ValueError(f"argument {arg!r}: expected smoke or nothing.")
    smoke = arg == "smoke"
    return dict(
        title=(
            "MNIST, a large network distilled into a small one (Hinton, Vinyals, Dean 2015, "
            "section 3)"
        ),
        note="In miniature: these numbers mean nothing." if smoke else "",
        config="configs/hinton2015_mnist.py",
        args=dict(smoke=True) if smoke else {},
        seeds=2 if smoke else 5,
        source=PAPER,
        metric="errors",
        unit="errors" if smoke else "errors of 10,000",
        tables=[
            dict(title="Errors on the test set", rows=main_rows()),
            dict(title="Transfer sets without classes", rows=transfer_rows()),
        ],
    )


def main_rows():
    return {
        "teacher, 1200 units, dropout, weight constraint, jitter": dict(
            args=TEACHER, paper=67, budget=40
        ),
        "student, 800 units, from labels": dict(args=dict(role="labels"), paper=146, budget=10),
        "student, distilled at T = 20": dict(paper=74, budget=10),
        "share of the gap closed": dict(
            gap=(
                "student, 800 units, from labels",
                "student, distilled at T = 20",
                "teacher, 1200 units, dropout, weight constraint, jitter",
            ),
            at_least=0.7,
        ),
        # Not in the paper.
        "ensemble of the teachers": dict(args=TEACHER, metric="errors(ensemble=True)", budget=40),
        "student of the ensemble, without any label": dict(
            args=dict(of="ensemble", hard=0.0), budget=10
        ),
    }


def transfer_rows():
    """Students without some classes, with a bias chosen on validation, or on test as in the paper.

    `kd table` marks the latter with "chosen on test". The teachers were trained on the validation
    images and the students were not, so that a bias chosen on them is right for the students.
    """
    on_test = "chosen_on='test'"
    no3 = dict(args=NO3, budget=10)
    only78 = dict(args=ONLY78, budget=5, unit="% errors", digits=1)
    of_threes = dict(no3, unit="errors of 1,010")
    recognised = dict(no3, unit="% recognised", digits=1)
    shift = dict(unit="added to the logits", digits=1)
    return {
        "no 3": dict(no3, paper=206),
        "no 3: errors on threes": dict(of_threes, metric="errors(of=3)", paper=133),
        "no 3, bias chosen on validation": dict(no3, metric="errors(bias=3)"),
        "no 3, bias chosen on validation: errors on threes": dict(
            of_threes, metric="errors(of=3, bias=3)"
        ),
        "no 3, bias chosen on validation: threes": dict(
            recognised, metric="accuracy(of=3, bias=3)", at_least=95
        ),
        "no 3, bias chosen on validation: bias": dict(no3, metric="bias(bias=3)", **shift),
        "no 3, bias as the paper chose it": dict(
            no3, metric=f"errors(bias=3, {on_test})", paper=109
        ),
        "no 3, bias as the paper chose it: errors on threes": dict(
            of_threes, metric=f"errors(of=3, bias=3, {on_test})", paper=14
        ),
        "no 3, bias as the paper chose it: threes": dict(
            recognised, metric=f"accuracy(of=3, bias=3, {on_test})", paper=98.6
        ),
        "no 3, bias as the paper chose it: bias": dict(
            no3, metric=f"bias(bias=3, {on_test})", paper=3.5, **shift
        ),
        "only 7 and 8": dict(only78, metric="error_rate", paper=47.3),
        "only 7 and 8, bias chosen on validation": dict(only78, metric="error_rate(bias=(7, 8))"),
        "only 7 and 8, bias as the paper chose it": dict(
            only78, metric=f"error_rate(bias=(7, 8), {on_test})", paper=13.2
        ),
        "only 7 and 8, bias as the paper chose it: bias": dict(
            dict(only78, **shift), metric=f"bias(bias=(7, 8), {on_test})", paper=-7.6
        ),
    }
