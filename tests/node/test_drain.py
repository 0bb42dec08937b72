"""A draining node says when switching it off loses nothing, and remembers that it drains."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from capanode.node.alerts import Alerts
from capanode.node.api.service import Service
from capanode.node.chain.clock import ChainClock
from capanode.node.config import AlertSettings
from capanode.node.drain import MINING_S, SCHEMA, Drain, Forecast, open_drain, outlook, run_drain
from capanode.node.executed.execution import LONGEST_DISPUTE_S
from capanode.node.journal import Happened, Side, Stored
from capanode.node.storage.database import open_database
from capanode.protocol import provider, requester
from capanode.protocol.events import AcceptReceived
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_ADDRESS, Address, UnixTime, Wei
from tests.protocol.deals import COMMITTED, FINISHED, GRACE_S, NOW, chosen, submitted, work_taken

WORK = provider.Work(
    work_taken().deal_id, work_taken().award, work_taken().demand, work_taken().spec, work_taken().requester_peer
)
LAST_COMMIT = WORK.terms.commit_by + GRACE_S
WINDOW_S, RETENTION_S = WORK.terms.window_s, WORK.demand.retention_s
WINDOW_END = COMMITTED.window_ends_at

LATEST: dict[str, tuple[provider.Deal, int | None, int | None]] = {
    # phase: when its money is safe at the latest, when nothing is owed to its requester any more
    "Preparing": (
        provider.Preparing(WORK),
        LAST_COMMIT + WINDOW_S + MINING_S,
        LAST_COMMIT + WINDOW_S + RETENTION_S,
    ),
    "Assigning": (
        provider.Assigning(WORK),
        LAST_COMMIT + WINDOW_S + MINING_S,
        LAST_COMMIT + WINDOW_S + RETENTION_S,
    ),
    "Executing": (
        provider.Executing(WORK, ZERO_ADDRESS, 1),
        LAST_COMMIT + WINDOW_S + MINING_S,
        LAST_COMMIT + WINDOW_S + RETENTION_S,
    ),
    "Committing": (
        provider.Committing(WORK, ZERO_ADDRESS, FINISHED),
        LAST_COMMIT + WINDOW_S + MINING_S,
        LAST_COMMIT + WINDOW_S + RETENTION_S,
    ),
    "Committed": (
        provider.Committed(WORK, FINISHED, COMMITTED, b""),
        WINDOW_END + MINING_S,
        WINDOW_END + RETENTION_S,
    ),
    "accepted": (
        provider.Committed(WORK, FINISHED, COMMITTED, b"\x09" * 65),
        COMMITTED.at + MINING_S,
        COMMITTED.at + MINING_S,
    ),
    "Claiming": (provider.Claiming(WORK, FINISHED, COMMITTED), WINDOW_END + MINING_S, WINDOW_END + RETENTION_S),
    "Challenged": (
        provider.Challenged(WORK, FINISHED, COMMITTED, b""),
        WINDOW_END + LONGEST_DISPUTE_S + MINING_S,
        WINDOW_END + LONGEST_DISPUTE_S + RETENTION_S,
    ),
    "Discarding": (provider.Discarding(WORK, FINISHED, Wei(4500)), None, None),
    "Retaining": (
        provider.Retaining(WORK, FINISHED, COMMITTED, Wei(900), Wei(30)),
        None,
        WINDOW_END + RETENTION_S,
    ),
    "Abandoning": (
        provider.Abandoning(WORK, ZERO_ADDRESS, ""),
        LAST_COMMIT + provider.OVERDUE_PATIENCE_S + MINING_S,
        LAST_COMMIT + provider.OVERDUE_PATIENCE_S + MINING_S,
    ),
    "Overdue": (
        provider.Overdue(WORK, ZERO_ADDRESS, ""),
        LAST_COMMIT + provider.OVERDUE_PATIENCE_S + MINING_S,
        LAST_COMMIT + provider.OVERDUE_PATIENCE_S + MINING_S,
    ),
    "Done": (provider.Done(WORK, Wei(900)), None, None),
    "Lost": (provider.Lost(WORK, "", Wei(0)), None, None),
}


def grace_of(_: Address) -> int:
    return GRACE_S


def stored(state: Any, key: str = "d") -> Stored:
    side = Side.REQUESTER if isinstance(state, requester.Job) else Side.PROVIDER
    return Stored(key, side, state, 0.0, 0.0)


def test_every_phase_of_a_provider_is_judged() -> None:
    assert {type(deal) for deal, _, _ in LATEST.values()} == set(provider.PHASES)


@pytest.mark.parametrize("name", LATEST)
def test_latest_ends(name: str) -> None:
    deal, money_at, safe_at = LATEST[name]
    seen = outlook([stored(deal)], grace_of, NOW)
    assert (seen.money_at, seen.safe_at, seen.is_safe) == (money_at, safe_at, safe_at is None)


def test_the_last_deal_decides() -> None:
    seen = outlook([stored(deal) for deal, _, _ in LATEST.values()], grace_of, NOW)
    assert seen.safe_at == WINDOW_END + LONGEST_DISPUTE_S + RETENTION_S
    assert (seen.working, seen.in_window, seen.ending, seen.kept) == (4, 3, 4, 1)


def test_own_jobs_do_not_hold_the_node_up_but_say_when_to_be_back() -> None:
    bidding = requester.submit(submitted()).job
    awarding = requester.step(bidding, chosen(), GRACE_S).job
    committed = requester.step(awarding, COMMITTED, GRACE_S).job
    assert isinstance(committed, requester.Committed)
    seen = outlook([stored(bidding), stored(awarding), stored(committed)], grace_of, NOW)
    assert (seen.own_jobs, seen.is_safe) == (3, True)
    assert seen.back_by == NOW + WINDOW_S + RETENTION_S
    assert outlook([stored(bidding)], grace_of, NOW).back_by is None


# ---- the switch -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(path: Path, now: Callable[[], float] = lambda: 1000.0) -> AsyncGenerator[Drain]:
    async with open_database(path, [SCHEMA]) as database:
        yield await open_drain(database, now)


async def test_it_survives_a_restart_until_it_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    async with opened(path) as drain:
        assert not drain.is_on
        await drain.begin()
    async with opened(path, lambda: 2000.0) as drain:
        assert drain.since == 1000.0
        await drain.begin()
        assert drain.since == 1000.0
        await drain.end()
    async with opened(path) as drain:
        assert not drain.is_on


class Books:
    """An agent and a journal, as far as a forecast asks them."""

    def __init__(self) -> None:
        self.deals: list[Stored] = []
        self.accepted: set[str] = set()
        self.reads = 0

    def open_deals(self) -> tuple[Stored, ...]:
        return tuple(self.deals)

    async def history(self, key: str) -> tuple[Happened, ...]:
        self.reads += 1
        return (Happened(0.0, AcceptReceived(b"\x09" * 65)),) if key in self.accepted else ()


def forecast_of(books: Any) -> Forecast:
    return Forecast(books, books, grace_of, lambda: NOW)


async def test_a_result_that_was_accepted_holds_nobody_up() -> None:
    books = Books()
    books.deals = [stored(LATEST["Retaining"][0], key) for key in ("one", "two")]
    books.accepted = {"one"}
    forecast = forecast_of(books)
    for _ in range(3):
        seen = await forecast.outlook()
        assert (seen.kept, seen.is_safe) == (1, False)
    assert books.reads == 2, "what was looked up once is known"
    books.accepted = {"one", "two"}
    assert (await forecast_of(books).outlook()).is_safe


async def test_the_operator_is_told_once_that_it_is_safe(tmp_path: Path, autojump_clock: MockClock) -> None:
    books, alerts = Books(), Alerts(AlertSettings())
    books.deals = [stored(LATEST["Committed"][0])]
    async with opened(tmp_path / "node.db", trio.current_time) as drain, trio.open_nursery() as nursery:
        nursery.start_soon(run_drain, drain, forecast_of(books), alerts)
        await trio.sleep(100)
        await drain.begin()
        await trio.sleep(100)
        assert alerts.recent() == ()
        books.deals = []
        await trio.sleep(100)
        assert [alert.kind for alert in alerts.recent()] == ["drained"]
        await drain.end()
        await trio.sleep(100)
        await drain.begin()
        await trio.sleep(100)
        assert len(alerts.recent()) == 2
        nursery.cancel_scope.cancel()


async def test_who_waits_hears_of_each_change_and_of_the_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    books, seen = Books(), list[Any]()
    books.deals = [stored(LATEST["Executing"][0])]
    async with opened(tmp_path / "node.db") as drain, trio.open_nursery() as nursery:
        clock = ChainClock(lambda: float(NOW))
        service = Service(drain, forecast_of(books), clock, Alerts(AlertSettings()))
        await service.drain(True)
        with pytest.raises(Refused, match="drain --off"):
            service.require_open()

        async def watch() -> None:
            seen.extend([view async for view in service.until_drained()])

        nursery.start_soon(watch)
        await trio.sleep(60)
        books.deals = [stored(replace(LATEST["Committed"][0]))]
        await trio.sleep(60)
        books.deals = []
    assert [(view["working"], view["in_window"], view["is_safe"]) for view in seen] == [
        (1, 0, False),
        (0, 1, False),
        (0, 0, True),
    ]


async def test_block_times_are_told_in_this_machines_time(tmp_path: Path) -> None:
    books = Books()
    books.deals = [stored(LATEST["Retaining"][0])]
    async with opened(tmp_path / "node.db") as drain:
        clock = ChainClock()
        clock.saw_head(UnixTime(NOW))
        view = await Service(drain, forecast_of(books), clock, Alerts(AlertSettings())).drain_json()
    ahead = LATEST["Retaining"][2]
    assert ahead is not None
    assert view["safe_at"] - time.time() == pytest.approx(ahead - NOW, abs=5)
