"""Serves a node's API to its own user over a unix socket."""

import base64
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import structlog
import trio

from capanode.node.api.port import Json, NodeApi
from capanode.node.api.wire import MAX_REQUEST_BYTES, BadLine, fault_json, job_order, line, plain, value_of
from capanode.node.data_folder import private_folder
from capanode.node.fault_points import durable
from capanode.protocol.faults import Fault, InvariantViolated, Misconfigured, Unavailable

WRITE_TIMEOUT_S: Final = 30.0
"""A caller that does not read for so long has gone."""
MAX_LOG_BYTES: Final = 16 * 2**20
MAX_WAIT_S: Final = 86_400

log = structlog.get_logger(__name__)


async def serve_api(
    api: NodeApi,
    path: Path,
    *,
    max_connections: int = 64,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls at `path` until cancelled; the socket is its owner's only, and removed at the end.

    The caller holds the data folder, so a socket that is already there is a dead one's.

    Raises:
        Misconfigured: the socket cannot be made there.
    """
    listener = _listen(path)
    slots = trio.CapacityLimiter(max_connections)
    try:
        serve = partial(trio.serve_listeners, partial(_serve_within, api, slots), [listener])
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            task_status.started()
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _listen(path: Path) -> trio.SocketListener:
    private_folder(path.parent)
    raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
        with durable("api.listen"):
            raw.bind(os.fspath(path))
            path.chmod(0o600)
        raw.listen(128)
    except OSError as error:
        raw.close()
        raise Misconfigured(
            f"the API socket {path} cannot be made ({error.strerror}): correct the folder's permissions."
        ) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(raw))


async def _serve_within(api: NodeApi, slots: trio.CapacityLimiter, stream: trio.SocketStream) -> None:
    try:
        slots.acquire_on_behalf_of_nowait(stream)
    except trio.WouldBlock:
        await _send(stream, fault_json(Unavailable("the node has too many callers: try again in a moment")))
        return
    try:
        await _serve(api, stream)
    finally:
        slots.release_on_behalf_of(stream)


async def _serve(api: NodeApi, stream: trio.SocketStream) -> None:
    buffer = bytearray()
    while True:
        try:
            request = await _line(stream, buffer)
        except BadLine as error:
            await _send(stream, fault_json(error))
            return
        if request is None:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_for_end, stream, buffer, nursery.cancel_scope)
            await _answer(api, stream, request)
            nursery.cancel_scope.cancel()


async def _line(stream: trio.SocketStream, buffer: bytearray) -> bytes | None:
    """The next line, or None at the end; raises `BadLine` when it is too long."""
    while (end := buffer.find(b"\n")) < 0:
        if len(buffer) > MAX_REQUEST_BYTES:
            raise BadLine("the request is longer than 2 MiB: a job file may have 1 MiB")
        chunk = await _received(stream)
        if not chunk:
            return None
        buffer += chunk
    taken = bytes(buffer[:end])
    del buffer[: end + 1]
    return taken


async def _watch_for_end(stream: trio.SocketStream, buffer: bytearray, scope: trio.CancelScope) -> None:
    """Give a call up when its caller has gone; what a caller sends ahead is kept, within the bound."""
    while len(buffer) <= MAX_REQUEST_BYTES:
        chunk = await _received(stream)
        if not chunk:
            break
        buffer += chunk
    scope.cancel()


async def _received(stream: trio.SocketStream) -> bytes:
    """Some bytes; none when the caller has gone, however it went."""
    try:
        return bytes(await stream.receive_some(65_536))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


async def _answer(api: NodeApi, stream: trio.SocketStream, request: bytes) -> None:
    try:
        fields = value_of(request)
        async with aclosing(_items(api, fields)) as items:
            async for item in items:
                if not await _send(stream, item):
                    return
    except InvariantViolated as error:
        await _send(stream, fault_json(error))
        raise
    except Fault as error:
        await _send(stream, fault_json(error))
    except Exception as error:  # one caller's request must not end the node's deals
        log.exception("api_call_failed")
        await _send(stream, fault_json(InvariantViolated(f"a bug in the node ({error!r:.200}): see its log")))


async def _send(stream: trio.SocketStream, value: Json) -> bool:
    """Write a line; False when nobody reads it any more, after which the stream is closed."""
    with trio.move_on_after(WRITE_TIMEOUT_S):
        try:
            await stream.send_all(line(value))
            return True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
    await trio.aclose_forcefully(stream)
    return False


async def _items(api: NodeApi, fields: Json) -> AsyncGenerator[Json, None]:
    """The lines that answer one call."""
    name = _text(fields, "call")
    arguments = _map(fields, "arguments")
    if streamed := _streams(api).get(name):
        async with aclosing(streamed(arguments)) as items:
            async for item in items:
                yield {"item": plain(item)}
        yield {"result": None}
    elif single := _calls(api).get(name):
        yield {"result": plain(await single(arguments))}
    else:
        raise BadLine(f"the node has no call {name[:40]!r}: is it of another version?")


def _streams(api: NodeApi) -> dict[str, Callable[[Json], AsyncGenerator[Json, None]]]:
    return {
        "submit": lambda a: _closable(api.submit(job_order(a.get("order")))),
        "watch": lambda a: _closable(api.watch(_text(a, "job_id"))),
        "drained": lambda _: _closable(api.drained()),
        "watch_results": lambda a: _closable(api.watch_results(_map(a, "arguments"))),
        "check": lambda a: _closable(api.check(_text(a, "deal"), _some(a, "step"), _some(a, "sample"))),
    }


def _closable(items: AsyncIterator[Json]) -> AsyncGenerator[Json, None]:
    """Async generators are what every node returns here; the port promises less to keep its fakes simple."""
    assert isinstance(items, AsyncGenerator)
    return cast(AsyncGenerator[Json, None], items)


def _calls(api: NodeApi) -> dict[str, Callable[[Json], Awaitable[Any]]]:
    async def logs(arguments: Json) -> Json:
        tail = min(_number(arguments, "tail_bytes"), MAX_LOG_BYTES)
        return {"base64": base64.b64encode(await api.logs(_text(arguments, "job_id"), tail)).decode()}

    async def wallet_call(arguments: Json) -> Json:
        return await api.wallet_call(_text(arguments, "verb"), _map(arguments, "arguments"))

    async def dispute(arguments: Json) -> Json:
        return await api.dispute(_text(arguments, "verb"), _map(arguments, "arguments"))

    return {
        "dispute": dispute,
        "status": lambda _: api.status(),
        "quote": lambda a: api.quote(job_order(a.get("order"))),
        "jobs": lambda _: api.jobs(),
        "job": lambda a: api.job(_text(a, "job_id")),
        "logs": logs,
        "accept": lambda a: api.accept(_text(a, "job_id")),
        "cancel": lambda a: api.cancel(_text(a, "job_id")),
        "deals": lambda _: api.deals(),
        "wallet": lambda _: api.wallet(),
        "wallet_call": wallet_call,
        "upgrades": lambda _: api.upgrades(),
        "approve": lambda a: api.approve(_text(a, "code_hash")),
        "drain": lambda a: api.drain(_flag(a, "on")),
        "snapshot": lambda a: api.snapshot(_text(a, "path")),
        "stop": lambda a: api.stop(_seconds(a, "within_s")),
    }


def _text(arguments: Json, name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise BadLine(f"the call needs {name} as text")
    return value


def _seconds(arguments: Json, name: str) -> float:
    value = arguments.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= MAX_WAIT_S:
        raise BadLine(f"the call needs {name} as seconds above zero, at most {MAX_WAIT_S}")
    return float(value)


def _flag(arguments: Json, name: str) -> bool:
    value = arguments.get(name)
    if not isinstance(value, bool):
        raise BadLine(f"the call needs {name} as true or false")
    return value


def _map(arguments: Json, name: str) -> Json:
    value = arguments.get(name, {})
    if not isinstance(value, dict):
        raise BadLine(f"the call needs {name} as an object")
    return cast(Json, value)


def _some(arguments: Json, name: str) -> int | None:
    return None if arguments.get(name) is None else _number(arguments, name)


def _number(arguments: Json, name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or value < 0:
        raise BadLine(f"the call needs {name} as a number that is not negative")
    return value
