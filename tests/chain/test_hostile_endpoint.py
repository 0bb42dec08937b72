"""What follows a chain, and what sends to it, believes only what fits together."""

import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.follower import (
    DecodedLog,
    FinalityViolated,
    Follower,
    FollowerOptions,
    LogFilter,
    run_follower,
)
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.sender import open_sender
from capanode.node.keys.signer import LocalSigner
from capanode.node.storage.database import Database
from capanode.protocol.faults import Fault, Unavailable
from capanode.protocol.ids import Address, Digest
from tests.fakes.fake_rpc import FakeRpc, Refusal, run_fake_rpc

ADDRESS = Address(b"\xee" * 20)
TOPIC = Digest(b"\x01" * 32)


def word(number: int) -> str:
    return f"0x{number:064x}"


class Chain:
    """A chain of `height` blocks with one log in each, told as a test likes."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.fork = 0
        self.final = 0
        self.change_log: Callable[[dict[str, Any]], object] = lambda log: log
        self.change_block: Callable[[dict[str, Any]], object] = lambda block: block

    def answer(self, method: str, params: list[object]) -> object:
        match method, params:
            case "eth_blockNumber", _:
                return hex(self.height)
            case "eth_getBlockByNumber", ["pending", _]:
                return None
            case "eth_getBlockByNumber", ["latest", _]:
                return self.change_block(self._block(self.height))
            case "eth_getBlockByNumber", ["finalized", _]:
                return self._block(self.final)
            case "eth_getBlockByNumber", [str(tag), _]:
                return self.change_block(self._block(int(tag, 16))) if int(tag, 16) <= self.height else None
            case "eth_getLogs", [{"blockHash": str(block_hash)}]:
                number = int(block_hash, 16) % 2**32
                if block_hash != self._hash(number):
                    raise Refusal(-32000, "unknown block")
                return [self.change_log(self._log(number))]
            case "eth_getLogs", [{"fromBlock": str(first), "toBlock": str(last)}]:
                return [self.change_log(self._log(each)) for each in range(int(first, 16), int(last, 16) + 1)]
        raise Refusal(-32601, "no such method")

    def _hash(self, number: int) -> str:
        return word((self.fork << 64 if number > 5 else 0) + number)

    def _block(self, number: int) -> dict[str, Any]:
        return {
            "number": hex(number),
            "hash": self._hash(number),
            "parentHash": self._hash(max(number - 1, 0)),
            "timestamp": hex(1_000 + number),
        }

    def _log(self, number: int) -> dict[str, Any]:
        return {
            "address": "0x" + ADDRESS.hex(),
            "topics": ["0x" + TOPIC.hex()],
            "data": word(number),
            "blockNumber": hex(number),
            "blockHash": self._hash(number),
            "transactionHash": word(7),
            "logIndex": "0x0",
            "removed": False,
        }


class Projection:
    """What was applied and not unwound, by block number."""

    def __init__(self) -> None:
        self.values: dict[int, object] = {}

    def apply(self, connection: sqlite3.Connection, block: BlockRef, logs: tuple[DecodedLog, ...]) -> None:
        self.values[block.number] = logs[0].event

    def unwind(self, connection: sqlite3.Connection, block: BlockRef) -> None:
        del self.values[block.number]


FILTER = LogFilter((ADDRESS,), (TOPIC,), lambda topics, data: int.from_bytes(data, "big"), first_block=1)
OPTIONS = FollowerOptions(0, lag_patience_s=0)


async def follow(chain: Chain, database: Database, projection: Projection) -> None:
    fake, failure = FakeRpc(answer=chain.answer), None
    async with run_fake_rpc(fake), open_rpc([fake.url], fake.chain_id) as rpc:
        follower = Follower(
            rpc, database, FILTER, OPTIONS, projection.apply, projection.unwind, lambda: None, HeadWatch()
        )
        try:
            while await follower.step():
                pass
        except Fault as fault:
            failure = fault
    # Raised out here, as the endpoint's nursery would wrap it in a group.
    if failure is not None:
        raise failure


def spoiled(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda log: log | changes


@pytest.mark.parametrize("final", [0, 9])
@pytest.mark.parametrize(
    "change",
    [
        spoiled(address="0x" + "11" * 20),
        spoiled(topics=[]),
        spoiled(topics=[word(9)]),
        spoiled(topics="0x"),
        spoiled(topics=[None]),
        spoiled(blockHash=word(99)),
        spoiled(blockNumber="0xffff"),
        spoiled(blockNumber=None),
        spoiled(removed=True),
        spoiled(data="0xzz"),
        spoiled(data=None),
        spoiled(logIndex="0x" + "f" * 100),
        spoiled(transactionHash="0x01"),
        lambda log: None,
        lambda log: [],
        lambda log: "log",
    ],
)
async def test_logs_that_were_not_asked_for_are_not_believed(
    database: Database, change: Callable[[dict[str, Any]], object], final: int
) -> None:
    chain, projection = Chain(9), Projection()
    chain.change_log, chain.final = change, final
    with pytest.raises(Unavailable):
        await follow(chain, database, projection)
    assert projection.values == {}

    chain.change_log = lambda log: log
    await follow(chain, database, projection)
    assert projection.values == {number: number for number in range(1, 10)}


@pytest.mark.parametrize(
    "change",
    [
        spoiled(hash="0x12"),
        spoiled(hash=None),
        spoiled(parentHash="x"),
        spoiled(number="0x999"),
        spoiled(timestamp=-1),
        lambda block: [],
        lambda block: "block",
    ],
)
async def test_malformed_blocks_are_not_believed(
    database: Database, change: Callable[[dict[str, Any]], object]
) -> None:
    chain, projection = Chain(9), Projection()
    chain.change_block = change
    with pytest.raises(Unavailable):
        await follow(chain, database, projection)
    assert projection.values == {}


async def test_fork_is_followed_and_finality_is_not_given_up(database: Database) -> None:
    chain, projection = Chain(9), Projection()
    await follow(chain, database, projection)

    chain.fork, chain.height = 1, 12
    await follow(chain, database, projection)
    assert projection.values == {number: number for number in range(1, 13)}

    chain.height = chain.final = 40
    await follow(chain, database, projection)
    chain.fork = 2
    with pytest.raises(FinalityViolated):
        await follow(chain, database, projection)


async def test_block_that_goes_away_between_two_questions_is_asked_again(database: Database) -> None:
    chain, projection = Chain(9), Projection()
    asked = 0

    def reorganise(block: dict[str, Any]) -> object:
        nonlocal asked
        asked += 1
        if asked == 14:
            chain.fork += 1
        return block

    chain.change_block = reorganise
    while True:
        try:
            await follow(chain, database, projection)
            break
        except Unavailable:
            continue
    assert projection.values == {number: number for number in range(1, 10)}


async def test_follower_outlives_its_endpoint(database: Database, autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.2
    chain, projection, head = Chain(3), Projection(), HeadWatch()
    fake = FakeRpc(answer=chain.answer)
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        async with run_fake_rpc(fake):
            rpc = await stack.enter_async_context(open_rpc([fake.url], fake.chain_id))

            async def start(task_status: trio.TaskStatus[Follower]) -> None:
                await run_follower(
                    rpc,
                    database,
                    FILTER,
                    OPTIONS,
                    projection.apply,
                    projection.unwind,
                    wake=lambda: None,
                    head=head,
                    task_status=task_status,
                )

            await nursery.start(start)
        chain.height = 6
        # The endpoint is down for a while.
        await trio.sleep(60)
        assert head.head is not None
        assert head.head.block.number == 3
        async with run_fake_rpc(fake):
            while head.head.block.number < 6:
                await head.wait_change()
        nursery.cancel_scope.cancel()
    assert projection.values == {number: number for number in range(1, 7)}


@pytest.mark.parametrize("reply", [None, "x", [], {}, -1, "0x" + "f" * 70])
async def test_sender_signs_nothing_on_nonsense(database: Database, reply: object) -> None:
    fake = FakeRpc(answer=lambda method, params: "0x0" if method == "eth_getTransactionCount" else reply)
    signer = LocalSigner(b"\x01" * 32)
    async with (
        run_fake_rpc(fake),
        open_rpc([fake.url], fake.chain_id) as rpc,
        open_sender(rpc, database, signer) as sender,
    ):
        with pytest.raises(Unavailable):
            await sender.submit("pay", ADDRESS, b"")
        assert await sender.status("pay") is None
    assert "eth_sendRawTransaction" not in fake.methods
