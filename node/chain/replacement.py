"""Another form of a waiting transaction at the same nonce: dearer, or the transfer of nothing that cancels it."""

from typing import Final

import structlog

from capanode.node.chain.fees import FEE_CALLS, GWEI, GasTooDear, are_high_enough, raised, read_fees
from capanode.node.chain.jsonrpc import RpcError
from capanode.node.chain.pool_answers import PoolAnswer, pool_answer
from capanode.node.chain.sender import Sender, WouldRevert
from capanode.node.chain.transactions import Attempt, Entry, Fees, State, find_nonce, sign_again_in
from capanode.node.chain.wire import hexadecimal
from capanode.node.fault_points import durable
from capanode.protocol.faults import Refused

WAITING: Final = frozenset({State.SIGNED, State.SENT, State.DROPPED, State.REORGED})

_log = structlog.stdlib.get_logger()


async def speed_up(sender: Sender, key_or_nonce: str) -> Attempt:
    """Offer a waiting transaction with higher fees now.

    Raises:
        Refused: there is none, it is in a block, or the fee cap is reached.
        Unavailable: no endpoint answers.
    """
    entry = await _waiting_entry(sender, key_or_nonce)
    return await _replaced(sender, entry, is_cancel=entry.newest.is_cancel)


async def cancel(sender: Sender, key_or_nonce: str) -> Attempt:
    """Offer a transfer of nothing in place of a waiting transaction; whichever is mined first wins.

    Raises:
        Refused: as `speed_up`.
        Unavailable: no endpoint answers.
    """
    entry = await _waiting_entry(sender, key_or_nonce)
    return entry.newest if entry.newest.is_cancel else await _replaced(sender, entry, is_cancel=True)


async def reprice(sender: Sender, entry: Entry, *, is_next: bool) -> str | None:
    """Pay more for a transaction that waits, or cancel it where the chain would refuse it by now.

    A sentence for the operator where the fee cap forbids it.

    Args:
        is_next: whether every earlier nonce is used; only then the newest block tells what it would do.
    """
    is_cancel = entry.newest.is_cancel
    if is_next and not is_cancel and isinstance(await sender.simulate(entry, "latest"), WouldRevert):
        _log.info("transaction_pointless", key=entry.order.key, nonce=entry.nonce)
        is_cancel = True
    try:
        fees = await _fees(sender)
    except GasTooDear as error:
        return f"The transaction with nonce {entry.nonce} waits: {error}"
    if is_cancel == entry.newest.is_cancel and are_high_enough(entry.newest.fees, fees):
        _log.info("transaction_waits_in_spite_of_its_fees", key=entry.order.key, nonce=entry.nonce)
    elif await _replace(sender, entry, fees, is_cancel=is_cancel) is None:
        cap = sender.options.fees.max_fee_cap_wei / GWEI
        return (
            f"The transaction with nonce {entry.nonce} is not mined, and its fees cannot be raised within "
            f"`chain.max_fee_gwei` ({cap:.3g}): raise that, or wait."
        )
    return None


async def offer(sender: Sender, attempt: Attempt) -> PoolAnswer | None:
    """Send stored bytes again; what the pool says against it, if anything.

    Raises:
        Unavailable: no endpoint answers.
    """
    try:
        with durable("transaction.rebroadcast"):
            await sender.rpc.call("eth_sendRawTransaction", hexadecimal(attempt.raw))
    except RpcError as error:
        answer = pool_answer(error.message)
        if answer in (PoolAnswer.OTHER, PoolAnswer.REFUSED):
            _log.info("transaction_not_accepted", tx_hash=attempt.hash.hex(), reason=error.message)
        return None if answer is PoolAnswer.KNOWN else answer
    return None


async def _waiting_entry(sender: Sender, key_or_nonce: str) -> Entry:
    entry = await sender.entry(key_or_nonce)
    if entry is None and key_or_nonce.isdecimal() and len(key_or_nonce) < 19:
        nonce = int(key_or_nonce)
        entry = await sender.database.read(lambda connection: find_nonce(connection, sender.account, nonce))
    if entry is None:
        raise Refused(
            f"No transaction has the key or nonce {key_or_nonce[:200]!r}: see `capanode wallet transactions`."
        )
    if entry.state not in WAITING:
        raise Refused(f"The transaction with nonce {entry.nonce} does not wait any more: it is {entry.state}.")
    return entry


async def _replaced(sender: Sender, entry: Entry, *, is_cancel: bool) -> Attempt:
    attempt = await _replace(sender, entry, await _fees(sender), is_cancel=is_cancel)
    if attempt is None:
        raise Refused("The fees are at the cap already: raise `chain.max_fee_gwei`, or wait.")
    return attempt


async def _fees(sender: Sender) -> Fees:
    return read_fees(await sender.rpc.batch(FEE_CALLS), sender.options.fees)


async def _replace(sender: Sender, entry: Entry, current: Fees, *, is_cancel: bool) -> Attempt | None:
    fees = raised(entry.newest.fees, current, sender.options.fees)
    if fees is None:
        return None
    attempt = await sender.database.write(
        "transaction.cancelled" if is_cancel else "transaction.fees-raised",
        lambda connection: sign_again_in(connection, sender.account, sender.signer, entry, fees, is_cancel=is_cancel),
    )
    _log.info(
        "transaction_cancelled" if is_cancel else "transaction_fees_raised",
        key=entry.order.key,
        nonce=entry.nonce,
        max_fee_wei=fees.max_fee_wei,
        tip_wei=fees.tip_wei,
    )
    await offer(sender, attempt)
    sender.look()
    return attempt
