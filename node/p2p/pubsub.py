"""A gossip service that no remote frame can end.

The stock one dies of an invalid protobuf, of a junk key field and of any exception in a validator; it
checks signatures before rates; it hands each message to a task of its own, without any backpressure. Here
each neighbour's stream is read by one loop: bytes are paced, control entries for topics that we do not
have are removed, known messages and those above the neighbour's rate are dropped before any cryptography,
and each message is handled to its end before the next is read.
"""

from collections.abc import Callable
from typing import Any, Final

import trio
from libp2p.abc import INetStream
from libp2p.network.connection.exceptions import RawConnError
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, ValidationCache
from libp2p.pubsub.utils import maybe_consume_signed_record
from libp2p.utils.varint import decode_uvarint

from capanode.node.p2p.config import TOPIC_PREFIX, GossipLimits
from capanode.node.p2p.library_types import ID
from capanode.node.p2p.limits import RateLimit, TokenBucket
from capanode.protocol.faults import PeerFault

RPC_BYTES: Final = 1024 * 1024
"""Longest frame on a gossip stream; the library sends up to this."""
_TOPIC_CHARS: Final = 128
_FORGET_S: Final = 60.0

OnFault = Callable[[ID, Exception], None]
OnOverRate = Callable[[ID], None]


class _NoCache(ValidationCache):
    """The stock cache removes from a list on every message, and our validator is not to be cached."""

    def get(self, msg_id: bytes) -> None:
        return None

    def put(self, msg_id: bytes, result: object) -> None:
        return None


class RpcReader:
    """Frames of a gossip stream, read through a buffer and paced by bytes."""

    __slots__ = ("_buffer", "_pace", "_stream")

    def __init__(self, stream: INetStream, limits: GossipLimits) -> None:
        burst = float(limits.stream_burst_bytes)
        self._stream = stream
        self._buffer = bytearray()
        self._pace = TokenBucket(limits.stream_bytes_per_s, burst, burst, trio.current_time())

    async def next(self) -> bytes:
        """The next frame.

        Raises:
            PeerFault: a bad length.
        """
        while (frame := self._take()) is None:
            chunk = await self._stream.read(65_536)
            if not chunk:
                raise PeerFault("The gossip stream ended within a frame.")
            self._buffer += chunk
            wait_s = self._pace.debt_s(trio.current_time(), len(chunk))
            if wait_s > 0:
                await trio.sleep(wait_s)
        return frame

    def _take(self) -> bytes | None:
        end = next((i for i, byte in enumerate(self._buffer[:10]) if byte < 0x80), None)
        if end is None:
            if len(self._buffer) >= 10:
                raise PeerFault("The length of a gossip frame is not a varint.")
            return None
        length = decode_uvarint(bytes(self._buffer[: end + 1]))
        if length > RPC_BYTES:
            raise PeerFault(f"A gossip frame of {length} bytes is longer than {RPC_BYTES}.")
        stop = end + 1 + length
        if len(self._buffer) < stop:
            return None
        frame = bytes(memoryview(self._buffer)[end + 1 : stop])
        del self._buffer[:stop]
        return frame


class GuardedPubsub(Pubsub):
    """See the module's docstring."""

    def __init__(
        self,
        host: Any,
        router: GossipSub,
        limits: GossipLimits,
        *,
        on_fault: OnFault,
        on_over_rate: OnOverRate,
    ) -> None:
        super().__init__(
            host, router, strict_signing=True, max_inbound_rpc_size=RPC_BYTES, max_subscriptions_per_peer=16
        )
        self.validation_cache = _NoCache()
        self._gossip = router
        self._limits = limits
        self._on_fault = on_fault
        self._on_over_rate = on_over_rate
        self._rates = RateLimit(limits.forwarder_rate_per_s, float(limits.forwarder_burst))
        self._verified_records: dict[ID, bytes] = {}

    async def stream_handler(self, stream: INetStream) -> None:
        """Read a neighbour until it ends or breaks the protocol; only cancellation comes out."""
        peer = stream.muxed_conn.peer_id
        try:
            await super().stream_handler(stream)
        except Exception as error:
            self._on_fault(peer, error)
            with trio.move_on_after(1):
                await stream.reset()
            self._handle_dead_peer(peer)

    async def continuously_read_stream(self, stream: INetStream) -> None:
        """Handle the frames of one neighbour, one after the other."""
        peer = stream.muxed_conn.peer_id
        reader = RpcReader(stream, self._limits)
        while self.manager.is_running:
            try:
                frame = await reader.next()
            except (StreamEOF, RawConnError):
                return
            rpc = rpc_pb2.RPC.FromString(frame)
            if not self._has_good_record(rpc, peer):
                continue
            rpc.ClearField("senderRecord")
            for message in rpc.publish:
                if self._admits(peer, message):
                    await self.push_msg(peer, message)
            for subscription in rpc.subscriptions[:64]:
                self.handle_subscription(peer, subscription)
            if rpc.HasField("control"):
                self._remove_unknown_topics(rpc.control)
                await self.router.handle_rpc(rpc, peer)

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Check, deliver and forward one message; only cancellation comes out."""
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception as error:
            self._on_fault(msg_forwarder, error)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Nothing: our validator delivers, so that the library's queue of 32 does not drop."""

    def handle_subscription(self, origin_id: ID, sub_message: rpc_pb2.RPC.SubOpts) -> None:
        """Record a neighbour's subscription to one of our kind of topics."""
        topic = sub_message.topicid
        if topic.startswith(TOPIC_PREFIX) and len(topic) <= _TOPIC_CHARS:
            super().handle_subscription(origin_id, sub_message)

    def forget(self, peer: ID) -> None:
        """Drop what is kept of a disconnected neighbour."""
        self._verified_records.pop(peer, None)
        self._gossip.graft_flood_tracking.pop(peer, None)

    async def forget_deliveries(self) -> None:
        """Empty, for ever, a list of times that the router keeps for an option that is off."""
        while True:
            await trio.sleep(_FORGET_S)
            self._gossip.recent_message_deliveries.clear()

    def _admits(self, peer: ID, message: rpc_pb2.Message) -> bool:
        if len(message.topicIDs) != 1 or message.topicIDs[0] not in self.topic_ids:
            return False
        if self._is_msg_seen(message):
            return False
        if len(message.data) > self._limits.message_bytes:
            self._on_fault(peer, PeerFault(f"A gossip message of {len(message.data)} bytes is too long."))
            return False
        if not self._rates.allows(peer, trio.current_time()):
            self._on_over_rate(peer)
            return False
        return True

    def _has_good_record(self, rpc: rpc_pb2.RPC, peer: ID) -> bool:
        # The signed address record comes with every frame and rarely changes.
        if not rpc.HasField("senderRecord") or self._verified_records.get(peer) == rpc.senderRecord:
            return True
        if not maybe_consume_signed_record(rpc, self.host, peer):
            self._on_fault(peer, PeerFault("The address record of a gossip frame is not validly signed."))
            return False
        self._verified_records[peer] = rpc.senderRecord
        return True

    def _remove_unknown_topics(self, control: rpc_pb2.ControlMessage) -> None:
        # The router keeps state for whatever topic it is told about, and dials the peers named in a PRUNE.
        entries: Any
        for entries in (control.ihave, control.graft, control.prune):
            known = [entry for entry in entries if entry.topicID in self.topic_ids][:32]
            del entries[:]
            entries.extend(known)
        for prune in control.prune:
            del prune.peers[:]
