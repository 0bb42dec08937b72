"""What a user began to take back comes back by itself, once, when it has thawed and no deal holds it."""

from typing import Any

import trio
from trio.testing import MockClock

from capanode.node.chain.clock import ChainClock
from capanode.node.paid.exits import LOOK_S, run_exits
from capanode.protocol.faults import Unavailable

PROVIDER = "0x" + "11" * 20


class Wallet:
    """Holds one earmark and some stake that thaw."""

    def __init__(self) -> None:
        self.earmarks: list[Any] = []
        self.thaws: list[Any] = []
        self.locked_wei = 0
        self.calls: list[tuple[str, Any]] = []
        self.requests: set[str] = set()
        self.is_away = False
        self.changed = trio.Event()

    async def show(self) -> Any:
        if self.is_away:
            raise Unavailable("away")
        place = {"version": 0, "stake_wei": 100, "locked_wei": self.locked_wei, "thaws": self.thaws}
        return {"earmarks": self.earmarks, "markets": [place]}

    async def call(self, verb: str, arguments: Any) -> Any:
        self.requests.add(arguments.pop("request"))
        self.calls.append((verb, arguments))
        if verb == "unearmark":
            self.earmarks = []
        else:
            self.thaws = []
        return {"tx_hash": "0x"}

    async def wait_change(self) -> None:
        await self.changed.wait()

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


def earmark(ready_at: int) -> Any:
    return {"provider": PROVIDER, "version": 0, "amount_wei": 9, "thawing_wei": 5, "ready_at": ready_at}


async def test_they_end_when_they_have_thawed(autojump_clock: MockClock) -> None:
    wallet, clock = Wallet(), ChainClock(trio.current_time)
    start = clock.now()
    wallet.earmarks = [{**earmark(0), "thawing_wei": 0}]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_exits, wallet, clock)
        await trio.sleep(10)
        wallet.earmarks = [earmark(start + 600)]
        wallet.thaws = [{"what": "unstaking", "amount_wei": 60, "ready_at": start + 900}]
        wallet.change()
        await trio.sleep(585)
        assert wallet.calls == []
        await trio.sleep(20)
        assert wallet.calls == [("unearmark", {"provider": PROVIDER, "market": 0})]
        wallet.locked_wei = 50
        await trio.sleep(1000)
        assert len(wallet.calls) == 1, "the rest would be forgotten"
        wallet.locked_wei = 0
        await trio.sleep(LOOK_S)
        assert wallet.calls[1:] == [("unstake", {"market": 0})]
        await trio.sleep(3 * LOOK_S)
        assert len(wallet.calls) == 2
        nursery.cancel_scope.cancel()
    assert all(len(request) == 32 for request in wallet.requests)


async def test_it_looks_again_when_the_chain_was_away_and_leaves_withdrawals_alone(autojump_clock: MockClock) -> None:
    wallet, clock = Wallet(), ChainClock(trio.current_time)
    wallet.is_away = True
    wallet.earmarks = [earmark(0)]
    wallet.thaws = [{"what": "withdrawal", "amount_wei": 60, "ready_at": 0}]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_exits, wallet, clock)
        await trio.sleep(100)
        wallet.is_away = False
        await trio.sleep(100)
        assert [verb for verb, _ in wallet.calls] == ["unearmark"]
        nursery.cancel_scope.cancel()
