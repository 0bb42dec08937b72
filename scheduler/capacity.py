"""What a node has, what its deals hold of it, and what is left: plain arithmetic on frozen values.

Invariant: reservations never add up to more than the whole, and no GPU is held twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NewType

from capanode.protocol.ids import DealId
from capanode.protocol.records import GpuNeed, Resources
from capanode.scheduler.hardware import ANY, gpu_class, is_gpu_class
from capanode.scheduler.refusal import Kind, Refusal

GpuUuid = NewType("GpuUuid", str)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device. Memory in bytes, compute capability times ten (8.6 is 86), zero where the vendor has none."""

    uuid: GpuUuid
    vendor: str
    model: str
    memory_bytes: int
    compute_capability: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one deal holds until it is released."""

    holder: DealId
    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[GpuUuid, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is offered in all, and who holds what; `slots` is the number of deals at the same time."""

    slots: int
    cpu_millis: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[Gpu, ...] = ()
    held: tuple[Reservation, ...] = ()

    def __post_init__(self) -> None:
        uuids = [gpu.uuid for gpu in self.gpus]
        leased = [uuid for reservation in self.held for uuid in reservation.gpus]
        holders = [reservation.holder for reservation in self.held]
        if len(set(uuids)) != len(uuids):
            raise ValueError("two GPUs have the same UUID")
        if len(set(holders)) != len(holders):
            raise ValueError("a deal holds two reservations")
        if len(set(leased)) != len(leased) or not set(leased) <= set(uuids):
            raise ValueError("a GPU is held twice, or is not there")
        if min(self.slots_left, self.cpu_millis_left, self.memory_bytes_left, self.disk_bytes_left) < 0:
            raise ValueError("more is held than there is")

    @property
    def slots_left(self) -> int:
        """Deals that could still be taken."""
        return self.slots - len(self.held)

    @property
    def cpu_millis_left(self) -> int:
        """Thousandths of a CPU that nobody holds."""
        return self.cpu_millis - sum(reservation.cpu_millis for reservation in self.held)

    @property
    def memory_bytes_left(self) -> int:
        """Memory that nobody holds."""
        return self.memory_bytes - sum(reservation.memory_bytes for reservation in self.held)

    @property
    def disk_bytes_left(self) -> int:
        """Disk that nobody holds."""
        return self.disk_bytes - sum(reservation.disk_bytes for reservation in self.held)

    @property
    def gpus_left(self) -> tuple[Gpu, ...]:
        """GPUs that nobody holds."""
        leased = {uuid for reservation in self.held for uuid in reservation.gpus}
        return tuple(gpu for gpu in self.gpus if gpu.uuid not in leased)


@dataclass(frozen=True, slots=True)
class Placed:
    """The capacity with one reservation more."""

    capacity: Capacity
    reservation: Reservation


def reserve(
    capacity: Capacity, holder: DealId, needs: Resources, hardware_class: str = ANY
) -> Placed | tuple[Refusal, ...]:
    """Hold what a deal needs, or say everything that is missing. Idempotent: a second call changes nothing."""
    for reservation in capacity.held:
        if reservation.holder == holder:
            return Placed(capacity, reservation)
    if refusals := shortages(capacity, needs, hardware_class):
        return refusals
    gpus = pick_gpus(capacity, needs, hardware_class)
    reservation = Reservation(holder, needs.cpu_millis, needs.memory_bytes, needs.disk_bytes, gpus)
    return Placed(replace(capacity, held=(*capacity.held, reservation)), reservation)


def release(capacity: Capacity, holder: DealId) -> Capacity:
    """Give back what a deal holds. Idempotent."""
    return replace(capacity, held=tuple(held for held in capacity.held if held.holder != holder))


def pick_gpus(capacity: Capacity, needs: Resources, hardware_class: str = ANY) -> tuple[GpuUuid, ...]:
    """The free GPUs that a job would get, none when it needs none or too few are free."""
    if needs.gpu is None:
        return ()
    free = matching(capacity.gpus_left, needs.gpu, hardware_class)
    return tuple(gpu.uuid for gpu in free[: needs.gpu.count]) if len(free) >= needs.gpu.count else ()


def shortages(capacity: Capacity, needs: Resources, hardware_class: str = ANY) -> tuple[Refusal, ...]:
    """Everything that is missing: for ever (the machine is too small), or now (`BUSY`)."""
    found = [
        *_short(Kind.CPU, "CPUs", needs.cpu_millis, capacity.cpu_millis, capacity.cpu_millis_left, 1000),
        *_short(
            Kind.MEMORY,
            "MiB of memory",
            needs.memory_bytes,
            capacity.memory_bytes,
            capacity.memory_bytes_left,
            2**20,
        ),
        *_short(Kind.DISK, "MiB of disk", needs.disk_bytes, capacity.disk_bytes, capacity.disk_bytes_left, 2**20),
        *_short_of_gpus(capacity, needs.gpu, hardware_class),
    ]
    if capacity.slots_left == 0:
        found.append(Refusal(Kind.BUSY, f"all {capacity.slots} slots are taken"))
    return tuple(found)


def matching(gpus: Iterable[Gpu], need: GpuNeed, hardware_class: str = ANY) -> tuple[Gpu, ...]:
    """The GPUs that would do, the smallest sufficient first; ties by UUID."""
    fit = [
        gpu
        for gpu in gpus
        if not (is_gpu_class(hardware_class) and gpu_class(gpu.model) != hardware_class)
        and need.vendor.lower() in ("", gpu.vendor.lower())
        and need.model.lower() in gpu.model.lower()
        and gpu.memory_bytes >= need.min_memory_bytes
        and gpu.compute_capability >= need.min_compute_capability
    ]
    return tuple(sorted(fit, key=lambda gpu: (gpu.memory_bytes, gpu.compute_capability, gpu.uuid)))


def load_ppm(capacity: Capacity) -> int:
    """How full the node is, in parts per million: the fullest of slots, CPU, memory and GPUs."""
    shares = [
        (len(capacity.held), capacity.slots),
        (capacity.cpu_millis - capacity.cpu_millis_left, capacity.cpu_millis),
        (capacity.memory_bytes - capacity.memory_bytes_left, capacity.memory_bytes),
        (len(capacity.gpus) - len(capacity.gpus_left), len(capacity.gpus)),
    ]
    return max((1_000_000 * used // whole for used, whole in shares if whole > 0), default=0)


def _short(kind: Kind, what: str, need: int, whole: int, left: int, unit: int) -> list[Refusal]:
    if need > whole:
        sentence = f"the job needs {_amount(need, unit)} {what}, this node offers {_amount(whole, unit)}"
        return [Refusal(kind, sentence, "ask for less, or offer more of it to jobs")]
    if need > left:
        sentence = f"the job needs {_amount(need, unit)} {what}, {_amount(left, unit)} are free now"
        return [Refusal(Kind.BUSY, sentence)]
    return []


def _short_of_gpus(capacity: Capacity, need: GpuNeed | None, hardware_class: str) -> list[Refusal]:
    if need is None:
        return []
    fit = len(matching(capacity.gpus, need, hardware_class))
    if fit < need.count:
        sentence = f"the job needs {need.count} GPUs of its kind, this node offers {fit}"
        return [Refusal(Kind.GPU, sentence, "ask for less GPU memory, another model, or fewer")]
    free = len(matching(capacity.gpus_left, need, hardware_class))
    if free < need.count:
        return [Refusal(Kind.BUSY, f"the job needs {need.count} GPUs of its kind, {free} are free now")]
    return []


def _amount(value: int, unit: int) -> str:
    """A figure for a sentence, to a hundredth, rounded down."""
    whole, hundredths = divmod(value * 100 // unit, 100)
    return f"{whole}.{hundredths:02d}" if hundredths else str(whole)
