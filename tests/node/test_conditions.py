"""An operator hears of deals that end badly, and of gas that runs out; not of what is nobody's fault."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from capanode.node.alerts import Alerts, Occasion
from capanode.node.conditions import DEALS_AHEAD, GAS_EVERY_S, DealEnds, watch_gas
from capanode.node.config import AlertSettings
from capanode.node.journal import Side, Stored
from capanode.protocol import provider, requester
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, Address, PeerId, Wei
from tests.protocol.deals import COMMITTED, DEAL, FINISHED, NOW, submitted, terms, work_taken

TAKEN = provider.take(work_taken()).deal
assert isinstance(TAKEN, provider.Preparing)
WORK = TAKEN.work
ORDER = requester.submit(submitted()).job.order


def seen(*states: Any) -> list[Occasion]:
    alerts = Alerts(AlertSettings())
    nobody: Any = None
    ends = DealEnds(nobody, alerts)
    for state in states:
        side = Side.PROVIDER if isinstance(state, provider.Deal) else Side.REQUESTER
        ends.saw(Stored("d", side, state, 0.0, 0.0))
    return [alert.kind for alert in alerts.recent()]


RUNNING = provider.Executing(WORK, ZERO_ADDRESS, 1)


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ((TAKEN, provider.Lost(WORK, "it went to somebody else", Wei(0))), []),
        ((RUNNING, provider.Lost(WORK, "engine lost", Wei(0))), [Occasion.DEAL_LOST]),
        ((RUNNING, provider.Lost(WORK, "too late", Wei(90))), [Occasion.DEAL_SLASHED]),
        ((RUNNING, provider.Committing(WORK, ZERO_ADDRESS, FINISHED), provider.Done(WORK, Wei(900))), []),
        ((requester.Failed(ORDER, "the provider did not commit in time", Wei(930)),), [Occasion.DEAL_REFUNDED]),
        ((requester.Failed(ORDER, "nobody bid", Wei(0)),), []),
        ((requester.Cancelled(ORDER),), []),
    ],
)
def test_bad_ends_are_told(states: tuple[Any, ...], told: list[Occasion]) -> None:
    assert seen(*states) == told


class Chain:
    """Says what a wallet has and what gas costs."""

    def __init__(self) -> None:
        self.balance, self.price, self.is_away = 10**18, 10**9, False

    async def call(self, method: str, *_: object) -> str:
        if self.is_away:
            raise Unavailable("away")
        return hex(self.balance if method == "eth_getBalance" else self.price)


async def test_gas_is_told_once_each_time_it_runs_low(autojump_clock: MockClock) -> None:
    chain: Any = Chain()
    alerts = Alerts(AlertSettings())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_gas, chain, Address(b"\x01" * 20), 120_000, alerts)
        await trio.sleep(3 * GAS_EVERY_S)
        assert alerts.recent() == ()
        chain.balance = DEALS_AHEAD * 120_000 * 10**9 - 1
        await trio.sleep(3 * GAS_EVERY_S)
        (alert,) = alerts.recent()
        assert alert.kind is Occasion.GAS_LOW
        assert "send it at least" in alert.sentence
        chain.is_away = True
        await trio.sleep(2 * GAS_EVERY_S)
        chain.is_away, chain.balance = False, 10**18
        await trio.sleep(2 * GAS_EVERY_S)
        chain.price = 10**15
        await trio.sleep(2 * GAS_EVERY_S)
        assert len(alerts.recent()) == 2
        nursery.cancel_scope.cancel()


def test_missing_bytes_and_wrong_results_are_told_once() -> None:
    deal = requester.Deal(DEAL, terms(), PeerId("provider"), ZERO_ADDRESS)
    withheld = requester.Withheld(ORDER, deal, COMMITTED, NOW, "the provider does not answer")
    faulty = requester.Faulty(ORDER, deal, COMMITTED, "/results/1", b"", 12, "'model.npz'")
    assert seen(withheld, withheld) == [Occasion.RESULT_MISSING]
    assert seen(faulty, faulty) == [Occasion.RESULT_WRONG]
