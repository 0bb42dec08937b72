"""HTTP/1.1 with keep-alive over trio, as far as JSON-RPC needs it: POST a body, read a body.

Framed by hand because a general client costs ten times the call itself on the path of an assign
(measured: 51 against 445 µs of CPU). Everything read is bounded; a connection that was cancelled or failed
in the middle of an exchange is closed and never used again.
"""

import re
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import trio

from capanode.node.chain.wire import BadReply
from capanode.protocol.faults import Misconfigured, Unavailable

CONNECT_TIMEOUT_S: Final = 5.0
EXCHANGE_TIMEOUT_S: Final = 15.0
"""One request and its whole reply; a public endpoint under load answers a range of logs in a few seconds."""

BRIEF_TIMEOUT_S: Final = 5.0
"""The same for what every endpoint answers at once: another one, or the same one again, is the better hope then."""

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024


class ReplyTooLarge(BadReply):
    """The reply was over the bound; ask for less."""


class StaleConnection(Unavailable):
    """A kept connection had been closed by the other side before it answered; a fresh one may do."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to POST, taken apart once."""

    host: str
    port: int
    is_tls: bool
    head: bytes
    """Request line and headers up to the value of Content-Length."""

    shown: str
    """Scheme, host and port: what may be logged, as paths and users often hold an access key."""


def read_target(url: str) -> Target:
    """Take an `http(s)://` URL apart.

    Raises:
        Misconfigured: it is not such a URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_clean = url.isascii() and url.isprintable() and " " not in url and parts.username is None
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_clean:
        raise Misconfigured("An RPC URL of the network profile is not a plain http:// or https:// address: correct it.")
    is_tls = parts.scheme == "https"
    port = port or (443 if is_tls else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        "Accept: application/json\r\nUser-Agent: capanode\r\nContent-Length: "
    )
    return Target(parts.hostname, port, is_tls, head.encode(), f"{parts.scheme}://{host}:{port}")


class Connection:
    """One kept connection; one exchange at a time."""

    def __init__(self, stream: trio.abc.Stream, target: Target) -> None:
        self._stream = stream
        self._target = target
        self._buffer = bytearray()
        self._exchanges = 0

    async def exchange(self, body: bytes, *, within_s: float = EXCHANGE_TIMEOUT_S) -> bytes:
        """POST `body` and return the body of a 200 answer.

        Raises:
            Unavailable: the server did not answer, or answered something else; close the connection then.
        """
        if self._buffer:
            # It sent more than it had announced: what it sends next could be taken for the answer to this.
            raise StaleConnection(f"The RPC endpoint {self._target.shown} sent more than one reply: retrying.")
        request = b"%b%d\r\n\r\n%b" % (self._target.head, len(body), body)
        try:
            with trio.fail_after(within_s):
                await self._stream.send_all(request)
                reply = await self._read_reply()
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError) as error:
            kind = StaleConnection if self._exchanges else Unavailable
            raise kind(f"The RPC endpoint {self._target.shown} closed the connection: retrying.") from error
        except trio.TooSlowError as error:
            raise Unavailable(
                f"The RPC endpoint {self._target.shown} gave no answer within {within_s:.0f} s: retrying."
            ) from error
        self._exchanges += 1
        return reply

    async def aclose(self) -> None:
        """Close at once, without a TLS farewell, which could block."""
        await trio.aclose_forcefully(self._stream)

    async def _read_reply(self) -> bytes:
        while True:
            status, fields = _read_head(await self._take_until(b"\r\n\r\n", MAX_HEAD_BYTES))
            if status >= 200:
                break
        if "chunked" in fields.get("transfer-encoding", ""):
            body = await self._take_chunks()
        else:
            body = await self._take(_read_length(fields.get("content-length")))
        if status != 200 and not body.lstrip().startswith((b"{", b"[")):
            raise Unavailable(
                f"The RPC endpoint {self._target.shown} answered HTTP {status}: check its address and its limits."
            )
        return body

    async def _take_chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = await self._take_until(b"\r\n", 1024)
            try:
                size = int(line.split(b";")[0].strip(), 16)
            except ValueError:
                raise BadReply("The RPC endpoint sent a malformed chunk: check the endpoint.") from None
            if size < 0 or len(body) + size > MAX_REPLY_BYTES:
                raise ReplyTooLarge(_too_large())
            if size == 0:
                break
            body += await self._take(size)
            await self._take(2)
        while await self._take_until(b"\r\n", MAX_HEAD_BYTES):
            pass
        return bytes(body)

    async def _take_until(self, mark: bytes, limit: int) -> bytes:
        """What comes before `mark`, which is consumed too."""
        start = 0
        while (at := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark))
            if len(self._buffer) > limit:
                raise BadReply("The RPC endpoint sent an endless header: check the endpoint.")
            await self._fill()
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return taken

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _fill(self) -> None:
        received = await self._stream.receive_some(_READ_BYTES)
        if not received:
            raise trio.BrokenResourceError
        self._buffer += received


async def connect(target: Target) -> Connection:
    """Open a connection.

    Raises:
        Unavailable: nobody answers there, or its certificate is not valid.
    """
    try:
        with trio.fail_after(CONNECT_TIMEOUT_S):
            return Connection(await _open_stream(target), target)
    except (OSError, trio.BrokenResourceError, ssl.SSLError, ssl.CertificateError) as error:
        raise Unavailable(
            f"The RPC endpoint {target.shown} cannot be reached: check that it runs and that its address is right."
        ) from error
    except trio.TooSlowError as error:
        raise Unavailable(
            f"The RPC endpoint {target.shown} did not accept a connection within {CONNECT_TIMEOUT_S:.0f} s: "
            "check that it runs and that its address is right."
        ) from error


async def _open_stream(target: Target) -> trio.abc.Stream:
    if not target.is_tls:
        return await trio.open_tcp_stream(target.host, target.port)
    stream = await trio.open_ssl_over_tcp_stream(target.host, target.port, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    parts = status_line.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not re.fullmatch("[1-5][0-9]{2}", parts[1]):
        raise BadReply("The RPC endpoint does not speak HTTP/1.1: check its address.")
    pairs = (line.partition(":") for line in lines)
    return int(parts[1]), {name.strip().lower(): value.strip().lower() for name, _, value in pairs}


def _read_length(value: str | None) -> int:
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > 12:
        raise BadReply("The RPC endpoint did not say how long its reply is: check its address.")
    if int(value) > MAX_REPLY_BYTES:
        raise ReplyTooLarge(_too_large())
    return int(value)


def _too_large() -> str:
    return f"The RPC endpoint sent a reply over {MAX_REPLY_BYTES >> 20} MiB: asking for less."
