"""Watching what others commit: a sample is computed again, and what is wrong beyond doubt is challenged.

Before a bond is put up everything is asked twice: the step is executed once more, and every endpoint has to say the
same of the deal. What a watcher spends is bounded: a share of the results, by price and class, one at a time, and no
more bonds at once than its budget.
"""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.appetite import Appetite
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.committed_trace import LeafForbidden, LeavesWithheld, StateMissing
from capanode.node.challenged.disputing import Disputing
from capanode.node.challenged.evidence import Found, ResultMissing
from capanode.node.challenged.looks import Look, Looks
from capanode.protocol.faults import Fault, InvariantViolated, Refused, Unavailable
from capanode.protocol.ids import Address, DealId, Digest, Wei
from capanode.protocol.named_set import NamedSet
from capanode.protocol.tariff import PPM, TARIFF

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Costs:
    """What looking at a result takes, in tokens."""

    gas_wei: Callable[[], Wei]
    """Two transactions at today's price."""

    cpu_s_wei: Callable[[float, int], Wei]
    """So many seconds of so many thousandths of a core."""

    pull_byte_wei: Callable[[int], Wei]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of looking at one deal. `earned_wei` is what a won challenge brings, after gas, pulls and CPU."""

    deal_id: DealId
    verdict: str
    step: int | None
    bond_wei: Wei
    bounty_wei: Wei
    gas_wei: Wei
    pulls_wei: Wei
    cpu_wei: Wei
    challenge: str | None
    reason: str

    @property
    def earned_wei(self) -> int:
        """Negative where nothing was wrong: looking costs."""
        return self.bounty_wei - self.gas_wei - self.pulls_wei - self.cpu_wei


@dataclass(frozen=True, slots=True)
class Passed:
    """A deal that was drawn and not looked at, or not to its end, and why."""

    deal_id: DealId
    reason: str


class Watching:
    """Looks at committed deals: at a sample with `watch`, at one of one's own choice with `look`."""

    def __init__(
        self,
        checker: Checker,
        disputing: Disputing,
        clock: ChainClock,
        wallet: Address,
        costs: Costs,
        *,
        bond_wei: Callable[[Address, Wei], Wei],
        named: Callable[[Address, Digest], Awaitable[tuple[Address, ...]]],
    ) -> None:
        """`bond_wei` says the bond of a challenge in a market, for an arbiter's fee, `named` who is in a named set."""
        self._checker = checker
        self._disputing = disputing
        self._clock = clock
        self._wallet = wallet
        self._costs = costs
        self._bond_wei = bond_wei
        self._named = named

    async def watch(
        self, committed: trio.MemoryReceiveChannel[DealId], appetite: Appetite
    ) -> AsyncGenerator[Finding | Passed]:
        """What comes of looking at a sample of what is committed, one after the other, until no more is.

        What cannot be looked at yet is so later: a provider may be the last to hear of its own commitment.
        """
        looks = Looks(committed, partial(self.is_drawn, appetite))
        while (look := await looks.next()) is not None:
            told = await self._told(look, appetite)
            if told is not None:
                yield told
            elif not looks.again(look):
                yield _passed(look.deal_id, "it could not be looked at in time")

    async def _told(self, look: Look, appetite: Appetite) -> Finding | Passed | None:
        """What a look comes to; None where it may come to something later."""
        try:
            return await self.look(look.deal_id, appetite)
        except InvariantViolated:
            raise
        except Unavailable as fault:
            log.info("watch-waits", deal=look.deal_id.hex(), reason=str(fault))
            return None
        except Fault as fault:
            return _passed(look.deal_id, str(fault))

    def is_drawn(self, appetite: Appetite) -> bool:
        """Whether the coin says to look at the next result; nobody can foresee it."""
        return secrets.randbelow(PPM) < appetite.sample_ppm

    async def look(self, deal_id: DealId, appetite: Appetite) -> Finding:
        """Compute a committed result again, and challenge it where it is wrong.

        Raises:
            Refused: it is none that this watcher looks at.
            BytesMissing, PeerFault, Unavailable: nothing can be said of it.
        """
        began = trio.current_time()
        try:
            trace = await self._checker.trace_of(deal_id)
            self._require_wanted(trace.found, appetite)
            check = await self._checker.check(trace, lambda steps: _chosen(steps, appetite.max_steps))
            found, verdict, step, acts = trace.found, check.verdict.value, None, None
            if divergent := check.divergent:
                step, acts = divergent.index, partial(self._disputing.dispute, trace, divergent)
        except LeafForbidden as wrong:
            found, verdict, step = wrong.found, "forbidden", wrong.leaf.position
            acts = partial(self._disputing.show, wrong)
        except LeavesWithheld as withheld:
            found, verdict, step = withheld.found, "withheld", 0
            acts = partial(self._demanded, withheld)
        except (ResultMissing, StateMissing) as missing:
            found, verdict, step = missing.found, "missing", missing.step
            acts = partial(self._disputing.dispute_data, deal_id, missing.step)
        self._require_wanted(found, appetite)
        challenge, reason = None, "nothing is sent in a dry run" if acts else ""
        if acts is not None and not appetite.is_dry:
            distrust = await self._distrust(found, appetite)
            challenge, reason = (None, distrust) if distrust else await acts(appetite)
        return self._finding(found, verdict, step, trio.current_time() - began, challenge, reason)

    async def _distrust(self, found: Found, appetite: Appetite) -> str:
        """Why nothing is staked before those who would judge; empty where a class does, or a set that is known."""
        rules = found.evidence.rules
        if rules is None or rules.quorum == 0:
            return ""
        named = await self._named(found.evidence.market, rules.pool)
        return why_not_before(named, rules.quorum, self._wallet, appetite.named_arbiters)

    async def _demanded(self, withheld: LeavesWithheld, appetite: Appetite) -> tuple[str | None, str]:
        steps = withheld.found.evidence.step_count
        if 0 < appetite.max_steps < steps:
            return None, f"all {steps} steps would have to be computed again, which is more than this node looks at"
        return await self._disputing.dispute_leaves(withheld.found, appetite)

    def _require_wanted(self, found: Found, appetite: Appetite) -> None:
        evidence = found.evidence
        if evidence.terms.provider == self._wallet:
            raise Refused("it is this node's own result")
        if evidence.spec.verification not in appetite.classes:
            raise Refused(f"the class {evidence.spec.verification} is not watched")
        if evidence.terms.price_wei < appetite.min_price_wei:
            raise Refused("it is worth less than what is watched")
        if self._clock.now() >= found.slot.deadline:
            raise Refused("its window is over")

    def _finding(
        self, found: Found, verdict: str, step: int | None, busy_s: float, key: str | None, reason: str
    ) -> Finding:
        evidence = found.evidence
        need, fee = evidence.spec.resources, evidence.rules.arbiter_fee_wei if evidence.rules else Wei(0)
        pulled = sum(item.size_bytes for item in evidence.spec.inputs)
        is_wrong = step is not None
        return Finding(
            deal_id=evidence.deal_id,
            verdict=verdict,
            step=step,
            bond_wei=self._bond_wei(evidence.market, fee) if is_wrong else Wei(0),
            bounty_wei=TARIFF.bounty_wei(evidence.terms.price_wei, evidence.terms.fraud_bond_wei)
            if is_wrong
            else Wei(0),
            gas_wei=self._costs.gas_wei() if is_wrong else Wei(0),
            pulls_wei=self._costs.pull_byte_wei(pulled),
            cpu_wei=self._costs.cpu_s_wei(busy_s, need.cpu_millis),
            challenge=key,
            reason=reason,
        )


def _passed(deal_id: DealId, reason: str) -> Passed:
    log.info("watch-passes", deal=deal_id.hex(), reason=reason)
    return Passed(deal_id, reason)


def why_not_before(named: Sequence[Address], quorum: int, wallet: Address, trusted: Collection[Address]) -> str:
    """Why nothing is staked before a named set; empty where a quorum of it is trusted."""
    if wallet in named:
        return "this wallet is one of the named arbiters, who judge what others challenge"
    try:
        judges = NamedSet(tuple(named), quorum)
    except ValueError as wrong:
        # The court takes any number: of a minority, liars could outvote those who are trusted.
        return f"{wrong}: nothing is staked before such a set"
    if judges.is_backed_by(trusted):
        return ""
    known = judges.trusted_in(trusted)
    return (
        f"of {len(named)} named arbiters {quorum} decide, and challenger.named_arbiters has {known}: nothing is "
        "staked before them"
    )


def _chosen(steps: range, most: int) -> Sequence[int]:
    """All steps in order, or so many of them, drawn by chance, in order."""
    if not 0 < most < len(steps):
        return steps
    return sorted(secrets.SystemRandom().sample(steps, most))
