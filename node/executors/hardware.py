"""What this machine is, as far as results depend on it, and what makes equal machines give equal results.

**Source**: docs/protocol.md §7; the x86-64 psABI's microarchitecture levels.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_LEVELS: Final = (
    ("v4", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
    ("v3", frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})),
    ("v2", frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})),
)

_PINS: Final = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENBLAS_NUM_THREADS": "1",
}


def determinism_env() -> Mapping[str, str]:
    """Variables that pin thread counts and CPU dispatch of the usual numeric libraries."""
    return _PINS


def hardware_class() -> str:
    """This machine's CPU class, such as `x86-64-v3`, or the bare architecture elsewhere."""
    machine = platform.machine().lower()
    if machine not in ("x86_64", "amd64"):
        return machine
    return f"x86-64-{level_of(_cpu_flags(Path('/proc/cpuinfo')))}"


def level_of(flags: frozenset[str]) -> str:
    """The highest level whose features, and all those below it, the CPU has."""
    level = "v1"
    for name, needed in reversed(_LEVELS):
        if not needed <= flags:
            break
        level = name
    return level


def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
