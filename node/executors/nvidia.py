"""NVIDIA's own account of its GPUs, through NVML."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pynvml  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from capanode.node.executors.port import Gpu
from capanode.protocol.faults import Unavailable

_nvml: Any = pynvml  # the module has no types; the numbers and texts get theirs in _gpu

_NO_GPUS: Final = (_nvml.NVML_ERROR_LIBRARY_NOT_FOUND, _nvml.NVML_ERROR_DRIVER_NOT_LOADED)


def nvidia_gpus() -> tuple[Gpu, ...]:
    """Every NVIDIA GPU that the driver shows, in its order; empty without a driver.

    Raises Unavailable when the driver is there but fails. Blocking; takes up to a second on a cold driver.
    """
    try:
        _nvml.nvmlInit()
    except _nvml.NVMLError as error:
        if error.value in _NO_GPUS:
            return ()
        raise Unavailable(f"the NVIDIA driver does not answer ({error}); run nvidia-smi to see why") from error
    try:
        return tuple(_gpu(index) for index in range(_nvml.nvmlDeviceGetCount()))
    except _nvml.NVMLError as error:
        raise Unavailable(f"the NVIDIA driver cannot list its GPUs ({error}); run nvidia-smi to see why") from error
    finally:
        _nvml.nvmlShutdown()


def missing_devices(pid: int, minors: Iterable[int], *, proc: Path = Path("/proc")) -> list[str] | None:
    """Device files that the process `pid` should see and does not; None when the host does not let us look.

    A process that has ended meanwhile counts as not looked at.
    """
    device_folder = proc / str(pid) / "root" / "dev"
    try:
        present = {entry.name for entry in device_folder.iterdir()}
    except OSError:
        return None
    return [f"/dev/nvidia{minor}" for minor in minors if f"nvidia{minor}" not in present]


def _gpu(index: int) -> Gpu:
    handle = _nvml.nvmlDeviceGetHandleByIndex(index)
    major, minor = _nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(
        uuid=str(_nvml.nvmlDeviceGetUUID(handle)),
        vendor="nvidia",
        model=str(_nvml.nvmlDeviceGetName(handle)),
        vram_bytes=int(_nvml.nvmlDeviceGetMemoryInfo(handle).total),
        compute_capability=(int(major), int(minor)),
        minor=int(_nvml.nvmlDeviceGetMinorNumber(handle)),
    )
