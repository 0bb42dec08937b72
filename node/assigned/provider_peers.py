"""Which peers answer for which provider, as the registry's events say; a projection in the node's database."""

import sqlite3
from typing import Final

from capanode.contracts_abi.bindings import NodeRegistered, NodeRemoved
from capanode.node.chain.blocks import BlockRef, remember_row
from capanode.node.keys.peer_key import peer_id_of
from capanode.node.storage.database import Database, Schema
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, PeerId

SCHEMA: Final = Schema(
    "provider_peers",
    (
        """
        CREATE TABLE provider_peer (
            owner BLOB NOT NULL, peer_address BLOB NOT NULL, peer_id TEXT NOT NULL, PRIMARY KEY (owner, peer_address)
        );
        """,
        # Which came last must outlive that a row is taken away and put back.
        "ALTER TABLE provider_peer ADD COLUMN turn INTEGER NOT NULL DEFAULT 0; UPDATE provider_peer SET turn = rowid;",
    ),
)

MAX_NODES: Final = 16
"""Nodes of one provider that are looked at."""

MAX_LISTED: Final = 100
"""Providers that a wallet's earmarks are looked up for: one batch of calls."""


class ProviderPeers:
    """Answers where a provider can be asked, when no bid has told it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def peer_of(self, provider: Address) -> PeerId:
        """The peer that the provider registered last.

        Raises:
            Unavailable: it has registered none.
        """

        found = await self.peers_of(provider)
        if not found:
            raise Unavailable(f"No peer is registered for the provider 0x{provider.hex()}: waiting for one.")
        return found[0]

    async def peers_of(self, provider: Address) -> tuple[PeerId, ...]:
        """The peers that the provider has registered, the newest first, at most `MAX_NODES`."""

        def read(connection: sqlite3.Connection) -> tuple[PeerId, ...]:
            query = "SELECT peer_id FROM provider_peer WHERE owner = ? ORDER BY turn DESC LIMIT ?"
            return tuple(PeerId(row[0]) for row in connection.execute(query, (provider, MAX_NODES)))

        return await self._database.read(read)

    async def providers(self) -> tuple[Address, ...]:
        """The newest registered providers, at most `MAX_LISTED`."""

        def read(connection: sqlite3.Connection) -> tuple[Address, ...]:
            query = "SELECT owner FROM provider_peer GROUP BY owner ORDER BY max(turn) DESC LIMIT ?"
            return tuple(Address(row[0]) for row in connection.execute(query, (MAX_LISTED,)))

        return await self._database.read(read)


def learn_in(connection: sqlite3.Connection, block: BlockRef, event: NodeRegistered | NodeRemoved) -> None:
    """Take in a registry event, within the transaction of its block, which takes it back with itself."""
    remember_row(connection, block, "provider_peer", {"owner": event.owner, "peer_address": event.peer})
    match event:
        case NodeRegistered():
            connection.execute(
                "INSERT OR REPLACE INTO provider_peer (owner, peer_address, peer_id, turn)"
                " VALUES (?,?,?, (SELECT coalesce(max(turn), 0) + 1 FROM provider_peer))",
                (event.owner, event.peer, peer_id_of(event.peer_key)),
            )
        case NodeRemoved():
            connection.execute(
                "DELETE FROM provider_peer WHERE owner = ? AND peer_address = ?", (event.owner, event.peer)
            )
