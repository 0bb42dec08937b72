"""What an operator can set about the network, with the reason for each default."""

from dataclasses import dataclass
from pathlib import Path

from capanode.node.keys.peer_key import PeerKey

TOPIC_PREFIX = "/capanode/"
"""Subscriptions of peers to topics elsewhere are not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipLimits:
    """Bounds on what others can make this node do by gossip."""

    message_bytes: int = 32 * 1024
    source_rate_per_s: float = 20.0
    """Messages that one signer may have forwarded by us, per topic."""
    source_burst: int = 100
    forwarder_rate_per_s: float = 500.0
    """Messages that one neighbour may hand us, before their signatures are checked."""
    forwarder_burst: int = 2000
    stream_bytes_per_s: float = 1024 * 1024
    """Beyond this a neighbour's stream is read more slowly, so that its own writes stall."""
    stream_burst_bytes: int = 4 * 1024 * 1024
    dedupe_ttl_s: float = 8.0
    """Equal bytes pass once in this time: shorter than the shortest re-announcement (10 s)."""
    dedupe_entries: int = 20_000
    queue_messages: int = 1000
    """Accepted messages waiting for the node's loop, per topic; one busy second at full rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """One node's network."""

    key: PeerKey
    """Under which the others know this node."""
    data_dir: Path
    """Holds `peers.json`."""
    network: str
    """Names the market, `<chain id>-<directory address>`; nodes of other networks are not discovered."""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    announce: tuple[str, ...] = ()
    """Addresses to publish in place of the ones listened on (behind NAT or a load balancer)."""
    bootstrap: tuple[str, ...] = ()
    hub: bool = False
    """A bootstrap node: keeps every neighbour in its mesh, because pruned leaves of a star hear nothing."""
    dht: bool = True
    mdns: bool = False
    """Off: it would also announce on interfaces that the operator did not choose."""
    target_peers: int = 6
    """Gossip needs 4 to 6 links a node; below this the node dials known peers."""
    max_connections: int = 300
    max_connections_per_ip: int = 64
    max_streams_per_peer: int = 48
    heartbeat_s: int = 1
    publish_gap_s: float = 0.005
    """Between own publishes: libp2p queues only 32 messages to a neighbour and drops the rest."""
    ping_watched_s: float = 3.0
    ping_others_s: float = 60.0
    gossip: GossipLimits = GossipLimits()
