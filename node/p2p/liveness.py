"""Noticing that a peer is dead: TCP does not, when a machine freezes or a cable is cut.

A *watched* peer (an open deal is with it) is pinged every 3 s on a kept stream and reported lost after two
misses in a row: under 1 s after a kill (its connection ends, which is an early ping), under 10 s after a
freeze. Everyone else is pinged rarely, only to free dead connections.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from capanode.node.p2p.port import Liveness, PeerLost, PeerReturned
from capanode.protocol.ids import PeerId

_log = logging.getLogger(__name__)

MISSES: Final = 2
"""Unanswered pings in a row that mean lost."""
PING_S: Final = 2.5
"""Longest wait for one: 3 + 2.5 + 0.5 + 2.5 s is under 10 s for a peer that freezes after a ping."""
_BETWEEN_MISSES_S: Final = 0.5
_SLOW_PING_S: Final = 10.0
_AT_ONCE: Final = 8

Ping = Callable[[PeerId, float], Awaitable[bool]]
"""(peer, seconds) → whether it answered in time; dials if there is no connection."""


async def watch(
    peer: PeerId,
    every_s: float,
    ping: Ping,
    ended: Callable[[PeerId], trio.Event],
    report: Callable[[Liveness], None],
    disconnect: Callable[[PeerId], Awaitable[None]],
) -> None:
    """Ping until cancelled; reports each loss and each return once."""
    misses = 0
    while True:
        if await ping(peer, PING_S):
            if misses >= MISSES:
                report(PeerReturned(peer))
            misses = 0
        else:
            misses += 1
            if misses == MISSES:
                report(PeerLost(peer))
                await disconnect(peer)
        if 0 < misses < MISSES:
            await trio.sleep(_BETWEEN_MISSES_S)
            continue
        with trio.move_on_after(every_s):
            await ended(peer).wait()


async def ping_rarely(
    every_s: float,
    peers: Callable[[], frozenset[PeerId]],
    ping: Ping,
    disconnect: Callable[[PeerId], Awaitable[None]],
) -> None:
    """Disconnect peers that miss two rounds in a row."""
    missed: frozenset[PeerId] = frozenset()
    slots = trio.Semaphore(_AT_ONCE)
    while True:
        await trio.sleep(every_s)
        silent: set[PeerId] = set()

        async def check(peer: PeerId, silent: set[PeerId] = silent) -> None:
            async with slots:
                if not await ping(peer, _SLOW_PING_S):
                    silent.add(peer)

        async with trio.open_nursery() as nursery:
            for peer in peers():
                nursery.start_soon(check, peer)
        for peer in silent & missed:
            _log.info("disconnecting from a peer that does not answer: %s", peer)
            await disconnect(peer)
        missed = frozenset(silent)
