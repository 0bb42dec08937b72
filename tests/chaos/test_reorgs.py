"""A development chain that loses a block of its own is mended, or given up with a sentence."""

import random
from collections.abc import AsyncGenerator

import pytest

from capanode.node.chain.anvil import AnvilOptions, run_anvil
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.wire import Json, quantity, read_quantity
from tests.chaos.reorgs import DamagedChain, Reorgs

HEIGHT = 12


class Holed:
    """The chain's JSON-RPC, but for one block that is not there."""

    def __init__(self, rpc: Rpc, hole: int, *, for_good: bool) -> None:
        self._call_once = rpc.call_once
        self._call = rpc.call
        self._hole: int | None = hole
        self._for_good = for_good

    async def call(self, method: str, *params: Json) -> object:
        if method == "eth_getBlockByNumber" and self._hole is not None and params[0] == quantity(self._hole):
            return None
        return await self._call(method, *params)

    async def call_once(self, method: str, *params: Json) -> object:
        if method == "anvil_rollback" and not self._for_good:
            self._hole = None
        return await self._call_once(method, *params)


@pytest.fixture
async def rpc() -> AsyncGenerator[Rpc]:
    async with run_anvil(AnvilOptions(is_mining=False)) as anvil, open_rpc([anvil.rpc_url], anvil.chain_id) as opened:
        await opened.call_once("anvil_mine", quantity(HEIGHT))
        yield opened


def with_hole(monkeypatch: pytest.MonkeyPatch, rpc: Rpc, *, for_good: bool) -> Reorgs:
    holed = Holed(rpc, HEIGHT - 1, for_good=for_good)
    monkeypatch.setattr(rpc, "call", holed.call)
    monkeypatch.setattr(rpc, "call_once", holed.call_once)
    return Reorgs(rpc, random.Random(1))


async def test_whole_chain_needs_no_mending(rpc: Rpc) -> None:
    reorgs = Reorgs(rpc, random.Random(1))
    await reorgs.once(3)
    assert (reorgs.count, reorgs.mended) == (1, 0)
    assert read_quantity(await rpc.call("eth_blockNumber")) == HEIGHT


async def test_lost_block_is_told_and_made_anew(
    rpc: Rpc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reorgs = with_hole(monkeypatch, rpc, for_good=False)
    await reorgs.once(3)
    assert (reorgs.count, reorgs.mended) == (1, 1)
    assert read_quantity(await rpc.call("eth_blockNumber")) == HEIGHT - 1
    assert f"lost block {HEIGHT - 1} of {HEIGHT}" in capsys.readouterr().err


async def test_block_that_is_lost_for_good_ends_the_run(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DamagedChain, match="not the nodes'; run again"):
        await with_hole(monkeypatch, rpc, for_good=True).once(3)
