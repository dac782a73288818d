"""The step of KD against PyTorch's on the same machine: its fastest form, and its usual form.

    uv sync --group bench && uv run python -m benchmarks pytorch

The recipe is that of the CIFAR-100 tables: teacher in evaluation mode, cross entropy and KL at
temperature 4, SGD with momentum and coupled weight decay. The fastest forms have `channels_last`,
`torch.compile` of both networks and the loss, a fused optimizer, autocast in the bfloat16 form (in
the others TF32 is allowed on a GPU), and the batch on the device. On a GPU each is compiled with
and without CUDA graphs (`reduce-overhead`), because these networks' kernels are shorter than their
launches, and the faster one counts. The usual form is eager, with a DataLoader and transforms of
PIL images. The steps of `kd` have the batch on the device. On a CPU they are compiled with XLA's
convolutions and with oneDNN's. PyTorch's bfloat16 is compared with that of `kd`
(`config.precision`) on a GPU and with oneDNN on a CPU that multiplies in bfloat16, and else with
its float32.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import libraries
from benchmarks.record import Case, Prepared, Row
from benchmarks.steps import CIFAR, Problem, step_of
from benchmarks.timer import ratio
from kd import build
from kd.devices import processor
from kd.errors import InputError
from kd.models import cost

TITLE = "a step of KD in `kd` over one in PyTorch: below 1, `kd` is the faster"
REPEATS = 9

TEMPERATURE, SOFT = 4.0, 0.9

BEFORE, HALF = "kd, XLA's convolutions", "kd, bfloat16"
GRAPHS = ("fastest, graphs", "fastest, graphs, bfloat16")
"""Forms in float32 and in bfloat16 that are CUDA graphs."""

PAIRS = {
    "wrn_40_2 to wrn_16_2": (CIFAR, "wrn_40_2", "wrn_16_2"),
    "resnet32x4 to resnet8x4": (
        CIFAR._replace(
            teacher={"name": "resnet_cifar.resnet32x4"}, student={"name": "resnet_cifar.resnet8x4"}
        ),
        "resnet32x4",
        "resnet8x4",
    ),
    "CNN to CNN, Fashion-MNIST": (
        Problem(
            {"name": "cnn.CNN", "widths": (32, 64, 128), "depth": 2},
            {"name": "cnn.CNN", "widths": (8, 16, 32)},
            128,
            (28, 28, 1),
            10,
            60000,
        ),
        "cnn_32_64_128_2",
        "cnn_8_16_32_1",
    ),
}
TOY = {
    "toy": (
        Problem(
            {"name": "cnn.CNN", "widths": (4, 8)},
            {"name": "cnn.CNN", "widths": (2, 4)},
            8,
            (8, 8, 1),
            10,
            64,
        ),
        "cnn_4_8_1",
        "cnn_2_4_1",
    )
}


def cases(toy: bool) -> Sequence[Case]:
    """The reference pairs with batches of 64, and the Fashion-MNIST pair with 128.

    Raises:
      InputError: PyTorch is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise InputError(
            "benchmark pytorch needs PyTorch: uv sync --group bench (5 GB)."
        ) from error
    pairs = TOY if toy else PAIRS
    return [Case(name, partial(_make, *pair, toy)) for name, pair in pairs.items()]


def _make(problem: Problem, big: str, small: str, toy: bool) -> Prepared:
    import torch

    from benchmarks.torch_networks import make, parameters

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    for name, section in ((big, problem.teacher), (small, problem.student)):
        ours = cost.parameters(_shapes(section, problem))
        theirs = parameters(make(name, problem.num_classes))
        assert ours == theirs, f"{name}: {ours} and {theirs} parameters"
    form = partial(Form, problem, big, small)
    timed: dict[str, Callable[[], Any]] = {"kd": step_of("kd", problem)}
    onednn = libraries.ONEDNN in libraries.available()
    if onednn:
        with libraries.using(libraries.XLA):
            timed[BEFORE] = step_of("kd", problem)
    if jax.default_backend() != "cpu" or (onednn and "avx512_bf16" in processor.flags()):
        timed[HALF] = step_of("kd", problem, policy="bfloat16")
    timed |= {
        "fastest": form(compiled=not toy),
        "fastest, bfloat16": form(compiled=not toy, half=True),
        "usual": form(usual=True),
    }
    facts = {"torch": torch.__version__, "onednn": onednn}
    if torch.cuda.is_available() and not toy:
        for half in (False, True):
            _with_graphs(timed, facts, form, half)
    return Prepared(timed, facts)


def _with_graphs(timed: dict, facts: dict, form: Callable, half: bool) -> None:
    """Adds the form that is a CUDA graph, or the reason why PyTorch cannot make it."""
    name = GRAPHS[half]
    try:
        graph = form(compiled=True, half=half, mode="reduce-overhead")
        for _ in range(3):  # it is recorded in the second call
            graph()
    except RuntimeError as error:
        facts[name] = str(error)[:200]
    else:
        timed[name] = graph


def _shapes(section: Any, problem: Problem) -> Any:
    import jax.numpy as jnp

    net = build.make_model(section, problem.num_classes)
    image = jax.ShapeDtypeStruct((1, *problem.shape), jnp.float32)
    init = lambda x: net.init(jax.random.key(0), x, train=False)
    return jax.eval_shape(init, image)


class Form:
    """A step in PyTorch; calling it makes one update and waits for it."""

    def __init__(
        self,
        problem: Problem,
        big: str,
        small: str,
        compiled: bool = False,
        half: bool = False,
        usual: bool = False,
        mode: str = "default",
    ):
        import torch

        from benchmarks import torch_networks
        from benchmarks.torch_data import batches

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        layout = torch.contiguous_format if usual else torch.channels_last
        make = lambda name: torch_networks.make(name, problem.num_classes).to(
            device, memory_format=layout
        )
        self._device, self._layout, self._half = device, layout, half
        self._teacher, self._student = make(big).eval(), make(small).train()
        self._tx = torch.optim.SGD(
            self._student.parameters(),
            lr=0.05,
            momentum=0.9,
            weight_decay=5e-4,
            **({} if usual else {"fused": True}),
        )
        self._loss = torch.compile(self._plain, mode=mode) if compiled else self._plain
        self._batches = batches(problem) if usual else self._same(problem)

    def _plain(self, image: Any, label: Any) -> Any:
        import torch
        from torch.nn import functional as F

        t = TEMPERATURE
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            with torch.no_grad():
                target = self._teacher(image)
            logits = self._student(image)
        logits, target = logits.float(), target.float()
        soft = F.kl_div(F.log_softmax(logits / t, 1), F.softmax(target / t, 1), reduction="sum")
        hard = F.cross_entropy(logits, label)
        return (1 - SOFT) * hard + SOFT * t * t * soft / len(label)

    def _same(self, problem: Problem) -> Iterator[Any]:
        """One batch, on the device."""
        import torch

        rng, n = np.random.default_rng(0), problem.batch_size
        height, width, channels = problem.shape
        image = rng.standard_normal((n, channels, height, width)).astype(np.float32)
        batch = (
            torch.from_numpy(image).to(self._device, memory_format=self._layout),
            (torch.arange(n) % problem.num_classes).to(self._device),
        )
        while True:
            yield batch

    def __call__(self) -> None:
        from benchmarks.torch_networks import synchronize

        image, label = next(self._batches)
        image, label = image.to(self._device), label.to(self._device)
        loss = self._loss(image, label)
        self._tx.zero_grad(set_to_none=True)
        loss.backward()
        self._tx.step()
        synchronize(self._device)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Time of `kd` divided by that of each form, as median [smallest, largest] of the rounds."""
    forms = ("fastest", "fastest", "fastest, bfloat16", "usual")
    head = ["pair", "XLA's convolutions over fastest", *(f"over {form}" for form in forms[1:])]
    lines = []
    for row in rows:
        seconds = row["seconds"]
        full, before = seconds.get("kd"), seconds.get(BEFORE)
        if not row.get("onednn", True):  # then kd's own are XLA's
            full, before = None, full
        half = seconds.get(HALF, full or before)
        ours = (before, full, half, full or before)
        graphs = (GRAPHS[0], *GRAPHS)
        fastest = (
            *(_faster(seconds, f, g) for f, g in zip(forms, graphs, strict=False)),
            seconds["usual"],
        )
        quotients = [str(ratio(o, f)) if o else "" for o, f in zip(ours, fastest, strict=True)]
        lines.append([row["case"], *quotients])
    return [head, *lines]


def _faster(seconds: Mapping[str, Sequence[float]], *forms: str) -> Sequence[float]:
    """Seconds of the timed form with the smaller median."""
    return min((seconds[f] for f in forms if f in seconds), key=statistics.median)
