"""`capanode drain`: out of service in order, and when it is safe to switch the machine off."""

import time

from capanode.node.api.client import NodeClient
from capanode.node.api.port import Json
from capanode.node.cli.output import note
from capanode.node.units import clock_time, duration
from capanode.protocol.faults import Refused


def verdict(view: Json) -> str:
    """The one sentence that an operator waits for."""
    if view["is_safe"]:
        return "safe to power off now"
    left = duration(max(view["safe_at"] - time.time(), 0))
    return f"safe to power off at {clock_time(view['safe_at'])} (in {left})"


def lines(view: Json) -> list[str]:
    """The verdict, and what it rests on."""
    counts = {
        "deals at work": view["working"],
        "in their challenge window": view["in_window"],
        "being ended on chain": view["ending"],
        "results kept for requesters who have not accepted them": view["results_kept"],
    }
    told = [verdict(view)]
    if open_now := ", ".join(f"{count} {what}" for what, count in counts.items() if count):
        told.append(f"open: {open_now}")
    if not view["is_safe"]:
        told.append(_given_up(view))
    if view["own_jobs"]:
        told.append(_own(view))
    return told


def _given_up(view: Json) -> str:
    if view["money_safe_at"] is None:
        return "all money is in; switching off earlier gives those results up, and this provider's name with them"
    if view["money_safe_at"] >= view["safe_at"]:
        return "switching off earlier may cost bonds and payments, unless the node is back in time"
    at = clock_time(view["money_safe_at"])
    return f"from {at} on no money can be lost any more, only results that requesters may still fetch"


def _own(view: Json) -> str:
    told = f"{view['own_jobs']} jobs of your own are open; they go on when the node is back, refunds wait for it"
    return f"{told}, results only until {clock_time(view['back_by'])}" if view["back_by"] else told


def watched(client: NodeClient, *, quiet: bool) -> Json:
    """Follow a draining node until it is safe; its last word.

    Raises:
        Refused: somebody has taken the drain back meanwhile.
    """
    said = ""
    view: Json = {}
    for view in client.drained():
        if not view["is_draining"]:
            raise Refused("the node takes work again: somebody ran `capanode drain --off`")
        if not quiet and not view["is_safe"] and (told := "; ".join(lines(view)[:2])) != said:
            note(told)
            said = told
    return view
