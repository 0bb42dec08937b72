from dataclasses import replace
from typing import Any

import pytest

from capanode.protocol.ids import Address, DealId, Ppm, UnixTime, Wei
from capanode.protocol.judging import class_pool
from capanode.protocol.records import Demand, VerificationClass
from capanode.protocol.tariff import TARIFF
from capanode.scheduler.capacity import Capacity, Placed, reserve
from capanode.scheduler.feasibility import NOT_DISPUTABLE, Feasible, Host, Market, Offer, appraise, feasible
from capanode.scheduler.judges import class_rules, leaves_room
from capanode.scheduler.refusal import Kind, Refusal
from capanode.scheduler.rules import Rules
from tests.protocol.deals import SPEC
from tests.scheduler.samples import (
    CAPACITY,
    DEMAND,
    GAS,
    HOST,
    MARKET,
    NOW,
    PROVIDER,
    RATES,
    demand,
    gpu,
    gpu_need,
    named_by,
    resources,
)

RULES = Rules()
FEE = TARIFF.arbiter_fee_up_wei(DEMAND.price_cap_wei, DEMAND.step_limit)
GPUS = replace(HOST, capacity=replace(CAPACITY, gpus=(gpu(1), gpu(2), gpu(3, 80, "NVIDIA A100", 80))))


def fit(outcome: Feasible | tuple[Refusal, ...]) -> Feasible:
    assert isinstance(outcome, Feasible), outcome
    return outcome


def kinds(outcome: Feasible | Offer | tuple[Refusal, ...]) -> list[Kind]:
    assert not isinstance(outcome, Feasible | Offer)
    return [refusal.kind for refusal in outcome]


def offer(host: Host = HOST, rules: Rules = RULES, **changes: Any) -> Offer | tuple[Refusal, ...]:
    return appraise(demand(**changes), host, rules, MARKET, RATES, GAS, NOW)


def test_a_job_that_fits_is_feasible_and_says_what_to_know() -> None:
    found = fit(feasible(DEMAND, HOST, RULES, MARKET, NOW))
    assert found == Feasible((), "x86_64-v3", 11, (NOT_DISPUTABLE,))


def test_notes_say_what_the_class_means() -> None:
    court = replace(MARKET, has_court=True, can_judge=True)
    judged = demand(verification_wei=3 * FEE, rules=class_rules(SPEC, HOST.hardware_class, DEMAND.audit_rate_ppm, FEE))
    assert fit(feasible(judged, HOST, RULES, court, NOW)).notes == ()
    (note,) = fit(feasible(DEMAND, HOST, RULES, court, NOW)).notes
    assert "not disputable" in note
    none = demand(verification=VerificationClass.NONE)
    (note,) = fit(feasible(none, HOST, RULES, MARKET, NOW)).notes
    assert "nothing of the result is verified" in note


def judged_as(**changes: Any) -> Demand:
    rules = class_rules(SPEC, HOST.hardware_class, DEMAND.audit_rate_ppm, FEE)
    return demand(verification_wei=3 * FEE, rules=replace(rules, **changes))


@pytest.mark.parametrize(
    ("changes", "market", "sentence"),
    [
        ({}, {"has_court": False, "can_judge": False}, "this market has no court"),
        ({}, {"can_judge": False}, "too few"),
        ({"pool": class_pool("aarch64")}, {}, "others than the arbiters of"),
        ({"sealed": True}, {}, "sealed"),
        ({"arbiter_fee_wei": Wei(1)}, {}, "fee"),
    ],
)
def test_rules_that_a_provider_cannot_live_with(changes: dict[str, Any], market: dict[str, Any], sentence: str) -> None:
    setting = replace(MARKET, **{"has_court": True, "can_judge": True, **market})
    refused = feasible(judged_as(**changes), HOST, RULES, setting, NOW)
    assert not isinstance(refused, Feasible)
    (refusal,) = refused
    assert (refusal.kind, sentence in refusal.sentence) == (Kind.VERIFICATION, True)


FRIEND, NEIGHBOUR, STRANGER = (Address(bytes([number]) * 20) for number in (1, 2, 3))


def refused_for(wanted: Demand, *trusted: Address, **market: Any) -> list[str]:
    setting = replace(MARKET, **{"has_court": True, "can_judge": True, **market})
    found = feasible(wanted, HOST, replace(RULES, named_arbiters=frozenset(trusted)), setting, NOW)
    return [] if isinstance(found, Feasible) else [refusal.sentence for refusal in found]


def test_a_set_that_the_requester_chose_alone_is_refused_until_the_operator_knows_a_quorum_of_it() -> None:
    wanted = named_by(FRIEND, NEIGHBOUR, STRANGER, quorum=2)
    assert refused_for(wanted) == ["of the arbiters that the demand names, 2 decide, and this node knows 0"]
    assert refused_for(wanted, FRIEND) == ["of the arbiters that the demand names, 2 decide, and this node knows 1"]
    assert refused_for(wanted, FRIEND, NEIGHBOUR) == []
    assert refused_for(named_by(STRANGER, quorum=1), FRIEND, NEIGHBOUR) != []


def test_a_named_set_asks_for_a_court_that_knows_it_a_class_and_another_provider() -> None:
    ours = named_by(FRIEND, PROVIDER, STRANGER, quorum=2)
    assert refused_for(ours, FRIEND, STRANGER) == ["this node is one of the arbiters that the demand names"]
    wanted = named_by(FRIEND, quorum=1)
    assert refused_for(wanted, FRIEND, can_judge=False) == [
        "the court does not know the set of arbiters that the demand names"
    ]
    assert refused_for(replace(wanted, hardware_class=""), FRIEND) == [
        "arbiters are named, but not the class of the machines that they judge by"
    ]
    (no_court,) = refused_for(wanted, FRIEND, has_court=False, can_judge=False)
    assert "no court" in no_court


def test_rules_must_leave_arbiters_room_for_the_job() -> None:
    rules = class_rules(SPEC, "x86_64-v3", DEMAND.audit_rate_ppm, FEE)
    assert leaves_room(rules, SPEC)
    assert not leaves_room(replace(rules, max_state_bytes=rules.max_state_bytes - 1), SPEC)
    assert not leaves_room(replace(rules, step_s=rules.step_s - 1), SPEC)


REFUSED: dict[str, tuple[dict[str, Any], Kind]] = {
    "expired": ({"expires_at": NOW}, Kind.EXPIRED),
    "too many CPUs": ({"resources": resources(cpu_millis=9000)}, Kind.CPU),
    "no GPU": ({"resources": resources(gpu=gpu_need())}, Kind.GPU),
    "other hardware": ({"hardware_class": "aarch64"}, Kind.HARDWARE_CLASS),
    "bit by bit on a lower level": ({"hardware_class": "x86_64-v2"}, Kind.HARDWARE_CLASS),
    "small deposit": ({"verification_wei": Wei(3 * 10**16 - 1)}, Kind.VERIFICATION),
    "no time to run": ({"commit_within_s": 70}, Kind.TIME),
    "short window": ({"window_s": 130}, Kind.WINDOW),
}


@pytest.mark.parametrize(("changes", "kind"), REFUSED.values(), ids=REFUSED.keys())
def test_each_no_has_its_reason(changes: dict[str, Any], kind: Kind) -> None:
    refusals = feasible(demand(**changes), HOST, RULES, MARKET, NOW)
    assert kinds(refusals) == [kind]
    assert isinstance(refusals, tuple)
    assert refusals[0].sentence


def test_limits_of_time_are_inclusive() -> None:
    # 41 MiB at 4 MiB/s are 11 s; the run takes 60 s, the window 2 × 60 s + 11 s.
    fit(feasible(demand(commit_within_s=71, window_s=131), HOST, RULES, MARKET, NOW))
    fit(feasible(demand(expires_at=UnixTime(NOW + 1)), HOST, RULES, MARKET, NOW))


def test_all_reasons_are_told_at_once() -> None:
    hopeless = demand(expires_at=NOW, hardware_class="aarch64", window_s=1, commit_within_s=1)
    found = kinds(feasible(hopeless, HOST, Rules(max_timeout_s=1), MARKET, NOW))
    assert found == [Kind.EXPIRED, Kind.HARDWARE_CLASS, Kind.TIME, Kind.WINDOW, Kind.TIME]


def test_a_class_none_job_may_run_on_a_better_machine() -> None:
    job = demand(verification=VerificationClass.NONE, hardware_class="x86_64-v2", window_s=5)
    assert fit(feasible(job, HOST, RULES, MARKET, NOW)).hardware_class == "x86_64-v3"


def test_a_replicated_job_takes_no_bond_no_deposit_and_no_time_to_judge() -> None:
    job = demand(verification=VerificationClass.REPLICATED, verification_wei=Wei(0), window_s=5, audit_rate_ppm=Ppm(0))
    assert "compared with those of other providers" in fit(feasible(job, HOST, RULES, MARKET, NOW)).notes[0]
    offer = appraise(job, HOST, RULES, MARKET, RATES, GAS, NOW)
    assert isinstance(offer, Offer)
    assert offer.fraud_bond_wei == 0


def test_gpus_are_chosen_by_need_and_class() -> None:
    two = demand(resources=resources(gpu=gpu_need(2)), hardware_class="gpu-nvidia-h100-pcie")
    found = fit(feasible(two, GPUS, RULES, MARKET, NOW))
    assert found.gpus == ("GPU-1", "GPU-2")
    assert found.hardware_class == "gpu-nvidia-h100-pcie"
    three = demand(resources=resources(gpu=gpu_need(3)), hardware_class="gpu-nvidia-h100-pcie")
    assert kinds(feasible(three, GPUS, RULES, MARKET, NOW)) == [Kind.GPU]


def test_a_reserve_is_kept_for_the_operator_but_never_below_what_is_held() -> None:
    rules = Rules(reserved_cpu_millis=7000, reserved_memory_bytes=2**30)
    fit(feasible(DEMAND, HOST, rules, MARKET, NOW))
    assert kinds(feasible(demand(resources=resources(cpu_millis=1001)), HOST, rules, MARKET, NOW)) == [Kind.CPU]
    placed = reserve(CAPACITY, DealId(bytes(32)), resources(cpu_millis=4000))
    assert isinstance(placed, Placed)
    busy = replace(HOST, capacity=placed.capacity)
    assert kinds(feasible(DEMAND, busy, rules, MARKET, NOW)) == [Kind.BUSY]


def test_an_offer_has_a_price_under_the_cap_and_its_bonds() -> None:
    found = offer()
    assert isinstance(found, Offer)
    price = found.quote.price_wei
    assert 0 < price <= DEMAND.price_cap_wei
    assert found.deadline_bond_wei == price // 10
    assert found.fraud_bond_wei >= 5 * price


def test_prices_bonds_and_rules_can_say_no() -> None:
    assert kinds(offer(price_cap_wei=Wei(1))) == [Kind.PRICE]
    assert kinds(offer(replace(HOST, unlocked_stake_wei=Wei(0)))) == [Kind.BOND]
    assert kinds(offer(rules=Rules(max_fraud_bond_wei=Wei(1)))) == [Kind.BOND]
    assert kinds(offer(replace(HOST, exposure_wei=Wei(9)), Rules(max_exposure_wei=Wei(9)))) == [Kind.EXPOSURE]
    assert kinds(offer(audit_rate_ppm=Ppm(0))) == [Kind.BOND]


def test_class_none_needs_no_audit_rate_and_no_bond() -> None:
    found = offer(verification=VerificationClass.NONE, audit_rate_ppm=Ppm(0), verification_wei=Wei(0))
    assert isinstance(found, Offer)
    assert found.fraud_bond_wei == 0


def test_the_least_price_of_the_rules_is_a_floor() -> None:
    found = offer(rules=Rules(min_price_wei=Wei(9 * 10**18)))
    assert isinstance(found, Offer)
    assert found.quote.price_wei == 9 * 10**18


def test_a_full_node_asks_more() -> None:
    idle = offer()
    placed = reserve(CAPACITY, DealId(bytes(32)), resources(cpu_millis=6000))
    assert isinstance(placed, Placed)
    busy = offer(replace(HOST, capacity=placed.capacity))
    assert isinstance(idle, Offer)
    assert isinstance(busy, Offer)
    assert busy.quote.price_wei > idle.quote.price_wei


def test_a_machine_without_anything_says_all_of_it() -> None:
    nothing = Host(PROVIDER, "x86_64-v1", Capacity(0, 0, 0, 0), Wei(0), Wei(0), 0)
    found = appraise(DEMAND, nothing, RULES, Market(False, 5, Wei(0), 2**20), RATES, GAS, NOW)
    assert {Kind.CPU, Kind.MEMORY, Kind.DISK, Kind.BUSY, Kind.HARDWARE_CLASS, Kind.BOND} <= set(kinds(found))
