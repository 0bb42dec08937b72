"""The challenger's transactions: finding the case to say it in, the hidden answer, and the answer itself."""

from collections.abc import Callable
from typing import Final

from capanode.node.chain import court as courts
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.court import Court
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.orders import Orders
from capanode.protocol import challenger
from capanode.protocol.cases import CasePhase, case_id_of
from capanode.protocol.events import ChallengePlanned, Contest, TransactionRefused
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address

MAX_CHALLENGERS: Final = 8
"""Of one case. Source: `IDisputeCourt.TooManyChallengers`."""

MAX_SERIALS: Final = 32
"""Cases about one step that are looked through for a free number."""

JOIN_MARGIN_BLOCKS: Final = 1
"""Blocks before the one that draws in which a transaction sent now may still be mined too late to join."""


class Contests:
    """Carries out what a challenge asks for."""

    def __init__(
        self,
        log: CaseLog,
        head: HeadWatch,
        court: Callable[[Address], Court],
        orders: Callable[[Address], Orders],
    ) -> None:
        """`court` and `orders` are those of a market's court."""
        self._log = log
        self._head = head
        self._court = court
        self._orders = orders

    async def plan(self, state: challenger.Planning, market: Address) -> ChallengePlanned:
        """Find a case that can be joined, else a number that nobody has used.

        Raises:
            Unavailable: no endpoint answers, or every number is used.
        """
        contest = state.contest
        for filed in await self._log.of_deal(contest.papers.deal_id):
            if self._can_join(filed, contest):
                return ChallengePlanned(filed.case.opened.serial, filed.case.opened)
        for serial in range(MAX_SERIALS):
            case_id = case_id_of(contest.papers.deal_id, contest.kind, contest.step, serial)
            if (await self._court(market).case(case_id)).phase is CasePhase.NONE:
                return ChallengePlanned(serial, None)
        raise Unavailable(f"{MAX_SERIALS} cases about this step are there already: waiting for one to end.")

    def _can_join(self, filed: Filed, contest: Contest) -> bool:
        case, head = filed.case, self._head.head
        return (
            case.phase is CasePhase.OPEN
            and (case.kind, case.opened.step) == (contest.kind, contest.step)
            and len(case.challengers) < MAX_CHALLENGERS
            and case.index_of(contest.challenger) is None
            and head is not None
            and head.block.number + JOIN_MARGIN_BLOCKS < case.seed_block
        )

    async def open(self, state: challenger.Opening, market: Address) -> TransactionRefused | None:
        """Put the bond and the hidden answer on chain."""
        contest, hidden = state.contest, challenger.hidden(state)
        if state.joins is not None:
            data = courts.join(contest.papers, state.joins, hidden)
        else:
            data = courts.challenge(contest.papers, contest.kind, contest.step, state.serial, hidden)
        return await self._orders(market).insist(self._effect(state), "challenge", data)

    async def show(self, state: challenger.Hidden, market: Address) -> None:
        """Show the answer as soon as the block is there that nobody could foresee.

        Raises:
            Unavailable: not now.
        """
        contest, opened = state.contest, state.case
        await self._head.wait_block(opened.seed_block)
        data = courts.show_answer(contest.papers, opened, state.index, contest.answer, contest.salt, contest.claimed)
        await self._orders(market).eventually(self._effect(state), "show", data)

    def _effect(self, state: challenger.Opening | challenger.Hidden) -> str:
        case_id = challenger.case_id(state)
        assert case_id is not None
        return case_id.hex()
