"""Requests on kept streams: opening a stream costs 2 ms more than a message on one."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure

from capanode.node.p2p.frames import FrameReader, Status, sentence_untrusted, write_reply, write_request
from capanode.node.p2p.library_types import ID
from capanode.node.p2p.port import Handler
from capanode.protocol.faults import Fault, PeerFault, Refused, Unavailable
from capanode.protocol.ids import PeerId

_log = logging.getLogger(__name__)

_STREAMS_PER_PROTOCOL: Final = 4
"""Requests in flight to one peer on one protocol; more wait."""
_HANDLERS_PER_PEER: Final = 16
"""Requests of one peer being handled; more are answered as unavailable."""
_IDLE_S: Final = 900.0
"""A kept stream without a request is closed by the server after this."""
_WRITE_S: Final = 60.0
"""Longest time for a peer to take one reply."""

Key = tuple[PeerId, str]


class NoSuchProtocol(Unavailable):
    """The peer is alive and does not speak the protocol."""


@dataclass(slots=True)
class _Kept:
    stream: INetStream
    reader: FrameReader


class Requester:
    """Sends requests over one host; forgotten with it."""

    def __init__(self, host: IHost) -> None:
        self._host = host
        self._idle: dict[Key, list[_Kept]] = {}
        self._slots: dict[Key, trio.Semaphore] = {}

    async def request(self, peer: PeerId, protocol: str, payload: bytes, limit_bytes: int) -> bytes:
        """As the port's `request`, without the time limit; the peer is connected already."""
        key = (peer, protocol)
        slot = self._slots.setdefault(key, trio.Semaphore(_STREAMS_PER_PROTOCOL))
        async with slot:
            kept = self._take_idle(key)
            if kept is not None:
                try:
                    return await self._exchange(key, kept, payload, limit_bytes)
                except EOFError:
                    _log.debug("a kept stream was dead; opening a new one")
            try:
                return await self._exchange(key, await self._open(key), payload, limit_bytes)
            except EOFError as error:
                raise Unavailable(f"Peer {peer} closed the stream without answering; try again.") from error

    def forget(self, peer: PeerId) -> None:
        """Drop the streams kept to a peer that has disconnected."""
        for key in [key for key in self._idle if key[0] == peer]:
            del self._idle[key]
        for key in [key for key in self._slots if key[0] == peer]:
            del self._slots[key]

    def _take_idle(self, key: Key) -> _Kept | None:
        idle = self._idle.get(key, [])
        while idle:
            kept = idle.pop()
            if not getattr(kept.stream, "is_closed", False):
                return kept
        return None

    async def _open(self, key: Key) -> _Kept:
        peer, protocol = key
        try:
            stream = await self._host.new_stream(ID.from_base58(peer), [TProtocol(protocol)])
        except StreamFailure as error:
            raise NoSuchProtocol(f"Peer {peer} does not answer {protocol}.") from error
        except Exception as error:
            raise Unavailable(f"No stream to peer {peer} can be opened now ({error}); try again.") from error
        return _Kept(stream, FrameReader(stream))

    async def _exchange(self, key: Key, kept: _Kept, payload: bytes, limit_bytes: int) -> bytes:
        writing = True
        try:
            await write_request(kept.stream, payload)
            writing = False
            status, reply = await kept.reader.reply(limit_bytes)
            if kept.reader.has_buffered:
                raise PeerFault("The peer sent more than one reply.")
        except trio.Cancelled:
            # A record cut in the middle would corrupt the connection for everyone on it.
            await _drop(kept.stream, connection_too=writing)
            raise
        except (PeerFault, EOFError):
            await _drop(kept.stream)
            raise
        except Exception as error:
            await _drop(kept.stream)
            raise EOFError from error
        self._idle.setdefault(key, []).append(kept)
        return _result(key[0], status, reply)


def _result(peer: PeerId, status: Status, reply: bytes) -> bytes:
    match status:
        case Status.OK:
            return reply
        case Status.REFUSED:
            raise Refused(sentence_untrusted(reply))
        case Status.FAULT:
            raise Refused(f"Peer {peer} says that our request is invalid: {sentence_untrusted(reply)}")
        case Status.UNAVAILABLE:
            raise Unavailable(f"Peer {peer} cannot answer now: {sentence_untrusted(reply)}")


async def _drop(stream: INetStream, *, connection_too: bool = False) -> None:
    with trio.move_on_after(0.5) as scope:
        scope.shield = True
        try:
            if connection_too:
                connection: Any = stream.muxed_conn
                await connection.secured_conn.close()
            else:
                await stream.reset()
        except Exception:
            _log.debug("dropping a stream failed", exc_info=True)


class Responder:
    """Answers requests on the streams that peers open to us."""

    def __init__(
        self,
        *,
        charge: Callable[[PeerId], None],
        may_ask: Callable[[PeerId], bool],
        on_served: Callable[[], None],
    ) -> None:
        self._charge = charge
        self._may_ask = may_ask
        self._on_served = on_served
        self._active: Counter[PeerId] = Counter()

    def stream_handler(self, handler: Handler, limit_bytes: int) -> Callable[[INetStream], Awaitable[None]]:
        """The libp2p stream handler that answers with `handler`."""

        async def handle(stream: INetStream) -> None:
            peer = PeerId(stream.muxed_conn.peer_id.to_base58())
            if not self._may_ask(peer):
                await _drop(stream)
                return
            try:
                await self._answer_all(stream, peer, handler, limit_bytes)
            except PeerFault:
                self._charge(peer)
                await _drop(stream)

        return handle

    async def _answer_all(self, stream: INetStream, peer: PeerId, handler: Handler, limit_bytes: int) -> None:
        reader = FrameReader(stream)
        while True:
            request: bytes | None = None
            with trio.move_on_after(_IDLE_S):
                try:
                    request = await reader.request(limit_bytes)
                except PeerFault:
                    raise
                except Exception:
                    _log.debug("a request stream has ended", exc_info=True)
            if request is None:
                await _drop(stream)
                return
            status, reply = await self._answer(handler, peer, request)
            with trio.move_on_after(_WRITE_S) as writing:
                await write_reply(stream, status, reply)
            if writing.cancelled_caught:
                await _drop(stream, connection_too=True)
                return
            self._on_served()

    async def _answer(self, handler: Handler, peer: PeerId, request: bytes) -> tuple[Status, bytes]:
        if self._active[peer] >= _HANDLERS_PER_PEER:
            return Status.UNAVAILABLE, b"Too many requests at once; send them one after the other."
        self._active[peer] += 1
        try:
            return Status.OK, await handler(peer, request)
        except Refused as error:
            return Status.REFUSED, _sentence(error)
        except PeerFault as error:
            self._charge(peer)
            return Status.FAULT, _sentence(error)
        except Unavailable as error:
            return Status.UNAVAILABLE, _sentence(error)
        except Exception:
            _log.exception("a request handler failed")
            return Status.UNAVAILABLE, b"The request failed here; try again later."
        finally:
            self._active[peer] -= 1
            if not self._active[peer]:
                del self._active[peer]


def _sentence(error: Fault) -> bytes:
    return str(error).encode()
