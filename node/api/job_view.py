"""A job of this node as its user sees it, made of the journal's record of it."""

from pathlib import Path
from typing import assert_never

from capanode.node.api.port import JobView, TimelineEntry
from capanode.node.journal import Stored
from capanode.protocol import requester
from capanode.protocol.events import DealCommitted, Ending

_Kept = (
    requester.Auditing
    | requester.Faulty
    | requester.Delivered
    | requester.Challenged
    | requester.Settled
    | requester.Undecided
)
"""Phases in which the result is on this machine."""


def job_view(
    stored: Stored, job: requester.Job, timeline: tuple[TimelineEntry, ...], notice: str, refund_at: int | None
) -> JobView:
    """The view; `notice` and `refund_at` are what `JobView` says of them."""
    deal = deal_of(job)
    committed = _commitment(job)
    paid, returned = _money(job)
    folder = job.folder if isinstance(job, _Kept) else ""
    return JobView(
        job_id=stored.key,
        name=job.order.name,
        state=_state(job),
        phase=phase_of(stored),
        reason=_reason(job),
        notice=notice,
        refund_at=refund_at,
        deal_id=f"0x{deal.deal_id.hex()}" if deal else None,
        provider=f"0x{deal.terms.provider.hex()}" if deal else None,
        mode=(deal.terms.mode if deal else job.order.demand.mode).name,
        price_wei=deal.terms.price_wei if deal else job.order.demand.price_cap_wei,
        verification_wei=job.order.demand.verification_wei,
        paid_wei=paid,
        returned_wei=returned,
        exit_code=committed.status if committed else None,
        window_ends_at=committed.window_ends_at if committed else None,
        result_dir=folder or None,
        receipt=str(Path(folder).with_name("receipt.cbor")) if folder else None,
        created_at=stored.created_at,
        timeline=timeline,
    )


def _state(job: requester.Job) -> str:
    match job:
        case (
            requester.Announcing()
            | requester.Bidding()
            | requester.Posted()
            | requester.Renewing()
            | requester.Awarding()
            | requester.Withdrawing()
        ):
            return "queued"
        case requester.Challenged() if job.folder:
            return "result_ready"
        case requester.Running() | requester.Expiring() | requester.Committed() | requester.Challenged():
            return "running"
        case requester.Withheld():
            return "running"
        case requester.Auditing() | requester.Faulty() | requester.Delivered():
            return "result_ready"
        case requester.Paid() | requester.Settled():
            return "paid"
        case requester.Undecided():
            return "undecided"
        case requester.Failed():
            return "refunded" if job.returned_wei else "failed"
        case requester.Cancelled():
            return "cancelled"
        case _:
            assert_never(job)


def _reason(job: requester.Job) -> str:
    match job:
        case requester.Failed() | requester.Renewing() | requester.Withdrawing():
            return job.reason
        case requester.Withheld():
            return f"the bytes of its result are missing: {job.reason}"
        case requester.Auditing():
            return "its result is recomputed here before it is accepted"
        case requester.Faulty():
            return f"its result does not hold: {job.reason}"
        case requester.Challenged():
            return "its result is challenged: the court decides"
        case requester.Undecided(ending=Ending.VOID):
            return "nobody could reproduce the result: half of the price is paid"
        case requester.Undecided():
            return "the court came to no decision: half of the price is paid"
        case requester.Awarding():
            return job.declined
        case _:
            return ""


def deal_of(job: requester.Job) -> requester.Deal | None:
    """The deal of a job, once it has one."""
    match job:
        case (
            requester.Awarding()
            | requester.Running()
            | requester.Expiring()
            | requester.Committed()
            | requester.Withheld()
            | requester.Auditing()
            | requester.Faulty()
            | requester.Delivered()
            | requester.Challenged()
            | requester.Paid()
            | requester.Settled()
            | requester.Undecided()
        ):
            return job.deal
        case _:
            return None


def _commitment(job: requester.Job) -> DealCommitted | None:
    match job:
        case requester.Committed() | requester.Delivered() | requester.Challenged() | requester.Paid():
            return job.commitment
        case requester.Withheld() | requester.Auditing() | requester.Faulty():
            return job.commitment
        case requester.Settled() | requester.Undecided():
            return job.commitment
        case _:
            return None


def _money(job: requester.Job) -> tuple[int, int]:
    match job:
        case requester.Paid() | requester.Settled() | requester.Undecided():
            return job.paid_wei, job.returned_wei
        case requester.Failed():
            return 0, job.returned_wei
        case _:
            return 0, 0


def phase_of(stored: Stored) -> str:
    """The protocol's own word for where it stands."""
    return type(stored.state).__name__
