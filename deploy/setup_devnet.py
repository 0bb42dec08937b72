"""Prepares a devnet whose nodes run elsewhere: contracts, keys, configs and money, under one folder.

Each node gets `ROOT/nodes/NAME`, which listens on port 4001 of all addresses and is dialled at the one given.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from capanode.node.chain.anvil import AnvilOptions
from capanode.node.data_folder import private_folder
from capanode.node.devnet_parties import (
    PROVIDER_GRANT,
    REQUESTER_GRANT,
    Party,
    deployed,
    fund,
    join,
    make_party,
)
from capanode.protocol.faults import Misconfigured

PORT: Final = 4001


async def prepare(rpc_url: str, root: Path, providers: Sequence[str], requester: str, *, chain_id: int) -> None:
    """Make a network on a bare chain.

    Raises:
        Misconfigured: the folder holds one already.
    """
    if (root / "nodes").exists():
        raise Misconfigured(f"{root} holds a devnet already: its chain is gone with its container, so remove it first.")
    private_folder(root)
    profile = await deployed(root, rpc_url, rpc_url.replace("http", "ws", 1), chain_id)
    sellers = [await _party(root, f"provider-{n}", "provider", host) for n, host in enumerate(providers, start=1)]
    buyer = await _party(root, "requester", "requester", requester)
    hosts = zip(sellers, providers, strict=True)
    profile = replace(profile, bootstrap=tuple(party.multiaddr(host) for party, host in hosts))
    for party in (*sellers, buyer):
        join(party.folder, profile)
    grants = [(party, PROVIDER_GRANT) for party in sellers]
    await fund(root, profile, [*grants, (buyer, REQUESTER_GRANT)])


async def _party(root: Path, name: str, role: str, host: str) -> Party:
    party = await make_party(root / "nodes", name, role, listen="0.0.0.0", port=PORT, extra="")
    announce = party.multiaddr(host)
    text = party.folder.config.read_text("utf-8").replace("[p2p]\n", f'[p2p]\nannounce = ["{announce}"]\n')
    party.folder.config.write_text(text, "utf-8")
    return party


def main() -> None:
    """Read the command line and prepare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rpc", required=True, help="endpoint of a development chain")
    parser.add_argument("--root", required=True, type=Path, help="where the nodes' data folders go")
    parser.add_argument("--provider", action="append", required=True, help="address of a provider; repeat for more")
    parser.add_argument("--requester", required=True, help="address of the requester")
    chosen = parser.parse_args()

    async def run() -> None:
        await prepare(chosen.rpc, chosen.root, chosen.provider, chosen.requester, chain_id=AnvilOptions().chain_id)

    trio.run(run)


if __name__ == "__main__":
    main()
