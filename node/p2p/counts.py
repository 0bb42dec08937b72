"""The running counters behind `Statistics`."""

from collections import Counter

from capanode.node.p2p.port import Statistics


class Counts(Counter[str]):
    """Counts by field name of `Statistics`."""

    def add(self, name: str) -> None:
        """One more of `name`."""
        self[name] += 1

    def snapshot(self, *, connected_peers: int, inbound_slots_used: int, peers_banned: int) -> Statistics:
        """All counters and the sizes given."""
        return Statistics(
            connected_peers=connected_peers,
            inbound_slots_used=inbound_slots_used,
            peers_banned=peers_banned,
            **self,
        )
