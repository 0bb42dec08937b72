from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capanode.protocol.ids import DealId
from capanode.protocol.records import GpuNeed, Resources
from capanode.scheduler import capacity as capacities
from capanode.scheduler.capacity import Capacity, Placed, Reservation, release, reserve
from capanode.scheduler.refusal import Kind, Refusal
from tests.scheduler.samples import CAPACITY, gpu, gpu_need, resources

MIB = 2**20
MIXED = Capacity(4, 8000, 2**34, 2**37, (gpu(1), gpu(2, 40), gpu(3, 80, "NVIDIA A100", 80), gpu(4, 16, "AMD MI60", 0)))


def deal(number: int) -> DealId:
    return DealId(bytes([number]) * 32)


def placed(outcome: Placed | tuple[Refusal, ...]) -> Placed:
    assert isinstance(outcome, Placed), outcome
    return outcome


def kinds(outcome: Placed | tuple[Refusal, ...]) -> list[Kind]:
    assert not isinstance(outcome, Placed)
    return [refusal.kind for refusal in outcome]


needs = st.builds(
    Resources,
    st.integers(10, 6000),
    st.integers(4, 9000).map(lambda mib: mib * MIB),
    st.integers(1, 90_000).map(lambda mib: mib * MIB),
    st.just(60),
    st.none() | st.builds(GpuNeed, st.integers(1, 5), st.just(""), st.just(""), st.just(0), st.just(0)),
)
actions = st.lists(st.tuples(st.booleans(), st.integers(0, 5), needs), max_size=25)


@given(actions)
def test_nothing_is_ever_held_twice_or_beyond_the_whole(steps: list[tuple[bool, int, Resources]]) -> None:
    # `Capacity` refuses to exist otherwise; what is left can be read off directly.
    capacity = MIXED
    for takes, number, need in steps:
        if not takes:
            capacity = release(capacity, deal(number))
            continue
        outcome = reserve(capacity, deal(number), need)
        if isinstance(outcome, Placed):
            capacity = outcome.capacity
        assert capacity.cpu_millis_left >= 0
        assert capacity.memory_bytes_left >= 0
        assert capacity.disk_bytes_left >= 0
        assert len(capacity.gpus_left) + sum(len(held.gpus) for held in capacity.held) == 4
    for number in range(6):
        capacity = release(capacity, deal(number))
    assert capacity == MIXED


@given(needs)
def test_a_refusal_is_right_and_a_reservation_is_what_was_asked(need: Resources) -> None:
    outcome = reserve(MIXED, deal(1), need)
    fits = (
        need.cpu_millis <= 8000
        and need.memory_bytes <= 2**34
        and need.disk_bytes <= 2**37
        and (need.gpu is None or need.gpu.count <= 4)
    )
    assert isinstance(outcome, Placed) == fits
    if isinstance(outcome, Placed):
        held = outcome.reservation
        assert (held.cpu_millis, held.memory_bytes) == (need.cpu_millis, need.memory_bytes)
        assert len(held.gpus) == (0 if need.gpu is None else need.gpu.count)


def test_reserving_and_releasing_twice_changes_nothing() -> None:
    once = placed(reserve(CAPACITY, deal(1), resources()))
    assert placed(reserve(once.capacity, deal(1), resources())) == once
    assert release(release(once.capacity, deal(1)), deal(1)) == CAPACITY


def test_too_small_for_ever_and_too_full_now_are_told_apart() -> None:
    assert kinds(reserve(CAPACITY, deal(1), resources(cpu_millis=8001))) == [Kind.CPU]
    assert kinds(reserve(CAPACITY, deal(1), resources(memory_bytes=2**40))) == [Kind.MEMORY]
    assert kinds(reserve(CAPACITY, deal(1), resources(disk_bytes=2**40))) == [Kind.DISK]
    full = placed(reserve(CAPACITY, deal(1), resources(cpu_millis=7500))).capacity
    assert kinds(reserve(full, deal(2), resources(cpu_millis=501))) == [Kind.BUSY]
    placed(reserve(full, deal(2), resources(cpu_millis=500)))


def test_every_shortage_is_told() -> None:
    need = resources(cpu_millis=9000, memory_bytes=2**40, disk_bytes=2**40, gpu=gpu_need())
    assert kinds(reserve(CAPACITY, deal(1), need)) == [Kind.CPU, Kind.MEMORY, Kind.DISK, Kind.GPU]


def test_sentences_have_figures_and_a_remedy() -> None:
    outcome = reserve(CAPACITY, deal(1), resources(cpu_millis=8500))
    assert not isinstance(outcome, Placed)
    assert str(outcome[0]).startswith("the job needs 8.50 CPUs, this node offers 8; ask for less")


def test_slots_bound_the_number_of_deals() -> None:
    capacity = CAPACITY
    for number in range(4):
        capacity = placed(reserve(capacity, deal(number), resources())).capacity
    assert kinds(reserve(capacity, deal(9), resources())) == [Kind.BUSY]


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        (gpu_need(), ["GPU-4"]),
        (gpu_need(memory_gib=20), ["GPU-2"]),
        (gpu_need(memory_gib=41), ["GPU-3"]),
        (gpu_need(memory_gib=41, capability=90), ["GPU-1"]),
        (gpu_need(model="h100"), ["GPU-2"]),
        (gpu_need(2, model="h100"), ["GPU-2", "GPU-1"]),
        (gpu_need(capability=80), ["GPU-2"]),
    ],
)
def test_the_smallest_sufficient_gpus_are_taken(need: GpuNeed, expected: list[str]) -> None:
    for order in permutations(MIXED.gpus):
        capacity = Capacity(4, 8000, 2**34, 2**37, order)
        assert list(placed(reserve(capacity, deal(1), resources(gpu=need))).reservation.gpus) == expected


def test_a_gpu_class_takes_that_model_only() -> None:
    need = resources(gpu=gpu_need())
    held = placed(reserve(MIXED, deal(1), need, "gpu-nvidia-a100")).reservation
    assert held.gpus == ("GPU-3",)
    assert kinds(reserve(MIXED, deal(1), resources(gpu=gpu_need(2)), "gpu-nvidia-a100")) == [Kind.GPU]
    taken = placed(reserve(MIXED, deal(1), need, "gpu-nvidia-a100")).capacity
    assert kinds(reserve(taken, deal(2), need, "gpu-nvidia-a100")) == [Kind.BUSY]


def test_load_is_that_of_the_fullest_resource() -> None:
    assert capacities.load_ppm(CAPACITY) == 0
    half = placed(reserve(CAPACITY, deal(1), resources(memory_bytes=8 * 2**30))).capacity
    assert capacities.load_ppm(half) == 500_000
    full = placed(reserve(MIXED, deal(1), resources(gpu=gpu_need(4)))).capacity
    assert capacities.load_ppm(full) == 1_000_000


@pytest.mark.parametrize(
    "held",
    [
        (Reservation(deal(1), 9000, 0, 0, ()),),
        (Reservation(deal(1), 1, 2**60, 0, ()),),
        (Reservation(deal(1), 1, 0, 2**60, ()),),
        (Reservation(deal(1), 1, 0, 0, ()), Reservation(deal(1), 1, 0, 0, ())),
        (
            Reservation(deal(1), 1, 0, 0, (gpu(1).uuid,)),
            Reservation(deal(2), 1, 0, 0, (gpu(1).uuid,)),
        ),
        (Reservation(deal(1), 1, 0, 0, (gpu(9).uuid,)),),
        tuple(Reservation(deal(n), 1, 0, 0, ()) for n in range(5)),
    ],
)
def test_impossible_holdings_cannot_be_built(held: tuple[Reservation, ...]) -> None:
    with pytest.raises(ValueError, match=r"held|holds"):
        Capacity(4, 8000, 2**34, 2**37, (gpu(1),), held)
