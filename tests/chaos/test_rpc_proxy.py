"""The fault proxy is transparent when its dice rest, does what each trouble says, and nothing of it is believed."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from capanode.node.chain.anvil import Anvil, AnvilOptions, development_key, run_anvil
from capanode.node.chain.blocks import FOLLOWER_SCHEMA
from capanode.node.chain.jsonrpc import Call, RpcError
from capanode.node.chain.repair import run_sender
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.sender import Mined, Sender, SenderOptions, open_sender
from capanode.node.chain.transactions import TRANSACTIONS_SCHEMA
from capanode.node.chain.wire import read_quantity
from capanode.node.keys.signer import LocalSigner
from capanode.node.storage.database import open_database
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Wei
from tests.fakes.rpc_proxy import RpcProxy, run_rpc_proxies
from tests.fakes.rpc_trouble import EVERY, Dice, Trouble

SEED = 4
STRANGER = Address(b"\x77" * 20)
BALANCE = ("eth_getBalance", "0x" + "77" * 20, "latest")
LIES = {Trouble.STALE, Trouble.FORK, Trouble.NO_LOGS, Trouble.NO_RECEIPT, Trouble.TX_DROPPED, Trouble.TX_DOUBLED}
"""What is well-formed and wrong: found out by what is asked next, not by looking at the reply."""


@pytest.fixture
async def anvil() -> AsyncGenerator[Anvil]:
    async with run_anvil(AnvilOptions(is_mining=False)) as chain:
        yield chain


@asynccontextmanager
async def troubled(anvil: Anvil, kinds: Collection[Trouble], rate: float) -> AsyncGenerator[tuple[RpcProxy, Rpc]]:
    """A client that has found its endpoint healthy, and the endpoint."""
    dice = Dice(SEED, 0.0, kinds)
    proxy = RpcProxy(anvil.rpc_url, dice, slow_s=0.01, hang_s=0.02)
    async with run_rpc_proxies([proxy]) as urls, open_rpc(urls, anvil.chain_id) as rpc:
        dice.rate = rate
        yield proxy, rpc


@pytest.mark.parametrize("through", ["directly", "proxy"])
class TestTransparency:
    """The same calls, directly and through a proxy at rest."""

    @pytest.fixture
    async def rpc(self, anvil: Anvil, through: str) -> AsyncGenerator[Rpc]:
        if through == "directly":
            async with open_rpc([anvil.rpc_url], anvil.chain_id) as opened:
                yield opened
        else:
            async with troubled(anvil, EVERY, 0.0) as (proxy, opened):
                yield opened
                assert not proxy.dice.counts
                assert proxy.dice.requests

    async def test_values(self, rpc: Rpc) -> None:
        assert await rpc.call("eth_blockNumber") == "0x0"
        assert await rpc.call("eth_getTransactionReceipt", "0x" + "00" * 32) is None

    async def test_refusals(self, rpc: Rpc) -> None:
        with pytest.raises(RpcError) as refused:
            await rpc.call("eth_getBlockByNumber", "nonsense", False)
        assert refused.value.code == -32602

    async def test_long_batches(self, rpc: Rpc) -> None:
        results = await rpc.batch([Call("eth_getBalance", (f"0x{number:040x}", "latest")) for number in range(150)])
        assert results == ("0x0",) * 150

    async def test_many_callers_at_once(self, rpc: Rpc) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(rpc.call, "eth_blockNumber")

    async def test_transactions(self, rpc: Rpc, tmp_path: Path) -> None:
        async with (
            open_database(tmp_path / "node.sqlite", [TRANSACTIONS_SCHEMA, FOLLOWER_SCHEMA]) as database,
            open_sender(rpc, database, LocalSigner(development_key(0))) as sender,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(run_sender, sender)
            await sender.submit("gift", STRANGER, b"", Wei(5))
            await rpc.call_once("evm_mine")
            sender.look()
            assert isinstance(await sender.outcome("gift"), Mined)
            assert await rpc.call(*BALANCE) == "0x5"
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", sorted(EVERY - LIES))
async def test_no_wrong_value_comes_of_a_broken_reply(anvil: Anvil, kind: Trouble) -> None:
    async with troubled(anvil, {kind}, 0.5) as (proxy, rpc):
        await _give(anvil)
        for _ in range(8):
            try:
                assert await rpc.batch((Call(BALANCE[0], BALANCE[1:]), Call("eth_chainId"))) == ("0x5", "0x7a69")
                assert await rpc.call(*BALANCE) == "0x5"
                await rpc.call("eth_sendRawTransaction", "0x00")
            except (Unavailable, RpcError):
                continue
        assert proxy.dice.counts[kind]


@pytest.mark.parametrize("kind", sorted(EVERY))
async def test_each_order_is_carried_out_once_whatever_is_said(anvil: Anvil, kind: Trouble, tmp_path: Path) -> None:
    count = 5
    async with (
        troubled(anvil, {kind}, 0.3) as (proxy, rpc),
        open_database(tmp_path / "node.sqlite", [TRANSACTIONS_SCHEMA]) as database,
        trio.open_nursery() as nursery,
    ):
        proxy.dice.rate = 0.0
        options = SenderOptions(poll_s=0.05)
        async with open_sender(rpc, database, LocalSigner(development_key(0)), options=options) as sender:
            proxy.dice.rate = 0.3
            nursery.start_soon(_mine, anvil, sender)
            await nursery.start(run_sender, sender)
            async with trio.open_nursery() as givers:
                for number in range(count):
                    givers.start_soon(_send, sender, f"gift-{number}")
            proxy.heal()
            assert read_quantity(await rpc.call(*BALANCE)) == count
            assert await sender.mined_count() == count
        nursery.cancel_scope.cancel()


async def _send(sender: Sender, key: str) -> None:
    while True:
        try:
            await sender.submit(key, STRANGER, b"", Wei(1))
            break
        except Unavailable:
            continue
    assert isinstance(await sender.outcome(key), Mined)


async def _mine(anvil: Anvil, sender: Sender) -> None:
    async with open_rpc([anvil.rpc_url], anvil.chain_id) as truth:
        while True:
            await truth.call_once("evm_mine")
            sender.look()
            await trio.sleep(0.1)


async def _give(anvil: Anvil) -> None:
    async with open_rpc([anvil.rpc_url], anvil.chain_id) as truth:
        await truth.call_once("anvil_setBalance", BALANCE[1], "0x5")
