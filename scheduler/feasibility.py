"""Can this node do this job, and may it: every reason against, or what it would take.

Pure: the same demand, host and rules give the same answer, which is also the answer to "why do I get no jobs?".
"""

from dataclasses import dataclass, replace
from typing import Final

from capanode.protocol.ids import Address, UnixTime, Wei
from capanode.protocol.judging import JUDGED
from capanode.protocol.money import bond_wei, deadline_bond_wei, verification_deposit_wei
from capanode.protocol.records import Demand, VerificationClass
from capanode.scheduler import rules as operator
from capanode.scheduler.capacity import Capacity, GpuUuid, load_ppm, matching, pick_gpus, shortages
from capanode.scheduler.hardware import gpu_class, serves
from capanode.scheduler.judges import against_rules
from capanode.scheduler.pricing import Gas, Quote, Rates, quote
from capanode.scheduler.refusal import Kind, Refusal
from capanode.scheduler.rules import Rules
from capanode.scheduler.windows import least_window_s, transfer_s

NOT_DISPUTABLE: Final = "not disputable: this market has no court, so a wrong result cannot be challenged"


@dataclass(frozen=True, slots=True)
class Market:
    """What the network fixes; `transfer_bytes_per_s` is the line that its clocks assume."""

    has_court: bool
    window_floor_s: int
    arbiter_fee_wei: Wei
    transfer_bytes_per_s: int
    can_judge: bool = False
    """Whether the demand's pool of arbiters is large enough for what is at stake."""


@dataclass(frozen=True, slots=True)
class Host:
    """What this node is and has at this moment.

    `exposure_wei` is the sum of the prices of deals not paid yet, `utc_offset_s` that of the operator's clock.
    """

    wallet: Address
    hardware_class: str
    capacity: Capacity
    unlocked_stake_wei: Wei
    exposure_wei: Wei
    utc_offset_s: int


@dataclass(frozen=True, slots=True)
class Feasible:
    """The job can be done: on which GPUs, ready how soon, and what the parties should know."""

    gpus: tuple[GpuUuid, ...]
    hardware_class: str
    ready_in_s: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """A job that can be done, at a price that its cap and this node's rules allow."""

    feasible: Feasible
    quote: Quote
    deadline_bond_wei: Wei
    fraud_bond_wei: Wei


def feasible(demand: Demand, host: Host, rules: Rules, market: Market, now: UnixTime) -> Feasible | tuple[Refusal, ...]:
    """Everything but the price: resources, hardware, verification, times, sizes, and the operator's rules."""
    capacity = _without_reserved(host.capacity, rules)
    ready_in_s = transfer_s(demand.image_bytes + demand.input_bytes, market.transfer_bytes_per_s)
    refusals = (
        *_against_expiry(demand, now),
        *shortages(capacity, demand.resources, demand.hardware_class),
        *_against_hardware(demand, host),
        *_against_class(demand, market),
        *against_rules(
            demand,
            _served_class(demand, host),
            host.wallet,
            has_court=market.has_court,
            can_judge=market.can_judge,
        ),
        *_against_times(demand, market, ready_in_s),
        *operator.against_demand(rules, demand, now, host.utc_offset_s),
    )
    if refusals:
        return refusals
    return Feasible(
        gpus=pick_gpus(capacity, demand.resources, demand.hardware_class),
        hardware_class=_served_class(demand, host),
        ready_in_s=ready_in_s,
        notes=_notes(demand, market),
    )


def appraise(
    demand: Demand, host: Host, rules: Rules, market: Market, rates: Rates, gas: Gas, now: UnixTime
) -> Offer | tuple[Refusal, ...]:
    """The offer that this node can make for a demand, or every reason against one."""
    fit = feasible(demand, host, rules, market, now)
    floor = Wei(max(rates.floor_wei, rules.min_price_wei))
    asked = quote(demand, replace(rates, floor_wei=floor), gas, load_ppm(host.capacity))
    price = asked.price_wei
    if demand.audit_rate_ppm <= 0 and demand.verification in JUDGED:
        no_rate = Refusal(Kind.BOND, "the audit rate is zero, so no bond follows", "state an audit rate")
        return (*_reasons(fit), no_rate)
    bond = bond_wei(demand, price)
    refusals = (
        *_reasons(fit),
        *_against_cap(demand, price),
        *_against_stake(host, Wei(deadline_bond_wei(price) + bond)),
        *operator.against_price(rules, price, bond, host.exposure_wei),
    )
    if refusals or not isinstance(fit, Feasible):
        return refusals
    return Offer(fit, asked, deadline_bond_wei(price), bond)


def _reasons(fit: Feasible | tuple[Refusal, ...]) -> tuple[Refusal, ...]:
    return () if isinstance(fit, Feasible) else fit


def _without_reserved(capacity: Capacity, rules: Rules) -> Capacity:
    """What is left of the machine for jobs. Deals already taken may reach into a reserve that came later."""
    used_cpu = capacity.cpu_millis - capacity.cpu_millis_left
    used_memory = capacity.memory_bytes - capacity.memory_bytes_left
    return replace(
        capacity,
        cpu_millis=max(capacity.cpu_millis - rules.reserved_cpu_millis, used_cpu),
        memory_bytes=max(capacity.memory_bytes - rules.reserved_memory_bytes, used_memory),
    )


def _against_expiry(demand: Demand, now: UnixTime) -> tuple[Refusal, ...]:
    if demand.expires_at <= now:
        return (Refusal(Kind.EXPIRED, f"the demand expired {now - demand.expires_at} s ago"),)
    return ()


def _against_hardware(demand: Demand, host: Host) -> tuple[Refusal, ...]:
    if _served_class(demand, host):
        return ()
    sentence = f"the job needs {demand.hardware_class}, this node is {host.hardware_class}"
    return (Refusal(Kind.HARDWARE_CLASS, sentence, "ask for another class, or for none"),)


def _served_class(demand: Demand, host: Host) -> str:
    """The class under which this host would do the job; empty when it cannot."""
    need = demand.resources.gpu
    if need is not None and (fit := matching(host.capacity.gpus, need, demand.hardware_class)):
        return gpu_class(fit[0].model)
    if serves(host.hardware_class, demand.hardware_class, demand.verification):
        return host.hardware_class
    return ""


def _against_class(demand: Demand, market: Market) -> tuple[Refusal, ...]:
    fee = market.arbiter_fee_wei if demand.rules is None else demand.rules.arbiter_fee_wei
    deposit = verification_deposit_wei(fee, demand.verification)
    if demand.verification_wei < deposit:
        return (
            Refusal(
                Kind.VERIFICATION,
                f"the verification deposit is {demand.verification_wei}, arbiters would cost {deposit}",
                "raise the deposit",
            ),
        )
    return ()


def _against_times(demand: Demand, market: Market, ready_in_s: int) -> tuple[Refusal, ...]:
    found: list[Refusal] = []
    needed_s = ready_in_s + demand.resources.timeout_s
    if needed_s > demand.commit_within_s:
        sentence = f"transfer and run may take {needed_s} s, the deadline is in {demand.commit_within_s} s"
        found.append(Refusal(Kind.TIME, sentence, "give the job a later deadline or a shorter time limit"))
    least = least_window_s(
        market.window_floor_s,
        demand.resources.timeout_s,
        demand.image_bytes + demand.input_bytes,
        market.transfer_bytes_per_s,
        demand.verification,
    )
    if demand.window_s < least:
        sentence = f"the window of {demand.window_s} s is shorter than {least} s"
        found.append(Refusal(Kind.WINDOW, sentence, "lengthen the window"))
    return tuple(found)


def _against_cap(demand: Demand, price: Wei) -> tuple[Refusal, ...]:
    if price <= demand.price_cap_wei:
        return ()
    sentence = f"this node asks {price}, the price cap is {demand.price_cap_wei}"
    return (Refusal(Kind.PRICE, sentence, "raise the cap, or lower this node's rates"),)


def _against_stake(host: Host, bonds_wei: Wei) -> tuple[Refusal, ...]:
    if bonds_wei <= host.unlocked_stake_wei:
        return ()
    sentence = f"the bonds need {bonds_wei} of stake, {host.unlocked_stake_wei} are not locked"
    return (Refusal(Kind.BOND, sentence, "stake more, or wait until open deals are final"),)


def _notes(demand: Demand, market: Market) -> tuple[str, ...]:
    if demand.verification is VerificationClass.NONE:
        return ("nothing of the result is verified: class none",)
    if demand.verification is VerificationClass.REPLICATED:
        return ("the result is compared with those of other providers: class replicated",)
    if not market.has_court:
        return (NOT_DISPUTABLE,)
    return () if demand.rules is not None else ("not disputable: the demand has no rules of judging",)
