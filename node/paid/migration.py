"""Moving unlocked money from older versions of the market into the one that new money goes to, at its owner's word.

Leaving a market takes a thaw for each kind of money, and what was staked or set aside thaws once more as free balance.
So a move takes several runs: each does what can be done at its time, and says what waits and until when. What was
staked is staked again, out of what arrives first; what was set aside arrives as free balance.

Every transaction has a key that follows from the state of the chain, and a withdrawal is noted before it is sent: a
run that was interrupted anywhere is taken up by the next one, and nothing is deposited twice.
"""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final

import trio
from eth_hash.auto import keccak

from capanode.contracts_abi import bindings
from capanode.node.api.port import Json
from capanode.node.assigned.provider_peers import ProviderPeers
from capanode.node.chain import wallet_calls
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.market import EarmarkState, MarketAccount, Thaw
from capanode.node.chain.markets import Markets, MarketVersion
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Mined, Sender
from capanode.node.chain.token import Token
from capanode.node.chain.view import ContractCall
from capanode.node.chain.wire import hexadecimal, read_bytes, read_digest, read_list, read_object
from capanode.node.journal import Stored
from capanode.node.keys.signer import Signer
from capanode.node.paid.depositing import deposit_call
from capanode.node.storage.database import Database, Schema
from capanode.protocol import requester
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Address, TxHash, Wei

SCHEMA: Final = Schema(
    "migration",
    (
        """
        CREATE TABLE migration_withdrawal (key TEXT PRIMARY KEY) WITHOUT ROWID;
        CREATE TABLE migration_stake (market BLOB PRIMARY KEY, wei TEXT NOT NULL) WITHOUT ROWID;
        """,
    ),
)


class Migration:
    """The moves of one wallet; one run at a time."""

    def __init__(
        self,
        rpc: Rpc,
        database: Database,
        sender: Sender,
        signer: Signer,
        markets: Markets,
        token: Token,
        peers: ProviderPeers,
        clock: ChainClock,
        promised: Callable[[Address], Wei],
    ) -> None:
        """`promised` says what open jobs will still draw from the free balance of a market."""
        self._rpc = rpc
        self._database = database
        self._sender = sender
        self._signer = signer
        self._markets = markets
        self._token = token
        self._peers = peers
        self._clock = clock
        self._promised = promised
        self._one_run = trio.Lock()

    @property
    def _wallet(self) -> Address:
        return self._signer.address

    async def run(self, target: MarketVersion) -> Json:
        """Do all that can be done now towards `target`; what was moved, and what waits until when.

        Raises:
            Refused: the chain refuses a transaction, with its own sentence.
        """
        async with self._one_run:
            moved = await self._deposit_withdrawn(target)
            older = [version for version in self._markets.adopted() if version.number < target.number]
            for version in older:
                await self._take(version)
                moved += await self._deposit_withdrawn(target)
                await self._begin(version)
            staked = await self._stake_again(target)
            places = [await self._left(version) for version in older]
            if not any(place["is_left"] for place in places):
                await self._database.write("migration.end", lambda c: c.execute("DELETE FROM migration_stake"))
        return {
            "to": target.number,
            "moved_wei": moved,
            "staked_wei": staked,
            "kept_wei": sum(place["kept_wei"] for place in places),
            "locked_wei": sum(place["locked_wei"] for place in places),
            "waiting": [entry for place in places for entry in place["waiting"]],
            "is_done": not any(place["is_left"] for place in places),
        }

    # ---- out of the old market -------------------------------------------------------------------------------

    async def _take(self, version: MarketVersion) -> None:
        """Take what has thawed: stake and earmarks into the free balance, free balance into the wallet."""
        market, now = version.address, self._clock.now()
        withdrawal, unstaking = await version.contract.thaws(self._wallet)
        calls: list[ContractCall] = []
        if _is_ripe(unstaking.amount_wei, unstaking.ready_at, now):
            calls.append(wallet_calls.unstake(market))
        for provider, earmark in await self._earmarks(version):
            if _is_ripe(earmark.thawing_wei, earmark.ready_at, now):
                calls.append(wallet_calls.unearmark(market, provider))
        free = (await version.contract.account(self._wallet)).free_wei
        # A job that was submitted since still counts on its money: then this waits until the job has ended.
        is_free = free - withdrawal.amount_wei >= self._promised(market)
        is_withdrawal = is_free and _is_ripe(withdrawal.amount_wei, withdrawal.ready_at, now)
        if is_withdrawal:
            calls.append(wallet_calls.withdraw(market, self._wallet))
        if calls:
            call = wallet_calls.together(market, tuple(calls))
            key = f"migrate/{version.number}/take/{withdrawal.ready_at}-{unstaking.ready_at}-{_digest(call)}"
            if is_withdrawal:
                await self._note_withdrawal(key)
            await self._send(key, call)

    async def _begin(self, version: MarketVersion) -> None:
        """Start the thaw of what does not thaw yet; a kind that thaws is left alone, or its wait would begin anew."""
        market = version.address
        account = await version.contract.account(self._wallet)
        withdrawal, unstaking = await version.contract.thaws(self._wallet)
        calls: list[ContractCall] = []
        movable = account.free_wei - self._promised(market)
        if movable > 0 and not withdrawal.amount_wei:
            calls.append(wallet_calls.begin_withdraw(market, Wei(movable)))
        if account.unlocked_wei > 0 and not unstaking.amount_wei:
            await self._note_stake(version, account)
            calls.append(wallet_calls.begin_unstake(market, account.unlocked_wei))
        for provider, earmark in await self._earmarks(version):
            if earmark.amount_wei and not earmark.thawing_wei:
                calls.append(wallet_calls.begin_unearmark(market, provider, earmark.amount_wei))
        if calls:
            call = wallet_calls.together(market, tuple(calls))
            key = f"migrate/{version.number}/begin/{_digest(call)}/{await self._sender.mined_count()}"
            await self._send(key, call)

    async def _left(self, version: MarketVersion) -> Json:
        """What is still in an old market, by why."""
        account = await version.contract.account(self._wallet)
        withdrawal, unstaking = await version.contract.thaws(self._wallet)
        earmarks = await self._earmarks(version)
        thaws = [("free balance", withdrawal), ("stake", unstaking)]
        thaws += [(f"earmark for {hexadecimal(who)}", Thaw(e.thawing_wei, e.ready_at)) for who, e in earmarks]
        return {
            "kept_wei": min(account.free_wei, self._promised(version.address)),
            "locked_wei": account.locked_wei,
            "is_left": bool(account.free_wei or account.stake_wei or earmarks),
            "waiting": [
                {
                    "version": version.number,
                    "what": what,
                    "amount_wei": thaw.amount_wei,
                    "ready_at": thaw.ready_at,
                    "then_s": 0 if what == "free balance" else version.clocks.free_thaw_s,
                }
                for what, thaw in thaws
                if thaw.amount_wei
            ],
        }

    async def _earmarks(self, version: MarketVersion) -> tuple[tuple[Address, EarmarkState], ...]:
        providers = await self._peers.providers()
        found = await version.contract.earmarks(self._wallet, providers)
        return tuple((who, earmark) for who, earmark in zip(providers, found, strict=True) if earmark.amount_wei)

    # ---- into the new one ------------------------------------------------------------------------------------

    async def _deposit_withdrawn(self, target: MarketVersion) -> int:
        """Deposit what withdrawals of this and of interrupted runs have brought into the wallet."""
        moved = 0
        for key in await self._noted_withdrawals():
            if await self._sender.status(key) is not None:
                outcome = await self._sender.outcome(key)
                if isinstance(outcome, Mined):
                    moved += await self._deposit(f"{key}/deposit", target, outcome.inclusion.tx_hash)
            await self._forget_withdrawal(key)
        return moved

    async def _deposit(self, key: str, target: MarketVersion, withdrawal: TxHash) -> Wei:
        amount = await self._withdrawn(withdrawal)
        if amount and await self._sender.status(key) is None:
            call = await deposit_call(
                self._token, self._sender, self._signer, target.address, amount, self._clock.now()
            )
            await self._send(key, call)
        elif amount:
            await self._sender.outcome(key)
        return amount

    async def _withdrawn(self, tx: TxHash) -> Wei:
        """What a withdrawal paid, by its own log."""
        receipt = read_object(await self._rpc.call("eth_getTransactionReceipt", hexadecimal(tx)))
        paid = 0
        for item in read_list(receipt.get("logs")):
            fields = read_object(item)
            topics = [read_digest(topic) for topic in read_list(fields.get("topics"))]
            if topics and topics[0] == bindings.Withdrawn.TOPIC:
                paid += bindings.Withdrawn.decode(topics, read_bytes(fields.get("data"))).amount
        return Wei(paid)

    async def _stake_again(self, target: MarketVersion) -> int:
        goal = await self._noted_stake()
        if not goal:
            return 0
        account = await target.contract.account(self._wallet)
        due = min(goal - account.stake_wei, account.free_wei)
        if due <= 0:
            return 0
        call = wallet_calls.stake(target.address, Wei(due))
        await self._send(f"migrate/{target.number}/stake/{account.stake_wei}-{due}", call)
        return due

    # ---- notes and transactions ------------------------------------------------------------------------------

    async def _send(self, key: str, call: ContractCall) -> None:
        await self._sender.submit(key, call.to, call.data)
        match await self._sender.outcome(key):
            case Mined():
                return
            case failed:
                raise Refused(f"{key} was mined without effect: {getattr(failed, 'reason', 'its nonce was used')}")

    async def _note_withdrawal(self, key: str) -> None:
        query = "INSERT OR IGNORE INTO migration_withdrawal VALUES (?)"
        await self._database.write("migration.withdrawal", lambda connection: connection.execute(query, (key,)))

    async def _forget_withdrawal(self, key: str) -> None:
        query = "DELETE FROM migration_withdrawal WHERE key = ?"
        await self._database.write("migration.deposited", lambda connection: connection.execute(query, (key,)))

    async def _noted_withdrawals(self) -> tuple[str, ...]:
        return await self._database.read(
            lambda connection: tuple(str(row[0]) for row in connection.execute("SELECT key FROM migration_withdrawal"))
        )

    async def _note_stake(self, version: MarketVersion, account: MarketAccount) -> None:
        """Remember the most that was ever staked there while its money moves."""

        def write(connection: sqlite3.Connection) -> None:
            query = "SELECT wei FROM migration_stake WHERE market = ?"
            row = connection.execute(query, (version.address,)).fetchone()
            most = max(account.stake_wei, int(row[0]) if row else 0)
            connection.execute("INSERT OR REPLACE INTO migration_stake VALUES (?,?)", (version.address, str(most)))

        await self._database.write("migration.stake", write)

    async def _noted_stake(self) -> int:
        return await self._database.read(
            lambda connection: sum(int(row[0]) for row in connection.execute("SELECT wei FROM migration_stake"))
        )


def undrawn_wei(open_deals: Iterable[Stored], market: Address) -> Wei:
    """What open jobs may still draw from the free balance of a market: P + V of each that is not bound yet."""
    return Wei(
        sum(
            stored.state.order.demand.price_cap_wei + stored.state.order.demand.verification_wei
            for stored in open_deals
            if stored.market == market
            and (
                isinstance(stored.state, requester.Announcing | requester.Renewing)
                or (
                    isinstance(stored.state, requester.Bidding | requester.Awarding)
                    and stored.state.order.announcement is None
                )
            )
        )
    )


def _is_ripe(amount_wei: int, ready_at: int, now: int) -> bool:
    return amount_wei > 0 and now >= ready_at


def _digest(call: ContractCall) -> str:
    return keccak(call.data).hex()[:16]
