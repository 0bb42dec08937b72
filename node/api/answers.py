"""The node's answers to its own user: `capanode.node.api.port.NodeApi` over the journal and the parts."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import trio

import capanode
from capanode.node.agent import Agent
from capanode.node.announced.offers import OfferBook
from capanode.node.announced.replicas import Kept, Replicas, group_of
from capanode.node.announced.submission import Submission, TakenIn
from capanode.node.api.checks import Checks, chosen_by, deal_id_of
from capanode.node.api.disputes import DisputeDesk
from capanode.node.api.job_view import job_view, phase_of
from capanode.node.api.port import DealView, JobOrder, JobView, Json, TimelineEntry
from capanode.node.api.replicated import ReplicatedJobs
from capanode.node.api.service import Service
from capanode.node.api.story import entry_of
from capanode.node.bid.bidding import Bidding
from capanode.node.chain.approvals import code_hash_of
from capanode.node.chain.endpoint import EndpointHealth
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.markets import Markets, MarketVersion, Waiting
from capanode.node.chain.upgrades import Upgrades
from capanode.node.chain.wire import hexadecimal
from capanode.node.committed.delivery import Collector
from capanode.node.journal import Journal, Side, Stored
from capanode.node.p2p.port import Network
from capanode.node.paid.purse import Purse
from capanode.node.storage.room import Room
from capanode.protocol import provider, requester
from capanode.protocol.events import AcceptRequested, CancelRequested
from capanode.protocol.faults import Refused
from capanode.protocol.ids import DealId
from capanode.protocol.records import Mode
from capanode.scheduler.capacity import Capacity

MAX_LISTED: Final = 1000
"""Newest jobs and deals that a list shows."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while the node runs."""

    network: str
    chain_id: int
    roles: tuple[str, ...]
    results: Path
    max_open_jobs: int


class Answers:
    """Implements `NodeApi`. Parts of a role that the node lacks are None."""

    def __init__(
        self,
        facts: Facts,
        agent: Agent,
        journal: Journal,
        network: Network,
        head: HeadWatch,
        purse: Purse,
        *,
        markets: Markets,
        upgrades: Upgrades,
        offers: OfferBook,
        submission: Submission | None,
        collector: Collector | None,
        bidding: Bidding | None,
        stop: Callable[[float], None],
        capacity: Callable[[], Capacity] | None,
        service: Service,
        replicas: Replicas | None = None,
        checks: Checks,
        disputes: DisputeDesk,
        notice: Callable[[Stored], str] = lambda _: "",
        objection: Callable[[], str] = lambda: "",
        room: Room | None = None,
        endpoints: Callable[[], tuple[EndpointHealth, ...]] = tuple,
    ) -> None:
        self._facts = facts
        self._stop = stop
        self._agent = agent
        self._journal = journal
        self._network = network
        self._head = head
        self._purse = purse
        self._markets = markets
        self._upgrades = upgrades
        self._offers = offers
        self._submission = submission
        self._collector = collector
        self._bidding = bidding
        self._capacity = capacity
        self._service = service
        self._replicated = ReplicatedJobs(replicas, self._replica_view) if replicas else None
        self._checks = checks
        self._disputes = disputes
        self._notice = notice
        self._objection = objection
        self._room = room
        self._endpoints = endpoints
        self.callers = 0

    async def status(self) -> Json:
        """As `NodeApi.status`."""
        head = self._head.head
        open_deals = self._agent.open_deals()
        return {
            "node_id": self._network.peer_id,
            "version": capanode.__version__,
            "roles": list(self._facts.roles),
            "network": self._facts.network,
            "peer_id": self._network.peer_id,
            "addresses": list(self._network.addresses()),
            "peers": len(self._network.peers()),
            "offers": len(self._offers.current()),
            "chain": {
                "chain_id": self._facts.chain_id,
                "head": head.block.number if head else None,
                "head_at": head.block.time if head else None,
                "endpoints": [asdict(health) for health in self._endpoints()],
            },
            "wallet": await self._purse.show(),
            "capacity": _capacity_json(self._capacity()) if self._capacity else None,
            "objection": self._objection(),
            "jobs": sum(stored.side is Side.REQUESTER for stored in open_deals),
            "deals": sum(stored.side is Side.PROVIDER for stored in open_deals),
            "is_disputable": self._markets.newest().is_disputable,
            "market": _market_json(self._markets.newest()),
            "upgrades": [_waiting_json(entry) for entry in self._markets.waiting],
            **await self._service.show(),
        }

    async def submit(self, order: JobOrder) -> AsyncIterator[Json]:
        """As `NodeApi.submit`."""
        submission = self._buying()
        self._service.require_open()
        if self._room is not None and (objection := self._room.objection()):
            raise Refused(objection)
        self._require_room(1)
        async for item in submission.take_in(order):
            if isinstance(item, TakenIn):
                if not item.judged.is_known:
                    yield {"progress": {"doing": "telling the court who judges", "done_bytes": 0, "total_bytes": 0}}
                    await submission.make_known(item)
                if item.replicas > 1:
                    yield {"progress": {"doing": "looking for enough providers", "done_bytes": 0, "total_bytes": 0}}
                yield {"job": await self._taken(item)}
            else:
                yield item

    async def _taken(self, job: TakenIn) -> JobView:
        if job.replicas > 1:
            self._require_room(job.replicas)
            return await self._of_groups().begin(job)
        key = secrets.token_hex(8)
        await self._agent.submit_job(key, job.event, job.market)
        return await self.job(key)

    def _require_room(self, jobs: int) -> None:
        is_open = sum(stored.side is Side.REQUESTER for stored in self._agent.open_deals())
        if is_open + jobs > self._facts.max_open_jobs:
            raise Refused(f"{is_open} of {self._facts.max_open_jobs} jobs are open: wait until some have ended")

    async def quote(self, order: JobOrder) -> Json:
        """As `NodeApi.quote`."""
        async for item in self._buying().take_in(order):
            if isinstance(item, TakenIn):
                fitting = self._offers.fitting(item.event.demand, item.market)
                return {**self._buying().quote(item), "offers_fitting": len(fitting)}
        raise Refused("the job file describes no job")

    async def jobs(self) -> tuple[JobView, ...]:
        """As `NodeApi.jobs`."""
        listed = await self._journal.deals(Side.REQUESTER, MAX_LISTED)
        single = tuple(
            self._job_view(stored, stored.state, ())
            for stored in listed
            if isinstance(stored.state, requester.Job) and group_of(stored.key) is None
        )
        return (*single, *(await self._replicated.views(MAX_LISTED) if self._replicated else ()))

    async def job(self, job_id: str) -> JobView:
        """As `NodeApi.job`."""
        found = await self._find(job_id)
        return await (self._of_groups().view(found) if isinstance(found, Kept) else self._view(found))

    async def watch(self, job_id: str) -> AsyncIterator[Json]:
        """As `NodeApi.watch`."""
        self.callers += 1
        try:
            found = await self._find(job_id)
            watched = self._of_groups().watch(found) if isinstance(found, Kept) else self._watch(found.key)
            async with aclosing(watched) as items:
                async for item in items:
                    yield item
        finally:
            self.callers -= 1

    async def _watch(self, key: str) -> AsyncGenerator[Json]:
        is_over = False
        while not is_over:
            # Once more from the start when this watcher was too slow for its channel.
            async with self._agent.watching() as changes:
                stored = await self._find_single(key)
                yield {"job": await self._view(stored)}
                is_over = stored.ended
                while not is_over:
                    try:
                        changed = await changes.receive()
                    except trio.EndOfChannel:
                        break
                    if changed.key == key:
                        yield {"job": await self._view(changed)}
                        is_over = changed.ended

    async def logs(self, job_id: str, tail_bytes: int) -> bytes:
        """As `NodeApi.logs`."""
        stored = await self._find_single(job_id)
        kept = self._facts.results / stored.key / "log.txt"
        if await trio.Path(kept).exists():
            return (await trio.Path(kept).read_bytes())[-tail_bytes:] if tail_bytes > 0 else b""
        match stored.state:
            case (
                requester.Running()
                | requester.Expiring()
                | requester.Committed()
                | requester.Withheld()
                | requester.Challenged()
                | requester.Paid()
            ) if self._collector:
                return await self._collector.logs(stored.state.deal, tail_bytes)
            case _:
                raise Refused("the job does not run yet, so there is no log")

    async def accept(self, job_id: str) -> JobView:
        """As `NodeApi.accept`."""
        stored = await self._find(job_id)
        if isinstance(stored, Kept):
            return await self._of_groups().accept(stored)
        if not isinstance(stored.state, requester.Auditing | requester.Faulty | requester.Delivered):
            raise Refused(f"there is nothing to accept: the job is {phase_of(stored)}")
        await self._agent.tell(stored.key, AcceptRequested())
        return await self.job(stored.key)

    async def cancel(self, job_id: str) -> JobView:
        """As `NodeApi.cancel`."""
        stored = await self._find(job_id)
        if isinstance(stored, Kept):
            return await self._of_groups().cancel(stored)
        if group := group_of(stored.key):
            raise Refused(f"it is one replica of a job: cancel that one, {group[:8]}")
        assert isinstance(stored.state, requester.Job)
        if why := requester.why_not_cancel(stored.state):
            raise Refused(f"the job cannot be cancelled: {why}")
        await self._agent.tell(stored.key, CancelRequested())
        return await self.job(stored.key)

    async def deals(self) -> tuple[DealView, ...]:
        """As `NodeApi.deals`."""
        return tuple(map(_deal_view, await self._journal.deals(Side.PROVIDER, MAX_LISTED)))

    async def check(self, deal: str, step: int | None, sample: int | None) -> AsyncIterator[Json]:
        """As `NodeApi.check`."""
        choose, deal_id = chosen_by(step, sample), deal_id_of(deal) or await self._deal_of_job(deal)
        self.callers += 1
        try:
            async for item in self._checks.check(deal_id, choose):
                yield item
        finally:
            self.callers -= 1

    async def dispute(self, verb: str, arguments: Json) -> Json:
        """As `NodeApi.dispute`."""
        return await self._disputes.call(verb, arguments)

    async def watch_results(self, arguments: Json) -> AsyncIterator[Json]:
        """As `NodeApi.watch_results`."""
        self.callers += 1
        try:
            async with aclosing(self._disputes.watch(arguments)) as items:
                async for item in items:
                    yield item
        finally:
            self.callers -= 1

    async def wallet(self) -> Json:
        """As `NodeApi.wallet`."""
        return await self._purse.show()

    async def wallet_call(self, verb: str, arguments: Json) -> Json:
        """As `NodeApi.wallet_call`."""
        return await self._purse.call(verb, arguments)

    async def upgrades(self) -> Json:
        """As `NodeApi.upgrades`."""
        return {
            "markets": [_market_json(version) for version in self._markets.adopted()],
            "waiting": [_waiting_json(entry) for entry in self._markets.waiting],
        }

    async def approve(self, code_hash: str) -> Json:
        """As `NodeApi.approve`."""
        await self._upgrades.approve(code_hash_of(code_hash))
        return await self.upgrades()

    async def drain(self, on: bool) -> Json:
        """As `NodeApi.drain`."""
        await self._service.drain(on)
        if self._bidding is not None:
            self._bidding.is_draining = on
        return await self._service.drain_json()

    async def drained(self) -> AsyncIterator[Json]:
        """As `NodeApi.drained`."""
        self.callers += 1
        try:
            async for view in self._service.until_drained():
                yield view
        finally:
            self.callers -= 1

    async def snapshot(self, path: str) -> None:
        """As `NodeApi.snapshot`."""
        await self._journal.copy_to(Path(path))

    async def stop(self, within_s: float) -> None:
        """As `NodeApi.stop`."""
        self._stop(within_s)

    def _buying(self) -> Submission:
        if self._submission is None:
            raise Refused("this node is a provider only: add the role requester to its config")
        return self._submission

    def _of_groups(self) -> ReplicatedJobs:
        if self._replicated is None:
            raise Refused("this node is a provider only: add the role requester to its config")
        return self._replicated

    async def _find_single(self, job_id: str) -> Stored:
        """One deal; of a replicated job the one whose result counts, or the first as long as none does."""
        found = await self._find(job_id)
        return await self._of_groups().example(found) if isinstance(found, Kept) else found

    async def _find(self, job_id: str) -> Stored | Kept:
        exact = await self._journal.find(job_id)
        if exact is not None and exact.side is Side.REQUESTER:
            return exact
        groups = await self._replicated.find(job_id, MAX_LISTED) if self._replicated else ()
        listed = await self._journal.deals(Side.REQUESTER, MAX_LISTED)
        found: list[Stored | Kept] = [*groups, *(stored for stored in listed if _is_meant(stored, job_id))]
        if len(found) == 1:
            return found[0]
        if not found:
            raise Refused(f"there is no job {job_id[:80]!r}: `capanode job list` shows them")
        raise Refused(f"{job_id[:80]!r} fits {len(found)} jobs: give more of the id")

    async def _deal_of_job(self, job_id: str) -> DealId:
        stored = await self._find_single(job_id)
        if stored.deal_id is None:
            raise Refused(f"the job {_name(stored)} has no deal yet: {phase_of(stored)}")
        return stored.deal_id

    async def _view(self, stored: Stored) -> JobView:
        assert isinstance(stored.state, requester.Job)
        history = await self._journal.history(stored.key)
        timeline = tuple(TimelineEntry(happened.at, *entry_of(happened)) for happened in history)
        return self._job_view(stored, stored.state, timeline)

    async def _replica_view(self, stored: Stored, with_timeline: bool) -> JobView:
        assert isinstance(stored.state, requester.Job)
        return await self._view(stored) if with_timeline else self._job_view(stored, stored.state, ())

    def _job_view(self, stored: Stored, job: requester.Job, timeline: tuple[TimelineEntry, ...]) -> JobView:
        notice, refund_at = self._notice(stored), requester.refund_at(job, self._markets.grace_s(stored.market))
        return job_view(stored, job, timeline, notice, refund_at)


_InWindow = provider.Committed | provider.Claiming | provider.Challenged
"""Phases in which a result may still be challenged or waits for its payment."""


def _is_meant(stored: Stored, job_id: str) -> bool:
    """Whether a name or the beginning of an id means this job; a replica's needs its number too."""
    if _name(stored) == job_id:
        return True
    group = group_of(stored.key)
    if group is None:
        return len(job_id) >= 4 and stored.key.startswith(job_id)
    head, _, number = job_id.rpartition("-")
    return len(head) >= 4 and group.startswith(head) and stored.key == f"{group}-{number}"


def _name(stored: Stored) -> str:
    return stored.state.order.name if isinstance(stored.state, requester.Job) else ""


def _deal_view(stored: Stored) -> DealView:
    state = stored.state
    assert isinstance(state, provider.Deal)
    committed = state.commitment if isinstance(state, _InWindow) else None
    return DealView(
        deal_id=f"0x{state.work.deal_id.hex()}",
        phase=phase_of(stored),
        requester=f"0x{state.work.terms.requester.hex()}",
        price_wei=state.work.terms.price_wei,
        mode=Mode(state.work.terms.mode).name,
        since=stored.updated_at,
        reason=state.reason if isinstance(state, provider.Lost | provider.Abandoning | provider.Overdue) else "",
        window_ends_at=committed.window_ends_at if committed else None,
    )


def _market_json(version: MarketVersion) -> Json:
    return {
        "version": version.number,
        "address": hexadecimal(version.address),
        "active_from": version.active_from,
        "is_deprecated": version.is_deprecated,
    }


def _waiting_json(entry: Waiting) -> Json:
    return {
        "version": entry.number,
        "address": hexadecimal(entry.address),
        "code_hash": hexadecimal(entry.code_hash),
        "active_from": entry.active_from,
        "reason": entry.reason,
    }


def _capacity_json(capacity: Capacity) -> Json:
    return {
        "slots": capacity.slots,
        "slots_left": capacity.slots_left,
        "cpu_millis": capacity.cpu_millis,
        "cpu_millis_left": capacity.cpu_millis_left,
        "memory_bytes": capacity.memory_bytes,
        "memory_bytes_left": capacity.memory_bytes_left,
        "disk_bytes": capacity.disk_bytes,
        "disk_bytes_left": capacity.disk_bytes_left,
        "gpus": len(capacity.gpus),
    }
