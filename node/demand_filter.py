"""The gossip validator for demands: everything that can be decided at once, without asking anybody.

Runs on every message of every stranger before anything else sees it, so it is synchronous, bounded, and ordered from
cheap to dear: size, form, expiry, rate, signature. A contract wallet cannot be asked here: its demands go by chain.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

from capanode.node.keys.recover import is_signed_by
from capanode.node.p2p.port import Verdict
from capanode.protocol import encoding
from capanode.protocol.faults import PeerFault
from capanode.protocol.ids import Address, PeerId, UnixTime
from capanode.protocol.messages import MAX_GOSSIP_BYTES
from capanode.protocol.records import SignedDemand
from capanode.protocol.typed_data import Domain, demand_hint_digest

KNOWN: Final = 8192
"""Digests of messages that were accepted; the oldest go first."""

LONGEST_LIFE_S: Final = 7 * 86_400
"""A demand may expire this far ahead at most, so that a flood cannot settle in."""

DEMANDS_PER_MINUTE: Final = 120
"""New demands that one requester may spread a minute; enough for a batch, not for a flood."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float


class DemandFilter:
    """Judges gossip on the demands topic. A demand is accepted once; repeats of it are ignored, not charged."""

    def __init__(self, domain: Domain, now: Callable[[], UnixTime]) -> None:
        self._domain = domain
        self._now = now
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._allowances: OrderedDict[Address, _Allowance] = OrderedDict()

    def __call__(self, topic: str, source: PeerId, data: bytes) -> Verdict:
        """ACCEPT a new, well-formed, unexpired demand that its requester has signed and its own peer sends."""
        if len(data) > MAX_GOSSIP_BYTES:
            return Verdict.REJECT
        try:
            signed = encoding.decode(SignedDemand, data)
        except PeerFault:
            return Verdict.REJECT
        demand, now = signed.demand, self._now()
        if demand.peer != source or demand.expires_at > now + LONGEST_LIFE_S:
            return Verdict.REJECT
        if demand.expires_at <= now:
            return Verdict.IGNORE
        # Over the whole message: a known demand under a forged signature is not a known message.
        digest = sha256(data).digest()
        if digest in self._known:
            return Verdict.ACCEPT
        if not self._within_rate(demand.requester, float(now)):
            return Verdict.IGNORE
        if not is_signed_by(demand.requester, demand_hint_digest(self._domain, demand), signed.signature):
            return Verdict.REJECT
        _remember(self._known, digest, None, KNOWN)
        return Verdict.ACCEPT

    def _within_rate(self, requester: Address, now: float) -> bool:
        allowance = self._allowances.pop(requester, None) or _Allowance(float(DEMANDS_PER_MINUTE), now)
        refill = (now - allowance.at) * DEMANDS_PER_MINUTE / 60
        allowance.left = min(float(DEMANDS_PER_MINUTE), allowance.left + refill)
        allowance.at = now
        _remember(self._allowances, requester, allowance, KNOWN)
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True


def _remember(memory: OrderedDict[K, V], key: K, value: V, size: int) -> None:
    memory[key] = value
    if len(memory) > size:
        memory.popitem(last=False)
