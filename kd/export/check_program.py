"""`kd_check.c`: compares `kd_invoke` with its vectors, and the files with their hashes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kd.export.c_source import prefixed
from kd.export.probes import AMPLITUDES


def hashes(directory: Path, name: str) -> dict[str, str]:
    """sha256 of each C file of an export's network, with the prefix `name`, but the program itself,
    by its path.
    """
    program = f"{name}_check.c"
    files = sorted(
        p for p in directory.rglob(f"{name}_*") if p.suffix in (".c", ".h") and p.name != program
    )
    return {
        p.relative_to(directory).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
    }


def source(
    numbers: list[int], outputs: np.ndarray, exact: bool, files: Mapping[str, str], name: str
) -> str:
    """The text of the program.

    Args:
      numbers: of the probes.
      outputs: expected of them, int8 [n, c].
      exact: whether the outputs are those of the generated kernels, which are integers and so the
        same on every machine, or those of others, within `KD_TOLERANCE`.
      files: from `hashes`.
      name: prefix of the network's symbols and files.
    """
    rows = ",\n".join(f"    {{{', '.join(map(str, row))}}}" for row in outputs)
    return prefixed(PROGRAM, name).format(
        exact=int(exact),
        count=len(numbers),
        numbers=", ".join(map(str, numbers)),
        outputs=rows,
        amplitudes=", ".join(map(str, AMPLITUDES)),
        kinds=len(AMPLITUDES),
        files=",\n".join(f'    {{"{name}", "{digest}"}}' for name, digest in files.items()),
    )


PROGRAM = r"""/* Compares kd_invoke with the golden vectors, within KD_TOLERANCE, and with probes
 * that make every number of the network count; and the files beside this one, where they can be
 * read, with their sha256. Returns 0 if all is as it was exported, 1 if an output differs, 2 if
 * kd_invoke fails, 3 if a file was changed.
 *
 * With kernels of your own: -DKD_EXACT=0 compares probes within KD_TOLERANCE, too.
 * Without a file system: -DKD_FILES=0. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kd_golden.h"

#ifndef KD_TOLERANCE
#define KD_TOLERANCE 1
#endif
#ifndef KD_EXACT
#define KD_EXACT {exact}
#endif
#ifndef KD_FILES
#define KD_FILES 1
#endif

#define PROBES {count}

static const uint32_t numbers[PROBES] = {{{numbers}}};
static const int8_t outputs[PROBES][KD_OUTPUT_SIZE] = {{
{outputs}}};

/* An image under noise. */
static void make_probe(uint32_t number, int8_t *in) {{
    static const int amplitudes[{kinds}] = {{{amplitudes}}};
    const int8_t *image = kd_golden_inputs[number % KD_GOLDEN_COUNT];
    const int amplitude = amplitudes[number % {kinds}];
    uint32_t state = number * 2654435761u + 12345u;
    for (int i = 0; i < KD_INPUT_SIZE; ++i) {{
        state = state * 1664525u + 1013904223u;
        int value = image[i] - amplitude + (((int)(state >> 24) * amplitude) >> 7);
        value = value < -128 ? -128 : value > 127 ? 127 : value;
        in[i] = (int8_t)value;
    }}
}}

static int largest_difference(const int8_t *in, const int8_t *expected, int worst) {{
    int8_t out[KD_OUTPUT_SIZE];
    const int status = kd_invoke(in, out);
    if (status != 0) {{
        printf("kd_invoke returned %d\n", status);
        exit(2);
    }}
    for (int k = 0; k < KD_OUTPUT_SIZE; ++k) {{
        const int difference = abs(out[k] - expected[k]);
        worst = difference > worst ? difference : worst;
    }}
    return worst;
}}

#if KD_FILES
static const char *const files[][2] = {{
{files}}};

static uint32_t turned(uint32_t x, int n) {{ return (x >> n) | (x << (32 - n)); }}

/* Of SHA-256 (FIPS 180-4): the first 32 bits of the fractions of cube roots of primes. */
static const uint32_t K[64] = {{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
}};

static void add_block(uint32_t *h, const unsigned char *p) {{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; ++i) {{
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    }}
    for (int i = 16; i < 64; ++i) {{
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turned(a, 7) ^ turned(a, 18) ^ (a >> 3)) +
               (turned(b, 17) ^ turned(b, 19) ^ (b >> 10));
    }}
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; ++i) {{
        const uint32_t one = s[7] + K[i] + w[i] + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                             (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25));
        const uint32_t two = ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2])) +
                             (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }}
    for (int i = 0; i < 8; ++i) {{
        h[i] += s[i];
    }}
}}

static void sha256(FILE *file, char *text) {{
    uint32_t h[8] = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
    unsigned char block[64];
    uint64_t bits = 0;
    size_t size;
    while ((size = fread(block, 1, 64, file)) == 64) {{
        add_block(h, block);
        bits += 512;
    }}
    bits += 8 * size;
    block[size++] = 0x80;
    if (size > 56) {{
        memset(block + size, 0, 64 - size);
        add_block(h, block);
        size = 0;
    }}
    memset(block + size, 0, 56 - size);
    for (int i = 0; i < 8; ++i) {{
        block[56 + i] = (unsigned char)(bits >> (56 - 8 * i));
    }}
    add_block(h, block);
    for (int i = 0; i < 8; ++i) {{
        snprintf(text + 8 * i, 9, "%08lx", (unsigned long)h[i]);
    }}
}}

/* How many of the files beside this one are not as they were exported. */
static int changed_files(void) {{
    const char *const slash = strrchr(__FILE__, '/');
    const int length = slash == NULL ? 0 : (int)(slash + 1 - __FILE__);
    int read = 0, changed = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; ++i) {{
        char path[4096], text[65];
        snprintf(path, sizeof path, "%.*s%s", length, __FILE__, files[i][0]);
        FILE *const file = fopen(path, "rb");
        if (file == NULL) {{
            continue;
        }}
        sha256(file, text);
        fclose(file);
        ++read;
        if (strcmp(text, files[i][1]) != 0) {{
            printf("%s was changed since the export\n", files[i][0]);
            ++changed;
        }}
    }}
    printf("%d files compared with their sha256, %d changed\n", read, changed);
    return changed;
}}
#else
static int changed_files(void) {{ return 0; }}
#endif

int main(void) {{
    int worst = 0, of_probes = 0;
    for (int i = 0; i < KD_GOLDEN_COUNT; ++i) {{
        worst = largest_difference(kd_golden_inputs[i], kd_golden_outputs[i], worst);
    }}
    printf("%d vectors, largest difference %d\n", KD_GOLDEN_COUNT, worst);
    for (int i = 0; i < PROBES; ++i) {{
        static int8_t in[KD_INPUT_SIZE];
        make_probe(numbers[i], in);
        of_probes = largest_difference(in, outputs[i], of_probes);
    }}
    printf("%d probes, difference %d\n", PROBES, of_probes);
    const int changed = changed_files();
    if (worst > KD_TOLERANCE || of_probes > (KD_EXACT ? 0 : KD_TOLERANCE)) {{
        return 1;
    }}
    return changed ? 3 : 0;
}}
"""
