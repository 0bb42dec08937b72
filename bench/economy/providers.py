"""Strategies of providers, alone and with challengers or arbiters that are theirs."""

from functools import cache, lru_cache
from random import Random
from typing import Final, assert_never

from bench.economy import committee
from bench.economy.committee import End
from bench.economy.strategy import (
    Strategy,
    always,
    convicted,
    happens,
    right_among,
    stay_out,
    wrong_about_a_right_result,
)
from bench.economy.world import Job
from capanode.protocol import verdict_money
from capanode.protocol.ids import Wei
from capanode.protocol.verdict_money import Answer, Appeal, Challenge, Dispute, Locked, Vote

PUPPETS: Final = (1, 2, 4, 8, 16, 32, 64)
DEALS_BEHIND_ONE_STAKE: Final = 10
OVER_PPM: Final = 1_500_000


def honest(job: Job) -> float:
    return job.honest_provider_wei


def _paid(job: Job) -> int:
    return job.price_wei - job.world.gas.deal_wei


# Invents the whole result.


def _cheat(job: Job, dice: Random) -> int:
    if not happens(job.world.audited_ppm, dice):
        return _paid(job)
    return convicted(job) - job.world.gas.unpaid_deal_wei


def _cheat_expected(job: Job) -> float:
    p = job.world.audited
    return (1 - p) * _paid(job) - p * (job.locked.fraud_bond_wei + job.world.gas.unpaid_deal_wei)


# Does the first steps, invents the others; an audit looks at one step.


def _lazy(job: Job, dice: Random) -> int:
    skipped = dice.randrange(job.steps) + 1
    worked = job.cost_wei * (job.steps - skipped) // job.steps
    found = happens(job.world.audited_ppm, dice) and dice.randrange(job.steps) < skipped
    return (convicted(job) - job.world.gas.unpaid_deal_wei if found else _paid(job)) - worked


def _lazy_expected(job: Job) -> float:
    skipped = (job.steps + 1) / (2 * job.steps)
    p = job.world.audited * skipped
    lost = job.locked.fraud_bond_wei + job.world.gas.unpaid_deal_wei
    return (1 - p) * _paid(job) - p * lost - (1 - skipped) * job.cost_wei


# Invents the result; when challenged, recomputes the step and joins as several challengers, to share the bounty.


def _puppets(job: Job, dice: Random) -> int:
    if not happens(job.world.audited_ppm, dice):
        return _paid(job)
    many = _best_number(job)
    theirs = many * (right_among(job, many) - job.world.gas.challenge_wei)
    return convicted(job, many + 1) + theirs - job.step_wei - job.world.gas.unpaid_deal_wei


def _puppets_expected(job: Job) -> float:
    p, many = job.world.audited, _best_number(job)
    back = job.prize_wei * many / (many + 1) - many * job.world.gas.challenge_wei
    lost = job.locked.fraud_bond_wei + job.world.gas.unpaid_deal_wei + job.step_wei
    return (1 - p) * _paid(job) - p * (lost - back)


@lru_cache(256)
def _best_number(job: Job) -> int:
    gas = job.world.gas.challenge_wei
    return max(PUPPETS, key=lambda many: job.prize_wei * many // (many + 1) - many * gas)


# Commits something wrong and convicts itself before anybody else does.


def _self_dispute(job: Job) -> int:
    gas = job.world.gas.unpaid_deal_wei + job.world.gas.challenge_wei
    return convicted(job) + right_among(job, 0) - job.step_wei - gas


def _self_dispute_expected(job: Job) -> float:
    gas = job.world.gas.unpaid_deal_wei + job.world.gas.challenge_wei
    return job.prize_wei - job.locked.fraud_bond_wei - job.step_wei - gas


# Does one step, invents the others, and lets a friend challenge the one that is right.


def _sacrifice(job: Job, dice: Random) -> int:
    spent = wrong_about_a_right_result(job) - job.step_wei - job.world.gas.challenge_wei
    if job.world.challenges_side_by_side and happens(job.world.audited_ppm, dice):
        return spent + convicted(job) - job.world.gas.unpaid_deal_wei
    return spent + _paid(job)


def _sacrifice_expected(job: Job) -> float:
    p = job.world.audited if job.world.challenges_side_by_side else 0.0
    spent = job.challenger_bond_wei + job.step_wei + job.world.gas.challenge_wei
    return (1 - p) * _paid(job) - p * (job.locked.fraud_bond_wei + job.world.gas.unpaid_deal_wei) - spent


# Invents the result and owns a part of the class's stake; the honest challenger appeals whatever it loses.


def _captors(job: Job, dice: Random) -> int:
    if not happens(job.world.audited_ppm, dice):
        return _paid(job)
    judged = committee.judge(job.world.owned_ppm, dice)
    theirs, others = judged.owned, judged.seats - judged.owned
    challenge = Challenge(job.challenger_bond_wei, Answer.RIGHT)
    appeals = tuple(
        Appeal(Wei(seats * job.locked.fee_wei), is_lost=judged.end is End.UPHELD)
        for seats in committee.ROUNDS[1 : judged.rounds]
    )
    tariff, locked = job.world.tariff, job.locked
    kept = 0
    match judged.end:
        case End.OVERTURNED:
            votes = (Vote.DISSENTS,) * theirs + (Vote.AGREES,) * others
            payouts = verdict_money.overturned(locked, Dispute((challenge,), votes, appeals), tariff)
        case End.UPHELD:
            votes = (Vote.AGREES,) * theirs + (Vote.DISSENTS,) * others
            lost = Challenge(challenge.bond_wei, Answer.WRONG)
            payouts = verdict_money.upheld(locked.fee_wei, Dispute((lost,), votes, appeals), tariff)
            kept = verdict_money.finalized(locked).provider_wei
        case End.VOID:
            votes = (Vote.AGREES,) * (theirs + others)
            payouts = verdict_money.voided(locked, Dispute((challenge,), votes, appeals), tariff)
        case _:
            assert_never(judged.end)
    bonds = locked.fraud_bond_wei + locked.deadline_bond_wei
    gas = theirs * job.world.gas.seat_wei + job.world.gas.unpaid_deal_wei
    return payouts.provider_wei + kept - bonds + sum(payouts.arbiters_wei[:theirs]) - gas


def _captors_expected(job: Job) -> float:
    """Fees are counted in full wherever the owner's seats agree with the end."""
    p, locked, fee = job.world.audited, job.locked, job.locked.fee_wei
    paid = {
        End.OVERTURNED: (-locked.fraud_bond_wei, -job.world.tariff.penalty_wei(fee)),
        End.UPHELD: (locked.amount_wei, fee),
        End.VOID: (locked.amount_wei * job.world.tariff.void_paid_ppm / 1e6, fee),
    }
    found = sum(paid[end][0] * chance for end, (chance, _) in _ends(job.world.owned_ppm).items())
    seats = sum(
        (paid[end][1] - job.world.gas.seat_wei) * owned for end, (_, owned) in _ends(job.world.owned_ppm).items()
    )
    return (1 - p) * _paid(job) + p * (found + seats - job.world.gas.unpaid_deal_wei)


@cache
def _ends(owned_ppm: int) -> dict[End, tuple[float, float]]:
    """Of each end its chance, and the seats of the owner weighed by it."""
    summed = dict.fromkeys(End, (0.0, 0.0))
    for judged, chance in committee.chances(owned_ppm).items():
        before, owned = summed[judged.end]
        summed[judged.end] = (before + chance, owned + chance * judged.owned)
    return summed


# One stake behind ten deals, all invented; the figures are those of one deal.


def _stake_reuse(job: Job, dice: Random) -> int:
    if job.world.bond_per_deal:
        return _cheat(job, dice)
    found = [happens(job.world.audited_ppm, dice) for _ in range(DEALS_BEHIND_ONE_STAKE)]
    earned = (len(found) - sum(found)) * _paid(job) - sum(found) * job.world.gas.unpaid_deal_wei
    return (earned + (convicted(job) if any(found) else 0)) // len(found)


def _stake_reuse_expected(job: Job) -> float:
    if job.world.bond_per_deal:
        return _cheat_expected(job)
    p = job.world.audited
    caught = 1 - (1 - p) ** DEALS_BEHIND_ONE_STAKE
    earned = (1 - p) * _paid(job) - p * job.world.gas.unpaid_deal_wei
    return earned - caught * job.locked.fraud_bond_wei / DEALS_BEHIND_ONE_STAKE


# Bids a low estimate with a high cap, against a rival with a fixed price, and claims the cap.


def _over_meter(job: Job) -> int:
    cap = min(job.price_wei * OVER_PPM // 1_000_000, job.value_wei)
    if job.world.bids_rank_by_cap and cap > job.price_wei:
        return 0
    locked = Locked(Wei(cap), Wei(cap), Wei(0), Wei(0), Wei(0), Wei(0))
    return verdict_money.finalized(locked).provider_wei - job.cost_wei - job.world.gas.deal_wei


def _over_meter_expected(job: Job) -> float:
    won = 0.0 if job.world.bids_rank_by_cap else 1.0
    return won * (1.5 * job.price_wei - job.cost_wei - job.world.gas.deal_wei)


# Takes the deal and never runs it.


def _squat(job: Job) -> int:
    bonds = job.locked.fraud_bond_wei + job.locked.deadline_bond_wei
    return verdict_money.expired(job.locked, Wei(0)).provider_wei - bonds - job.world.gas.assign_wei


def _squat_expected(job: Job) -> float:
    return -job.locked.deadline_bond_wei - job.world.gas.assign_wei


# Does the work, commits it, and keeps the bytes for a ransom; the requester's client asks for them in every deal.


def _withhold(job: Job) -> int:
    return convicted(job) - job.cost_wei - job.world.gas.unpaid_deal_wei


def _withhold_expected(job: Job) -> float:
    return -job.locked.fraud_bond_wei - job.cost_wei - job.world.gas.unpaid_deal_wei


# Of class `replicated`: commits what another replica has shown; where nothing shows, a guess that no majority shares.


def _copy_replica(job: Job) -> int:
    if job.world.replicas_hidden:
        return convicted(job) - job.world.gas.unpaid_deal_wei
    return _paid(job)


def _copy_replica_expected(job: Job) -> float:
    if job.world.replicas_hidden:
        return -job.locked.fraud_bond_wei - job.world.gas.unpaid_deal_wei
    return _paid(job)


STRATEGIES: Final = (
    Strategy("cheating", "provider", _cheat, _cheat_expected, honest),
    Strategy("cheating_without_a_machine", "provider", _cheat, _cheat_expected, stay_out),
    Strategy("lazy", "provider", _lazy, _lazy_expected, honest),
    Strategy("cheating_with_puppets", "provider and challengers", _puppets, _puppets_expected, stay_out),
    Strategy("self_dispute", "provider and challenger", always(_self_dispute), _self_dispute_expected, stay_out),
    Strategy("sacrificial_challenge", "provider and challenger", _sacrifice, _sacrifice_expected, stay_out),
    Strategy("colluding_arbiters", "provider and arbiters", _captors, _captors_expected, stay_out),
    Strategy("stake_reuse", "provider", _stake_reuse, _stake_reuse_expected, stay_out),
    Strategy("over_metering", "provider", always(_over_meter), _over_meter_expected, honest),
    Strategy("squatting", "provider", always(_squat), _squat_expected, stay_out),
    Strategy("withheld_result", "provider", always(_withhold), _withhold_expected, honest),
    Strategy("result_copying_replica", "provider", always(_copy_replica), _copy_replica_expected, honest),
)
