"""Strategies of requesters, challengers and arbiters."""

from functools import lru_cache
from random import Random
from typing import Final

from bench.economy.strategy import (
    COMMITTEE,
    Strategy,
    always,
    happens,
    right_among,
    stay_out,
    wrong_about_a_right_result,
    wrong_about_a_wrong_result,
)
from bench.economy.world import Job
from capanode.protocol import verdict_money
from capanode.protocol.ids import Wei
from capanode.protocol.tariff import PPM
from capanode.protocol.verdict_money import Answer, Challenge, Dispute, Vote

FLOOD: Final = 4
"""Steps that a griefer disputes in one deal."""


# REQUESTERS


def honest_requester(job: Job) -> float:
    return job.honest_requester_wei


# Its job gives other bytes in each run, and it disputes the result. It knows which bytes matter, so it has its value.


def _poison(job: Job) -> int:
    bond = job.challenger_bond_wei
    payouts = verdict_money.voided(job.locked, Dispute((Challenge(bond, Answer.OPEN),), COMMITTEE), job.world.tariff)
    paid = job.locked.price_wei + job.locked.verification_wei - payouts.requester_wei
    return job.value_wei - paid + payouts.challengers_wei[0] - bond - job.world.gas.challenge_wei


def _poison_expected(job: Job) -> float:
    tariff = job.world.tariff
    unpaid = job.price_wei * (1 - tariff.void_paid_ppm / PPM)
    saved = unpaid * (1 - tariff.void_burned_ppm / PPM)
    return job.honest_requester_wei + saved - job.locked.verification_wei - job.world.gas.challenge_wei


# Binds a provider to a job whose inputs cannot be had, in the hope for its deadline bond.


def _withhold_inputs(job: Job) -> int:
    if job.world.inputs_come_first:
        return 0
    lost = verdict_money.expired(job.locked, Wei(0)).burned_wei
    return lost * job.world.slash_to_requester_ppm // PPM


def _withhold_inputs_expected(job: Job) -> float:
    if job.world.inputs_come_first:
        return 0.0
    return job.locked.deadline_bond_wei * job.world.slash_to_requester_ppm / PPM


# One purse on all sides: requester, provider and challenger.


def _ring(job: Job) -> int:
    bond = job.challenger_bond_wei
    dispute = Dispute((Challenge(bond, Answer.RIGHT),), COMMITTEE)
    payouts = verdict_money.overturned(job.locked, dispute, job.world.tariff)
    theirs = payouts.requester_wei + payouts.provider_wei + payouts.challengers_wei[0]
    gas = job.world.gas.unpaid_deal_wei + job.world.gas.challenge_wei
    return theirs - job.locked.total_wei - bond - gas


def _ring_expected(job: Job) -> float:
    gas = job.world.gas.unpaid_deal_wei + job.world.gas.challenge_wei
    return job.prize_wei - job.locked.fraud_bond_wei - gas


# CHALLENGERS


# Challenges a right result out of spite: what others lose is worth as much to it as what it wins.


def _grief(job: Job) -> int:
    arbiter = _seat(job, Vote.AGREES, upheld=True) - job.step_wei - job.world.gas.seat_wei
    harm = 3 * max(0, -arbiter) + job.delay_wei
    return wrong_about_a_right_result(job) - job.world.gas.challenge_wei + harm


def _grief_expected(job: Job) -> float:
    fee = min(job.locked.fee_wei, job.challenger_bond_wei / 3)
    harm = 3 * max(0, job.step_wei + job.world.gas.seat_wei - fee) + job.delay_wei
    return harm - job.challenger_bond_wei - job.world.gas.challenge_wei


# The same with several steps of one deal.


def _flood(job: Job) -> int:
    own = 0
    for further in range(FLOOD):
        own += wrong_about_a_right_result(job, further) - job.world.gas.challenge_wei
    return own + job.delay_wei


def _flood_expected(job: Job) -> float:
    own = -(2**FLOOD - 1) * job.challenger_bond_wei - FLOOD * job.world.gas.challenge_wei
    return own + job.delay_wei


# Sees that somebody has challenged a wrong result, and wants to share the bounty without any work.


def _copy_answer(job: Job) -> int:
    won = wrong_about_a_wrong_result(job) if job.world.answers_hidden else right_among(job, 1)
    return won - job.world.gas.challenge_wei


def _copy_answer_expected(job: Job) -> float:
    won = -job.challenger_bond_wei if job.world.answers_hidden else job.prize_wei / 2
    return won - job.world.gas.challenge_wei


# Of class `tolerance`, where "it differs" is an answer: challenges any result without looking at it.


def _blind(job: Job, dice: Random) -> int:
    wrong = happens(job.world.wrong_ppm, dice)
    won = right_among(job, 0) if wrong else wrong_about_a_right_result(job)
    return won - job.world.gas.challenge_wei


def _blind_expected(job: Job) -> float:
    q = job.world.wrong_ppm / PPM
    return q * job.prize_wei - (1 - q) * job.challenger_bond_wei - job.world.gas.challenge_wei


# Has found a wrong result; opens twice with two salts, and reveals the one whose seed it likes.


def _grind(job: Job) -> int:
    return right_among(job, 0) + wrong_about_a_wrong_result(job) - 2 * job.world.gas.challenge_wei - job.step_wei


def _grind_expected(job: Job) -> float:
    return job.prize_wei - job.challenger_bond_wei - 2 * job.world.gas.challenge_wei - job.step_wei


def honest_challenger(job: Job) -> float:
    return job.prize_wei - job.world.gas.challenge_wei - job.step_wei


# ARBITERS


def honest_arbiter(job: Job) -> float:
    return job.honest_arbiter_wei


@lru_cache(256)
def _seat(job: Job, vote: Vote, *, upheld: bool) -> int:
    """What the first seat of three has more."""
    votes = (vote, Vote.AGREES, Vote.AGREES)
    bond, tariff = job.challenger_bond_wei, job.world.tariff
    if upheld:
        dispute = Dispute((Challenge(bond, Answer.WRONG),), votes)
        return verdict_money.upheld(job.locked.fee_wei, dispute, tariff).arbiters_wei[0]
    dispute = Dispute((Challenge(bond, Answer.RIGHT),), votes)
    return verdict_money.overturned(job.locked, dispute, tariff).arbiters_wei[0]


# Votes for the provider, whose leaf it knows, and executes nothing.


def _uphold_blindly(job: Job, dice: Random) -> int:
    upheld = happens(job.world.frivolous_ppm, dice)
    return _seat(job, Vote.AGREES if upheld else Vote.DISSENTS, upheld=upheld) - job.world.gas.seat_wei


def _uphold_blindly_expected(job: Job) -> float:
    u = job.world.frivolous_ppm / PPM
    fee = job.locked.fee_wei
    return u * fee - (1 - u) * job.world.tariff.penalty_wei(fee) - job.world.gas.seat_wei


# Votes what others have voted.


def _copy_vote(job: Job, dice: Random) -> int:
    if job.world.votes_hidden:
        return _uphold_blindly(job, dice)
    return _seat(job, Vote.AGREES, upheld=happens(job.world.frivolous_ppm, dice)) - job.world.gas.seat_wei


def _copy_vote_expected(job: Job) -> float:
    if job.world.votes_hidden:
        return _uphold_blindly_expected(job)
    return job.locked.fee_wei - job.world.gas.seat_wei


# Does not come when it is drawn.


def _absent(job: Job) -> int:
    return _seat(job, Vote.ABSENT, upheld=False)


def _absent_expected(job: Job) -> float:
    return -job.world.tariff.penalty_wei(job.locked.fee_wei)


STRATEGIES: Final = (
    Strategy("poisoned_job", "requester and challenger", always(_poison), _poison_expected, honest_requester),
    Strategy("withheld_input", "requester", always(_withhold_inputs), _withhold_inputs_expected, stay_out),
    Strategy("self_deal_ring", "requester, provider and challenger", always(_ring), _ring_expected, stay_out),
    Strategy("griefing", "challenger", always(_grief), _grief_expected, stay_out),
    Strategy("griefing_by_many_steps", "challenger", always(_flood), _flood_expected, stay_out),
    Strategy("result_copying_challenger", "challenger", always(_copy_answer), _copy_answer_expected, stay_out),
    Strategy("blind_challenge", "challenger", _blind, _blind_expected, stay_out),
    Strategy("seed_grinding", "challenger", always(_grind), _grind_expected, honest_challenger),
    Strategy("lazy_arbiter", "arbiter", _uphold_blindly, _uphold_blindly_expected, honest_arbiter),
    Strategy("vote_copying", "arbiter", _copy_vote, _copy_vote_expected, honest_arbiter),
    Strategy("absent_arbiter", "arbiter", always(_absent), _absent_expected, honest_arbiter),
)
