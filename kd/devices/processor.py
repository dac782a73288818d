"""The host's processor: its model, and the instructions that decide how fast convolutions are."""

import functools
import platform
from pathlib import Path

RECORDED = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instruction sets of x86-64 that are recorded with measurements, as Linux names them."""

_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def flags() -> frozenset[str]:
    """Instruction sets of the processor, as Linux names them; empty on other systems."""
    return frozenset(_field("flags", "Features").split())


def model() -> str:
    """The processor's name, or else its architecture."""
    return _field("model name", "Model") or platform.processor() or platform.machine()


def _field(*names: str) -> str:
    """The first value of one of these fields of /proc/cpuinfo; empty if there is none."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""
