"""A Unix socket in front of the Docker engine's that a test can cut, as if the engine had gone down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

ENGINE_SOCKET = "/var/run/docker.sock"


class EngineProxy:
    """Passes bytes on until it is cut; then every connection breaks and new ones break at once."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self._path = path
        self._cut = False
        self._open: set[trio.SocketStream] = set()

    def cut(self) -> None:
        """Break everything and refuse from now on."""
        self._cut = True
        for stream in self._open:
            stream.socket.close()

    def mend(self) -> None:
        """Let new connections through again."""
        self._cut = False

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listening = trio.socket.socket(trio.socket.AF_UNIX)
        await listening.bind(str(self._path))
        listening.listen()
        await trio.serve_listeners(self._pass_on, [trio.SocketListener(listening)], task_status=_quiet(task_status))

    async def _pass_on(self, near: trio.SocketStream) -> None:
        if self._cut:
            near.socket.close()
            return
        far_socket = trio.socket.socket(trio.socket.AF_UNIX)
        await far_socket.connect(ENGINE_SOCKET)
        far = trio.SocketStream(far_socket)
        self._open |= {near, far}
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_copy, near, far)
                nursery.start_soon(_copy, far, near)
        finally:
            self._open -= {near, far}
            near.socket.close()
            far.socket.close()


@asynccontextmanager
async def engine_proxy(folder: Path) -> AsyncIterator[EngineProxy]:
    """Serve an `EngineProxy` on a socket in `folder`."""
    proxy = EngineProxy(folder / "engine.sock")
    async with trio.open_nursery() as nursery:
        await nursery.start(proxy.serve)
        yield proxy
        nursery.cancel_scope.cancel()


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    try:
        async for data in source:
            await target.send_all(data)
        await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        target.socket.close()


class _quiet:
    """`serve_listeners` reports its listeners; who waits for the proxy needs only the moment."""

    def __init__(self, status: trio.TaskStatus[None]) -> None:
        self._status = status

    def started(self, value: object = None) -> None:
        self._status.started()
