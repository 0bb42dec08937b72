"""Who has what in a network with a court, down to the last unit, and whether it adds up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capanode.contracts_abi import bindings
from capanode.node.chain.contracts import resolve
from capanode.node.chain.court import Court
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.token import Token
from capanode.node.chain.view import View, read
from capanode.node.devnet_parties import Party
from capanode.node.executors.hardware import this_cpu_class
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.judging import class_pool


@dataclass(frozen=True, slots=True)
class Fortunes:
    """Base units of the token."""

    parties: Mapping[str, int]
    """By name: wallet, free escrow, earmarks for others, stake, and stake and fees as an arbiter."""

    burned_wei: int
    unexplained_wei: int
    """What the market holds and neither owes to these parties nor has burned: open deals, others' money."""

    court_open_wei: int
    """What the court holds besides arbiters' stakes and fees: bonds of open cases, pay that nobody has fetched."""

    def since(self, earlier: "Fortunes") -> "Fortunes":
        """What has changed."""
        return Fortunes(
            {name: amount - earlier.parties[name] for name, amount in self.parties.items()},
            self.burned_wei - earlier.burned_wei,
            self.unexplained_wei - earlier.unexplained_wei,
            self.court_open_wei - earlier.court_open_wei,
        )


async def fortunes(profile: NetworkProfile, parties: Sequence[Party]) -> Fortunes:
    """As the newest block has them."""
    pool, everybody = class_pool(this_cpu_class()), tuple(party.address for party in parties)
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        contracts = await resolve(rpc, profile)
        assert contracts.court is not None
        market, token = Market(rpc, contracts.market), Token(rpc, contracts.token)
        arbiters = await Court(rpc, contracts.court).pools()
        found: dict[str, int] = {}
        owed_wei = duties_wei = 0
        for party in parties:
            account, duty = await market.account(party.address), await arbiters.arbiter(pool, party.address)
            earmarked_wei = sum(one.amount_wei for one in await market.earmarks(party.address, everybody))
            in_market_wei = account.free_wei + account.stake_wei + earmarked_wei
            on_duty_wei = duty.stake_wei + duty.fees_wei
            found[party.name] = await token.balance(party.address) + in_market_wei + on_duty_wei
            owed_wei += in_market_wei
            duties_wei += on_duty_wei
        burned = View(
            contracts.market,
            bindings.encode_deal_market_total_burned(),
            bindings.decode_deal_market_total_burned,
        )
        burned_wei = await read(rpc, burned, "latest")
        court_wei = (await market.account(contracts.court)).free_wei
        held_wei = await token.balance(contracts.market)
    return Fortunes(found, burned_wei, held_wei - owed_wei - court_wei - burned_wei, court_wei - duties_wei)
