"""Judges gossip: everything that can be decided at once, without asking anybody.

Runs on every message of every stranger before anything else sees it, so it is synchronous, bounded, and ordered from
cheap to dear: size, form, sender, expiry, rate, signature. A contract wallet cannot be asked here: what it has to say
goes by chain.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

from capanode.node.keys.recover import is_signed_by
from capanode.node.p2p.port import Verdict
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Address, Digest, PeerId, UnixTime
from capanode.protocol.messages import MAX_GOSSIP_BYTES

KNOWN: Final = 8192
"""Digests of messages that were accepted, and senders whose rate is remembered; the oldest go first."""

REPEAT_S: Final = 1
"""A known message passes again after so long: its sender repeats it for those who had no room, or came late."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Hint:
    """What a message says of itself."""

    peer: PeerId
    """Who sends it."""

    signer: Address
    signature: bytes
    signed: Callable[[], Digest]
    """What the signature is over; asked for last, as it is the dearest."""

    expires_at: UnixTime


@dataclass(frozen=True, slots=True)
class Measure:
    """How much of it is let through."""

    longest_life_s: int
    """It may expire this far ahead at most, so that a flood cannot settle in."""

    per_minute: int
    """New messages that one peer may spread a minute."""


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float


class GossipJudge:
    """The validator of one topic. The rate is the sender's own: nobody can use up another's by forgeries."""

    def __init__(self, read: Callable[[bytes], Hint], measure: Measure, now: Callable[[], UnixTime]) -> None:
        self._read = read
        self._measure = measure
        self._now = now
        self._known: OrderedDict[bytes, UnixTime] = OrderedDict()
        self._allowances: OrderedDict[PeerId, _Allowance] = OrderedDict()

    def __call__(self, topic: str, source: PeerId, data: bytes) -> Verdict:
        """ACCEPT what is new, well-formed and unexpired, and what its signer signed and its own peer sends."""
        if len(data) > MAX_GOSSIP_BYTES:
            return Verdict.REJECT
        try:
            hint = self._read(data)
        except PeerFault:
            return Verdict.REJECT
        now = self._now()
        if hint.peer != source or hint.expires_at > now + self._measure.longest_life_s:
            return Verdict.REJECT
        if hint.expires_at <= now:
            return Verdict.IGNORE
        # Over the whole message: a known one under a forged signature is not a known message.
        digest = sha256(data).digest()
        last = self._known.get(digest)
        if last is not None and last <= now < last + REPEAT_S:
            return Verdict.IGNORE
        if last is not None:
            self._known[digest] = now
            return Verdict.ACCEPT
        if not self._within_rate(source, float(now)):
            return Verdict.IGNORE
        if not is_signed_by(hint.signer, hint.signed(), hint.signature):
            return Verdict.REJECT
        _remember(self._known, digest, now, KNOWN)
        return Verdict.ACCEPT

    def _within_rate(self, sender: PeerId, now: float) -> bool:
        most = float(self._measure.per_minute)
        allowance = self._allowances.pop(sender, None) or _Allowance(most, now)
        # Chain time may be set back; that takes nothing away.
        allowance.left = min(most, allowance.left + max(0.0, now - allowance.at) * most / 60)
        allowance.at = now
        _remember(self._allowances, sender, allowance, KNOWN)
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True


def _remember(memory: OrderedDict[K, V], key: K, value: V, size: int) -> None:
    memory[key] = value
    if len(memory) > size:
        memory.popitem(last=False)
