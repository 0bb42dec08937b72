"""Who may judge a result, and whether both sides can live with that: rules of judging made and checked.

Pure: whether a pool of arbiters is large enough for what is at stake is the chain's word, and an argument here.

**Source**: docs/protocol.md §7.
"""

from dataclasses import replace

from capanode.protocol.comparator import comparator_digest
from capanode.protocol.ids import Address, Ppm, Wei
from capanode.protocol.judging import Rules, class_pool
from capanode.protocol.named_set import NamedSet
from capanode.protocol.records import Demand, Spec
from capanode.protocol.tariff import TARIFF
from capanode.scheduler.hardware import ANY
from capanode.scheduler.refusal import Kind, Refusal


def class_rules(spec: Spec, hardware_class: str, audit_rate_ppm: Ppm, fee_wei: Wei) -> Rules:
    """The rules under which arbiters of a hardware class judge a job that everybody may read."""
    return Rules(
        verification=spec.verification,
        sealed=False,
        quorum=0,
        pool=class_pool(hardware_class),
        comparator=comparator_digest(spec.comparator),
        max_state_bytes=state_bytes(spec),
        step_s=step_s(spec),
        arbiter_fee_wei=fee_wei,
        audit_rate_ppm=audit_rate_ppm,
    )


def named_rules(spec: Spec, named: NamedSet, hardware_class: str, audit_rate_ppm: Ppm, fee_wei: Wei) -> Rules:
    """As `class_rules`, but a named set judges, on machines of the class."""
    drawn = class_rules(spec, hardware_class, audit_rate_ppm, fee_wei)
    return replace(drawn, pool=named.pool, quorum=named.quorum)


def shared_fee_wei(fee_wei: Wei, arbiters: int) -> Wei:
    """What each of a named set earns by a case: the deposit and the bond hold three fees, however many share them."""
    return min(fee_wei, Wei(TARIFF.verification_deposit_wei(fee_wei) // arbiters))


def step_limit(spec: Spec) -> int:
    """The most steps that the job can have."""
    return 1 if spec.steps is None else spec.steps.limit


def state_bytes(spec: Spec) -> int:
    """The largest state that a step of the job can leave."""
    return spec.resources.disk_bytes if spec.steps is None else spec.steps.state_bytes


def step_s(spec: Spec) -> int:
    """The longest time that a step of the job can take, in seconds."""
    return spec.resources.timeout_s if spec.steps is None else spec.steps.timeout_s


def at_stake_wei(price_cap_wei: Wei, audit_rate_ppm: Ppm, fee_wei: Wei) -> Wei:
    """P + Bf at the cap: what a pool's stake must be twenty times of."""
    return Wei(price_cap_wei + TARIFF.fraud_bond_up_wei(price_cap_wei, audit_rate_ppm, fee_wei))


def against_rules(
    demand: Demand, hardware_class: str, provider: Address, *, has_court: bool, can_judge: bool
) -> tuple[Refusal, ...]:
    """Why a provider of this class cannot take the demand's rules; no rules are always fine."""
    rules = demand.rules
    if rules is None:
        return ()
    named = demand.named
    fee = TARIFF.arbiter_fee_up_wei(demand.price_cap_wei, demand.step_limit)
    checks = (
        (has_court, "the demand has rules of judging, and this market has no court", "leave them out"),
        (not rules.sealed, "this version cannot do sealed jobs", "send an open one"),
        (
            named is not None or rules.pool == class_pool(hardware_class),
            f"others than the arbiters of {hardware_class} would judge the result",
            "name the pool of the class that does the job",
        ),
        (
            named is None or demand.hardware_class != ANY,
            "arbiters are named, but not the class of the machines that they judge by",
            "state a hardware_class",
        ),
        (
            named is None or provider not in named.arbiters,
            "this node is one of the arbiters that the demand names",
            "leave the job to others",
        ),
        (
            not has_court or can_judge or named is not None,
            "the arbiters are too few, or have too little at stake, to judge this job",
            "lower the price cap, name arbiters, or wait for more",
        ),
        (
            not has_court or can_judge or named is None,
            "the court does not know the set of arbiters that the demand names",
            "make it known, by `capanode job submit` or `capanode wallet arbiter enroll --named`",
        ),
        (
            rules.arbiter_fee_wei == fee,
            f"an arbiter's fee would be {rules.arbiter_fee_wei}; judging and a step's share of the cap make {fee}",
            "state that fee",
        ),
    )
    return tuple(Refusal(Kind.VERIFICATION, sentence, remedy) for fine, sentence, remedy in checks if not fine)


def leaves_room(rules: Rules, spec: Spec) -> bool:
    """Whether arbiters under these rules can fetch any state of the job and execute any of its steps.

    With less they would find honest work to be unavailable or not reproducible.
    """
    return rules.max_state_bytes >= state_bytes(spec) and rules.step_s >= step_s(spec)
