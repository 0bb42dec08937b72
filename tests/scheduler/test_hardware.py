import pytest

from capanode.protocol.records import VerificationClass
from capanode.scheduler.hardware import cpu_class, gpu_class, is_gpu_class, serves

V2 = {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"}
V3 = V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (set[str](), "x86_64-v1"),
        (V2, "x86_64-v2"),
        (V3, "x86_64-v3"),
        (V4, "x86_64-v4"),
        (V4 - {"movbe"}, "x86_64-v2"),
        (V4 - {"ssse3"}, "x86_64-v1"),
    ],
)
def test_cpu_class_is_the_highest_level_without_a_gap(flags: set[str], name: str) -> None:
    assert cpu_class("x86_64", flags) == name


def test_other_architectures_are_their_own_class() -> None:
    assert cpu_class("aarch64", {"asimd"}) == "aarch64"


def test_gpu_classes_are_models() -> None:
    assert gpu_class("NVIDIA H100 PCIe") == "gpu-nvidia-h100-pcie"
    assert is_gpu_class(gpu_class("x86_64-v3"))
    assert not is_gpu_class("x86_64-v3")


EXACT, NONE = VerificationClass.EXACT, VerificationClass.NONE


@pytest.mark.parametrize(
    ("host", "wanted", "verification", "answer"),
    [
        ("x86_64-v3", "", EXACT, True),
        ("x86_64-v3", "x86_64-v3", EXACT, True),
        ("x86_64-v4", "x86_64-v3", EXACT, False),
        ("x86_64-v4", "x86_64-v3", NONE, True),
        ("x86_64-v2", "x86_64-v3", NONE, False),
        ("aarch64", "x86_64-v1", NONE, False),
        ("aarch64", "aarch64", EXACT, True),
        ("gpu-nvidia-a100", "gpu-nvidia-h100-pcie", NONE, False),
    ],
)
def test_serves(host: str, wanted: str, verification: VerificationClass, answer: bool) -> None:
    assert serves(host, wanted, verification) is answer
