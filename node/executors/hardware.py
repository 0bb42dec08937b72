"""What this processor is, and the variables that make an `exact` job compute the same bits on all of its class."""

import platform
from pathlib import Path

from capanode.scheduler.hardware import cpu_class


def determinism_env() -> tuple[tuple[str, str], ...]:
    """What every `exact` or `tolerance` job finds in its environment; a job's own settings come after and win.

    One thread and one set of CPU instructions, since sums change with both. **Source**: measured,
    docs/protocol.md §7.
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


def this_cpu_class(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The class of the processor that this runs on."""
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return cpu_class(platform.machine(), frozenset(value.split()))
    return cpu_class(platform.machine(), frozenset())
