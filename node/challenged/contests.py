"""The challenger's transactions: finding the case to say it in, the hidden answer, and the answer itself.

Where leaves are withheld, the way down to one: which of the nodes shown differs from the trace that was computed here.
"""

from collections.abc import Awaitable, Callable
from typing import Final, assert_never

from capanode.node.chain import court as courts
from capanode.node.chain.case_log import CaseLog, Filed
from capanode.node.chain.court import Court
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.orders import Orders
from capanode.proofs.descent import turning
from capanode.proofs.trace import Trace
from capanode.protocol import challenger
from capanode.protocol.cases import CasePhase, Kind, case_id_of
from capanode.protocol.events import (
    ChallengePlanned,
    Contest,
    LeafChosen,
    NodeChosen,
    NothingDiffers,
    TransactionRefused,
)
from capanode.protocol.faults import InvariantViolated, PeerFault, Refused, Unavailable
from capanode.protocol.ids import Address, DealId

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
        trace: Callable[[DealId], Awaitable[Trace | None]],
    ) -> None:
        """`court` and `orders` are those of a market's court; `trace` is what one of its deals came to here."""
        self._log = log
        self._head = head
        self._court = court
        self._orders = orders
        self._trace = trace

    async def plan(self, state: challenger.Planning, market: Address) -> ChallengePlanned:
        """Find a case that can be joined, else a number that nobody has used.

        Raises:
            Unavailable: no endpoint answers, or every number is used.
        """
        contest = state.contest
        for filed in await self._log.of_deal(contest.papers.deal_id):
            if self._can_join(filed, contest):
                return ChallengePlanned(filed.case.opened.serial, filed.case.opened)
        return ChallengePlanned(
            await self._free_serial(contest.papers.deal_id, contest.kind, contest.step, market), None
        )

    async def _free_serial(self, deal_id: DealId, kind: Kind, step: int, market: Address) -> int:
        for serial in range(MAX_SERIALS):
            case_id = case_id_of(deal_id, kind, step, serial)
            if (await self._court(market).case(case_id)).phase is CasePhase.NONE:
                return serial
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
        """Put the bond and the hidden answer on chain; or the demand for leaves, or a leaf that says what none may."""
        return await self._orders(market).insist(self._effect(state), "challenge", _opening(state))

    async def show(self, state: challenger.Hidden, market: Address) -> None:
        """Show the answer as soon as the block is there that nobody could foresee.

        Raises:
            Unavailable: not now.
        """
        contest, opened = state.contest, state.case
        await self._head.wait_block(opened.seed_block)
        data = courts.show_answer(contest.papers, opened, state.index, contest.answer, contest.salt, contest.claimed)
        await self._orders(market).eventually(self._effect(state), "show", data)

    async def choose(self, state: challenger.Choosing, market: Address) -> NodeChosen | LeafChosen | NothingDiffers:
        """Compare what the provider has shown with the trace that came out here.

        Raises:
            Unavailable: that trace was lost and cannot be computed now, or no endpoint answers.
        """
        deal_id, node = challenger.deal_id(state), state.node
        try:
            ours = await self._trace(deal_id)
        except (PeerFault, Refused) as fault:
            raise Unavailable(f"The trace of the deal cannot be computed again: {fault}") from fault
        found = turning(ours, node.height, node.index, state.shown.nodes) if ours is not None else None
        if ours is None or found is None:
            return NothingDiffers()
        if found.position is None:
            return NodeChosen(found.child, found.siblings)
        step = state.contest.papers.first_step + found.position - 1
        serial = await self._free_serial(deal_id, Kind.STEP, step, market)
        return LeafChosen(found.child, found.siblings, step, ours.leaves[found.position], serial)

    async def descend(self, state: challenger.Descending, market: Address) -> TransactionRefused | None:
        """Ask on below the chosen node."""
        data = courts.descend(state.contest.papers, state.case, state.shown.nodes, state.chosen.child)
        return await self._orders(market).insist(_turn(state), "descend", data)

    async def name(self, state: challenger.Naming, market: Address) -> TransactionRefused | None:
        """Go on with a case about the step that led to the chosen leaf."""
        chosen, nodes = state.chosen, state.shown.nodes
        hidden = challenger.hidden(state)
        data = courts.name_step(state.contest.papers, state.case, nodes, chosen.child, chosen.serial, hidden)
        return await self._orders(market).insist(f"{_turn(state)}/{chosen.serial}", "name", data)

    def _effect(self, state: challenger.Opening | challenger.Hidden) -> str:
        case_id = challenger.case_id(state)
        assert case_id is not None
        return case_id.hex()


def _opening(state: challenger.Opening) -> bytes:
    contest = state.contest
    match contest.kind:
        case Kind.WITHHELD:
            return courts.demand_leaves(contest.papers, state.serial)
        case Kind.SPEC:
            assert contest.shown is not None
            return courts.challenge_spec(contest.papers, contest.step, contest.shown, contest.claimed.proof)
        case Kind.STEP | Kind.DATA:
            hidden = challenger.hidden(state)
            if state.joins is not None:
                return courts.join(contest.papers, state.joins, hidden)
            return courts.challenge(contest.papers, contest.kind, contest.step, state.serial, hidden)
        case Kind.AUDIT:
            raise InvariantViolated("an audit is nobody's challenge")
        case _:
            assert_never(contest.kind)


def _turn(state: challenger.Descending | challenger.Naming) -> str:
    node = state.node
    return f"{state.case.case_id.hex()}/{node.height}/{node.index}/{state.chosen.child}"
