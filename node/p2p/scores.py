"""What each peer has cost us, and for how long the worst are kept out. Pure: `now` is an argument.

The library's own peer scores are not used: their weights default to zero and have the opposite sign
of the specification's.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from capanode.protocol.ids import PeerId

BAN_POINTS = 4.5
"""Faults in a short time that end in a ban: five within half a minute."""
FORGIVE_S = 60.0
"""One point is forgiven in this time, so that rare mistakes of honest peers never add up."""
BAN_S = 600.0
"""How long a banned peer is refused."""
_ENTRIES = 4096


@dataclass(slots=True)
class _Score:
    points: float
    updated_at: float


@dataclass(slots=True)
class Scores:
    """Points and bans of the peers seen last; bounded, so a crowd of new ids only displaces old entries."""

    banned: int = 0
    _scores: OrderedDict[PeerId, _Score] = field(default_factory=OrderedDict[PeerId, _Score])
    _banned_until: OrderedDict[PeerId, float] = field(default_factory=OrderedDict[PeerId, float])

    def charge(self, peer: PeerId, now: float, points: float = 1.0) -> bool:
        """Add a fault; whether the peer is banned by it just now."""
        score = self._scores.setdefault(peer, _Score(0.0, now))
        self._scores.move_to_end(peer)
        score.points = max(0.0, score.points - (now - score.updated_at) / FORGIVE_S) + points
        score.updated_at = now
        if len(self._scores) > _ENTRIES:
            self._scores.popitem(last=False)
        if score.points < BAN_POINTS or self.is_banned(peer, now):
            return False
        del self._scores[peer]
        self._ban(peer, now)
        return True

    def is_banned(self, peer: PeerId, now: float) -> bool:
        """Whether the peer is kept out at `now`."""
        until = self._banned_until.get(peer)
        if until is None:
            return False
        if until > now:
            return True
        del self._banned_until[peer]
        return False

    def _ban(self, peer: PeerId, now: float) -> None:
        self.banned += 1
        self._banned_until[peer] = now + BAN_S
        if len(self._banned_until) > _ENTRIES:
            self._banned_until.popitem(last=False)
