"""The faster loops of C kernels give the outputs of the generated ones, to the bit."""

import subprocess

import numpy as np
import pytest

from kd.data.base import Dataset, Split
from kd.export import kernel_loops, kernels, tflite
from kd.export import source as sources
from kd.models.cnn import CNN
from kd.runs.workdir import Workdir

FUNCTIONS = "conv2d_s8", "depthwise_conv2d_s8", "linear_s8", "q31_high_mul", "q31_requantize"

DRIVER = r"""
#include <stdio.h>
#include <string.h>
#include "old/old_net_kernels.h"
#include "new/new_net_kernels.h"

static uint32_t state = 1;
static uint32_t draw(void) {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}
static size_t between(size_t least, size_t most) { return least + draw() % (most - least + 1); }

static int8_t input[4096], weight[8192], a[8192], b[8192];
static int32_t bias[64], multiplier[64], shift[64];

static void fill(void) {
    for (int i = 0; i < 4096; ++i) input[i] = (int8_t)draw();
    for (int i = 0; i < 8192; ++i) weight[i] = (int8_t)draw();
    for (int i = 0; i < 64; ++i) {
        bias[i] = (int32_t)(draw() % 20001) - 10000;
        multiplier[i] = (int32_t)(1u << 30 | draw());
        shift[i] = (int32_t)between(0, 12) - 11;
    }
    memset(a, 99, sizeof a);
    memset(b, 99, sizeof b);
}

int main(void) {
    int cases = 0, outputs = 0;
    for (int i = 0; i < 200000; ++i) {
        const int32_t value = (int32_t)(draw() << 8 ^ draw()), m = (int32_t)(1u << 30 | draw());
        const int32_t by = i % 7 ? value >> draw() % 31 : i % 2 ? INT32_MIN : INT32_MAX;
        const int32_t s = (int32_t)between(0, 36) - 33;
        if (old_net_q31_requantize(by, m, s) != new_net_q31_requantize(by, m, s)) return 1;
    }
    while (cases < 3000) {
        const size_t groups = between(0, 3) ? 1 : between(1, 3);
        const size_t in = groups * between(1, 7), out = groups * between(1, 9);
        const size_t h = between(1, 8), w = between(1, 8), kh = between(1, 4), kw = between(1, 4);
        const size_t sh = between(1, 3), sw = between(1, 3), dh = between(1, 2), dw = between(1, 2);
        const size_t top = between(0, 3), left = between(0, 3);
        const size_t high = h + top + between(0, 3), wide = w + left + between(0, 3);
        const size_t span_h = (kh - 1) * dh + 1, span_w = (kw - 1) * dw + 1;
        const int32_t zero = (int32_t)between(0, 255) - 128, after = (int32_t)between(0, 255) - 128;
        const int32_t least = between(0, 1) ? -128 : after, most = 127;
        if (high < span_h || wide < span_w) continue;
        const size_t oh = (high - span_h) / sh + 1, ow = (wide - span_w) / sw + 1;
        fill();
        old_net_conv2d_s8(input, weight, bias, multiplier, shift, a, h, w, in, oh, ow, out, groups,
                          kh, kw, sh, sw, dh, dw, top, left, zero, after, least, most);
        new_net_conv2d_s8(input, weight, bias, multiplier, shift, b, h, w, in, oh, ow, out, groups,
                          kh, kw, sh, sw, dh, dw, top, left, zero, after, least, most);
        if (memcmp(a, b, sizeof a)) return 2;
        const size_t times = between(0, 1) ? 1 : between(1, 3);
        old_net_depthwise_conv2d_s8(input, weight, bias, multiplier, shift, a, h, w, in, oh, ow,
                                    in * times, kh, kw, times, sh, sw, dh, dw, top, left, zero,
                                    after, least, most);
        new_net_depthwise_conv2d_s8(input, weight, bias, multiplier, shift, b, h, w, in, oh, ow,
                                    in * times, kh, kw, times, sh, sw, dh, dw, top, left, zero,
                                    after, least, most);
        if (memcmp(a, b, sizeof a)) return 3;
        const size_t from = between(1, 200), to = between(1, 40);
        old_net_linear_s8(input, weight, bias, multiplier, shift, a, from, to, zero, after, least,
                          most);
        new_net_linear_s8(input, weight, bias, multiplier, shift, b, from, to, zero, after, least,
                          most);
        if (memcmp(a, b, sizeof a)) return 4;
        for (size_t i = 0; i < oh * ow; ++i) outputs += a[i] > least && a[i] < most;
        ++cases;
    }
    printf("%d cases, %d outputs within their limits\n", cases, outputs);
    return 0;
}
"""


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_loops_give_the_bits_of_the_generated_ones_for_any_shape(tmp_path):
    """3,000 random convolutions, depthwise ones and dense layers, under the address sanitizer."""
    import jax
    import jax.numpy as jnp

    image = np.random.default_rng(0).integers(0, 256, (120, 6, 6, 3), np.uint8)
    model = CNN(10, (4,))
    weights = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 6, 6, 3)))
    split = Split(image, np.arange(120, dtype=np.int32) % 10)
    dataset = Dataset(split, split, 10, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    config = {"eval_batch_size": 100, "student": {}}
    source = sources.Source(Workdir("none"), config, {}, model, weights, 0, "", dataset)
    file = tflite.integers(source, 120)
    kernels.generate(file, tmp_path / "old", "old", generated_loops=True)
    kernels.generate(file, tmp_path / "new", "new")
    texts = {n: (tmp_path / n / f"{n}_net_kernels.c").read_text() for n in ("old", "new")}
    for name in FUNCTIONS:
        assert f" old_net_{name}(" in texts["old"] and f" new_net_{name}(" in texts["new"]
    (tmp_path / "driver.c").write_text(DRIVER)
    sources_c = [tmp_path / "driver.c", *(tmp_path / n / f"{n}_net_kernels.c" for n in texts)]
    flags = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    flags = [*flags, f"-I{tmp_path}"]
    subprocess.run(["gcc", *flags, *map(str, sources_c), "-o", tmp_path / "driver"], check=True)
    done = subprocess.run([tmp_path / "driver"], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.startswith("3000 cases")
    assert int(done.stdout.split()[2]) > 1000


def test_functions_of_other_parameters_stay_as_they_were():
    known = "int32_t kd_net_q31_high_mul(int32_t a, int32_t b) {\n    return 1;\n}\n"
    other = "int32_t kd_net_q31_high_mul(int64_t a, int32_t b) {\n    return 1;\n}\n"
    assert kernel_loops.replaced(other) == other
    assert "INT64_C(1) << 30" in kernel_loops.replaced(known)
    assert "cat_net_q31" in kernel_loops.replaced(known.replace("kd_", "cat_"), "cat_net")


def test_helpers_come_before_the_functions_that_call_them():
    text = kernel_loops.SOURCE.read_text()
    linear = text[text.index("void kd_net_linear_s8") : text.index("/* The part")]
    head = linear.partition("{")[0]
    generated = f"#include <stdint.h>\n\n{head}{{\n    return;\n}}\n"
    result = kernel_loops.replaced(generated)
    assert result.startswith("#include <stdint.h>\n\n/* The output of a sum")
    assert result.index("kd_net_dot4(\n") < result.index("void kd_net_linear_s8")
    assert "kd_net_inside" not in result
