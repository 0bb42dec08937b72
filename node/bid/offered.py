"""How much of this machine is for jobs: what the executor measures, within what the operator offers."""

from typing import Final

from capanode.node.config import ProviderSettings
from capanode.node.executors.port import Capacity as Measured
from capanode.scheduler.capacity import Capacity, Gpu, GpuUuid

MEMORY_SHARE: Final = (4, 5)
DISK_SHARE: Final = (1, 2)


def offered_capacity(measured: Measured, settings: ProviderSettings) -> Capacity:
    """The capacity that bids are made from; more than there is is never offered."""
    cpu = measured.cpu_millis - int(settings.reserved_cpu * 1000)
    if settings.cpu is not None:
        cpu = min(cpu, int(settings.cpu * 1000))
    return Capacity(
        slots=settings.slots,
        cpu_millis=max(cpu, 0),
        memory_bytes=min(
            measured.memory_bytes, settings.memory or measured.memory_bytes * MEMORY_SHARE[0] // MEMORY_SHARE[1]
        ),
        disk_bytes=min(measured.disk_bytes, settings.disk or measured.disk_bytes * DISK_SHARE[0] // DISK_SHARE[1]),
        gpus=tuple(
            Gpu(GpuUuid(gpu.uuid), gpu.vendor, gpu.model, gpu.vram_bytes, _tenfold(gpu.compute_capability))
            for gpu in measured.gpus
            if "all" in settings.gpus or gpu.uuid in settings.gpus
        ),
    )


def _tenfold(capability: tuple[int, int]) -> int:
    major, minor = capability
    return major * 10 + minor
