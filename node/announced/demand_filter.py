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
from capanode.protocol.ids import PeerId, UnixTime
from capanode.protocol.messages import MAX_GOSSIP_BYTES
from capanode.protocol.records import SignedDemand
from capanode.protocol.typed_data import demand_hint_digest, domain

KNOWN: Final = 8192
"""Digests of messages that were accepted; the oldest go first."""

LONGEST_LIFE_S: Final = 7 * 86_400
"""A demand may expire this far ahead at most, so that a flood cannot settle in."""

DEMANDS_PER_MINUTE: Final = 120
"""New demands that one peer may spread a minute; enough for a batch, not for a flood."""

REPEAT_S: Final = 1
"""A known demand passes again after so long: its requester repeats it for those who had no room, or came late."""


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float


class DemandFilter:
    """Judges gossip on the demands topic. The rate is the sender's own: nobody can use up another's by forgeries."""

    def __init__(self, chain_id: int, now: Callable[[], UnixTime]) -> None:
        self._chain_id = chain_id
        self._now = now
        self._known: OrderedDict[bytes, UnixTime] = OrderedDict()
        self._allowances: OrderedDict[PeerId, _Allowance] = OrderedDict()

    def __call__(self, topic: str, source: PeerId, data: bytes) -> Verdict:
        """ACCEPT a new, well-formed, unexpired demand that its requester has signed and its own peer sends.

        Whichever market it names: a node passes on what it does not trade in, so that a new version of the market
        reaches all that have taken it up.
        """
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
        last = self._known.get(digest)
        if last is not None and last <= now < last + REPEAT_S:
            return Verdict.IGNORE
        if last is not None:
            self._known[digest] = now
            return Verdict.ACCEPT
        if not self._within_rate(source, float(now)):
            return Verdict.IGNORE
        at = domain(self._chain_id, signed.market)
        if not is_signed_by(demand.requester, demand_hint_digest(at, demand), signed.signature):
            return Verdict.REJECT
        _remember(self._known, digest, now, KNOWN)
        return Verdict.ACCEPT

    def _within_rate(self, sender: PeerId, now: float) -> bool:
        allowance = self._allowances.pop(sender, None) or _Allowance(float(DEMANDS_PER_MINUTE), now)
        # Chain time may be set back; that takes nothing away.
        refill = max(0.0, now - allowance.at) * DEMANDS_PER_MINUTE / 60
        allowance.left = min(float(DEMANDS_PER_MINUTE), allowance.left + refill)
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
