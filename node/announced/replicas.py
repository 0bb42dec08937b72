"""Replicated jobs: several deals for one job, bought one after the other, and the result of their majority.

A group's row holds what was ordered and what was decided. What is to be done next follows from that and from the
replicas in the journal (`capanode.protocol.replicas.due`), each time anything has changed, so there is no step whose
loss could matter. A replica's key is its group's with its number: bought again after a crash, it is there already.
"""

import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from capanode.node.agent import Agent
from capanode.node.announced.ballot import counted
from capanode.node.announced.submission import Submission, TakenIn
from capanode.node.errands import FIRST_RETRY_S, LAST_RETRY_S
from capanode.node.journal import Journal, Stored
from capanode.node.storage.database import Database, Schema
from capanode.node.storage.integrity import damaged
from capanode.protocol import encoding, replicas, requester
from capanode.protocol.events import AcceptRequested, CancelRequested, JobSubmitted, RequesterEvent
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address
from capanode.protocol.records import Demand
from capanode.protocol.replicas import (
    Accept,
    Act,
    Buy,
    Close,
    Compare,
    Group,
    GroupEvent,
    Plan,
    ReplicasCompared,
    ReplicasTold,
    Withdraw,
)

SCHEMA: Final = Schema(
    "replicas",
    (
        """
        CREATE TABLE replica_group (
            key TEXT PRIMARY KEY, market BLOB NOT NULL, is_tended INTEGER NOT NULL, state BLOB NOT NULL,
            created_at REAL NOT NULL, decided_at REAL NOT NULL
        );
        CREATE INDEX replica_group_tended ON replica_group (key) WHERE is_tended;
        """,
    ),
)

LOOK_S: Final = 0.5
"""How often a node that has just been started looks whether it has heard of enough providers."""

_REPLICA: Final = re.compile(r"([0-9a-f]{16})-([1-9])")

Providers = Callable[[Demand, Address], frozenset[Address]]
"""The wallets that are known to be able to do a demand in a market, and that may be awarded it."""

Tell = Callable[[str, Mapping[str, str | int]], None]
"""Tells the operator of a result that is not the majority's: a sentence, and its figures."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """A group as the node's file holds it; times are Unix seconds.

    `decided_at` is when its results were compared, or its user wanted it back.
    """

    key: str
    market: Address
    group: Group
    created_at: float
    decided_at: float

    @property
    def name(self) -> str:
        """What its user calls it."""
        return self.group.plan.job.name


def replica_key(group: str, number: int) -> str:
    """The key of a replica among the node's jobs."""
    return f"{group}-{number}"


def group_of(key: str) -> str | None:
    """The key of the group that a job belongs to by its key; None for a job of its own."""
    found = _REPLICA.fullmatch(key)
    return found[1] if found else None


class Replicas:
    """The groups of one requester; create it, then `run` it."""

    def __init__(
        self,
        database: Database,
        agent: Agent,
        submission: Submission,
        providers: Providers,
        is_settled: Callable[[], bool],
        tell: Tell,
        now: Callable[[], float],
    ) -> None:
        """`is_settled` says whether all providers near have had the time to be heard of."""
        self._database = database
        self._journal = Journal(database)
        self._agent = agent
        self._submission = submission
        self._providers = providers
        self._is_settled = is_settled
        self._tell = tell
        self._now = now
        self._compared: dict[str, tuple[int, ...]] = {}
        self.moved = trio.Event()
        """Set, and replaced by a new one, whenever a group or one of its replicas has changed."""

    # ---- what the rest of the node may ask ---------------------------------------------------------------

    async def begin(self, job: TakenIn) -> str:
        """Take a replicated job; durable when this returns its key.

        Raises:
            Refused: too few different providers are known that could do it, after all had the time to be heard of.
        """
        await self._find_providers(job)
        key, at = secrets.token_hex(8), self._now()
        kept = Kept(key, job.market, replicas.Gathering(Plan(job.replicas, job.event)), at, at)
        await self._database.write("replicas.begin", partial(_put, kept=kept))
        self._move()
        return key

    async def all(self, limit: int) -> tuple[Kept, ...]:
        """The newest groups, ended ones included."""
        return await self._database.read(partial(_newest, limit=limit))

    async def find(self, key: str) -> Kept | None:
        """One group by its whole key."""
        return await self._database.read(partial(_one, key=key))

    async def of(self, kept: Kept) -> tuple[Stored, ...]:
        """Its replicas so far, in the order of their numbers."""
        found: list[Stored] = []
        while (stored := await self._replica(replica_key(kept.key, len(found) + 1))) is not None:
            found.append(stored)
        return tuple(found)

    async def why_not_cancel(self, kept: Kept) -> str:
        """Why it cannot be cancelled any more; empty when it can."""
        return replicas.why_not_cancel(kept.group, _jobs(await self.of(kept)))

    async def hear(self, key: str, event: AcceptRequested | CancelRequested) -> None:
        """Tell a group what its user wants; durable when this returns."""
        await self._step(key, event)

    async def _find_providers(self, job: TakenIn) -> None:
        """Wait for as many as are needed; a node that was started a moment ago has heard of nobody yet."""
        while (known := len(self._providers(job.event.demand, job.market))) < job.replicas:
            if not self._is_settled():
                await trio.sleep(LOOK_S)
                continue
            raise Refused(
                f"{job.replicas} different providers are to do the job, and {known} are known that could: wait until "
                "more are heard of, state fewer replicas, or ask for less (`capanode job quote`)"
            )

    # ---- the loop ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Do what is due until cancelled; a disk that does not take it is waited for."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            pause = FIRST_RETRY_S
            while True:
                moved = self.moved
                try:
                    await self._tend()
                except Unavailable as fault:
                    log.error("replicas-wait", reason=str(fault), retry_s=pause)
                    await trio.sleep(pause)
                    pause = min(pause * 2, LAST_RETRY_S)
                    continue
                pause = FIRST_RETRY_S
                await moved.wait()

    async def _listen(self) -> None:
        while True:
            async with self._agent.watching() as changes:
                self._move()
                async for stored in changes:
                    if group_of(stored.key) is not None:
                        self._move()

    async def _tend(self) -> None:
        for kept in await self._database.read(_tended):
            while (act := await self._due(kept.key)) is not None and await self._done(kept, act):
                pass

    async def _due(self, key: str) -> Act | None:
        kept = await self.find(key)
        return None if kept is None else replicas.due(kept.group, _jobs(await self.of(kept)))

    async def _done(self, kept: Kept, act: Act) -> bool:
        """Whether the act is done, so that another one may be due at once."""
        match act:
            case Buy():
                await self._agent.submit_job(replica_key(kept.key, act.number), self._order(kept, act), kept.market)
                return True
            case Compare():
                return await self._compare(kept, act)
            case Accept():
                await self._tell_all(kept, act.numbers, AcceptRequested())
                return await self._step(kept.key, ReplicasTold())
            case Withdraw():
                await self._tell_all(kept, act.numbers, CancelRequested())
                return True
            case Close():
                return await self._step(kept.key, ReplicasTold())

    def _order(self, kept: Kept, act: Buy) -> JobSubmitted:
        """The job as one replica: a demand of its own, one attempt, and accepted by nobody but its group."""
        job = kept.group.plan.job
        demand = self._submission.renew(job, kept.market)
        return replace(
            job,
            name=f"{job.name}-{act.number}",
            demand=demand.demand,
            announcement=demand.announcement,
            attempts=1,
            auto_accept=False,
            avoid=act.avoid,
        )

    async def _compare(self, kept: Kept, act: Compare) -> bool:
        if self._compared.get(kept.key) == act.numbers and not act.is_last:
            return False
        jobs = dict(enumerate(_jobs(await self.of(kept)), 1))
        verdict = await counted(act, jobs, kept.group.plan.job.spec)
        if verdict is None and not act.is_last:
            self._compared[kept.key] = act.numbers
            return False
        self._compared.pop(kept.key, None)
        decided = await self._step(kept.key, ReplicasCompared(act.numbers, verdict))
        for odd in verdict.odd if decided and verdict is not None else ():
            self._tell_odd(kept, odd, jobs[odd.number])
        return decided

    def _tell_odd(self, kept: Kept, odd: replicas.Odd, job: requester.Job) -> None:
        provider = replicas.provider_of(job) or b""
        sentence = (
            f"The result of {kept.name} by the provider 0x{provider.hex()} is not that of the majority ({odd.reason}): "
            "no court judges it, so it is paid after its window; name the provider in requester.avoid to buy elsewhere."
        )
        self._tell(sentence, {"job": replica_key(kept.key, odd.number), "provider": f"0x{provider.hex()}"})

    async def _tell_all(self, kept: Kept, numbers: Sequence[int], event: RequesterEvent) -> None:
        for number in numbers:
            await self._agent.tell(replica_key(kept.key, number), event)

    async def _step(self, key: str, event: GroupEvent) -> bool:
        """Apply an event to a group as it is now; whether it has changed it."""
        changed = await self._database.write("replicas.step", partial(_stepped, key=key, event=event, at=self._now()))
        if changed:
            self._move()
        return changed

    async def _replica(self, key: str) -> Stored | None:
        return self._agent.find(key) or await self._journal.find(key)

    def _move(self) -> None:
        self.moved.set()
        self.moved = trio.Event()


def _jobs(stored: Sequence[Stored]) -> list[requester.Job]:
    return [one.state for one in stored if isinstance(one.state, requester.Job)]


_COLUMNS: Final = "key, market, state, created_at, decided_at"


def _put(connection: sqlite3.Connection, kept: Kept) -> None:
    connection.execute(
        "INSERT INTO replica_group (key, market, is_tended, state, created_at, decided_at) VALUES (?,?,?,?,?,?)"
        " ON CONFLICT (key) DO UPDATE SET"
        " is_tended = excluded.is_tended, state = excluded.state, decided_at = excluded.decided_at",
        (
            kept.key,
            kept.market,
            isinstance(kept.group, replicas.Tended),
            encoding.encode(kept.group),
            kept.created_at,
            kept.decided_at,
        ),
    )


def _stepped(connection: sqlite3.Connection, key: str, event: GroupEvent, at: float) -> bool:
    kept = _one(connection, key)
    after = replicas.step(kept.group, event) if kept is not None else None
    if kept is None or after is None or after == kept.group:
        return False
    is_decision = isinstance(event, CancelRequested | ReplicasCompared)
    _put(connection, replace(kept, group=after, decided_at=at if is_decision else kept.decided_at))
    return True


def _one(connection: sqlite3.Connection, key: str) -> Kept | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM replica_group WHERE key = ?", (key,)).fetchone()
    return _kept(row) if row else None


def _newest(connection: sqlite3.Connection, limit: int) -> tuple[Kept, ...]:
    query = f"SELECT {_COLUMNS} FROM replica_group ORDER BY created_at DESC LIMIT ?"
    return tuple(map(_kept, connection.execute(query, (limit,)).fetchall()))


def _tended(connection: sqlite3.Connection) -> tuple[Kept, ...]:
    query = f"SELECT {_COLUMNS} FROM replica_group WHERE is_tended ORDER BY created_at"
    return tuple(map(_kept, connection.execute(query).fetchall()))


def _kept(row: tuple[str, bytes, bytes, float, float]) -> Kept:
    key, market, data, created_at, decided_at = row
    try:
        group = encoding.decode_one_of(replicas.PHASES, data)
    except encoding.BadMessage as error:
        raise damaged(Path("node.db"), f"a record cannot be read: {error}") from error
    return Kept(key, Address(market), group, created_at, decided_at)
