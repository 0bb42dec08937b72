"""What became of all deals, told by the chain and by the nodes, and whether the two agree.

Pure: it gets what others have read.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.api.port import DealView, JobView
from capanode.protocol import cases
from capanode.protocol.ids import Address, DealId
from capanode.protocol.phases import TERMINAL, Phase
from capanode.protocol.tariff import TARIFF

JOB_ENDED: Final = frozenset({"Settled", "Failed", "Cancelled"})
"""Phases of a requester's job in which nothing can happen any more."""

PROVIDER_WAITS: Final = frozenset({"Retaining", "Done", "Lost"})
"""Phases of a provider's deal in which no money is at stake any more."""


@dataclass(slots=True)
class DealRecord:
    """One deal by its logs."""

    deal_id: DealId
    provider: str = ""
    finalized: int = 0
    refunded: int = 0
    cancelled: int = 0
    judged: int = 0
    paid_wei: int = 0
    burned_wei: int = 0
    """Of the provider's bonds."""

    @property
    def ends(self) -> int:
        return self.finalized + self.refunded + self.cancelled + self.judged


@dataclass(slots=True)
class Disputed:
    """What became of the cases that one wallet has opened, by their logs."""

    opened: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """The bond of each."""

    lost: int = 0
    lost_wei: int = 0
    won: int = 0


@dataclass(frozen=True, slots=True)
class Requester:
    """What a requester's node says, and what was handed to it."""

    name: str
    handed_over: frozenset[str]
    """Names of the jobs that the node said it had taken."""

    jobs: tuple[JobView, ...]
    spent_wei: int
    """By the chain: what it had before less what it has now."""

    disputed: Disputed = field(default_factory=Disputed)


@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider's node says."""

    name: str
    address: str
    deals: tuple[DealView, ...]
    earned_wei: int
    """By the chain; negative when it lost bonds."""


@dataclass(slots=True)
class Verdict:
    """The counts, and a sentence for everything that is wrong."""

    started: int = 0
    finalized: int = 0
    refunded: int = 0
    unsold: int = 0
    """Jobs that ended without any deal on chain: nobody bid, or cancelled before."""

    judged: int = 0
    """Deals that a court has ended."""

    challenges_lost: int = 0
    """Results that were said to be missing and were obtained in the end; each cost its requester a bond."""

    lost: list[str] = field(default_factory=list[str])
    double_paid: list[str] = field(default_factory=list[str])
    disagreements: list[str] = field(default_factory=list[str])

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.double_paid or self.disagreements)


def read_deals(events: Iterable[object]) -> dict[DealId, DealRecord]:
    """The deals that a chain's logs speak of."""
    found: dict[DealId, DealRecord] = {}
    for event in events:
        match event:
            case bindings.DealAnnounced(deal_id=deal_id):
                found.setdefault(deal_id, DealRecord(deal_id))
            case bindings.DealAssigned(deal_id=deal_id) | bindings.DealCommitted(deal_id=deal_id):
                found.setdefault(deal_id, DealRecord(deal_id)).provider = f"0x{event.provider.hex()}"
            case bindings.DealFinalized(deal_id=deal_id, paid=paid):
                record = found.setdefault(deal_id, DealRecord(deal_id))
                record.finalized += 1
                record.paid_wei += paid
            case bindings.DealRefunded(deal_id=deal_id, burned=burned):
                record = found.setdefault(deal_id, DealRecord(deal_id))
                record.refunded += 1
                record.burned_wei += burned
            case bindings.DealCancelled(deal_id=deal_id):
                found.setdefault(deal_id, DealRecord(deal_id)).cancelled += 1
            case bindings.DealJudged(deal_id=deal_id, paid=paid, slashed=slashed):
                record = found.setdefault(deal_id, DealRecord(deal_id))
                record.judged += 1
                record.paid_wei += paid
                record.burned_wei += slashed
            case _:
                continue
    return found


def read_disputed(events: Iterable[object]) -> dict[Address, Disputed]:
    """Who has opened cases, and what came of them, by a court's logs."""
    found: dict[Address, Disputed] = {}
    for event in events:
        match event:
            case bindings.Challenged(opener=opener, case_id=case_id, bond=bond):
                found.setdefault(opener, Disputed()).opened[case_id] = bond
            case bindings.Settled(case_id=case_id, verdict=verdict):
                for one in (one for one in found.values() if case_id in one.opened):
                    _settle(one, one.opened[case_id], cases.Verdict(verdict))
            case _:
                continue
    return found


def _settle(disputed: Disputed, bond_wei: int, verdict: cases.Verdict) -> None:
    if verdict in (cases.Verdict.UPHELD, cases.Verdict.LAPSED):
        disputed.lost += 1
        disputed.lost_wei += bond_wei
    elif verdict is cases.Verdict.OVERTURNED:
        disputed.won += 1


def judge(
    deals: Mapping[DealId, DealRecord],
    phases: Mapping[DealId, Phase],
    requesters: Sequence[Requester],
    providers: Sequence[Provider],
    expire_reward_wei: int,
) -> Verdict:
    """Compare the chain's deals with the nodes' views and with the money that moved.

    Args:
        phases: each deal's phase on chain now.
        expire_reward_wei: what the market pays, out of a lost bond, to whoever ends a late deal.
    """
    verdict = Verdict()
    _judge_chain(verdict, deals, phases)
    for requester in requesters:
        _judge_requester(verdict, requester, deals, phases, expire_reward_wei)
    _judge_payments(verdict, deals, requesters)
    for provider in providers:
        _judge_provider(verdict, provider, deals, expire_reward_wei)
    return verdict


def _judge_chain(verdict: Verdict, deals: Mapping[DealId, DealRecord], phases: Mapping[DealId, Phase]) -> None:
    for deal_id, record in deals.items():
        phase = phases[deal_id]
        if phase not in TERMINAL:
            verdict.lost.append(f"deal {deal_id.hex()} of {record.provider or 'nobody'} is still {phase.name}")
        elif record.ends != 1:
            verdict.double_paid.append(f"deal {deal_id.hex()} has {record.ends} ends in the logs")
        verdict.finalized += phase is Phase.FINALIZED
        verdict.refunded += phase in (Phase.REFUNDED, Phase.CANCELLED)
        verdict.judged += bool(record.judged)


def _judge_requester(
    verdict: Verdict,
    requester: Requester,
    deals: Mapping[DealId, DealRecord],
    phases: Mapping[DealId, Phase],
    expire_reward_wei: int,
) -> None:
    verdict.started += len(requester.jobs)
    known = Counter(job.name for job in requester.jobs)
    for name in sorted(requester.handed_over - known.keys()):
        verdict.lost.append(f"{requester.name} has forgotten the job {name} that it had taken")
    for name in sorted(name for name, count in known.items() if count > 1):
        verdict.disagreements.append(f"{requester.name} has taken the job {name} {known[name]} times")
    for job in requester.jobs:
        about = f"{requester.name}'s job {job.name} ({job.job_id})"
        if job.phase not in JOB_ENDED:
            verdict.lost.append(f"{about} is still {job.phase}: {job.reason or 'no reason given'}")
        elif job.phase == "Settled":
            _judge_paid(verdict, about, job, deals, phases)
        elif not job.returned_wei and job.phase == "Failed":
            verdict.unsold += 1
    disputed = requester.disputed
    verdict.challenges_lost += disputed.lost
    paid_wei = sum(job.paid_wei for job in requester.jobs)
    rewards_wei = paid_wei + disputed.lost_wei - requester.spent_wei
    most_wei = expire_reward_wei * sum(record.refunded for record in deals.values())
    most_wei += TARIFF.gas_allowance_wei * disputed.won
    if not 0 <= rewards_wei <= most_wei:
        verdict.disagreements.append(
            f"{requester.name} has spent {requester.spent_wei}, its paid jobs make {paid_wei}, "
            f"and the challenges that it lost {disputed.lost_wei}"
        )


def _judge_paid(
    verdict: Verdict, about: str, job: JobView, deals: Mapping[DealId, DealRecord], phases: Mapping[DealId, Phase]
) -> None:
    deal_id = _deal_of(job)
    if deal_id is None or phases.get(deal_id) is not Phase.FINALIZED:
        phase = "nowhere" if deal_id is None or deal_id not in phases else phases[deal_id].name
        verdict.lost.append(f"{about} is paid, says its node, and its deal {job.deal_id} is {phase}")
    elif deals[deal_id].paid_wei != job.paid_wei:
        verdict.disagreements.append(
            f"{about} cost {job.paid_wei}, says its node, and {deals[deal_id].paid_wei} on chain"
        )


def _judge_payments(verdict: Verdict, deals: Mapping[DealId, DealRecord], requesters: Sequence[Requester]) -> None:
    """Every payment on chain is that of one job, and no job has two."""
    paid = Counter(
        deal_id
        for requester in requesters
        for job in requester.jobs
        if job.phase == "Settled" and (deal_id := _deal_of(job)) is not None
    )
    for deal_id, record in deals.items():
        if record.finalized and deal_id not in paid:
            verdict.double_paid.append(f"deal {deal_id.hex()} was paid to {record.provider}, and no job names it")
    for deal_id in sorted(deal_id for deal_id, count in paid.items() if count > 1):
        verdict.disagreements.append(f"{paid[deal_id]} jobs name the deal {deal_id.hex()}")


def _judge_provider(
    verdict: Verdict, provider: Provider, deals: Mapping[DealId, DealRecord], expire_reward_wei: int
) -> None:
    known = {deal.deal_id: deal.phase for deal in provider.deals}
    own = {f"0x{deal_id.hex()}": record for deal_id, record in deals.items() if record.provider == provider.address}
    for deal in provider.deals:
        if deal.phase not in PROVIDER_WAITS:
            verdict.lost.append(f"{provider.name}'s deal {deal.deal_id} is still {deal.phase}: {deal.reason}")
    for shown, record in own.items():
        phase = known.get(shown, "unknown")
        if bool(record.finalized) != (phase in ("Retaining", "Done")):
            verdict.disagreements.append(f"deal {shown} is {phase} to {provider.name}, and {_end_of(record)} on chain")
    due_wei = sum(record.paid_wei - record.burned_wei for record in own.values())
    most_wei = expire_reward_wei * sum(record.refunded for record in deals.values())
    if not due_wei - most_wei <= provider.earned_wei <= due_wei + most_wei:
        verdict.disagreements.append(f"{provider.name} has earned {provider.earned_wei}, and its deals make {due_wei}")


def _deal_of(job: JobView) -> DealId | None:
    return DealId(bytes.fromhex(job.deal_id.removeprefix("0x"))) if job.deal_id else None


def _end_of(record: DealRecord) -> str:
    if record.finalized:
        return "finalized"
    if record.refunded:
        return "refunded"
    if record.judged:
        return "judged"
    return "cancelled" if record.cancelled else "open"
