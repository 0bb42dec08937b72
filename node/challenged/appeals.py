"""Appeals: a verdict against what this node knows for sure is put before a larger committee, where that is worth it.

A challenger is sure of the leaf that came out twice before it said anything; a provider, once its own step has come out
twice as it was committed. Nothing durable is remembered here: what was decided stands in the case, and a transaction's
key names the round. What an appeal costs comes back when the verdict changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.chain import court as courts
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.orders import Orders
from capanode.node.challenged.briefs import papers_of
from capanode.node.challenged.checking import Checker
from capanode.node.challenged.checking import Verdict as Found
from capanode.node.journal import Side
from capanode.protocol import challenger
from capanode.protocol.cases import Case, CasePhase, Kind, Papers, Verdict, as_found
from capanode.protocol.faults import Fault, InvariantViolated
from capanode.protocol.ids import ZERO_DIGEST, Address, CaseId, Digest, Wei
from capanode.protocol.judging import VerificationClass
from capanode.protocol.tariff import TARIFF

LADDER: Final = (3, 7, 15)
"""Seats of the committees. Source: docs/protocol.md §12."""

AGAIN_S: Final = 5.0
"""How long to wait before a case that could not be considered is looked at again."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that one appeal may cost, as the provider of a deal, and as its challenger; zero for never."""

    provider_wei: Wei
    challenger_wei: Wei


@dataclass(frozen=True, slots=True)
class Stake:
    """What is lost if a verdict stands, and what of it an appeal may cost."""

    papers: Papers
    value_wei: Wei
    limit_wei: Wei


class Appeals:
    """Appeals for the deals and challenges of one node."""

    def __init__(
        self,
        agent: Agent,
        cases: CaseLog,
        checker: Checker,
        clock: ChainClock,
        limits: Limits,
        *,
        bond_wei: Callable[[Address, Wei], Wei],
        orders: Callable[[Address], Orders],
    ) -> None:
        """`bond_wei` is a challenger's bond in a market, for an arbiter's fee; `orders` are those of its court."""
        self._agent = agent
        self._cases = cases
        self._checker = checker
        self._clock = clock
        self._limits = limits
        self._bond_wei = bond_wei
        self._orders = orders
        self._considered: dict[tuple[CaseId, int], bytes | None] = {}
        """By case and round, the appeal that is called for; None where none is."""

    async def run(self) -> None:
        """Consider each verdict, until cancelled."""
        while True:
            is_done = all([await self._look(filed) for filed in await self._cases.open()])
            with trio.move_on_after(float("inf") if is_done else AGAIN_S):
                await self._cases.wait_change()

    async def _look(self, filed: Filed) -> bool:
        """Whether nothing is left to say to a verdict."""
        case, committee = filed.case, filed.case.committee
        if case.phase is not CasePhase.DECIDED or committee is None or self._clock.now() >= case.appeal_by:
            return True
        verdict = (case.case_id, committee.number)
        try:
            if verdict not in self._considered:
                self._considered[verdict] = await self._consider(filed)
            if (appeal := self._considered[verdict]) is not None:
                # While the verdict stands: a reorganisation may have put an earlier one before it, without effect.
                await self._appeal(filed, committee.number, appeal)
        except InvariantViolated:
            raise
        except Fault as fault:
            log.info("appeal-waits", case=case.case_id.hex(), reason=str(fault))
            return False
        return True

    async def _consider(self, filed: Filed) -> bytes | None:
        """The appeal that a verdict calls for, if it does."""
        case = filed.case
        stake = self._as_challenger(filed) or await self._as_provider(case)
        if stake is None:
            return None
        cost_wei = cost_of(case, stake.papers)
        if cost_wei is None or cost_wei > stake.limit_wei or stake.value_wei <= cost_wei:
            log.warning("appeal-omitted", case=case.case_id.hex(), cost_wei=cost_wei, value_wei=stake.value_wei)
            return None
        return courts.appeal(stake.papers, case)

    async def _appeal(self, filed: Filed, round_number: int, data: bytes) -> None:
        case_id = filed.case.case_id.hex()
        await self._orders(filed.market).eventually(f"{case_id}/{round_number}", "appeal", data)
        log.warning("appealed", case=case_id)

    def _as_challenger(self, filed: Filed) -> Stake | None:
        """What this node's own challenge loses by a verdict against the leaf that it has found."""
        for stored in self._agent.open_deals():
            state = stored.state
            if isinstance(state, challenger.Waiting) and state.case.case_id == filed.case.case_id:
                papers, terms = state.contest.papers, state.contest.papers.terms
                if not _is_against(filed.case, state.contest.answer, papers):
                    return None
                bounty_wei = TARIFF.bounty_wei(terms.price_wei, terms.fraud_bond_wei)
                bond_wei = self._bond_wei(filed.market, papers.rules.arbiter_fee_wei)
                return Stake(papers, Wei(bond_wei + bounty_wei), self._limits.challenger_wei)
        return None

    async def _as_provider(self, case: Case) -> Stake | None:
        """What this node's own deal loses by a verdict against a step that comes out as committed, twice."""
        is_lost = case.verdict in (Verdict.OVERTURNED, Verdict.VOID) and case.kind in (Kind.STEP, Kind.AUDIT)
        if not is_lost or self._agent.by_deal_id(Side.PROVIDER, case.deal_id) is None or not self._limits.provider_wei:
            return None
        trace = await self._checker.trace_of(case.deal_id)
        for _ in range(2):
            if (await self._checker.check_step(trace, case.step)).verdict is not Found.HOLDS:
                return None
        terms = trace.found.evidence.terms
        value_wei = (
            terms.price_wei + terms.fraud_bond_wei if case.verdict is Verdict.OVERTURNED else terms.price_wei // 2
        )
        return Stake(papers_of(trace.found.evidence), Wei(value_wei), self._limits.provider_wei)


def cost_of(case: Case, papers: Papers) -> Wei | None:
    """What the next committee costs; None where there is none above, or a named set judges."""
    committee = case.committee
    seats = next((seats for seats in LADDER if committee is not None and seats > len(committee.arbiters)), None)
    return None if seats is None or papers.rules.quorum else Wei(seats * papers.rules.arbiter_fee_wei)


def _is_against(case: Case, answer: Digest, papers: Papers) -> bool:
    """Whether a verdict says something else than a leaf that was found; of bytes and values nobody is sure."""
    if case.kind is not Kind.STEP or papers.rules.verification is not VerificationClass.EXACT:
        return False
    if case.verdict is Verdict.OVERTURNED:
        return case.leaf not in (ZERO_DIGEST, as_found(answer))
    return case.verdict in (Verdict.UPHELD, Verdict.VOID)
