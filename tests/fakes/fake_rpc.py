"""An RPC endpoint that answers as a test says: rightly, wrongly, slowly, or not at all."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import orjson
import trio

Answer = Callable[[str, list[object]], object]
"""Method and parameters to a result; raises `Refusal` for an error object."""


class Refusal(Exception):
    """An error object of JSON-RPC."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.fields = {"code": code, "message": message, **({"data": data} if data is not None else {})}


@dataclass
class FakeRpc:
    """What the endpoint does; a test changes it while it runs."""

    port: int = 0
    chain_id: int = 31_337
    answer: Answer = lambda method, params: None
    raw: Callable[[bytes], bytes | None] | None = None
    """Bytes to send in place of a reply, None for silence; asked after the chain id is known."""

    methods: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reply(self, body: bytes) -> bytes:
        request = orjson.loads(body)
        return orjson.dumps([self._one(call) for call in request] if isinstance(request, list) else self._one(request))

    def _one(self, call: dict[str, object]) -> dict[str, object]:
        method, params = str(call["method"]), call["params"]
        assert isinstance(params, list)
        self.methods.append(method)
        try:
            result = hex(self.chain_id) if method == "eth_chainId" else self.answer(method, params)
        except Refusal as refusal:
            return {"jsonrpc": "2.0", "id": call["id"], "error": refusal.fields}
        return {"jsonrpc": "2.0", "id": call["id"], "result": result}


def http_reply(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
        status.encode(),
        len(body),
        body,
    )


@asynccontextmanager
async def run_fake_rpc(fake: FakeRpc) -> AsyncGenerator[FakeRpc]:
    """The endpoint on a free port (or on its own, when it had one) for the length of the block."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, partial(_serve, fake), fake.port, host="127.0.0.1", handler_nursery=nursery)
        )
        fake.port = listeners[0].socket.getsockname()[1]
        yield fake
        nursery.cancel_scope.cancel()


async def _serve(fake: FakeRpc, stream: trio.SocketStream) -> None:
    try:
        while True:
            body = await _request(stream)
            if fake.raw is None or b"eth_chainId" in body:
                await stream.send_all(http_reply(fake.reply(body)))
                continue
            raw = fake.raw(body)
            if raw is None:
                await trio.sleep_forever()
            elif not raw:
                return
            else:
                await stream.send_all(raw)
    except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def _request(stream: trio.SocketStream) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await _some(stream)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += await _some(stream)
    return body


async def _some(stream: trio.SocketStream) -> bytes:
    received = await stream.receive_some(65_536)
    if not received:
        raise EOFError
    return bytes(received)
