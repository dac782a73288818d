"""One network keeps the accuracy of an ensemble and how sure it is: EnD2 and Hydra.

Malinin, Mlodozeniec, Gales. Ensemble Distribution Distillation. ICLR 2020.
https://arxiv.org/abs/1905.00076, section 5, tables 2 and 3: EnD2 is as accurate as KD from the
ensemble, and keeps its uncertainty. Tran et al. Hydra. 2020. https://arxiv.org/abs/2001.04694. In
`experiments/ensembles.py` EnD2 stays three points behind Hydra.

A reason may be in the gradient of the likelihood of a Dirichlet by a logit z_c = log a_c, which is
a_c (psi(a_c) - psi(a_0) - mean log p_c): it grows with the concentration a_c, where that of KD is
at most 1. The examples of which the student is surest outweigh all others, and clipping then
shrinks the step of these. Ryabinin, Malinin, Gales (NeurIPS 2021, https://arxiv.org/abs/2105.06987)
report that EnD2 does not converge with many classes, for that reason, and give another loss.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/ensemble_uncertainty.py
    uv run kd table experiments/claims/ensemble_uncertainty.py:smoke
"""

from configs.claims import experiment


def get_experiment(arg=None):
    student = lambda **args: dict(args=dict(chain="100x100", together=True, **args), budget=2)
    rows = {
        "from labels": dict(budget=1),
        "KD": student(hard=0.0, T=1.0),
        "Hydra": student(method="hydra"),
        "EnD2": student(method="end2"),
        "EnD2, four times longer": dict(student(method="end2", epochs=160), budget=4),
    }
    return experiment(
        arg,
        title="One network keeps the uncertainty of an ensemble",
        args=dict(net="100x100"),
        claim=dict(
            sentence=(
                "A student of the distribution of an ensemble (EnD2) is as accurate as one by KD, "
                "and its log loss is no higher; so is one with a head for each member (Hydra)"
            ),
            paper="Malinin, Mlodozeniec, Gales 2020, section 5; Tran et al. 2020",
            on=(
                "Fashion-MNIST, 6,000 training images, five networks of two hidden layers of 100 "
                "units and students of the same size, no labels for these; EnD2 from T = 10 to 1"
            ),
            hypotheses={
                f"{name}: {what}": dict(
                    of=f"{title}: {name}", minus=f"{title}: KD", expected=expected, than=than
                )
                for name in ("Hydra", "EnD2")
                for title, what, expected, than in (
                    ("accuracy", "as accurate (half a point)", "greater", -0.5),
                    ("log loss", "no more log loss (0.02 nats)", "less", 0.02),
                )
            },
        ),
        tables=[
            dict(title="accuracy", rows=rows),
            dict(title="log loss", metric="nll", rows=rows),
        ],
    )
