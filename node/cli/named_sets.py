"""`capanode network arbiters`: the named sets that a network's courts know, and whether this node trusts them."""

from functools import partial

import trio

from capanode.node.api.port import Json
from capanode.node.chain.contracts import resolve
from capanode.node.chain.registered_sets import RegisteredSet, read_registered
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.wire import hexadecimal
from capanode.node.config import NodeConfig
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.ids import Address
from capanode.protocol.named_set import NamedSet


def sets_json(profile: NetworkProfile, config: NodeConfig, wallet: Address | None) -> Json:
    """The sets, those first that this node trusts in one of its roles, then the newest; needs no running node.

    Raises:
        Misconfigured: the network has contracts that this release does not know.
        Unavailable: no endpoint answers.
    """
    return trio.run(partial(_asked, profile, config, wallet))


async def _asked(profile: NetworkProfile, config: NodeConfig, wallet: Address | None) -> Json:
    lists = config.provider.named_arbiters, config.challenger.named_arbiters

    def is_trusted(named: NamedSet) -> bool:
        return any(named.is_backed_by(one) for one in lists)

    async with open_rpc(config.chain.rpc_urls + profile.rpc_urls, profile.chain_id) as rpc:
        contracts = await resolve(rpc, profile)
        found = await read_registered(rpc, contracts.markets, profile.first_block, is_trusted)
    listed = (*reversed(found.trusted), *reversed(found.others))
    return {
        "network": profile.name,
        "count": found.count,
        "sets": [_set_json(one, config, wallet) for one in listed],
    }


def _set_json(one: RegisteredSet, config: NodeConfig, wallet: Address | None) -> Json:
    named, provider, challenger = one.named, config.provider.named_arbiters, config.challenger.named_arbiters
    return {
        "pool": hexadecimal(named.pool),
        "market": hexadecimal(one.market.address),
        "version": one.market.number,
        "arbiters": [hexadecimal(each) for each in named.arbiters],
        "least_quorum": named.quorum,
        "names_this_wallet": wallet in named.arbiters,
        "provider_trusts": named.trusted_in(provider),
        "is_trusted_as_provider": named.is_backed_by(provider),
        "challenger_trusts": named.trusted_in(challenger),
        "is_trusted_as_challenger": named.is_backed_by(challenger),
    }


def rows(found: Json) -> list[tuple[str, str, str, str]]:
    """The sets as a table shows them: quorum, trust in both roles, arbiters."""
    return [
        (
            f"{one['least_quorum']} to {len(one['arbiters'])}",
            _trust(one["provider_trusts"], one["is_trusted_as_provider"]),
            _trust(one["challenger_trusts"], one["is_trusted_as_challenger"]),
            ", ".join(one["arbiters"]) + (" (with this wallet)" if one["names_this_wallet"] else ""),
        )
        for one in found["sets"]
    ]


def _trust(known: int, is_enough: bool) -> str:
    return f"quorums up to {known}" if is_enough else f"no, knows {known}"
