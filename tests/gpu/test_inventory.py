"""The inventory through the real binding, on a stub of the vendor's library."""

from pathlib import Path

import pytest

from capanode.node.executors.gpu import GpuLeases
from capanode.node.executors.nvidia import missing_devices, nvidia_gpus
from capanode.node.executors.port import ExecutionId, Gpu
from capanode.protocol.faults import Unavailable
from capanode.scheduler.hardware import gpu_class
from tests.fakes.nvml_stub import NVML, NvmlStub, StubGpu

TWO = (
    StubGpu("GPU-11111111-aaaa", "NVIDIA H100 PCIe", 80 * 2**30, (9, 0), 0),
    StubGpu("GPU-22222222-bbbb", "NVIDIA A10", 24 * 2**30, (8, 6), 3),
)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> "Loader":
    return Loader(monkeypatch)


class Loader:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, stub: NvmlStub) -> NvmlStub:
        self._monkeypatch.setattr(NVML, "nvmlLib", stub)
        self._monkeypatch.setattr(NVML, "_nvmlGetFunctionPointer_cache", {})
        return stub


def test_two_gpus_are_listed_with_what_matching_needs(loaded: Loader) -> None:
    stub = loaded(NvmlStub(TWO))

    gpus = nvidia_gpus()

    assert gpus == (
        Gpu("GPU-11111111-aaaa", "nvidia", "NVIDIA H100 PCIe", 80 * 2**30, (9, 0), 0),
        Gpu("GPU-22222222-bbbb", "nvidia", "NVIDIA A10", 24 * 2**30, (8, 6), 3),
    )
    assert stub.opened == 0
    assert gpu_class(gpus[0].model) == "gpu-nvidia-h100-pcie"


def test_no_driver_means_no_gpus(loaded: Loader) -> None:
    loaded(NvmlStub(TWO, {"nvmlInitWithFlags": NVML.NVML_ERROR_DRIVER_NOT_LOADED}))

    assert nvidia_gpus() == ()


def test_no_library_means_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(NVML, "nvmlLib", None)
    monkeypatch.setattr(NVML, "CDLL", missing)

    assert nvidia_gpus() == ()


@pytest.mark.parametrize(
    ("function", "status"),
    [
        ("nvmlInitWithFlags", NVML.NVML_ERROR_LIB_RM_VERSION_MISMATCH),
        ("nvmlDeviceGetCount_v2", NVML.NVML_ERROR_GPU_IS_LOST),
        ("nvmlDeviceGetMemoryInfo", NVML.NVML_ERROR_UNKNOWN),
    ],
)
def test_a_driver_that_fails_is_told(loaded: Loader, function: str, status: int) -> None:
    loaded(NvmlStub(TWO, {function: status}))

    with pytest.raises(Unavailable, match="nvidia-smi"):
        nvidia_gpus()


def test_a_gpu_is_leased_to_one_execution_at_a_time() -> None:
    leases = GpuLeases()
    one, two = ExecutionId("aa"), ExecutionId("bb")

    assert leases.take(["GPU-a", "GPU-b"], one) is None
    assert leases.take(["GPU-b"], one) is None
    refused = leases.take(["GPU-c", "GPU-b"], two)
    assert refused is not None
    assert "GPU-b" in refused
    assert leases.in_use() == {"GPU-a", "GPU-b"}
    leases.give_back(one)
    assert leases.take(["GPU-b", "GPU-c"], two) is None
    leases.give_back(one)
    assert leases.in_use() == {"GPU-b", "GPU-c"}


def test_missing_device_files_are_named(tmp_path: Path) -> None:
    device_folder = tmp_path / "42" / "root" / "dev"
    device_folder.mkdir(parents=True)
    (device_folder / "nvidia0").touch()

    assert missing_devices(42, [0, 3], proc=tmp_path) == ["/dev/nvidia3"]
    assert missing_devices(42, [0], proc=tmp_path) == []
    assert missing_devices(43, [0], proc=tmp_path) is None
