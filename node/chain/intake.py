"""From logs of the market to events of deals, inside the transaction of their block."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from capanode.contracts_abi import bindings
from capanode.node.assigned.provider_peers import learn_in
from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.follower import DecodedLog
from capanode.node.journal import is_ours_in, receive_in, retract_in
from capanode.protocol import events
from capanode.protocol.events import DealEvent
from capanode.protocol.ids import TxHash, UnixTime, Wei

Heard = Callable[[DecodedLog], None]
"""Told of each confirmed log that is news beyond the journal; called in the database's thread."""

NEWS: Final = (
    bindings.DealAnnounced,
    bindings.Published,
    bindings.Deprecated,
    bindings.Staked,
    bindings.Unstaked,
)
"""Events of which the rest of the node is told."""


class ChainIntake:
    """The follower's `apply` and `unwind` for a node."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard

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
            if isinstance(log.event, NEWS):
                self._heard(log)

    def unwind(self, connection: sqlite3.Connection, block: BlockRef) -> None:
        """Take a block back that the chain replaced: from the inbox, or from the deals by way of it."""
        retract_in(connection, block.hash)


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
        case bindings.DealCancelled():
            return events.DealCancelled(log.deal_id, Wei(log.paid), Wei(log.returned), tx, at)
        case _:
            return None
