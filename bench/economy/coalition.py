"""A coalition that mixes it all: a provider that skips a part, puppets, sacrificial challenges, arbiters of its own.

A formula only: it is searched, not played.
"""

from dataclasses import dataclass

from bench.economy.committee import End, chances
from bench.economy.world import Job
from capanode.protocol.tariff import PPM


@dataclass(frozen=True, slots=True)
class Plan:
    """How many steps are invented, challengers that join when it is caught, challenges on steps that are right, and the
    owned share of the class's stake."""

    skipped: int
    puppets: int
    sacrifices: int
    owned_ppm: int


def expected_wei(job: Job, plan: Plan) -> float:
    """What the coalition has on average, when an audit recomputes one step by lot."""
    world, locked = job.world, job.locked
    found = world.audited * plan.skipped / job.steps
    paid = job.price_wei - world.gas.deal_wei
    worked = job.cost_wei * (job.steps - plan.skipped) / job.steps
    caught = sum(
        chance * _judged(job, plan, judged.end, judged.owned) for judged, chance in chances(plan.owned_ppm).items()
    )
    lost = (2**plan.sacrifices - 1) * job.challenger_bond_wei
    own = plan.owned_ppm / PPM * 3 * plan.sacrifices * (locked.fee_wei - world.gas.seat_wei)
    spent = worked + lost - own + plan.sacrifices * world.gas.challenge_wei
    expected: float = (1 - found) * paid + found * (caught - world.gas.unpaid_deal_wei) - spent
    return expected


def _judged(job: Job, plan: Plan, end: End, owned: int) -> float:
    locked, fee, gas = job.locked, job.locked.fee_wei, job.world.gas
    joined = plan.puppets * gas.challenge_wei + (job.step_wei if plan.puppets else 0)
    bonds = plan.puppets * job.challenger_bond_wei
    votes = owned * gas.seat_wei
    if end is End.OVERTURNED:
        prize = job.prize_wei * plan.puppets / (plan.puppets + 1)
        return prize - locked.fraud_bond_wei - joined - votes - owned * job.world.tariff.penalty_wei(fee)
    if end is End.UPHELD:
        return locked.amount_wei - joined - bonds - votes + owned * fee
    return locked.amount_wei * job.world.tariff.void_paid_ppm / PPM - joined - votes + owned * fee
