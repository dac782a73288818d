"""Other implementations of small CNNs' convolutions on a CPU, divided by XLA's: CPU time."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from benchmarks import libraries
from benchmarks.record import Case, Prepared, Row
from benchmarks.timer import ratio
from kd.devices.options import YNN

TITLE = "3 x 3 convolutions of 64 maps written otherwise over XLA's own: processor time"
REPEATS = 11

SHAPES = ((32, 32), (16, 64), (8, 128))
"""Height and width, and channels: the stages of wrn_16_2 and wrn_40_2."""

CALLS = 2
"""Calls that are timed together, after one that warms the caches."""

NHWC = ("NHWC", "HWIO", "NHWC")

type Maps = Float[Array, "b h w c"]
type Kernel = Float[Array, "3 3 c d"]


def xla(x: Maps, w: Kernel) -> Maps:
    """As the networks call it."""
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)


def nchw(x: Maps, w: Kernel) -> Maps:
    """Channels first, the layout of PyTorch, in which the maps already are."""
    numbers = ("NCHW", "OIHW", "NCHW")
    return lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)


def half(x: Maps, w: Kernel) -> Maps:
    """XLA's in bfloat16."""
    return xla(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)).astype(jnp.float32)


def _taps(x: Maps) -> list[Maps]:
    """The input of each of the nine places of a kernel."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]


def _dot(a: Array, b: Array) -> Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def patches(x: Maps, w: Kernel, dtype: Any = jnp.float32) -> Maps:
    """One product with all patches (im2col)."""
    c, d = w.shape[2:]
    seen = jnp.concatenate(_taps(x.astype(dtype)), -1).reshape(-1, 9 * c)
    return _dot(seen, w.reshape(9 * c, d).astype(dtype)).reshape(*x.shape[:3], d)


def nine(x: Maps, w: Kernel, dtype: Any = jnp.float32) -> Maps:
    """The sum of nine products, one for each place of the kernel."""
    c, d = w.shape[2:]
    parts = zip(_taps(x.astype(dtype)), w.reshape(9, c, d).astype(dtype), strict=True)
    return sum(_dot(t.reshape(-1, c), k) for t, k in parts).reshape(*x.shape[:3], d)  # pyrefly: ignore


# Lavin, Gray. Fast Algorithms for Convolutional Neural Networks. CVPR 2016.
# https://arxiv.org/abs/1509.09308, Eq. 5: F(2 x 2, 3 x 3).
_B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def _transform(matrix: np.ndarray, grid: list[list[Array]]) -> list[list[Array]]:
    """M grid M^T of a grid of maps, with additions only."""

    def left(columns: list[Array]) -> list[Array]:
        return [sum(int(f) * x for f, x in zip(row, columns, strict=True) if f) for row in matrix]  # pyrefly: ignore

    by_rows = [left(list(column)) for column in zip(*grid, strict=True)]
    return [left(list(row)) for row in zip(*by_rows, strict=True)]


def winograd(x: Maps, w: Kernel, dtype: Any = jnp.float32) -> Maps:
    """Sixteen products for four outputs instead of thirty-six."""
    (b, h, width, c), d = x.shape, w.shape[3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    at = lambda i, j: padded[:, i : i + h : 2, j : j + width : 2]
    seen = _transform(_B, [[at(i, j) for j in range(4)] for i in range(4)])
    seen = jnp.stack([jnp.stack(row) for row in seen]).reshape(16, -1, c)
    kernel = jnp.einsum("ai,bj,ijcd->abcd", _G, _G, w).reshape(16, c, d)
    both = (((2,), (1,)), ((0,), (0,)))
    product = lax.dot_general(
        seen.astype(dtype), kernel.astype(dtype), both, preferred_element_type=jnp.float32
    ).reshape(4, 4, b, h // 2, width // 2, d)
    out = _transform(_A, [[product[i, j] for j in range(4)] for i in range(4)])
    out = jnp.stack([jnp.stack(row, axis=3) for row in out], axis=2)
    return out.reshape(b, h, width, d)


def kernel_gradient(x: Maps, g: Maps, w: Kernel) -> Kernel:
    """Of XLA's convolution."""
    return jax.vjp(partial(xla, x), w)[1](g)[0]


def kernel_gradient_at_once(x: Maps, g: Maps, w: Kernel) -> Kernel:
    """One product of all patches and the gradient."""
    seen = jnp.concatenate(_taps(x), -1).reshape(-1, 9 * x.shape[3])
    return _dot(seen.T, g.reshape(-1, g.shape[3])).reshape(w.shape)


def kernel_gradient_by_nine(x: Maps, g: Maps, w: Kernel) -> Kernel:
    """Nine products."""
    flat = g.reshape(-1, g.shape[3])
    taps = [_dot(tap.reshape(-1, x.shape[3]).T, flat) for tap in _taps(x)]
    return jnp.stack(taps).reshape(w.shape)


def maps_gradient(x: Maps, g: Maps, w: Kernel) -> Maps:
    """Of XLA's convolution."""
    return jax.vjp(lambda x: xla(x, w), x)[1](g)[0]


def maps_gradient_as_forward(x: Maps, g: Maps, w: Kernel) -> Maps:
    """The convolution of the gradient with the rotated kernel."""
    return xla(g, w[::-1, ::-1].swapaxes(2, 3))


HALF = jnp.bfloat16
ONEDNN, EIGEN = "oneDNN's", "XLA's, without YNNPACK"
FORMS: dict[str, dict[str, Callable[..., Array]]] = {
    "forward": {
        "XLA's": xla,
        "XLA's again": xla,
        ONEDNN: xla,
        EIGEN: xla,
        "channels first": nchw,
        "bfloat16": half,
        "one product of all patches": patches,
        "the same, bfloat16": partial(patches, dtype=HALF),
        "nine products": nine,
        "nine, bfloat16": partial(nine, dtype=HALF),
        "Winograd": winograd,
        "Winograd, bfloat16": partial(winograd, dtype=HALF),
    },
    "forward, XLA's flags": {
        "XLA's": xla,
        "XLA's again": xla,
        "xla_cpu_use_xnnpack": xla,
        "xla_cpu_enable_fast_math": xla,
    },
    "kernel's gradient": {
        "XLA's": kernel_gradient,
        ONEDNN: kernel_gradient,
        EIGEN: kernel_gradient,
        "one product of all patches": kernel_gradient_at_once,
        "nine products": kernel_gradient_by_nine,
    },
    "maps' gradient": {
        "XLA's": maps_gradient,
        ONEDNN: maps_gradient,
        EIGEN: maps_gradient,
        "as a forward convolution": maps_gradient_as_forward,
    },
}

FLAGS: dict[str, Any] = {
    "xla_cpu_use_xnnpack": True,
    EIGEN: "",
    "xla_cpu_enable_fast_math": True,
}
"""XLA's flags for the forms of these names; EIGEN sets `kd.devices.options.YNN`."""


def cases(toy: bool) -> Sequence[Case]:
    """Each operation on each shape."""
    return [
        Case(f"{kind}, {side} x {side} x {c}", partial(_make, kind, size, side, c))
        for kind in FORMS
        for size, side, c in ([(2, 4, 3)] if toy else [(64, *s) for s in SHAPES])
    ]


def _make(kind: str, size: int, side: int, channels: int) -> Prepared:
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    x, g = draw(size, side, side, channels), draw(size, side, side, channels)
    w = 0.1 * draw(3, 3, channels, channels)
    parts = {}
    for name, form in FORMS[kind].items():
        if form is nchw:
            arguments = x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1)
        else:
            arguments = (x, g, w) if "gradient" in kind else (x, w)
        options = {YNN if name == EIGEN else name: FLAGS[name]} if name in FLAGS else None
        library = libraries.ONEDNN if name == ONEDNN else libraries.XLA
        if library not in libraries.available():
            continue
        with libraries.using(library):
            # A function of its own: jax would find the program of another library again.
            compiled = jax.jit(partial(form)).lower(*arguments).compile(options)
        parts[name] = partial(_spent, partial(compiled, *arguments))
    return Prepared(parts, {"kind": kind, "maps": f"{side} x {side} x {channels}"})


def _spent(function: Callable[[], Array]) -> float:
    """CPU seconds of the process."""
    jax.block_until_ready(function())
    start = time.process_time()
    for _ in range(CALLS):
        jax.block_until_ready(function())
    return time.process_time() - start


def table(rows: Sequence[Row]) -> list[list[str]]:
    """CPU time divided by that of XLA's implementation, a column for each shape."""
    maps = list(dict.fromkeys(row["maps"] for row in rows))
    lines = [["operation", "written as", *maps]]
    for kind, forms in FORMS.items():
        of_kind = {row["maps"]: row["seconds"] for row in rows if row["kind"] == kind}
        for form in list(forms)[1:]:
            over = {m: ratio(s[form], s["XLA's"]) for m, s in of_kind.items() if form in s}
            if over:
                lines.append([kind, form, *(str(over[m]) if m in over else "" for m in maps)])
    return lines
