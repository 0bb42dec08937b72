"""The transactions of this node that wait for a block, as its operator sees them, and what may be done about one."""

from typing import Any, Final

from capanode.node.api.port import Json
from capanode.node.chain.replacement import WAITING, cancel, speed_up
from capanode.node.chain.sender import Sender
from capanode.node.chain.transactions import Entry
from capanode.node.chain.wire import hexadecimal
from capanode.protocol.faults import Refused

VERBS: Final = {"cancel-transaction": cancel, "speed-up": speed_up}
"""Done at the nonce that the transaction has, by whichever key this node has."""


async def outstanding(sender: Sender) -> list[Json]:
    """What waits, by nonce."""
    return [_shown(entry) for entry in await sender.unfinished() if entry.state in WAITING]


async def replace_transaction(sender: Sender, verb: str, key_or_nonce: Any) -> Json:
    """Sign another form of a waiting transaction and offer it; the answer does not wait for a block.

    Raises:
        Refused: there is no such transaction, it is in a block already, or its fees are at the cap.
    """
    if not isinstance(key_or_nonce, str) or not key_or_nonce:
        raise Refused("name the transaction by its key or nonce: see `capanode wallet transactions`")
    attempt = await VERBS[verb](sender, key_or_nonce)
    return {
        "tx_hash": hexadecimal(attempt.hash),
        "is_cancel": attempt.is_cancel,
        "max_fee_wei": attempt.fees.max_fee_wei,
        "tip_wei": attempt.fees.tip_wei,
    }


def _shown(entry: Entry) -> Json:
    newest = entry.newest
    return {
        "key": entry.order.key,
        "nonce": entry.nonce,
        "state": entry.state.value,
        "is_cancel": newest.is_cancel,
        "tx_hash": hexadecimal(newest.hash),
        "to": hexadecimal(entry.order.to) if entry.order.to else None,
        "value_wei": entry.order.value_wei,
        "gas": entry.gas,
        "max_fee_wei": newest.fees.max_fee_wei,
        "tip_wei": newest.fees.tip_wei,
        "attempts": len(entry.attempts),
        "signed_at": entry.attempts[0].signed_at,
    }
