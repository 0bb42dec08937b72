"""Who judges on a network, as its chain says: the court's times and the numbers of its pools, which never change."""

from dataclasses import asdict
from functools import partial

import trio

from capanode.node.api.port import Json
from capanode.node.chain.contracts import resolve
from capanode.node.chain.court import Court
from capanode.node.chain.rpc import open_rpc
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.named_set import MOST_NAMED


def court_json(profile: NetworkProfile) -> Json:
    """The court of the newest market, with its constants under their own names; `address` is None where there is none.

    Raises:
        Misconfigured: the network has contracts that this release does not know.
        Unavailable: no endpoint answers.
    """
    return trio.run(partial(_asked, profile))


async def _asked(profile: NetworkProfile) -> Json:
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        contracts = await resolve(rpc, profile)
        if contracts.court is None:
            return {"address": None}
        pools = await Court(rpc, contracts.court).pools()
        named = {"address": f"0x{contracts.court.hex()}", "pools": f"0x{pools.address.hex()}"}
        return {**named, **asdict(await pools.clocks()), "most_named": MOST_NAMED}
