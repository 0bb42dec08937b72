"""From logs of market and court to events of deals and cases, inside the transaction of their block."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.assigned.provider_peers import learn_in
from capanode.node.chain import case_log
from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.court import COURT_LOGS, case_event
from capanode.node.chain.follower import DecodedLog
from capanode.node.journal import is_ours_in, receive_in, retract_in
from capanode.protocol import events
from capanode.protocol.cases import CommitteeDrawn
from capanode.protocol.events import DealEvent, Ending
from capanode.protocol.ids import Address, TxHash, UnixTime, Wei
from capanode.protocol.phases import Phase

Heard = Callable[[DecodedLog], None]
"""Told of each confirmed log that is news beyond the journal; called in the database's thread."""

NEWS: Final = (
    bindings.DealAnnounced,
    bindings.DealCommitted,
    *COURT_LOGS,
    bindings.Published,
    bindings.Deprecated,
    bindings.Staked,
    bindings.Unstaked,
)
"""Events of which the rest of the node is told."""

ENDINGS: Final = {Phase.OVERTURNED: Ending.OVERTURNED, Phase.VOID: Ending.VOID, Phase.SPLIT: Ending.SPLIT}
"""How the market says it, and how this node does."""


class ChainIntake:
    """The follower's `apply` and `unwind` for a node."""

    def __init__(
        self,
        heard: Heard,
        market_of: Callable[[Address], Address | None] = lambda _: None,
        wallet: Address | None = None,
    ) -> None:
        """`market_of` says whose court an address is; `wallet` is whom committees name that this node sits on."""
        self._heard = heard
        self._market_of = market_of
        self._wallet = wallet

    def apply(self, connection: sqlite3.Connection, block: BlockRef, logs: Sequence[DecodedLog]) -> None:
        """Put the block's events of this node's deals into the inbox.

        A deal is written down before anything of it is sent to the chain, so no event comes before its deal.
        """
        for log in logs:
            if isinstance(log.event, bindings.NodeRegistered | bindings.NodeRemoved):
                learn_in(connection, block, log.event)
            event = deal_event(log.event, log.tx_hash, block.time)
            if event is not None and is_ours_in(connection, event.deal_id, log.address):
                receive_in(connection, event, block.hash)
            if isinstance(log.event, COURT_LOGS):
                self._apply_court(connection, block, log)
            if isinstance(log.event, NEWS):
                self._heard(log)

    def unwind(self, connection: sqlite3.Connection, block: BlockRef) -> None:
        """Take a block back that the chain replaced: from the inbox, or from the deals by way of it."""
        case_log.retract_in(connection, block.hash)
        retract_in(connection, block.hash)

    def _apply_court(self, connection: sqlite3.Connection, block: BlockRef, log: DecodedLog) -> None:
        """A case is kept whosever it is; this node's deals, challenges and duties hear what matters to them."""
        market = self._market_of(log.address)
        event = case_event(log.event, market, log.tx_hash, block.time) if market is not None else None
        if event is None or market is None:
            return
        of_deal = case_log.receive_in(connection, market, event, block.hash)
        is_called = isinstance(event, CommitteeDrawn) and self._wallet in event.arbiters
        if is_called or is_ours_in(connection, event.case_id, market):
            receive_in(connection, event, block.hash)
        if of_deal is not None and is_ours_in(connection, of_deal.deal_id, market):
            receive_in(connection, of_deal, block.hash)


def deal_event(log: object, tx: TxHash, at: UnixTime) -> DealEvent | None:
    """The deal event that a decoded log stands for; None for other logs."""
    match log:
        case bindings.DealAnnounced():
            return events.DealAnnounced(log.deal_id, tx, at)
        case bindings.DealAssigned():
            return events.DealAssigned(log.deal_id, log.provider, Wei(log.price), log.locked_by, tx, at)
        case bindings.DealCommitted():
            return events.DealCommitted(
                deal_id=log.deal_id,
                provider=log.provider,
                trace_root=log.trace_root,
                result_root=log.result_root,
                delivery_root=log.delivery_root,
                leaves_cid=log.leaves_cid,
                step_count=log.step_count,
                status=log.status,
                amount_wei=Wei(log.amount),
                window_ends_at=UnixTime(log.window_ends_at),
                locked_by=log.locked_by,
                tx=tx,
                at=at,
            )
        case bindings.DealFinalized():
            return events.DealFinalized(log.deal_id, Wei(log.paid), Wei(log.returned), tx, at)
        case bindings.DealRefunded():
            return events.DealRefunded(log.deal_id, Wei(log.returned), Wei(log.burned), log.reason, tx, at)
        case bindings.DealJudged():
            return events.DealJudged(
                deal_id=log.deal_id,
                ending=ENDINGS[Phase(log.end)],
                paid_wei=Wei(log.paid),
                returned_wei=Wei(log.returned),
                lost_wei=Wei(log.slashed),
                tx=tx,
                at=at,
            )
        case bindings.DealCancelled():
            return events.DealCancelled(log.deal_id, Wei(log.paid), Wei(log.returned), tx, at)
        case _:
            return None
