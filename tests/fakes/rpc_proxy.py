"""An HTTP server between nodes and a real chain that misbehaves as its dice say, and is transparent when they rest."""

import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import orjson
import trio
from eth_hash.auto import keccak

from capanode.node.chain.http import Connection, StaleConnection, connect, read_target
from capanode.protocol.faults import Unavailable
from tests.fakes.rpc_branch import Branch, Json
from tests.fakes.rpc_trouble import Dice, Trouble

MAX_BEHIND: Final = 3
"""Blocks that a stale or forked endpoint may be behind."""

MAX_BRANCH_REQUESTS: Final = 30
"""How long it stays so."""

MAX_HIDDEN_ANSWERS: Final = 6
"""How often a receipt that is there may be denied."""

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends a reset."""

_INSTEAD: Final = {
    Trouble.TOO_MANY_REQUESTS: (b"429 Too Many Requests", b"<html>slow down</html>"),
    Trouble.SERVER_ERROR: (b"502 Bad Gateway", b"<html>bad gateway</html>"),
    Trouble.EMPTY_BATCH: (b"200 OK", b"[]"),
}
"""What is answered without asking the chain."""

_SEEN_IN_REPLIES: Final = (Trouble.NO_RECEIPT, Trouble.NO_LOGS)
"""Whether these befall anybody depends on what the chain says."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client gets: bytes, then perhaps a silence and the end of the connection."""

    data: bytes
    silence_s: float = 0.0
    closes: bool = False


class Chain:
    """The true endpoint, over kept connections."""

    def __init__(self, url: str) -> None:
        self._target = read_target(url)
        self._idle: list[Connection] = []

    async def exchange(self, body: bytes) -> bytes:
        """The bytes that it answers."""
        while True:
            connection = self._idle.pop() if self._idle else await connect(self._target)
            is_whole = False
            try:
                reply = await connection.exchange(body)
                is_whole = True
                self._idle.append(connection)
                return reply
            except StaleConnection:
                continue
            finally:
                if not is_whole:
                    await connection.aclose()

    async def aclose(self) -> None:
        """Drop the kept connections."""
        while self._idle:
            await self._idle.pop().aclose()


class RpcProxy:
    """One endpoint. Its dice may be changed while it serves; `port` is known once it does."""

    def __init__(self, chain_url: str, dice: Dice, *, slow_s: float = 0.3, hang_s: float = 20.0) -> None:
        """`slow_s` delays a slow reply; `hang_s` is the silence of a hanging one, before the connection breaks."""
        self.dice = dice
        self.port = 0
        self._chain = Chain(chain_url)
        self._slow_s = slow_s
        self._hang_s = hang_s
        self._branch: Branch | None = None
        self._branch_requests = 0
        self._hidden: dict[str, int] = {}

    @property
    def url(self) -> str:
        """Where nodes are to ask."""
        return f"http://127.0.0.1:{self.port}"

    def heal(self) -> None:
        """No more troubles from now on, and no old ones either."""
        self.dice.rate = 0.0
        self._branch = None
        self._hidden.clear()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve on a free port, always the same one, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                listeners = await nursery.start(partial(trio.serve_tcp, self._serve, self.port, host="127.0.0.1"))
                self.port = listeners[0].socket.getsockname()[1]
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):
                await self._chain.aclose()

    async def _serve(self, stream: trio.SocketStream) -> None:
        buffer = bytearray()
        try:
            while True:
                sent = await self._exchange(await read_request(stream, buffer))
                await stream.send_all(sent.data)
                await trio.sleep(sent.silence_s)
                if sent.closes:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError, Unavailable):
            return  # either side has gone: the other one notices
        finally:
            await trio.aclose_forcefully(stream)

    async def _exchange(self, body: bytes) -> Sent:
        request: Any = orjson.loads(body)
        is_batch = isinstance(request, list)
        calls = cast("list[Json]", request if is_batch else [request])
        trouble = self.dice.draw([call["method"] for call in calls], is_batch=is_batch)
        if trouble is not None and trouble not in _SEEN_IN_REPLIES:
            self.dice.count(trouble)
        if trouble is None and self._branch is None and not self._hidden:
            return Sent(framed(await self._chain.exchange(body)))
        if trouble is not None and trouble in _INSTEAD:
            status, content = _INSTEAD[trouble]
            return Sent(framed(content, status))
        match trouble:
            case Trouble.HANG:
                return Sent(b"", self._hang_s, closes=True)
            case Trouble.RESET:
                return Sent(b"", closes=True)
            case Trouble.SLOW:
                await trio.sleep(self._slow_s)
            case Trouble.STALE | Trouble.FORK:
                blocks, requests = self.dice.number(1, MAX_BEHIND), self.dice.number(1, MAX_BRANCH_REQUESTS)
                await self.fall_behind(blocks, requests, is_fork=trouble is Trouble.FORK)
            case _:
                pass
        replies = await self._replies(calls, trouble, is_batch=is_batch)
        return self._spoiled(calls, replies, trouble, is_batch=is_batch)

    # ---- what the endpoint knows ---------------------------------------------------------------------------

    async def fall_behind(self, blocks: int, requests: int, *, is_fork: bool = False) -> None:
        """For so many requests know the chain as it was so many blocks ago, or with empty blocks in place of those."""
        height = int(await self._value("eth_blockNumber"), 16)
        base = max(height - blocks, 0)
        block = await self._value("eth_getBlockByNumber", hex(base), False)
        if block is None:
            return  # The chain has become shorter between the two questions.
        self._branch = Branch(base, block["hash"], height if is_fork else base)
        self._branch_requests = requests

    async def _replies(self, calls: list[Json], trouble: Trouble | None, *, is_batch: bool) -> list[Json]:
        branch = self._branch
        self._branch_requests -= 1
        if self._branch_requests <= 0:
            self._branch = None
        asked = [branch.asks(call) if branch else call for call in calls]
        replies = await self._ask(asked, trouble, is_batch=is_batch)
        if branch:
            replies = [branch.answers(call, reply) for call, reply in zip(calls, replies, strict=True)]
        if trouble is Trouble.NO_LOGS:
            replies = [await self._without_newest_logs(reply) for reply in replies]
        if trouble is Trouble.NO_RECEIPT:
            self._hide_receipts(replies)
        return [self._without_hidden(reply) for reply in replies]

    async def _ask(self, calls: list[Json], trouble: Trouble | None, *, is_batch: bool) -> list[Json]:
        """The chain's replies in the order of the calls."""
        if trouble is Trouble.TX_DROPPED:
            passed = [call for call in calls if not _is_send(call)]
            dropped = [_taken(call) for call in calls if _is_send(call)]
            return _in_order(calls, dropped + (await self._ask(passed, None, is_batch=True) if passed else []))
        if trouble is Trouble.TX_DOUBLED:
            await self._ask([call for call in calls if _is_send(call)], None, is_batch=True)
        replies = orjson.loads(await self._chain.exchange(orjson.dumps(calls if is_batch else calls[0])))
        return _in_order(calls, replies if is_batch else [replies])

    async def _value(self, method: str, *params: object) -> Any:
        call = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
        return orjson.loads(await self._chain.exchange(orjson.dumps(call)))["result"]

    async def _without_newest_logs(self, reply: Json) -> Json:
        result = reply.get("result")
        if not isinstance(result, list) or not result or "topics" not in result[-1]:
            return reply
        found = cast("list[Json]", result)
        head = await self._value("eth_blockNumber")
        older = [log for log in found if log["blockNumber"] != head]
        if len(older) < len(found):
            self.dice.count(Trouble.NO_LOGS)
        return {**reply, "result": older}

    def _hide_receipts(self, replies: list[Json]) -> None:
        for reply in replies:
            if tx_hash := _receipt_of(reply):
                self.dice.count(Trouble.NO_RECEIPT)
                self._hidden[tx_hash] = self.dice.number(1, MAX_HIDDEN_ANSWERS)

    def _without_hidden(self, reply: Json) -> Json:
        tx_hash = _receipt_of(reply)
        if tx_hash not in self._hidden:
            return reply
        self._hidden[tx_hash] -= 1
        if not self._hidden[tx_hash]:
            del self._hidden[tx_hash]
        return {**reply, "result": None}

    # ---- how it says it ------------------------------------------------------------------------------------

    def _spoiled(self, calls: list[Json], replies: list[Json], trouble: Trouble | None, *, is_batch: bool) -> Sent:
        content = orjson.dumps(replies if is_batch else replies[0])
        half = len(content) // 2
        match trouble:
            case Trouble.TX_SENT_BUT_FAILED if self.dice.number(0, 1):
                return Sent(b"", closes=True)
            case Trouble.TX_SENT_BUT_FAILED:
                said = [
                    _error(reply, -32603, "internal error") if _is_send(call) else reply
                    for call, reply in zip(calls, replies, strict=True)
                ]
                return Sent(framed(orjson.dumps(said if is_batch else said[0])))
            case Trouble.RATE_LIMIT:
                return Sent(framed(orjson.dumps(_error(replies[0], -32005, "request rate exceeded"))))
            case Trouble.WRONG_ID:
                strangers = [{"jsonrpc": "2.0", "id": 7_000_001 + at, "result": "0x0"} for at in range(len(replies))]
                return Sent(framed(orjson.dumps(strangers if is_batch else strangers[0])))
            case Trouble.PARTIAL_BATCH:
                del replies[self.dice.number(0, len(replies) - 1)]
                return Sent(framed(orjson.dumps(replies)))
            case Trouble.MALFORMED:
                return Sent(framed(content[:half] + b"\xff}{"))
            case Trouble.TRUNCATED:
                return Sent(framed(content)[: -max(half, 1)], closes=True)
            case Trouble.TOO_LONG:
                return Sent(framed(content[:half]) + content[half:])
            case Trouble.TOO_SHORT:
                return Sent(framed(content)[: -max(half, 1)], self._hang_s, closes=True)
            case _:
                return Sent(framed(content))


async def read_request(stream: trio.SocketStream, buffer: bytearray) -> bytes:
    """The body of the next POST on a connection; `buffer` holds what came after it. Raises EOFError at its end."""
    while (at := buffer.find(b"\r\n\r\n")) < 0:
        await _more(stream, buffer)
    lines = bytes(buffer[:at]).lower().split(b"\r\n")
    size = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    end = at + 4 + size
    while len(buffer) < end:
        await _more(stream, buffer)
    body = bytes(buffer[at + 4 : end])
    del buffer[:end]
    return body


async def _more(stream: trio.SocketStream, buffer: bytearray) -> None:
    received = await stream.receive_some(65_536)
    if not received:
        raise EOFError
    buffer += received


def framed(content: bytes, status: bytes = b"200 OK") -> bytes:
    """An HTTP reply."""
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status,
        len(content),
        content,
    )


def _is_send(call: Json) -> bool:
    return bool(call["method"] == "eth_sendRawTransaction")


def _taken(call: Json) -> Json:
    """What an endpoint says that has taken a transaction."""
    raw = bytes.fromhex(call["params"][0].removeprefix("0x"))
    return {"jsonrpc": "2.0", "id": call["id"], "result": "0x" + keccak(raw).hex()}


def _error(reply: Json, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": reply["id"], "error": {"code": code, "message": message}}


def _in_order(calls: list[Json], replies: list[Json]) -> list[Json]:
    by_id = {reply["id"]: reply for reply in replies}
    return [by_id[call["id"]] for call in calls]


def _receipt_of(reply: Json) -> str | None:
    """The transaction that a reply is the receipt of."""
    result = reply.get("result")
    if not isinstance(result, dict) or "cumulativeGasUsed" not in result:
        return None
    return str(cast(Json, result)["transactionHash"])


@asynccontextmanager
async def run_rpc_proxies(proxies: Sequence[RpcProxy]) -> AsyncGenerator[tuple[str, ...]]:
    """Serve for the length of the block; the URLs."""
    async with trio.open_nursery() as nursery:
        for proxy in proxies:
            await nursery.start(proxy.serve)
        yield tuple(proxy.url for proxy in proxies)
        nursery.cancel_scope.cancel()
