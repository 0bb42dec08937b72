"""What happened to a job, in sentences for its user."""

from collections.abc import Mapping
from typing import Any

from capanode.node.journal import Happened
from capanode.node.units import clock_time, tokens
from capanode.protocol import events
from capanode.protocol.standing import Event


def entry_of(happened: Happened) -> tuple[str, str, Mapping[str, Any]]:
    """The event's name, a sentence, and its figures."""
    sentence, fields = _told(happened.event)
    return type(happened.event).__name__, sentence, fields


def _told(event: Event) -> tuple[str, Mapping[str, Any]]:
    match event:
        case events.JobSubmitted():
            cap = event.demand.price_cap_wei
            return f"submitted, for at most {tokens(cap)} tokens", {"price_cap_wei": cap}
        case events.DemandRenewed():
            return "asked for again", {}
        case events.DealAnnounced():
            return "announced on chain, the money is locked", {"tx": _hex(event.tx)}
        case events.BidsClosed():
            return _bids(event)
        case events.AwardAnswered(accepted=True):
            return "the provider took the award", {}
        case events.AwardAnswered():
            return f"the provider declined: {event.reason}", {}
        case events.DealAssigned():
            fields = {"provider": _hex(event.provider), "price_wei": event.price_wei, "tx": _hex(event.tx)}
            return f"assigned to {_short(event.provider)} for {tokens(event.price_wei)} tokens", fields
        case events.DealCommitted():
            fields = {
                "result_root": _hex(event.result_root),
                "trace_root": _hex(event.trace_root),
                "leaves_cid": _hex(event.leaves_cid),
                "status": event.status,
                "window_ends_at": event.window_ends_at,
                "tx": _hex(event.tx),
            }
            return f"the provider committed to a result (exit code {event.status}); the window is open", fields
        case events.ResultFetched():
            return f"the result is here and matches the commitment: {event.folder}", {"folder": event.folder}
        case events.ResultDrawn():
            return "the result is here and matches the commitment; it is recomputed too", {"folder": event.folder}
        case events.ResultMissing():
            return f"the bytes of the result are missing: {event.reason}", {"at": event.at}
        case events.AuditEnded(finding=events.AuditFinding.HOLDS):
            return "recomputed: the result holds", {"finding": event.finding.value}
        case events.AuditEnded(finding=events.AuditFinding.DIFFERS):
            fields = {"finding": event.finding.value, "step": event.step}
            return f"recomputed: step {event.step} does not hold: {event.reason}", fields
        case events.AuditEnded():
            return f"not recomputed: {event.reason}", {"finding": event.finding.value}
        case events.DealFinalized():
            fields = {"paid_wei": event.paid_wei, "returned_wei": event.returned_wei, "tx": _hex(event.tx)}
            paid, back = tokens(event.paid_wei), tokens(event.returned_wei)
            return f"finalized: {paid} tokens paid, {back} back", fields
        case events.DealRefunded():
            fields = {"returned_wei": event.returned_wei, "burned_wei": event.burned_wei, "tx": _hex(event.tx)}
            return f"refunded: {tokens(event.returned_wei)} tokens back", fields
        case events.DealChallenged():
            fields = {"open_challenges": event.open_challenges, "tx": _hex(event.tx)}
            return "the result is challenged: the court decides", fields
        case events.ChallengeClosed():
            fields = {"open_challenges": event.open_challenges, "tx": _hex(event.tx)}
            left = f"{event.open_challenges} are left" if event.open_challenges else "the result stands"
            return f"a challenge has failed: {left}", fields
        case events.DealJudged():
            fields = {"paid_wei": event.paid_wei, "returned_wei": event.returned_wei, "tx": _hex(event.tx)}
            paid, back = tokens(event.paid_wei), tokens(event.returned_wei)
            return f"the court has ended the deal ({event.ending}): {paid} tokens paid, {back} back", fields
        case events.DealCancelled():
            return f"cancelled: {tokens(event.returned_wei)} tokens back", {"returned_wei": event.returned_wei}
        case events.TransactionRefused():
            return f"the chain refused to {event.verb}: {event.reason}", {"reason": event.reason}
        case events.DeadlinePassed():
            return "a deadline passed", {"at": event.at}
        case events.AcceptRequested():
            return "accepted by its user", {}
        case events.CancelRequested():
            return "cancelled by its user", {}
        case events.ProviderLost():
            fields = {"since": event.since, "refund_at": event.refund_at or None}
            until = f"; the money is free again at {clock_time(event.refund_at)}" if event.refund_at else ""
            return f"the provider does not answer since {clock_time(event.since)}{until}", fields
        case events.ProviderReturned():
            return "the provider answers again", {}
        case _:
            return type(event).__name__, {}


def _bids(event: events.BidsClosed) -> tuple[str, Mapping[str, Any]]:
    if event.bid is None:
        return f"no award: {event.reason}", {"bids": event.considered}
    bid = event.bid.bid
    fields = {"bids": event.considered, "provider": _hex(bid.provider), "price_wei": bid.price_wei}
    return (
        f"awarded to {_short(bid.provider)} at {tokens(bid.price_wei)} tokens, the best of {event.considered}",
        fields,
    )


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _short(address: bytes) -> str:
    return f"0x{address.hex()[:8]}…"
