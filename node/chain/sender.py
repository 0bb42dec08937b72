"""Sends transactions so that each order is carried out once, through crashes, reorgs and fee storms.

`submit` simulates, then stores the signed bytes, then broadcasts; `run_sender` watches what was sent and
repairs it. Every step may be repeated: the key finds what was signed, and the same bytes have the same hash.

A key has one nonce for as long as that nonce may still be mined, so an order is never carried out by two transactions.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from capanode.node.chain.fees import FEE_CALLS, FeePolicy, read_fees
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.pool_answers import PoolAnswer, pool_answer
from capanode.node.chain.revert import explain
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.transactions import (
    Account,
    Attempt,
    Entry,
    Inclusion,
    Order,
    Prepared,
    State,
    find,
    next_nonce,
    sign_in,
    waiting,
)
from capanode.node.chain.wire import Json, hexadecimal, quantity, read_quantity
from capanode.node.fault_points import durable
from capanode.node.keys.signer import Signer
from capanode.node.storage.database import Database
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, TxHash, Wei

GAS_MARGIN: Final = (5, 4)
"""A quarter above the estimate: other deals' transactions in between may turn a warm slot cold."""

MAX_KEY_CHARS: Final = 200
NO_VALUE: Final = Wei(0)
MAX_FOREIGN: Final = 16
"""Transactions of the same account from elsewhere, waiting in the pool, that ours are put behind."""

MAX_LISTED: Final = 1000
FIRST_NAP_S: Final = 0.005
"""An automining chain makes the block some milliseconds after it took the transaction."""

_log = structlog.stdlib.get_logger()


class WouldRevert(Refused):
    """The simulation failed, so nothing was signed; `data` is the contract's error, if it sent any."""

    def __init__(self, sentence: str, data: bytes | None) -> None:
        super().__init__(sentence)
        self.data = data


class WalletTooPoor(Refused):
    """The wallet's coins do not cover the gas."""


@dataclass(frozen=True, slots=True)
class Mined:
    """Carried out."""

    inclusion: Inclusion
    is_final: bool


@dataclass(frozen=True, slots=True)
class Reverted:
    """Mined without effect."""

    reason: str
    inclusion: Inclusion
    is_final: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A transfer of nothing was mined in its place."""

    inclusion: Inclusion
    is_final: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """Its nonce was used by something else. Once that is final, the key may be submitted again.

    Until then a reorganisation may give the nonce back, and the order is carried out after all.
    """

    tx_hash: TxHash
    is_final: bool


@dataclass(frozen=True, slots=True)
class Pending:
    """Signed, perhaps sent, not mined."""

    tx_hash: TxHash
    state: State


Outcome = Mined | Reverted | Cancelled | Replaced
ExplainRevert = Callable[[bytes], str | None]
"""A sentence for a contract's revert data; None where the error is unknown."""


@dataclass(frozen=True, slots=True)
class SenderOptions:
    """How a sender pays and waits."""

    fees: FeePolicy = field(default_factory=FeePolicy)
    stuck_s: float = 60.0
    """How long a transaction may wait in the pool before its fees are raised."""

    poll_s: float = 2.0
    """How often waiting transactions are looked at when no new block wakes us."""

    mined_poll_s: float = 30.0
    """How often the blocks of mined transactions are looked at until they are final; at once after a reorganisation."""

    final_depth: int = 64
    """Blocks above a transaction that make it final on a chain without a `finalized` tag."""


class Sender:
    """The transactions of one account on one chain; safe to use from any number of tasks."""

    def __init__(
        self, rpc: Rpc, database: Database, signer: Signer, options: SenderOptions, explain: ExplainRevert
    ) -> None:
        self.rpc = rpc
        self.database = database
        self.signer = signer
        self.options = options
        self.account = Account(rpc.chain_id, signer.address)
        self._explain = explain
        self._changed = trio.Event()
        self._news = trio.Event()
        self._nap_s = options.poll_s
        self._is_in_doubt = False

    async def submit(
        self,
        key: str,
        to: Address | None,
        data: bytes,
        value_wei: Wei = NO_VALUE,
    ) -> TxHash:
        """Carry out a transaction once: stored before it is sent, and found by its key when asked for again.

        Args:
            key: names the effect, not the try; the same key never signs a second nonce unless `Replaced` for good.

        Raises:
            WouldRevert: the chain would refuse it now; nothing was signed.
            WalletTooPoor: the wallet cannot pay the gas; nothing was signed.
            Unavailable: no endpoint answers. It may be stored already: ask again with the same key.
        """
        entry = await self.entry(key)
        if entry is None or entry.state is State.VOID:
            prepared = await self.prepare(key, to, data, value_wei)
            attempt = await self.database.write(
                "transaction.signed", lambda connection: self.store_in(connection, prepared)
            )
            await self.broadcast(attempt)
            return attempt.hash
        if entry.state is State.SIGNED:
            await self.broadcast(entry.newest)
        return entry.inclusion.tx_hash if entry.inclusion else entry.newest.hash

    async def key_for(self, key: str, *, after_revert: bool) -> str:
        """The key under which an order is on its way, or may be submitted: itself, then `key/2`, `key/3` and so on.

        One that was cancelled or replaced is over; one that was mined without effect is over `after_revert`. Only for
        orders that the contract carries out once: a reorganisation may bring an earlier transaction back, and then
        the later one has no effect.
        """
        over = (Cancelled, Replaced, Reverted) if after_revert else (Cancelled, Replaced)
        turn, found = 1, key
        while isinstance(await self.status(found), over):
            turn += 1
            found = f"{key}/{turn}"
        return found

    async def prepare(
        self,
        key: str,
        to: Address | None,
        data: bytes,
        value_wei: Wei = NO_VALUE,
    ) -> Prepared:
        """Simulate on top of the pending block and price the gas; one round trip, nothing stored.

        Raises:
            WouldRevert, WalletTooPoor, Unavailable: as `submit`.
        """
        if len(key) > MAX_KEY_CHARS:
            raise ValueError("an idempotency key has at most 200 characters")
        order = Order(key, to, data, value_wei)
        call = self._call_object(order)
        account = hexadecimal(self.account.address)
        simulated, balance, latest, pending, *fee_replies = await self.rpc.batch(
            (
                Call("eth_estimateGas", (call, "pending")),
                Call("eth_getBalance", (account, "pending")),
                Call("eth_getTransactionCount", (account, "latest")),
                Call("eth_getTransactionCount", (account, "pending")),
                *FEE_CALLS,
            )
        )
        if isinstance(simulated, RpcError):
            raise self.refusal(simulated)
        fees = read_fees(fee_replies, self.options.fees)
        gas = -(-read_quantity(simulated) * GAS_MARGIN[0] // GAS_MARGIN[1])
        needed_wei = gas * fees.max_fee_wei + value_wei
        if read_quantity(plain(balance)) < needed_wei:
            raise self._too_poor(needed_wei)
        return Prepared(order, gas, fees, await self._free_nonce(latest, pending))

    async def _free_nonce(self, latest: object, pending: object) -> int:
        """After what the chain has, and after what others with this key have in the pool; within reason."""
        mined = read_quantity(plain(latest))
        # A pool forgets, so its count alone would be too low at times; and none is believed without bound.
        in_pool = mined if isinstance(pending, RpcError) else read_quantity(pending)
        ours = await self.database.read(lambda connection: next_nonce(connection, self.account))
        return max(mined, min(in_pool, max(mined, ours) + MAX_FOREIGN))

    def store_in(self, connection: sqlite3.Connection, prepared: Prepared) -> Attempt:
        """Sign and store inside the caller's transaction, so that it commits together with other facts."""
        return sign_in(connection, self.account, self.signer, prepared)

    async def broadcast(self, attempt: Attempt) -> None:
        """Hand stored bytes to the chain; may be repeated. What the pool refuses now, `run_sender` repairs.

        Raises:
            Unavailable: no endpoint answers; `run_sender` goes on trying.
        """
        try:
            with durable("transaction.broadcast"):
                await self.rpc.call("eth_sendRawTransaction", hexadecimal(attempt.raw))
        except RpcError as error:
            if pool_answer(error.message) is not PoolAnswer.KNOWN:
                _log.info("transaction_not_accepted", tx_hash=attempt.hash.hex(), reason=error.message)
        finally:
            self.look()

    async def entry(self, key: str) -> Entry | None:
        """What is stored under a key."""
        return await self.database.read(lambda connection: find(connection, self.account, key))

    async def status(self, key: str) -> Outcome | Pending | None:
        """Where a submitted key stands now; None if it was never stored."""
        entry = await self.entry(key)
        return None if entry is None else _status(entry)

    async def outcome(self, key: str) -> Outcome:
        """Wait until a submitted key is mined, reverted, cancelled or replaced; needs `run_sender`.

        A mined transaction may still be reorganised away until `is_final`.
        """
        while True:
            changed = self._changed
            match await self.status(key):
                case None:
                    raise Refused(f"No transaction was submitted under {key!r}: submit it first.")
                case Pending():
                    self.look()
                    await changed.wait()
                case done:
                    return done

    def look(self) -> None:
        """Have `run_sender` look at the unfinished transactions soon, as after a new block."""
        self._nap_s = FIRST_NAP_S
        self._news.set()

    def doubt(self) -> None:
        """Have `run_sender` look at the mined ones too, as when the chain has taken a block back."""
        self._is_in_doubt = True
        self.look()

    def take_doubt(self) -> bool:
        """Whether somebody has doubted since this was asked last."""
        is_in_doubt, self._is_in_doubt = self._is_in_doubt, False
        return is_in_doubt

    async def wait_news(self, *, is_pending: bool) -> None:
        """Wait for `look`, or for a while: with something pending it grows from moments to the polling interval."""
        nap_s = self.options.poll_s
        if is_pending:
            nap_s, self._nap_s = self._nap_s, min(2 * self._nap_s, self.options.poll_s)
        with trio.move_on_after(nap_s):
            await self._news.wait()
        self._news = trio.Event()

    def tell(self) -> None:
        """Wake those who wait for an outcome."""
        self._changed.set()
        self._changed = trio.Event()

    async def unfinished(self) -> tuple[Entry, ...]:
        """What was submitted and is in no block yet, by nonce."""
        return await self.database.read(lambda connection: waiting(connection, self.account, MAX_LISTED))

    async def reconcile(self) -> None:
        """Compare our rows with the chain's count, and tell where the two differ; at start.

        Nothing has to be set right: each look goes by the rows and by the chain as they are then.

        Raises:
            Unavailable: no endpoint answers.
        """
        mined = await self.mined_count()
        ours = await self.database.read(lambda connection: next_nonce(connection, self.account))
        open_count = len(await self.unfinished())
        if mined > ours:
            # The wallet is used elsewhere too, or this database is an old one that was restored.
            _log.warning("wallet_has_transactions_that_are_not_ours", nonces_from=ours, nonces_to=mined - 1)
        if open_count:
            _log.info("transactions_taken_up_again", count=open_count, mined_count=mined)

    async def mined_count(self, at: int | None = None) -> int:
        """How many transactions of the account are in the chain, up to a block or up to the newest."""
        tag = "latest" if at is None else quantity(at)
        return read_quantity(await self.rpc.call("eth_getTransactionCount", hexadecimal(self.account.address), tag))

    async def reason(self, entry: Entry, block_number: int) -> str:
        """Why a mined transaction reverted, by repeating it on the block before."""
        try:
            refusal = await self.simulate(entry, quantity(block_number - 1))
        except Unavailable:
            refusal = None
        if refusal is not None:
            return str(refusal)
        return "The transaction reverted: something changed on chain between its simulation and its block."

    async def simulate(self, entry: Entry, block: str) -> Refused | None:
        """What the chain would say to a stored order on top of a block; None where it would carry it out.

        Raises:
            Unavailable: no endpoint answers.
        """
        call = {**self._call_object(entry.order), "gas": quantity(entry.gas)}
        try:
            await self.rpc.call("eth_call", call, block)
        except RpcError as error:
            return self.refusal(error)
        return None

    def _call_object(self, order: Order) -> dict[str, Json]:
        call: dict[str, Json] = {
            "from": hexadecimal(self.account.address),
            "data": hexadecimal(order.data),
            "value": quantity(order.value_wei),
        }
        if order.to is not None:
            call["to"] = hexadecimal(order.to)
        return call

    def refusal(self, error: RpcError) -> Refused:
        """A failed simulation as a sentence."""
        message = error.message.lower()
        if "insufficient funds" in message:
            return self._too_poor(0)
        if error.data is None and "revert" not in message and error.code != 3:
            return error
        explained = self._explain(error.data) if error.data else None
        return WouldRevert(explained or f"The contract refuses the call: {error.message}.", error.data)

    def _too_poor(self, needed_wei: int) -> WalletTooPoor:
        need = f" ({needed_wei} wei are needed)" if needed_wei else ""
        return WalletTooPoor(
            f"The wallet 0x{self.account.address.hex()} cannot pay for gas{need}: send it some of the chain's coin."
        )


@asynccontextmanager
async def open_sender(
    rpc: Rpc,
    database: Database,
    signer: Signer,
    *,
    options: SenderOptions = SenderOptions(),
    explain: ExplainRevert = explain,
) -> AsyncGenerator[Sender]:
    """A sender that has compared its rows with the chain. Run `run_sender` beside it.

    Raises:
        Unavailable: no endpoint answers.
    """
    sender = Sender(rpc, database, signer, options, explain)
    await sender.reconcile()
    yield sender


def plain(reply: object) -> object:
    """The reply to a read that no healthy endpoint refuses.

    Raises:
        Unavailable: this one did.
    """
    if isinstance(reply, RpcError):
        raise Unavailable(f"The RPC endpoint failed a plain read ({reply.message}): retrying.")
    return reply


def _status(entry: Entry) -> Outcome | Pending:
    if entry.state in (State.REPLACED, State.VOID):
        return Replaced(entry.newest.hash, entry.state is State.VOID)
    if entry.inclusion is None:
        return Pending(entry.newest.hash, entry.state)
    is_final = entry.state is State.FINAL
    if entry.is_cancelled:
        return Cancelled(entry.inclusion, is_final)
    if entry.inclusion.failure is not None:
        return Reverted(entry.inclusion.failure, entry.inclusion, is_final)
    return Mined(entry.inclusion, is_final)
