"""A temperature that is too high for a small student costs it a point.

Our own finding, in `experiments/ensembles.py` and `experiments/hinton2015_temperatures.py`; Hinton,
Vinyals, Dean (2015, section 3) say that with 30 units in a layer temperatures from 2.5 to 4 were
better than higher or lower ones, and with 300 or more all above 8 alike.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/claims/temperature_width.py
    uv run kd table experiments/claims/temperature_width.py:smoke
"""

from configs.claims import experiment

WIDTHS = (8, 32, 128)
TEMPERATURES = (1, 2, 4, 8, 16)


def get_experiment(arg=None):
    return experiment(
        arg,
        title="A temperature too high for a small student costs it a point",
        claim=dict(
            sentence=(
                "A small student is a point worse at T = 16 than at T = 2, and a large one is not"
            ),
            paper="ours; after Hinton, Vinyals, Dean 2015, section 3",
            on=(
                "Fashion-MNIST, 6,000 training images; teacher of two hidden layers of 200 units, "
                "students of one layer, weight of the labels 0.1"
            ),
            hypotheses={
                "8 units: T = 16 costs a point": dict(
                    of="T = 16, 8 units", minus="T = 2, 8 units", expected="less", size=1.0
                ),
                "128 units: it costs less than half a point": dict(
                    of="T = 16, 128 units", minus="T = 2, 128 units", expected="greater", than=-0.5
                ),
                "it costs 8 units more than 128": dict(
                    of="T = 16, 8 units",
                    minus={"T = 2, 8 units": 1, "T = 16, 128 units": 1, "T = 2, 128 units": -1},
                    expected="less",
                ),
            },
        ),
        tables=[
            dict(
                title="Accuracy by temperature and width",
                columns={f"{n} units": dict(args=dict(net=n), budget=1) for n in WIDTHS},
                rows={
                    "from labels": {},
                    **{
                        f"T = {T}": dict(args=dict(chain="200x200", T=float(T)))
                        for T in TEMPERATURES
                    },
                },
            )
        ],
    )
