"""Ends what the user has begun to take back: earmarks and stake go to the free balance when they have thawed.

Withdrawals are left to the user, whose choice it is where the tokens go.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog
import trio

from capanode.node.api.port import Json
from capanode.node.chain.clock import ChainClock
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import UnixTime

LOOK_S: Final = 3600.0
"""How often the wallet is looked at when nothing is known to thaw; a start and a new thaw are looked at at once."""

RETRY_S: Final = 60.0

log = structlog.get_logger()


class Wallet(Protocol):
    """As much of `capanode.node.paid.purse.Purse` as this needs."""

    async def show(self) -> Json: ...

    async def call(self, verb: str, arguments: Json) -> Json: ...

    async def wait_change(self) -> None:
        """Return after the next wallet call."""
        ...


@dataclass(frozen=True, slots=True)
class Exit:
    """Something on its way to the free balance; `is_free` when no deal holds it any more."""

    verb: str
    arguments: Json
    ready_at: UnixTime
    is_free: bool

    @property
    def request(self) -> str:
        """The name of this one wish: asked twice, it is one transaction."""
        told = f"{self.verb}/{sorted(self.arguments.items())}/{self.ready_at}"
        return hashlib.sha256(told.encode()).hexdigest()[:32]


def exits(shown: Json) -> Iterable[Exit]:
    """What thaws, out of what `Purse.show` tells."""
    for earmark in shown["earmarks"]:
        if earmark["thawing_wei"]:
            arguments = {"provider": earmark["provider"], "market": earmark["version"]}
            yield Exit("unearmark", arguments, UnixTime(earmark["ready_at"]), is_free=True)
    for place in shown["markets"]:
        for thaw in place["thaws"]:
            if thaw["what"] == "unstaking":
                # The contract would pay out what is free and forget the rest.
                is_free = place["stake_wei"] - place["locked_wei"] >= thaw["amount_wei"]
                yield Exit("unstake", {"market": place["version"]}, UnixTime(thaw["ready_at"]), is_free)


async def run_exits(wallet: Wallet, clock: ChainClock) -> None:
    """Look at the start, after wallet calls, and when something has thawed, until cancelled."""
    while True:
        pause = LOOK_S
        try:
            found = list(exits(await wallet.show()))
            for done in [one for one in found if one.is_free and one.ready_at < clock.now()]:
                answer: dict[str, Any] = await wallet.call(done.verb, {**done.arguments, "request": done.request})
                log.info("exit-ended", verb=done.verb, tx=answer.get("tx_hash"))
            waiting = [one.ready_at for one in found if one.ready_at >= clock.now()]
            if waiting:
                pause = min(min(waiting) - clock.now() + 1, LOOK_S)
        except (Unavailable, Refused) as reason:
            log.warning("exit-waits", reason=str(reason))
            pause = RETRY_S
        with trio.move_on_after(pause):
            await wallet.wait_change()
