"""Hardware classes: which machines are alike enough that their results may be compared.

For CPUs the architecture, on x86-64 with its microarchitecture level (`x86_64-v3`, `aarch64`); for GPUs the model
(`gpu-nvidia-h100-pcie`). Within a class, the determinism pins of the executor make the usual numeric libraries take
the same paths.

**Source**: docs/protocol.md §7; x86-64 psABI, microarchitecture levels.
"""

import re
from collections.abc import Set
from typing import Final

from capanode.protocol.records import VerificationClass

ANY: Final = ""
"""The class of a demand that does not care."""

# As Linux names them in /proc/cpuinfo: `pni` is SSE3, `abm` is LZCNT.
_LEVELS: Final = (
    (2, frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})),
    (3, frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})),
    (4, frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
)
_X86: Final = re.compile(r"x86_64-v([1-4])")
_GPU: Final = "gpu-"
_ONLY_ITS_OWN: Final = frozenset({VerificationClass.EXACT, VerificationClass.REPLICATED})


def cpu_class(architecture: str, flags: Set[str]) -> str:
    """The class of a CPU, from the kernel's name of the architecture and its list of CPU flags."""
    if architecture != "x86_64":
        return architecture
    level = 1
    for higher, needed in _LEVELS:
        if not needed <= flags:
            break
        level = higher
    return f"x86_64-v{level}"


def gpu_class(model: str) -> str:
    """The class of a GPU model: its name in lower case, with dashes for everything else."""
    return _GPU + re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")


def is_gpu_class(name: str) -> bool:
    """Whether a class is that of a GPU model."""
    return name.startswith(_GPU)


def serves(host: str, wanted: str, verification: VerificationClass) -> bool:
    """Whether a host of one class may take work for another.

    A higher x86-64 level runs what a lower one runs, but perhaps with other last digits: where results are
    compared bit by bit, or with each other, only the class itself will do.
    """
    if wanted in (ANY, host):
        return True
    have, want = _X86.fullmatch(host), _X86.fullmatch(wanted)
    if have is None or want is None or verification in _ONLY_ITS_OWN:
        return False
    return int(have[1]) >= int(want[1])
