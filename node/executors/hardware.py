"""Which machines compute the same bits, and the variables that make an `exact` job do so on all of them."""

import platform
from collections.abc import Collection
from pathlib import Path
from typing import Final

from capanode.node.executors.port import Gpu

# **Source**: x86-64 psABI, "micro-architecture levels"; names as the kernel prints them in /proc/cpuinfo.
_LEVELS: Final = (
    ("v4", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
    ("v3", frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})),
    ("v2", frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})),
)


def determinism_env() -> tuple[tuple[str, str], ...]:
    """What every `exact` job finds in its environment; a job's own settings come after and win.

    One thread and one set of CPU instructions, since sums change with both. **Source**: measured,
    docs/protocol.md, "Determinism".
    """
    return (
        ("MKL_NUM_THREADS", "1"),
        ("NPY_DISABLE_CPU_FEATURES", "X86_V4 AVX512_ICL AVX512_SPR"),
        ("NUMEXPR_NUM_THREADS", "1"),
        ("OMP_NUM_THREADS", "1"),
        ("OPENBLAS_CORETYPE", "Haswell"),
        ("OPENBLAS_NUM_THREADS", "1"),
        ("PYTHONHASHSEED", "0"),
        ("SOURCE_DATE_EPOCH", "0"),
        ("TZ", "UTC"),
    )


def cpu_class(machine: str, flags: Collection[str]) -> str:
    """Architecture and x86-64 level, such as `x86-64-v3`; each level includes those below it."""
    if machine != "x86_64":
        return machine
    have = frozenset(flags)
    level = "v1"
    for name, needed in reversed(_LEVELS):
        if not needed <= have:
            break
        level = name
    return f"x86-64-{level}"


def gpu_class(gpu: Gpu) -> str:
    """Vendor and model, such as `nvidia/NVIDIA H100 PCIe`."""
    return f"{gpu.vendor}/{gpu.model}"


def this_cpu_class(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The class of the processor that this runs on."""
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return cpu_class(platform.machine(), value.split())
    return cpu_class(platform.machine(), ())
