"""Cases moved on to their ends: drawing, counting, settling and paying, by whoever has an interest in one.

Nothing is remembered here: what is due follows from the case and the chain's head, and a transaction's key names its
effect. Several nodes may tend one case; each waits for its turn, so that mostly one of them pays the gas.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, assert_never

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.chain import court as courts
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.head import ChainHead, HeadWatch
from capanode.node.chain.markets import Markets
from capanode.node.chain.orders import Orders
from capanode.protocol import challenger
from capanode.protocol.cases import Case, Claimed, Papers
from capanode.protocol.due import Act, CourtClocks, Due, Moment, due
from capanode.protocol.faults import Fault, InvariantViolated
from capanode.protocol.ids import Address, CaseId
from capanode.protocol.phases import TERMINAL

TURNS: Final = 4
"""Nodes take turns by their addresses; in the last one everybody may act."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Brief:
    """What the court's calls need besides the case."""

    papers: Papers
    claimed: Claimed


class Tending:
    """Looks after the cases that this node's deals, challenges and duties are about."""

    def __init__(
        self,
        agent: Agent,
        cases: CaseLog,
        markets: Markets,
        head: HeadWatch,
        me: Address,
        turn_s: float,
        *,
        brief: Callable[[Case], Awaitable[Brief]],
        clocks: Callable[[Address], CourtClocks],
        orders: Callable[[Address], Orders],
        draws_lots: bool = False,
    ) -> None:
        """`turn_s` is how long each turn is; `clocks` and `orders` are those of a market's court.

        `draws_lots` says whether this node has an interest in whatever may be audited.
        """
        self._agent = agent
        self._cases = cases
        self._markets = markets
        self._head = head
        self._me = me
        self._turn_s = turn_s
        self._brief = brief
        self._clocks = clocks
        self._orders = orders
        self._draws_lots = draws_lots
        self._since: dict[tuple[CaseId, Due, int], float] = {}

    async def run(self) -> None:
        """Tend until cancelled."""
        while True:
            head = self._head.head
            if head is not None:
                await self._look(head)
            with trio.move_on_after(self._turn_s):
                await self._head.wait_change()

    async def _look(self, head: ChainHead) -> None:
        """One round over all open cases; one that fails does not keep the others."""
        known = set[tuple[CaseId, Due, int]]()
        for filed in await self._cases.open():
            if not self._has_interest(filed.case):
                continue
            try:
                known |= await self._tend(filed, head)
            except InvariantViolated:
                raise
            except Fault as fault:
                log.info("tending-waits", case=filed.case.case_id.hex(), reason=str(fault))
        self._since = {one: since for one, since in self._since.items() if one in known}

    def _has_interest(self, case: Case) -> bool:
        if case.awaits_lot and self._draws_lots:
            return True
        about = {case.deal_id, case.case_id}
        return any(stored.subjects & about for stored in self._agent.open_deals())

    async def _tend(self, filed: Filed, head: ChainHead) -> set[tuple[CaseId, Due, int]]:
        case, clocks = filed.case, self._clocks(filed.market)
        slot = await self._markets.of(filed.market).contract.slot(case.deal_id)
        is_over = slot.phase in TERMINAL or head.next_time > slot.deadline + clocks.max_dispute_s
        now = Moment(head.block.number, head.next_time)
        found = set[tuple[CaseId, Due, int]]()
        for one in due(case, clocks, now, is_over=is_over):
            # A committee that was drawn by another block is another matter.
            act = (case.case_id, one, case.seed_block)
            found.add(act)
            since = self._since.setdefault(act, trio.current_time())
            if trio.current_time() >= since + self._turn(case) * self._turn_s:
                await self._do(filed, one)
        return found

    def _turn(self, case: Case) -> int:
        return sha256(case.case_id + self._me).digest()[0] % TURNS

    async def _do(self, filed: Filed, one: Due) -> None:
        case = filed.case
        effect = f"{case.case_id.hex()}/{case.seed_block}/{len(case.committees)}/{one.round}"
        log.info("tending", case=case.case_id.hex(), act=one.act.value)
        await self._orders(filed.market).eventually(effect, one.act.value, await self._call(case, one))

    async def _call(self, case: Case, one: Due) -> bytes:
        if one.act is Act.PAY:
            paid = next(committee for committee in case.committees if committee.number == one.round)
            return courts.pay_committee(paid.pool, case.case_id, one.round)
        brief = await self._known_brief(case) or await self._brief(case)
        match one.act:
            case Act.DRAW:
                return courts.draw(brief.papers, case, brief.claimed)
            case Act.RETARGET:
                return courts.retarget(brief.papers, case)
            case Act.RESOLVE:
                return courts.resolve(brief.papers, case, brief.claimed)
            case Act.SETTLE:
                return courts.settle(brief.papers, case)
            case _:
                assert_never(one.act)

    async def _known_brief(self, case: Case) -> Brief | None:
        """From a challenge of this node's own, which holds all that it needs."""
        for stored in self._agent.open_deals():
            state = stored.state
            if isinstance(state, challenger.State) and case.case_id in challenger.case_ids(state):
                contest = state.contest
                return Brief(contest.papers, contest.claimed)
        await trio.lowlevel.checkpoint()
        return None
