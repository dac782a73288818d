"""MNIST: a maxout network distilled into a deeper, thinner one, with and without hints.

Romero et al. FitNets: Hints for Thin Deep Nets. ICLR 2015, table 4.

    uv run kd prepare mnist
    uv run kd table experiments/fitnets_mnist.py         # five seeds: ten hours on two cores
    uv run kd table experiments/fitnets_mnist.py:single  # one seed: two hours
    uv run kd table experiments/fitnets_mnist.py:short   # one seed, a few epochs
    uv run kd table experiments/fitnets_mnist.py:smoke   # on scikit-learn's digits, one epoch

Budgets are minutes on two CPU cores: an epoch of the student takes about 70 seconds of a core and
seed, measured over 190 updates, and the teacher's five times as many multiplications. The first
stage of the last row is a run of its own, of about half an hour. `short` has one seed and a few
epochs: it shows that the two stages run, and not what they reach.
"""

SHORT = dict(teacher_epochs=3, hint_epochs=2, epochs=5)
BUDGETS = {"": (320, 90), "single": (64, 18), "short": (10, 3), "smoke": (1, 1)}
SEEDS = {"": 5, "single": 1, "short": 1, "smoke": 2}
NOTES = {
    "": "",
    "single": "One seed.",
    "short": "3 epochs of the teacher, 2 of the hints, 5 of the students: a part of a training.",
    "smoke": "In miniature: these numbers mean nothing.",
}


def get_experiment(arg=None):
    arg = arg or ""
    if arg not in NOTES:
        raise ValueError(f"argument {arg!r}: expected single, short, smoke or nothing.")
    teacher, student = BUDGETS[arg]
    args = {"short": SHORT, "smoke": dict(smoke=True)}.get(arg, {})
    role = lambda name, budget: dict(args=dict(role=name), budget=budget)
    return dict(
        title="MNIST, a maxout network of 361,066 parameters into one of 30,130 (FitNets)",
        note=NOTES[arg],
        config="configs/fitnets_mnist.py",
        args=args,
        seeds=SEEDS[arg],
        metric="error_rate",
        source="Romero et al. 2015, table 4",
        tables=[
            dict(
                title="Error on the test set",
                rows={
                    "teacher": dict(role("teacher", teacher), paper=0.55),
                    "student, standard backprop": dict(role("labels", student), paper=1.9),
                    "student, KD": dict(role("kd", student), paper=0.65),
                    "student, hints and then KD": dict(role("fitnet", student), paper=0.51),
                },
            ),
        ],
    )
