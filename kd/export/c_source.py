"""An int8 file as C source: array, header and golden vectors."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8

from kd.export import graph
from kd.files.escaping import plain

OPERATORS = {"PADV2": "PadV2", "BATCH_MATMUL": "BatchMatMul"}
"""Methods `Add...` of TFLM's resolver whose name is not the schema's in camel case."""


PREFIX = "kd"
"""Of all symbols and files where no other name is asked for."""


class Header(NamedTuple):
    """Contents of the header that the file itself does not have; `name` is the prefix of all
    symbols and files.
    """

    pixels: bool  # whether the input is `pixel - 128`
    labels: Sequence[str]
    arena: int
    title: str
    name: str = PREFIX


def prefixed(text: str, name: str) -> str:
    """A template of C source with `name` instead of the prefix `kd`: `kd_invoke`, `KD_CLASSES`,
    "kd_model.h".
    """
    cases = {PREFIX: name, PREFIX.upper(): name.upper()}
    pattern = rf"(?:(?<=-D)|\b)({'|'.join(cases)})_"
    return re.sub(pattern, lambda match: f"{cases[match[1]]}_", text)


def write(
    directory: Path,
    content: bytes,
    header: Header,
    inputs: Int8[np.ndarray, "n ..."],
    outputs: Int8[np.ndarray, "n c"],
) -> None:
    """Writes `kd_model.h`, `kd_model.c`, `kd_golden.h` and `kd_golden.c`, with the header's name
    instead of `kd`.

    Args:
      directory: an existing one.
      content: the int8 file.
      header: further contents of the header.
      inputs: of the golden vectors.
      outputs: of LiteRT's reference kernels for these inputs.
    """
    name = header.name
    (directory / f"{name}_model.h").write_text(_header(content, header))
    (directory / f"{name}_model.c").write_text(_model(content, header))
    (directory / f"{name}_golden.h").write_text(prefixed(GOLDEN, name).format(count=len(inputs)))
    (directory / f"{name}_golden.c").write_text(_golden(inputs, outputs, name))


def operators(content: bytes) -> list[str]:
    """Methods of TFLM's resolver that the file needs, sorted, without `Add`."""
    return sorted({_camel(op.name) for op in graph.operations(content)})


def _camel(name: str) -> str:
    return OPERATORS.get(name) or "".join(
        word if word[0].isdigit() else word.capitalize() for word in name.split("_")
    )


def _header(content: bytes, header: Header) -> str:
    source, target = graph.ends(content)
    names = operators(content)
    pixel = prefixed(PIXEL, header.name) if header.pixels else ""
    return prefixed(HEADER, header.name).format(
        title=plain(header.title).replace("*/", "* /"),
        bytes=len(content),
        input_size=math.prod(source.shape),
        input_shape=", ".join(map(str, source.shape)),
        input_scale=_number(source.scale),
        input_zero=source.zero,
        pixel=pixel,
        output_size=math.prod(target.shape),
        output_scale=_number(target.scale),
        output_zero=target.zero,
        classes=target.shape[-1],
        arena=header.arena,
        count=len(names),
        names=prefixed(" ".join(f"KD_ADD({name})" for name in names), header.name),
    )


def _model(content: bytes, header: Header) -> str:
    classes = graph.ends(content)[1].shape[-1]
    names = header.labels or [str(k) for k in range(classes)]
    texts = ",\n".join(f"    {_text(name)}" for name in names)
    array = _rows(np.frombuffer(content, np.uint8))
    return prefixed(MODEL, header.name).format(array=array, labels=texts)


def _golden(inputs: np.ndarray, outputs: np.ndarray, name: str) -> str:
    rows = lambda vectors: ",\n".join(
        f"    {{\n{_rows(v)}}}" for v in vectors.reshape(len(vectors), -1)
    )
    return prefixed(VECTORS, name).format(inputs=rows(inputs), outputs=rows(outputs))


def _rows(values: Iterable[np.integer]) -> str:
    numbers = [str(int(v)) for v in values]
    lines = [",".join(numbers[i : i + 24]) for i in range(0, len(numbers), 24)]
    return ",\n".join(lines)


def _number(value: float) -> str:
    """A C constant that is exactly this float32."""
    digits = f"{np.float32(value):.9g}"
    return digits + ("f" if any(c in digits for c in ".e") else ".0f")


def _text(name: str) -> str:
    """A C string of any text. Other bytes than plain ASCII become three octal digits, which a digit
    that follows cannot extend.
    """
    plain = lambda byte: 32 <= byte < 127 and byte not in b'"\\?'
    return '"' + "".join(chr(b) if plain(b) else f"\\{b:03o}" for b in name.encode()) + '"'


HEADER = """/* {title}
 *
 * The network is a LiteRT file in `kd_model_data`. Input and output are int8, row by row,
 * channels last; an integer q stands for scale * (q - zero_point). The output is logits: the
 * largest is the class.
 */
#ifndef KD_MODEL_H
#define KD_MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define KD_MODEL_BYTES {bytes}u

#define KD_INPUT_SIZE {input_size}
#define KD_INPUT_SHAPE {{{input_shape}}}
#define KD_INPUT_SCALE {input_scale}
#define KD_INPUT_ZERO_POINT ({input_zero})
{pixel}
#define KD_OUTPUT_SIZE {output_size}
#define KD_OUTPUT_SCALE {output_scale}
#define KD_OUTPUT_ZERO_POINT ({output_zero})
#define KD_CLASSES {classes}

/* Working memory that the TFLM interpreter took on a 64-bit host; 32-bit devices take less. */
#define KD_ARENA_BYTES {arena}

/* Operators of the network, for TFLM:
 *     tflite::MicroMutableOpResolver<KD_OPERATOR_COUNT> resolver;
 *     #define KD_ADD(name) resolver.Add##name();
 *     KD_OPERATORS(KD_ADD)
 */
#define KD_OPERATOR_COUNT {count}
#define KD_OPERATORS(KD_ADD) {names}

extern const unsigned char kd_model_data[KD_MODEL_BYTES];
extern const char *const kd_labels[KD_CLASSES];

/* Runs the network: KD_INPUT_SIZE bytes in, KD_OUTPUT_SIZE out. Returns 0 on success.
 * You supply it. */
int kd_invoke(const int8_t *in, int8_t *out);

#ifdef __cplusplus
}}
#endif

#endif
"""

PIXEL = """
/* The normalisation is part of the network: it is given raw pixels, 0 to 255, less 128. */
#define KD_FROM_PIXEL(pixel) ((int8_t)((int)(pixel) - 128))
"""

MODEL = """#include "kd_model.h"

#ifdef __cplusplus
#define KD_ALIGN alignas(16)
#else
#define KD_ALIGN _Alignas(16)
#endif

KD_ALIGN const unsigned char kd_model_data[KD_MODEL_BYTES] = {{
{array}}};

const char *const kd_labels[KD_CLASSES] = {{
{labels}}};
"""

GOLDEN = """/* Inputs, and what LiteRT's reference kernels make of them. */
#ifndef KD_GOLDEN_H
#define KD_GOLDEN_H

#include "kd_model.h"

#define KD_GOLDEN_COUNT {count}

#ifdef __cplusplus
extern "C" {{
#endif

extern const int8_t kd_golden_inputs[KD_GOLDEN_COUNT][KD_INPUT_SIZE];
extern const int8_t kd_golden_outputs[KD_GOLDEN_COUNT][KD_OUTPUT_SIZE];

#ifdef __cplusplus
}}
#endif

#endif
"""

VECTORS = """#include "kd_golden.h"

const int8_t kd_golden_inputs[KD_GOLDEN_COUNT][KD_INPUT_SIZE] = {{
{inputs}}};

const int8_t kd_golden_outputs[KD_GOLDEN_COUNT][KD_OUTPUT_SIZE] = {{
{outputs}}};
"""
