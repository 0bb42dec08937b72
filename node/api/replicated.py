"""Replicated jobs as their user sees them: one job, with its replicas beneath."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final, assert_never

from capanode.node.announced.replicas import Kept, Replicas
from capanode.node.announced.submission import TakenIn
from capanode.node.api.port import JobView, Json, ReplicaView, TimelineEntry
from capanode.node.journal import Stored
from capanode.node.units import tokens
from capanode.protocol.events import AcceptRequested, CancelRequested
from capanode.protocol.faults import Refused
from capanode.protocol.ids import Wei
from capanode.protocol.replicas import Accepting, Decided, Divided, Gathering, Group, Leaving, Verdict, Withdrawn

OVER: Final = frozenset({"paid", "failed", "cancelled"})
"""States in which nothing will happen to a replicated job any more; its replicas may go on by themselves."""

ViewOf = Callable[[Stored, bool], Awaitable[JobView]]
"""A replica as the job that it is, with its timeline or without."""


class ReplicatedJobs:
    """What a user may ask about replicated jobs."""

    def __init__(self, replicas: Replicas, view_of: ViewOf) -> None:
        self._replicas = replicas
        self._view_of = view_of

    async def begin(self, job: TakenIn) -> JobView:
        """Take one; errors as `Replicas.begin`."""
        kept = await self._replicas.find(await self._replicas.begin(job))
        assert kept is not None, "it was written a moment ago"
        return await self.view(kept)

    async def find(self, job_id: str, limit: int) -> tuple[Kept, ...]:
        """Those that a user may mean: the one with this id, else all with this name or such a beginning of their id."""
        exact = await self._replicas.find(job_id)
        if exact is not None:
            return (exact,)
        listed = await self._replicas.all(limit)
        return tuple(
            kept for kept in listed if kept.name == job_id or (len(job_id) >= 4 and kept.key.startswith(job_id))
        )

    async def views(self, limit: int) -> tuple[JobView, ...]:
        """The newest, without their timelines."""
        return tuple([await self.view(kept, with_timeline=False) for kept in await self._replicas.all(limit)])

    async def view(self, kept: Kept, *, with_timeline: bool = True) -> JobView:
        """One of them as it stands."""
        found = [await self._view_of(stored, with_timeline) for stored in await self._replicas.of(kept)]
        return group_view(kept, found, with_timeline=with_timeline)

    async def watch(self, kept: Kept) -> AsyncGenerator[Json]:
        """As `NodeApi.watch`."""
        last: JobView | None = None
        while last is None or last.state not in OVER:
            moved, now = self._replicas.moved, await self._replicas.find(kept.key)
            assert now is not None, "a group is never deleted"
            view = await self.view(now)
            if view != last:
                yield {"job": view}
                last = view
            else:
                await moved.wait()

    async def example(self, kept: Kept) -> Stored:
        """The replica whose result is the job's; before one is, the first of them.

        Raises:
            Refused: there is none yet.
        """
        stored, verdict = await self._replicas.of(kept), verdict_of(kept.group)
        if not stored:
            raise Refused(f"the job {kept.name} has no replica yet: wait a moment")
        return stored[verdict.example - 1 if verdict is not None else 0]

    async def accept(self, kept: Kept) -> JobView:
        """Accept the majority's results."""
        if not isinstance(kept.group, Decided | Accepting):
            raise Refused(
                "there is nothing to accept: its results "
                f"{'have no majority' if isinstance(kept.group, Divided) else 'are not compared yet'}"
            )
        return await self._told(kept, AcceptRequested())

    async def cancel(self, kept: Kept) -> JobView:
        """Buy no more, and take back what nobody is bound to."""
        if why := await self._replicas.why_not_cancel(kept):
            raise Refused(f"the job cannot be cancelled: {why}")
        return await self._told(kept, CancelRequested())

    async def _told(self, kept: Kept, event: AcceptRequested | CancelRequested) -> JobView:
        await self._replicas.hear(kept.key, event)
        return await self.view(await self._replicas.find(kept.key) or kept)


def verdict_of(group: Group) -> Verdict | None:
    """What the comparison has found, where there is a majority."""
    return group.verdict if isinstance(group, Accepting | Decided) else None


def group_view(kept: Kept, views: Sequence[JobView], *, with_timeline: bool) -> JobView:
    """A replicated job, made of its replicas in the order of their numbers."""
    plan, verdict = kept.group.plan, verdict_of(kept.group)
    example = views[verdict.example - 1] if verdict is not None else None
    cap, bound = plan.job.demand.price_cap_wei, [view for view in views if view.provider]
    open_places = plan.wanted - len(bound) if isinstance(kept.group, Gathering) else 0
    return JobView(
        job_id=kept.key,
        name=kept.name,
        state=_state(kept.group, views),
        phase=type(kept.group).__name__,
        reason=_reason(kept.group, views),
        notice=next((f"replica {n}: {view.notice}" for n, view in enumerate(views, 1) if view.notice), ""),
        refund_at=max((view.refund_at for view in views if view.refund_at is not None), default=None),
        deal_id=example.deal_id if example else None,
        provider=example.provider if example else None,
        mode=plan.job.demand.mode.name,
        price_wei=sum(view.price_wei for view in bound) + max(open_places, 0) * cap,
        verification_wei=plan.wanted * plan.job.demand.verification_wei,
        paid_wei=sum(view.paid_wei for view in views),
        returned_wei=sum(view.returned_wei for view in views),
        exit_code=example.exit_code if example else None,
        window_ends_at=example.window_ends_at if example else None,
        result_dir=example.result_dir if example else None,
        receipt=example.receipt if example else None,
        created_at=kept.created_at,
        timeline=_timeline(kept, views) if with_timeline else (),
        replicas=tuple(_replica(number, view, verdict) for number, view in enumerate(views, 1)),
    )


def _replica(number: int, view: JobView, verdict: Verdict | None) -> ReplicaView:
    differs = next((odd.reason for odd in verdict.odd if odd.number == number), "") if verdict is not None else ""
    agrees = verdict is not None and number in verdict.agreeing
    return ReplicaView(
        job_id=view.job_id,
        state=view.state,
        phase=view.phase,
        deal_id=view.deal_id,
        provider=view.provider,
        price_wei=view.price_wei,
        paid_wei=view.paid_wei,
        finding="differs" if differs else "agrees" if agrees else "",
        reason=differs or view.reason,
    )


def _state(group: Group, views: Sequence[JobView]) -> str:
    match group:
        case Gathering() | Leaving():
            return "running" if any(view.provider for view in views) else "queued"
        case Accepting() | Decided():
            is_paid = all(views[number - 1].state == "paid" for number in group.verdict.agreeing)
            return "paid" if is_paid else "result_ready"
        case Divided():
            return "failed"
        case Withdrawn():
            return "cancelled"
        case _:
            assert_never(group)


def _reason(group: Group, views: Sequence[JobView]) -> str:
    wanted = group.plan.wanted
    match group:
        case Gathering():
            late = (
                f"replica {number}: {view.reason}" for number, view in enumerate(views, 1) if view.phase == "Withheld"
            )
            return next(late, "")
        case Leaving():
            return "it is being cancelled: no more is bought, and what nobody is bound to is taken back"
        case Accepting() | Decided():
            return _odd_ones(group.verdict, views)
        case Divided():
            return (
                f"no majority: {len(group.came)} of {wanted} results came, and no {wanted // 2 + 1} of them are equal; "
                "nothing was accepted, and what was committed is paid after its window"
            )
        case Withdrawn():
            bound = sum(view.provider is not None for view in views)
            return f"{bound} of its replicas had a provider by then, go on by themselves, and are paid" if bound else ""
        case _:
            assert_never(group)


def _odd_ones(verdict: Verdict, views: Sequence[JobView]) -> str:
    if not verdict.odd:
        return ""
    odd = "; ".join(f"{views[one.number - 1].provider} ({one.reason})" for one in verdict.odd)
    return f"{len(verdict.agreeing)} results agree; another one is by {odd}"


def _timeline(kept: Kept, views: Sequence[JobView]) -> tuple[TimelineEntry, ...]:
    """What happened to all of them, in order."""
    plan = kept.group.plan
    most = Wei(plan.wanted * plan.job.demand.price_cap_wei)
    begun = f"submitted to {plan.wanted} providers, for at most {tokens(most)} tokens in all"
    told = [TimelineEntry(kept.created_at, "JobSubmitted", begun, {"price_cap_wei": most, "replicas": plan.wanted})]
    for number, view in enumerate(views, 1):
        told += [
            TimelineEntry(
                entry.at, entry.event, f"replica {number}: {entry.sentence}", {**entry.fields, "replica": number}
            )
            for entry in view.timeline
        ]
    match kept.group:
        case Accepting() | Decided():
            agreeing = kept.group.verdict.agreeing
            said = f"compared: {len(agreeing)} of {plan.wanted} results agree"
            told.append(TimelineEntry(kept.decided_at, "ReplicasCompared", said, {"agreeing": list(agreeing)}))
        case Divided():
            told.append(TimelineEntry(kept.decided_at, "ReplicasCompared", "compared: there is no majority", {}))
        case Leaving() | Withdrawn():
            told.append(TimelineEntry(kept.decided_at, "CancelRequested", "cancelled by its user", {}))
        case Gathering():
            pass
        case _:
            assert_never(kept.group)
    return tuple(sorted(told, key=lambda entry: entry.at))
