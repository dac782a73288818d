"""Students on eight bits: what int8 costs in accuracy, and what training for it recovers.

A table of ours, on Fashion-MNIST.

    uv run kd prepare fashion_mnist
    uv run kd table experiments/quantization.py
"""

SIZES = ("small", "large")

FILE = dict(metric="accuracy(exported=True)")


def get_experiment(arg=None):
    if arg:
        raise ValueError(f"argument {arg!r}: expected none.")
    columns = {f"{size} student": dict(args=dict(size=size)) for size in SIZES}
    role = lambda name, **settings: dict(args=dict(role=name), budget=30, **settings)
    return dict(
        title="Fashion-MNIST, students in floating point and on eight bits (ours)",
        note=(
            "int8 numbers are of the exported files, run by LiteRT's reference kernels on all "
            "test images."
        ),
        config="configs/quantization.py",
        seeds=5,
        tables=[
            dict(
                title="Accuracy",
                columns=columns,
                rows={
                    "distilled, float": role("float"),
                    "distilled, int8 after training": role("float", **FILE),
                    "distilled on, float": role("longer"),
                    "distilled on, int8 after training": role("longer", **FILE),
                    "distilled on, int8 in training": role("int8", **FILE),
                },
            ),
            dict(
                title="Size of the int8 file",
                columns=columns,
                rows={
                    "int8 after training": role("float", metric="exported_bytes"),
                    "int8 in training": role("int8", metric="exported_bytes"),
                },
            ),
        ],
    )
