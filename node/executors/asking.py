"""Blocking engine calls from trio: a bound on the threads, and a time limit that never hangs the node."""

from collections.abc import Callable
from functools import partial
from typing import Final, ParamSpec, TypeVar

import trio

P = ParamSpec("P")
T = TypeVar("T")


_THREADS: Final = 16


class Threads:
    """Runs blocking calls; short ones share a bounded pool, waits for a container's end do not count."""

    def __init__(self) -> None:
        self._short = trio.CapacityLimiter(_THREADS)
        self._long = trio.CapacityLimiter(10_000)  # one per running container; the slots bound it

    async def ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call to its end even when cancelled meanwhile, so that what it made can be cleaned up."""
        return await trio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._short)

    async def follow(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call that only looks; when cancelled, its thread is left to end by itself."""
        return await trio.to_thread.run_sync(partial(call, *args, **kwargs), limiter=self._long, abandon_on_cancel=True)
