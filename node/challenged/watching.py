"""Watching what others commit: a sample is computed again, and what is wrong beyond doubt is challenged.

Before a bond is put up everything is asked twice: the step is executed once more, and every endpoint has to say the
same of the deal. What a watcher spends is bounded: a share of the results, by price and class, one at a time, and no
more bonds at once than its budget.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.markets import Markets
from capanode.node.chain.rpc import Rpc
from capanode.node.challenged.briefs import claimed_of, papers_of
from capanode.node.challenged.checking import Check, Checker, StepCheck, Verdict, is_found_twice
from capanode.node.challenged.committed_trace import CommittedTrace, LeavesWithheld
from capanode.node.challenged.evidence import Found
from capanode.node.challenged.retracing import is_as_committed
from capanode.node.challenged.second_source import agreeing_endpoints
from capanode.node.journal import Side
from capanode.proofs.trace import leaf_hash, trace_root
from capanode.protocol import challenger
from capanode.protocol.cases import Claimed, Kind
from capanode.protocol.events import ChallengeWanted, Contest
from capanode.protocol.faults import Fault, InvariantViolated, Refused
from capanode.protocol.ids import Address, DealId, Digest, Ppm, Wei
from capanode.protocol.judging import VerificationClass
from capanode.protocol.tariff import PPM, TARIFF

MIN_SOURCES: Final = 2
"""Endpoints that have to say the same before a bond is put up; one is enough on a devnet."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Appetite:
    """What an operator wants to look at, and to risk."""

    sample_ppm: Ppm
    max_bonds_wei: Wei
    """Bonds of all open challenges together."""

    min_price_wei: Wei
    """Results worth less are not looked at."""

    classes: frozenset[VerificationClass]
    max_steps: int
    """Steps of one deal that are computed again, drawn by chance; zero means all."""

    is_dry: bool
    """Whether nothing is sent: what it would have earned is told."""

    min_sources: int = MIN_SOURCES


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


class Watching:
    """Looks at committed deals; one watcher, or one call of `look` for a deal of one's own choice."""

    def __init__(
        self,
        agent: Agent,
        checker: Checker,
        markets: Markets,
        rpc: Rpc,
        clock: ChainClock,
        wallet: Address,
        costs: Costs,
        *,
        bond_wei: Callable[[Address, Wei], Wei],
    ) -> None:
        """`bond_wei` says the bond of a challenge in a market, for an arbiter's fee."""
        self._agent = agent
        self._checker = checker
        self._markets = markets
        self._rpc = rpc
        self._clock = clock
        self._wallet = wallet
        self._costs = costs
        self._bond_wei = bond_wei

    async def run(
        self,
        committed: trio.MemoryReceiveChannel[DealId],
        appetite: Appetite,
        tell: Callable[[Finding], Awaitable[None]],
    ) -> None:
        """Look at a sample of what is committed, one after the other, until cancelled."""
        async for deal_id in committed:
            if not self.is_drawn(appetite):
                continue
            try:
                await tell(await self.look(deal_id, appetite))
            except InvariantViolated:
                raise
            except Fault as fault:
                log.info("watch-passes", deal=deal_id.hex(), reason=str(fault))

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
        except LeavesWithheld as withheld:
            self._require_wanted(withheld.found, appetite)
            challenge, reason = await self._demanded(withheld, appetite)
            busy_s = trio.current_time() - began
            return self._finding(withheld.found, "withheld", 0 if challenge else None, busy_s, challenge, reason)
        self._require_wanted(trace.found, appetite)
        check = await self._checker.check(trace, lambda steps: _chosen(steps, appetite.max_steps))
        return await self._judged(trace, check, appetite, trio.current_time() - began)

    async def _demanded(self, withheld: LeavesWithheld, appetite: Appetite) -> tuple[str | None, str]:
        steps = withheld.found.evidence.step_count
        if appetite.is_dry:
            return None, f"nothing is sent in a dry run ({withheld})"
        if 0 < appetite.max_steps < steps:
            return None, f"all {steps} steps would have to be computed again, which is more than this node looks at"
        return await self.dispute_leaves(withheld.found, appetite)

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

    async def _judged(self, trace: CommittedTrace, check: Check, appetite: Appetite, busy_s: float) -> Finding:
        divergent = check.divergent
        if divergent is None:
            return self._finding(trace.found, check.verdict.value, None, busy_s, None, "")
        challenge, reason = None, "nothing is sent in a dry run"
        if not appetite.is_dry:
            challenge, reason = await self.dispute(trace, divergent, appetite)
        return self._finding(trace.found, check.verdict.value, divergent.index, busy_s, challenge, reason)

    async def dispute_step(self, deal_id: DealId, step: int, appetite: Appetite) -> tuple[str | None, str]:
        """Challenge a step that somebody says is wrong, if it is; the challenge's key, or why there is none.

        Raises:
            Refused, BytesMissing, PeerFault, Unavailable: as `look`.
        """
        trace = await self._checker.trace_of(deal_id)
        found = await self._checker.check_step(trace, step)
        if found.verdict is not Verdict.DIFFERS:
            return None, "computed here, the step leads to what was committed: there is nothing to challenge"
        return await self.dispute(trace, found, appetite)

    async def dispute(self, trace: CommittedTrace, divergent: StepCheck, appetite: Appetite) -> tuple[str | None, str]:
        """Challenge a step that was found wrong; the challenge's key, or why there is none."""
        evidence = trace.found.evidence
        again = await self._checker.check_step(trace, divergent.index)
        if not is_found_twice(trace, divergent, again):
            return None, "computed once more, the step led elsewhere: nothing is staked on it"
        if objection := await self._unsure(trace.found, appetite):
            return None, objection
        contest = Contest(
            papers=papers_of(evidence),
            kind=Kind.STEP,
            step=divergent.index,
            claimed=claimed_of(trace, Kind.STEP, divergent.index),
            answer=leaf_hash(evidence.deal_id, divergent.computed),
            salt=Digest(secrets.token_bytes(32)),
            challenger=self._wallet,
            window_ends_at=trace.found.slot.deadline,
            reason=_reason(divergent),
        )
        return await self.begin(contest, evidence.market, appetite.max_bonds_wei)

    async def dispute_withheld(self, deal_id: DealId, appetite: Appetite) -> tuple[str | None, str]:
        """Force a provider to show leaves that it withholds; as `dispute_leaves`.

        Raises:
            Refused, BytesMissing, PeerFault, Unavailable: as `look`.
        """
        try:
            await self._checker.trace_of(deal_id)
        except LeavesWithheld as withheld:
            return await self.dispute_leaves(withheld.found, appetite)
        return None, "its leaves can be had: `capanode challenge check` says whether its steps hold"

    async def dispute_leaves(self, found: Found, appetite: Appetite) -> tuple[str | None, str]:
        """Demand the leaves of a trace that leads elsewhere than the one computed here; the key, or why there is none.

        Nothing is staked on leaves that are withheld of a trace that is right, nor before they were looked for twice,
        at as many peers as endpoints are asked.
        """
        evidence = found.evidence
        if len(found.sources) < appetite.min_sources:
            return None, f"{appetite.min_sources} peers have to be asked for the leaves before a bond is put up"
        ours = await self._checker.retracing.retrace(found)
        if ours is None:
            return None, "computed once more, its trace led elsewhere: nothing is staked on it"
        if is_as_committed(ours, found):
            return None, "computed here, its trace leads to the committed root: there is nothing to challenge"
        try:
            await self._checker.trace_of(evidence.deal_id)
        except LeavesWithheld as withheld:
            reason = str(withheld)
        else:
            return None, "its leaves can be had by now: check it again"
        if objection := await self._unsure(found, appetite):
            return None, objection
        contest = Contest(
            papers=papers_of(evidence),
            kind=Kind.WITHHELD,
            step=0,
            claimed=Claimed(),
            answer=trace_root(ours),
            salt=Digest(secrets.token_bytes(32)),
            challenger=self._wallet,
            window_ends_at=found.slot.deadline,
            reason=reason[:500],
        )
        return await self.begin(contest, evidence.market, appetite.max_bonds_wei)

    async def _unsure(self, found: Found, appetite: Appetite) -> str:
        """Why no bond is put on a deal yet; empty where every endpoint says the same of it."""
        evidence = found.evidence
        sources = await agreeing_endpoints(self._rpc, evidence.market, evidence.deal_id)
        if sources < appetite.min_sources:
            return f"{appetite.min_sources} endpoints have to say the same before a bond is put up: add another"
        return ""

    async def begin(self, contest: Contest, market: Address, max_bonds_wei: Wei) -> tuple[str | None, str]:
        """Begin a challenge, once for a deal and a step; its key, or why there is none."""
        key = f"challenge-{contest.papers.deal_id.hex()}-{contest.kind.name.lower()}-{contest.step}"
        bond_wei = self._bond_wei(market, contest.papers.rules.arbiter_fee_wei)
        admitted = await self._agent.challenge(
            key, ChallengeWanted(contest), lambda: self.bonds_wei() + bond_wei <= max_bonds_wei, market
        )
        return (key, contest.reason) if admitted else (None, "the budget for bonds is used up")

    def bonds_wei(self) -> Wei:
        """What open challenges have at stake, or are about to."""
        return Wei(
            sum(
                self._bond_wei(stored.market, stored.state.contest.papers.rules.arbiter_fee_wei)
                for stored in self._agent.open_deals()
                if stored.side is Side.CHALLENGER and isinstance(stored.state, challenger.State)
            )
        )

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


def _chosen(steps: range, most: int) -> Sequence[int]:
    """All steps in order, or so many of them, drawn by chance, in order."""
    if not 0 < most < len(steps):
        return steps
    return sorted(secrets.SystemRandom().sample(steps, most))


def _reason(divergent: StepCheck) -> str:
    found = [*divergent.reasons, *(f"{path}: {why}" for path, why in divergent.findings)]
    return f"step {divergent.index} leads elsewhere ({'; '.join(found[:3])})"[:500]
