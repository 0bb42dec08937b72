"""The lower half of `capanode status`: what is open, what is stuck, what its operator was told of late."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from capanode.node.api.port import DealView, Json
from capanode.node.units import clock_time, tokens

ENDED: Final = frozenset({"Done", "Lost"})
MAX_DEALS: Final = 8
MAX_ALERTS: Final = 4
"""One screen: the newest of each; `--json` has all."""


def open_deals(deals: Sequence[DealView]) -> list[DealView]:
    """Those that something may still happen to, newest first."""
    return [deal for deal in deals if deal.phase not in ENDED]


def lines(answer: Json, deals: Sequence[DealView]) -> Iterator[str]:
    """Nothing at all for a node that has nothing to tell."""
    wallet: Json = answer.get("wallet") or {}
    if wallet.get("locked_wei"):
        yield f"{tokens(wallet['locked_wei'])} tokens of the stake are locked in deals"
    yield from _deals(open_deals(deals))
    for waiting in wallet.get("transactions", ()):
        yield f"  not mined yet: {waiting['key']}, nonce {waiting['nonce']}, {waiting['state']}"
    told = answer.get("alerts", ())
    for alert in told[-MAX_ALERTS:]:
        yield f"  {clock_time(alert['at'])}  {alert['kind']}: {alert['sentence']}"
    if len(told) > MAX_ALERTS:
        yield f"  and {len(told) - MAX_ALERTS} alerts before these: `capanode status --json`"


def _deals(deals: Sequence[DealView]) -> Iterator[str]:
    if not deals:
        return
    phases = Counter(deal.phase for deal in deals)
    yield "open deals: " + ", ".join(f"{count} {phase}" for phase, count in phases.most_common())
    for deal in deals[:MAX_DEALS]:
        until = f", window until {clock_time(deal.window_ends_at)}" if deal.window_ends_at else ""
        reason = f", {deal.reason}" if deal.reason else ""
        yield f"  deal {deal.deal_id[:10]}  {deal.phase:<11} {tokens(deal.price_wei)} tokens{until}{reason}"
    if len(deals) > MAX_DEALS:
        yield f"  and {len(deals) - MAX_DEALS} more"
