"""The requester's coin falls the same way whenever it is looked at, and what it draws is recomputed."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from capanode.node.chain.clock import ChainClock
from capanode.node.challenged.audits import SCHEMA, Audits
from capanode.node.challenged.evidence import ResultMissing
from capanode.node.executors.port import RunRequest
from capanode.node.storage.cid import cid_of
from capanode.node.storage.database import open_database
from capanode.protocol import requester
from capanode.protocol.auditing import audited_step, is_drawn
from capanode.protocol.commands import SendAccept
from capanode.protocol.events import (
    AcceptRequested,
    AuditEnded,
    AuditFinding,
    DealCommitted,
    ResultDrawn,
    ResultFetched,
)
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import ZERO_ADDRESS, CaseId, DealId, Digest, PeerId, Ppm, UnixTime
from capanode.protocol.records import Spec, VerificationClass
from tests.challenged.committed import RULES, WINDOW_ENDS_AT, committed, play
from tests.challenged.test_checking import Desk, another, checking, sleeps
from tests.fakes.fake_executor import Played
from tests.node.market_place import HARDWARE
from tests.protocol import deals
from tests.protocol.deals import NOW, SPEC

FETCHED = ResultFetched("/results/1", b"receipt")
ALWAYS, NEVER = Ppm(1_000_000), Ppm(0)


def committed_job(trace_root: Digest, rate_ppm: Ppm = ALWAYS, spec: Spec = SPEC) -> requester.Committed:
    """A job whose provider has committed to this trace."""
    submitted = replace(deals.submitted(), spec=spec)
    job = requester.submit(replace(submitted, demand=replace(submitted.demand, audit_rate_ppm=rate_ppm))).job
    assert isinstance(job, requester.Bidding)
    logged: DealCommitted = replace(deals.COMMITTED, trace_root=trace_root, window_ends_at=WINDOW_ENDS_AT)
    return requester.Committed(
        job.order, requester.Deal(deals.DEAL, deals.terms(), PeerId("provider"), ZERO_ADDRESS), logged
    )


@asynccontextmanager
async def audits(
    folder: Path, desk: Desk, *, is_on: bool = True, now: int = NOW, accepts_unclear: bool = False
) -> AsyncGenerator[Audits]:
    async with open_database(folder / "audits.sqlite", [SCHEMA]) as database:
        clock = ChainClock(lambda: float(now))
        yield Audits(database, desk.checker, clock, is_on=is_on, accepts_unclear=accepts_unclear)


def test_as_many_are_drawn_as_the_rate_says(dice: random.Random) -> None:
    secret = dice.randbytes(32)
    drawn = sum(is_drawn(secret, DealId(dice.randbytes(32)), Digest(bytes(32)), Ppm(200_000)) for _ in range(5000))
    assert 850 < drawn < 1150
    assert is_drawn(secret, DealId(bytes(32)), Digest(bytes(32)), ALWAYS)
    assert not is_drawn(secret, DealId(bytes(32)), Digest(bytes(32)), NEVER)


def test_without_the_secret_nothing_is_foreseen(dice: random.Random) -> None:
    deal, root, rate = DealId(dice.randbytes(32)), Digest(dice.randbytes(32)), Ppm(500_000)
    assert len({is_drawn(dice.randbytes(32), deal, root, rate) for _ in range(64)}) == 2
    secret = dice.randbytes(32)
    assert len({is_drawn(secret, deal, Digest(dice.randbytes(32)), rate) for _ in range(64)}) == 2


def test_the_courts_lot_falls_on_as_many_as_the_rate_says_and_on_every_step_alike(dice: random.Random) -> None:
    case, steps = CaseId(dice.randbytes(32)), range(5, 9)
    drawn = [audited_step(case, Digest(dice.randbytes(32)), Ppm(200_000), 5, 4) for _ in range(2000)]
    fallen = [step for step in drawn if step is not None]
    assert 300 < len(fallen) < 500
    assert set(fallen) == set(steps)
    assert all(audited_step(case, Digest(dice.randbytes(32)), ALWAYS, 0, 1) == 0 for _ in range(8))


async def test_the_coin_falls_the_same_way_after_a_restart(tmp_path: Path, dice: random.Random) -> None:
    jobs = [committed_job(Digest(dice.randbytes(32)), Ppm(500_000)) for _ in range(32)]
    async with checking(tmp_path) as desk:
        fallen: list[list[bool]] = []
        for _ in range(2):
            async with audits(tmp_path, desk) as coin:
                fallen.append([isinstance(await coin.drawn(job, FETCHED), ResultDrawn) for job in jobs])
    assert fallen[0] == fallen[1]
    assert set(fallen[0]) == {True, False}


async def test_nothing_is_drawn_where_nothing_can_be_judged(tmp_path: Path) -> None:
    root = Digest(b"\x55" * 32)
    async with checking(tmp_path) as desk:
        async with audits(tmp_path, desk) as coin:
            assert await coin.drawn(committed_job(root), FETCHED) == ResultDrawn("/results/1", b"receipt")
            assert await coin.drawn(committed_job(root, NEVER), FETCHED) == FETCHED
            open_job = replace(SPEC, verification=VerificationClass.NONE)
            assert await coin.drawn(committed_job(root, spec=open_job), FETCHED) == FETCHED
        async with audits(tmp_path, desk, is_on=False) as coin:
            assert await coin.drawn(committed_job(root), FETCHED) == FETCHED


def auditing(desk: Desk) -> requester.Auditing:
    job = committed_job(Digest(b"\x55" * 32))
    deal = replace(job.deal, deal_id=desk.deal.deal)
    return requester.Auditing(job.order, deal, job.commitment, "/results/1", b"receipt")


@pytest.mark.parametrize(
    ("rerun", "finding", "reason"),
    [(play, AuditFinding.HOLDS, ""), (another, AuditFinding.DIFFERS, "'counts.csv': its bytes are not the same")],
)
async def test_what_was_drawn_is_recomputed(
    tmp_path: Path, rerun: Callable[[RunRequest], Awaitable[Played]], finding: AuditFinding, reason: str
) -> None:
    async with checking(tmp_path, rerun) as desk, audits(tmp_path, desk) as coin:
        ended = await coin.audit(auditing(desk))
        assert (ended.finding, ended.step) == (finding, 0)
        assert ended.reason.startswith(reason)


async def test_a_machine_that_may_not_judge_says_so(tmp_path: Path) -> None:
    deal = committed(tmp_path, rules=RULES, hardware_class=HARDWARE)
    async with checking(tmp_path, hardware="x86_64-v2", deal_of=deal) as desk, audits(tmp_path, desk) as coin:
        ended = await coin.audit(auditing(desk))
        assert ended.finding is AuditFinding.UNCLEAR
        assert "x86_64-v2" in ended.reason


async def test_an_engine_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async with checking(tmp_path) as desk, audits(tmp_path, desk) as coin:
        desk.executor.engine_up = False
        with pytest.raises(Unavailable):
            await coin.audit(auditing(desk))
        desk.executor.engine_up = True
        assert (await coin.audit(auditing(desk))).finding is AuditFinding.HOLDS


@pytest.mark.parametrize(("left_s", "is_told"), [(31, False), (30, True)])
async def test_bytes_that_are_away_are_waited_for_until_half_of_the_window_is_over(
    tmp_path: Path, left_s: int, is_told: bool
) -> None:
    now = UnixTime(WINDOW_ENDS_AT - left_s)
    async with checking(tmp_path) as desk, audits(tmp_path, desk, now=now) as coin:
        desk.deal.lie(lambda told: replace(told, manifest=cid_of(b"what nobody has")))
        job = auditing(desk)
        job = replace(job, commitment=replace(job.commitment, at=UnixTime(WINDOW_ENDS_AT - 60)))
        if is_told:
            ended = await coin.audit(job)
            assert (ended.finding, ended.step) == (AuditFinding.DIFFERS, 0)
        else:
            with pytest.raises(ResultMissing):
                await coin.audit(job)


async def test_an_audit_ends_with_the_window(tmp_path: Path) -> None:
    async with checking(tmp_path, sleeps) as desk, audits(tmp_path, desk, now=UnixTime(WINDOW_ENDS_AT)) as coin:
        assert (await coin.audit(auditing(desk))).finding is AuditFinding.UNCLEAR


async def test_what_is_unclear_is_waived_where_the_operator_says_so(tmp_path: Path) -> None:
    over = UnixTime(WINDOW_ENDS_AT)
    async with checking(tmp_path) as desk, audits(tmp_path, desk, now=over, accepts_unclear=True) as coin:
        assert (await coin.audit(auditing(desk))).finding is AuditFinding.WAIVED


@pytest.mark.parametrize(
    ("finding", "is_accepted"),
    [(AuditFinding.HOLDS, True), (AuditFinding.WAIVED, True), (AuditFinding.UNCLEAR, False)],
)
def test_nothing_unclear_is_accepted_unasked(finding: AuditFinding, is_accepted: bool) -> None:
    job = committed_job(Digest(b"\x55" * 32))
    order = replace(job.order, auto_accept=True)
    state = requester.Auditing(order, job.deal, job.commitment, "/results/1", b"receipt")
    step = requester.step(state, AuditEnded(finding, 0, "why"), 0)
    assert isinstance(step.job, requester.Delivered)
    assert (SendAccept() in step.commands) == is_accepted
    asked = requester.step(step.job, AcceptRequested(), 0)
    assert SendAccept() in asked.commands, "its user may"
