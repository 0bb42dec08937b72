"""Subscriptions that outlive hosts, and the judgement of each message.

Order of the checks: neighbour's rate (before the signature, in `pubsub`), signature (library), own message,
size, signer's rate, repeated bytes, then the topic's own validator. What is accepted goes straight to the
topic's bounded channel; a full channel drops the message for us but still forwards it.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

import trio
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub

from capanode.node.p2p.config import GossipLimits
from capanode.node.p2p.counts import Counts
from capanode.node.p2p.library_types import ID
from capanode.node.p2p.limits import RateLimit, RecentlySeen
from capanode.node.p2p.port import Message, Validator, Verdict
from capanode.protocol.faults import InvariantViolated, Refused
from capanode.protocol.ids import PeerId

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Subscription:
    validator: Validator
    send: trio.MemorySendChannel[Message]


class Gossip:
    """The node's side of gossip."""

    def __init__(
        self,
        own: PeerId,
        limits: GossipLimits,
        publish_gap_s: float,
        charge: Callable[[PeerId], None],
        counts: Counts,
    ) -> None:
        self._own = own
        self._limits = limits
        self._gap_s = publish_gap_s
        self._charge = charge
        self._counts = counts
        self._subscriptions: dict[str, _Subscription] = {}
        self._seen = RecentlySeen(limits.dedupe_ttl_s, limits.dedupe_entries)
        self._rates = RateLimit(limits.source_rate_per_s, float(limits.source_burst))
        self._pace = trio.Lock()
        self._next_publish_at = 0.0

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics subscribed to."""
        return tuple(self._subscriptions)

    def subscribe(self, topic: str, validator: Validator) -> trio.MemoryReceiveChannel[Message]:
        """As in the port; the caller installs the topic in the live host."""
        if topic in self._subscriptions:
            raise InvariantViolated(f"Topic {topic} is subscribed to twice.")
        send, receive = trio.open_memory_channel[Message](self._limits.queue_messages)
        self._subscriptions[topic] = _Subscription(validator, send)
        return receive

    async def install(self, pubsub: Pubsub, topic: str) -> None:
        """Subscribe a host to the topic."""
        pubsub.set_topic_validator(topic, self._accepts, is_async_validator=False)
        await pubsub.subscribe(topic)

    async def publish(self, pubsub: Pubsub, topic: str, data: bytes) -> None:
        """Publish when it is this message's turn.

        Raises:
            Refused: too long.
        """
        if len(data) > self._limits.message_bytes:
            raise Refused(f"A gossip message of {len(data)} bytes is above {self._limits.message_bytes}; send a CID.")
        async with self._pace:
            await trio.sleep_until(self._next_publish_at)
            self._next_publish_at = trio.current_time() + self._gap_s
            await pubsub.publish(topic, data)
            self._counts.add("messages_published")

    def _accepts(self, forwarder: ID, message: rpc_pb2.Message) -> bool:
        # The library calls this for own publishes too. Nothing may leave here: it would end the service.
        try:
            source = PeerId(ID(message.from_id).to_base58())
            if PeerId(forwarder.to_base58()) == self._own:
                return True
            if source == self._own:
                return False
            return self._judge(message.topicIDs[0], source, PeerId(forwarder.to_base58()), message.data)
        except Exception:
            _log.exception("judging a gossip message failed")
            self._counts.add("contained_faults")
            return False

    def _judge(self, topic: str, source: PeerId, forwarder: PeerId, data: bytes) -> bool:
        subscription = self._subscriptions[topic]
        now = trio.current_time()
        if not self._rates.allows((source, topic), now):
            self._counts.add("messages_over_rate")
            return False
        if not self._seen.is_new(hashlib.sha256(topic.encode() + b"\0" + data).digest(), now):
            self._counts.add("messages_ignored")
            return False
        verdict = subscription.validator(topic, source, data)
        match verdict:
            case Verdict.ACCEPT:
                self._deliver(subscription, Message(topic, data, source, forwarder))
                return True
            case Verdict.IGNORE:
                self._counts.add("messages_ignored")
                return False
            case Verdict.REJECT:
                self._counts.add("messages_rejected")
                self._charge(forwarder)
                return False
            case _:
                assert_never(verdict)

    def _deliver(self, subscription: _Subscription, message: Message) -> None:
        try:
            subscription.send.send_nowait(message)
            self._counts.add("messages_delivered")
        except (trio.WouldBlock, trio.BrokenResourceError):
            self._counts.add("messages_dropped")
