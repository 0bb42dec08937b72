"""A loop in a thread of its own, for tests that are not async themselves."""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import trio

T = TypeVar("T")


@contextmanager
def kept_open(opened: Callable[[], AbstractAsyncContextManager[T]], name: str) -> Generator[T]:
    """What an async context manager yields, kept open by a loop in a thread of that name.

    Whatever ends the loop, at any time, is raised here.
    """
    found: list[tuple[T, trio.lowlevel.TrioToken]] = []
    failed: list[BaseException] = []
    is_open, close = threading.Event(), trio.Event()

    async def serve() -> None:
        async with opened() as one:
            found.append((one, trio.lowlevel.current_trio_token()))
            is_open.set()
            await close.wait()

    def work() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # told to whoever waits below
            failed.append(error)
        finally:
            is_open.set()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    is_open.wait()
    try:
        if found:
            yield found[0][0]
    finally:
        if found and thread.is_alive():
            found[0][1].run_sync_soon(close.set)
        thread.join()
    if failed:
        raise failed[0]
