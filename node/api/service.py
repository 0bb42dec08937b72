"""How the node serves: whether it takes work, when it may be switched off, and what it has told its operator."""

import time
from collections.abc import AsyncIterator, Callable

import trio

from capanode.node.alerts import Alerts
from capanode.node.api.port import Json
from capanode.node.chain.clock import ChainClock
from capanode.node.drain import LOOK_S, Drain, Forecast, Outlook
from capanode.protocol.faults import Refused
from capanode.protocol.ids import UnixTime


class Service:
    """The part of `NodeApi` that an operator runs the node by."""

    def __init__(self, drain: Drain, forecast: Forecast, clock: ChainClock, alerts: Alerts) -> None:
        self._drain = drain
        self._forecast = forecast
        self._clock = clock
        self._alerts = alerts

    async def show(self) -> Json:
        """What `status` holds of it."""
        alerts = [
            {"kind": one.kind.value, "sentence": one.sentence, "at": one.at, "fields": dict(one.fields)}
            for one in self._alerts.recent()
        ]
        drain = await self.drain_json() if self._drain.is_on else None
        return {"is_draining": self._drain.is_on, "drain": drain, "alerts": alerts}

    def require_open(self) -> None:
        """Raises `Refused` while the node takes no work."""
        if self._drain.is_on:
            raise Refused("this node is draining: `capanode drain --off` has it take work again")

    async def drain(self, on: bool) -> None:
        """Begin or end the drain; durable when this returns."""
        await (self._drain.begin() if on else self._drain.end())

    async def until_drained(self) -> AsyncIterator[Json]:
        """What is open, on every change; ends once the node is safe to switch off or takes work again."""
        shown: Json = {}
        while True:
            view = await self.drain_json()
            if {**view, **_MOVING} != {**shown, **_MOVING}:
                yield view
                shown = view
            if view["is_safe"] or not view["is_draining"]:
                return
            with trio.move_on_after(LOOK_S):
                await self._drain.wait_change()

    async def drain_json(self) -> Json:
        """What is open, and when it is over."""
        return _drain_json(self._drain, await self._forecast.outlook(), self._clock)


_MOVING: Json = {"safe_at": 0, "money_safe_at": 0, "back_by": 0}
"""Figures that differ by moments from one look to the next."""


def _drain_json(drain: Drain, outlook: Outlook, clock: ChainClock, wall: Callable[[], float] = time.time) -> Json:
    """Block times become times of this machine's clock, which its operator looks at."""

    def local(at: UnixTime | None) -> float | None:
        # What should be over by now waits for a block or an answer: it is not safe in the past.
        return None if at is None else wall() + max(at - clock.now(), 0)

    return {
        "is_draining": drain.is_on,
        "since": drain.since,
        "is_safe": outlook.is_safe,
        "safe_at": local(outlook.safe_at),
        "money_safe_at": local(outlook.money_at),
        "working": outlook.working,
        "in_window": outlook.in_window,
        "ending": outlook.ending,
        "results_kept": outlook.kept,
        "own_jobs": outlook.own_jobs,
        "back_by": local(outlook.back_by),
    }
