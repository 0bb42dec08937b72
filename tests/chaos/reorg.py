"""Random reorganisations of a real chain, each followed and then compared with what the chain itself says.

A world is one development chain, one database and one follower, which live through some tens of rounds. In a round the
chain grows, the follower gets somewhere, the chain takes blocks back, the follower goes on until it rests; then what
was projected, undo rows included, must equal what is made anew from all the logs that the chain holds.

    python -m tests.chaos.reorg --rounds 5000 --seed 7
"""

import argparse
import random
import secrets
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
import trio

from bench import report
from capanode.node.chain.anvil import AnvilOptions, development_key, run_anvil
from capanode.node.chain.blocks import FOLLOWER_SCHEMA, BlockRef, remember_row
from capanode.node.chain.follower import DecodedLog, Follower, FollowerOptions, LogFilter
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.transaction import Transaction
from capanode.node.chain.wire import Json, hexadecimal, quantity, read_bytes, read_list, read_object, read_quantity
from capanode.node.keys.signer import LocalSigner
from capanode.node.storage.database import Database, Schema, open_database
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Digest, Wei

MAX_DEPTH: Final = 12
ROUNDS_PER_WORLD: Final = 40
"""Chain and database begin anew after so many: a development chain gets slower with its length."""

FIRST_BLOCK: Final = 2
EPOCH_SLOTS: Final = 12
FINAL_DEPTH: Final = 2 * EPOCH_SLOTS
"""How far behind its head the development chain calls a block final: just beyond the deepest reorganisations."""

GAS: Final = 100_000
EMITTER: Final = Address(b"\xee" * 20)
EMITTER_CODE: Final = "0x6020360360205f375f35602036035fa100"
"""log1(topic = calldata[0:32], data = calldata[32:])."""

TOPIC: Final = Digest(b"\x01" * 32)
OTHER_TOPIC: Final = Digest(b"\x02" * 32)

PROJECTION: Final = Schema(
    "projection",
    (
        "CREATE TABLE seen (block BLOB, log_index INTEGER, value INTEGER);"
        "CREATE TABLE slot (key INTEGER PRIMARY KEY, value INTEGER NOT NULL, changes INTEGER NOT NULL);",
    ),
)


class Kind(StrEnum):
    """What the chain does to its last blocks."""

    EMPTY = "same_height_empty"
    REMINED = "same_height_remined"
    OTHER = "same_height_other"
    ROLLED_BACK = "shorter_rolled_back"
    REVERTED = "shorter_reverted"


class Moment(StrEnum):
    """What the follower is doing meanwhile."""

    AT_REST = "at_rest"
    BETWEEN_STEPS = "between_steps"
    WHILE_STEPPING = "while_stepping"
    IN_CATCH_UP = "in_catch_up"
    ACROSS_RESTART = "across_restart"


class Pace(StrEnum):
    """How the follower reads what is above finality."""

    BY_BLOCK = "by_block"
    IN_STRETCHES = "in_stretches"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Log:
    """A log that counts, as the chain itself tells it."""

    block: bytes
    index: int
    value: int


@dataclass(frozen=True, slots=True)
class Projected:
    """All that the follower's user made of the logs: rows that are only added, and rows that change and go."""

    seen: tuple[Log, ...]
    slots: tuple[tuple[int, int, int], ...]


@dataclass(slots=True)
class Tally:
    """What was tried, and what came out otherwise."""

    rounds: int = 0
    mismatches: list[str] = field(default_factory=list[str])
    kinds: Counter[str] = field(default_factory=Counter[str])
    blocks_taken_back: int = 0

    def figures(self) -> Mapping[str, int]:
        """As keys and values of a report."""
        return {
            "rounds": self.rounds,
            "mismatches": len(self.mismatches),
            "blocks_taken_back": self.blocks_taken_back,
            **{name: self.kinds[name] for name in (*Kind, *Moment, *Pace)},
        }


def apply(connection: sqlite3.Connection, block: BlockRef, logs: Sequence[DecodedLog]) -> None:
    """Add a row for each log, and change, insert or delete the row of its slot."""
    for log in logs:
        assert isinstance(log.event, int)
        connection.execute("INSERT INTO seen VALUES (?, ?, ?)", (block.hash, log.log_index, log.event))
        key = log.event % 7
        remember_row(connection, block, "slot", {"key": key})
        if log.event % 5 == 0:
            connection.execute("DELETE FROM slot WHERE key = ?", (key,))
        else:
            connection.execute(
                "INSERT INTO slot VALUES (?, ?, 1) "
                "ON CONFLICT DO UPDATE SET value = excluded.value, changes = changes + 1",
                (key, log.event),
            )


def unwind(connection: sqlite3.Connection, block: BlockRef) -> None:
    """Take the added rows back; the changed ones are restored by their undo rows."""
    connection.execute("DELETE FROM seen WHERE block = ?", (block.hash,))


def projected(logs: Sequence[Log]) -> Projected:
    """The same, made anew."""
    slots: dict[int, tuple[int, int]] = {}
    for log in logs:
        key = log.value % 7
        if log.value % 5 == 0:
            slots.pop(key, None)
        else:
            slots[key] = (log.value, slots.get(key, (0, 0))[1] + 1)
    return Projected(tuple(logs), tuple((key, *slots[key]) for key in sorted(slots)))


class Chain:
    """A development chain that makes and takes back blocks when told."""

    def __init__(self, rpc: Rpc, dice: random.Random) -> None:
        self.rpc = rpc
        self.dice = dice
        self.highest = 0
        self._signer = LocalSigner(development_key(0))
        self._sent: dict[int, list[str]] = {}

    async def begin(self) -> None:
        """Put the contract there."""
        await self.rpc.call_once("anvil_setCode", hexadecimal(EMITTER), EMITTER_CODE)
        await self.grow(FIRST_BLOCK)

    async def height(self) -> int:
        """The number of the newest block."""
        return read_quantity(await self.rpc.call("eth_blockNumber"))

    async def grow(self, count: int) -> None:
        """Make blocks with up to three transactions each."""
        account = hexadecimal(self._signer.address)
        nonce = read_quantity(await self.rpc.call("eth_getTransactionCount", account, "latest"))
        number = await self.height()
        for _ in range(count):
            number += 1
            raw = [self._raw(nonce + each) for each in range(self.dice.randint(0, 3))]
            nonce += len(raw)
            self._sent[number] = raw
            for sent in raw:
                await self.rpc.call_once("eth_sendRawTransaction", sent)
            await self.rpc.call_once("evm_mine")
        self.highest = max(self.highest, number)

    async def take_back(self, kind: Kind, depth: int) -> None:
        """Replace or remove the last `depth` blocks."""
        height = await self.height()
        gone = [raw for number in range(height - depth + 1, height + 1) for raw in self._sent.pop(number, [])]
        match kind:
            case Kind.EMPTY:
                await self.rpc.call_once("anvil_reorg", depth, [])
            case Kind.REMINED:
                await self._reorganise(height, depth, gone[: self.dice.randint(0, len(gone))])
            case Kind.OTHER:
                account = hexadecimal(self._signer.address)
                below = quantity(height - depth)
                nonce = read_quantity(await self.rpc.call("eth_getTransactionCount", account, below))
                others = [self._raw(nonce + each) for each in range(self.dice.randint(1, 4))]
                await self._reorganise(height, depth, others)
            case Kind.ROLLED_BACK | Kind.REVERTED:
                await self.rpc.call_once("anvil_rollback", depth)

    async def snapshot(self) -> Json:
        """A place to revert to."""
        return str(await self.rpc.call_once("evm_snapshot"))

    async def revert(self, snapshot: Json) -> None:
        """Go back there."""
        await self.rpc.call_once("evm_revert", snapshot)
        height = await self.height()
        for number in [number for number in self._sent if number > height]:
            del self._sent[number]

    async def logs(self, up_to: int) -> list[Log]:
        """What the chain holds now, all of it."""
        query = {"address": hexadecimal(EMITTER), "fromBlock": quantity(FIRST_BLOCK), "toBlock": quantity(up_to)}
        found = [read_object(item) for item in read_list(await self.rpc.call("eth_getLogs", query))]
        return [
            Log(
                read_bytes(item["blockHash"]),
                read_quantity(item["logIndex"]),
                int.from_bytes(read_bytes(item["data"]), "big"),
            )
            for item in found
            if read_list(item["topics"])[0] == hexadecimal(TOPIC)
        ]

    async def _reorganise(self, height: int, depth: int, transactions: list[str]) -> None:
        """Put transactions into the new blocks, in their order: nonces must not come early."""
        places = sorted(self.dice.randrange(depth) for _ in transactions)
        for raw, place in zip(transactions, places, strict=True):
            self._sent.setdefault(height - depth + 1 + place, []).append(raw)
        pairs: list[Json] = [[raw, place] for raw, place in zip(transactions, places, strict=True)]
        await self.rpc.call_once("anvil_reorg", depth, pairs)

    def _raw(self, nonce: int) -> str:
        topic = TOPIC if self.dice.randrange(8) else OTHER_TOPIC
        data = topic + self.dice.randrange(1000).to_bytes(32, "big")
        fee = Wei(10**11)
        transaction = Transaction(self.rpc.chain_id, nonce, EMITTER, data, Wei(0), GAS, fee, Wei(10**9))
        return hexadecimal(self._signer.sign_transaction(transaction))


class World:
    """A chain, a database and a follower."""

    def __init__(self, chain: Chain, folder: Path, confirmations: int, dice: random.Random, tally: Tally) -> None:
        self._chain = chain
        self._folder = folder
        self._confirmations = confirmations
        self._dice = dice
        self._tally = tally
        self._pace = Pace.BY_BLOCK
        self._files = 0
        self._path = folder / "0.db"

    async def round(self, kind: Kind, moment: Moment, pace: Pace) -> None:
        """One reorganisation, and the comparison."""
        self._pace = pace
        if moment is Moment.IN_CATCH_UP:
            await self._fall_behind()
        depth = await self._room_for(self._dice.randint(1, MAX_DEPTH))
        snapshot = await self._chain.snapshot() if kind is Kind.REVERTED else None
        await self._chain.grow(depth if snapshot else self._dice.randint(1, 3))

        async def take_back() -> None:
            await (self._chain.take_back(kind, depth) if snapshot is None else self._chain.revert(snapshot))

        async with self._following() as (database, follower):
            await self._until(moment, follower, take_back)
            if moment is not Moment.ACROSS_RESTART:
                await self._compare(database, follower, f"{kind} {moment} {pace} {depth}")
        if moment is Moment.ACROSS_RESTART:
            await take_back()
            async with self._following() as (database, follower):
                await self._compare(database, follower, f"{kind} {moment} {pace} {depth}")
        self._tally.rounds += 1
        self._tally.kinds.update((kind, moment, pace))
        self._tally.blocks_taken_back += depth

    async def _until(self, moment: Moment, follower: Follower, take_back: Callable[[], Awaitable[None]]) -> None:
        match moment:
            case Moment.AT_REST:
                await follow(follower)
                await take_back()
            case Moment.BETWEEN_STEPS | Moment.IN_CATCH_UP:
                await follow(follower, self._dice.randint(0, 6))
                await take_back()
            case Moment.WHILE_STEPPING:
                await follow(follower, self._dice.randint(0, 3))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(follow, follower)
                    nursery.start_soon(take_back)
            case Moment.ACROSS_RESTART:
                await follow(follower, self._dice.randint(0, 6))

    async def _fall_behind(self) -> None:
        """Make the follower catch up: with a new database, or from where it is."""
        if self._dice.random() < 0.5:
            self._files += 1
            self._path = self._folder / f"{self._files}.db"
        await self._chain.rpc.call_once("anvil_mine", quantity(self._dice.randint(20, FINAL_DEPTH + 20)))
        self._chain.highest = max(self._chain.highest, await self._chain.height())

    async def _room_for(self, depth: int) -> int:
        """So much of `depth` as lies above what may have been called final, after some growth where that is little."""
        height = await self._chain.height()
        floor = max(FIRST_BLOCK + 1, self._chain.highest - FINAL_DEPTH + 1)
        if height - floor < MAX_DEPTH:
            await self._chain.grow(MAX_DEPTH)
            height += MAX_DEPTH
        return min(depth, height - floor)

    @asynccontextmanager
    async def _following(self) -> AsyncGenerator[tuple[Database, Follower]]:
        rpc = self._chain.rpc
        log_filter = LogFilter((EMITTER,), (TOPIC,), _decode, FIRST_BLOCK)
        options = FollowerOptions(self._confirmations, lag_patience_s=0)
        async with open_database(self._path, [FOLLOWER_SCHEMA, PROJECTION]) as database:
            yield (
                database,
                Follower(
                    rpc,
                    database,
                    log_filter,
                    options,
                    apply,
                    unwind,
                    _nothing,
                    HeadWatch(),
                    is_busy=self._is_busy,
                ),
            )

    def _is_busy(self) -> bool:
        match self._pace:
            case Pace.BY_BLOCK:
                return True
            case Pace.IN_STRETCHES:
                return False
            case Pace.MIXED:
                return self._dice.random() < 0.5

    async def _compare(self, database: Database, follower: Follower, what: str) -> None:
        height = await self._chain.height()
        if self._confirmations and height < self._chain.highest:
            # What was confirmed once stays applied as long as its block is there, however short the chain becomes.
            await self._chain.grow(self._chain.highest - height)
        await follow(follower)
        height = await self._chain.height()
        truth = projected(await self._chain.logs(height - self._confirmations))
        found = await database.read(_read)
        if found != truth:
            self._tally.mismatches.append(f"{what}: {_difference(found, truth)}")


async def follow(follower: Follower, most_steps: int = sys.maxsize) -> None:
    """Take steps until there is nothing to do, or so many."""
    for _ in range(most_steps):
        try:
            if not await follower.step():
                return
        except Unavailable:
            # A block went away between two questions.
            continue


async def run_rounds(folder: Path, seed: int, rounds: int, tally: Tally) -> None:
    """So many rounds, each world with dice of its own: `seed` and the world's number repeat it."""
    for number in range(-(-rounds // ROUNDS_PER_WORLD)):
        dice = random.Random(f"{seed} {number}")
        place = folder / str(number)
        place.mkdir()
        async with (
            run_anvil(AnvilOptions(is_mining=False, slots_in_an_epoch=EPOCH_SLOTS)) as anvil,
            open_rpc([anvil.rpc_url], anvil.chain_id) as rpc,
        ):
            chain = Chain(rpc, dice)
            await chain.begin()
            world = World(chain, place, dice.choice((0, 0, 2)), dice, tally)
            for _ in range(min(ROUNDS_PER_WORLD, rounds - number * ROUNDS_PER_WORLD)):
                await world.round(dice.choice(list(Kind)), dice.choice(list(Moment)), dice.choice(list(Pace)))


def _difference(found: Projected, truth: Projected) -> str:
    pairs = ((found.seen, truth.seen), (found.slots, truth.slots))
    return "; ".join(f"too much {set(one) - set(other)}, missing {set(other) - set(one)}" for one, other in pairs)


@contextmanager
def scratch() -> Generator[Path]:
    """A folder in memory where there is one: what is tested is the order of writes, not the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="capanode-reorg-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def _decode(topics: Sequence[bytes], data: bytes) -> object:
    return int.from_bytes(data, "big")


def _nothing() -> None:
    return


def _read(connection: sqlite3.Connection) -> Projected:
    seen = connection.execute("SELECT block, log_index, value FROM seen ORDER BY rowid").fetchall()
    slots = connection.execute("SELECT key, value, changes FROM slot ORDER BY key").fetchall()
    return Projected(tuple(Log(*row) for row in seen), tuple(slots))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(f"seed {arguments.seed}", file=sys.stderr)
    tally = Tally()
    began = time.monotonic()
    with scratch() as folder:
        trio.run(run_rounds, folder, arguments.seed, arguments.rounds, tally)
    for mismatch in tally.mismatches:
        print(mismatch, file=sys.stderr)
    report.write("chaos_reorg", {**tally.figures(), "seed": arguments.seed, "wall_s": time.monotonic() - began})
    sys.exit(bool(tally.mismatches))


if __name__ == "__main__":
    main()
