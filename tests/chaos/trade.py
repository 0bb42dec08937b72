"""Small jobs for a region's requesters, and what they cost whom."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.chain.market import Market
from capanode.node.chain.token import Token
from capanode.node.chain.view import View, read
from capanode.node.devnet_parties import Party
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import DealId, Wei
from capanode.protocol.phases import TERMINAL
from tests.chaos.region import Region

ENDED: Final = frozenset({"Settled", "Failed", "Cancelled"})
"""Phases in which nothing can happen to a job any more."""

POLL_S: Final = 0.2

_JOB: Final = """\
version: 1
image: {image}
command: [{command}]
resources: {{cpu: {cpu}, memory: {memory}, disk: 4MiB}}
timeout: {timeout}
price_cap: "0.5"
verification: exact
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """A job as a requester wants it."""

    announce: str = "gossip"
    policy: str = "award"
    command: str = "echo $((6 * 7)) > /out/answer"
    memory: str = "64MiB"
    cpu: str = "0.25"
    timeout: str = "5s"


@dataclass(frozen=True, slots=True)
class Wealth:
    """What a party has in the token, base units."""

    wallet_wei: Wei
    free_wei: Wei
    earmarked_wei: Wei
    stake_wei: Wei
    locked_wei: Wei
    """The part of the stake that deals hold as bonds."""

    @property
    def total_wei(self) -> int:
        return self.wallet_wei + self.free_wei + self.earmarked_wei + self.stake_wei


def order(image: Path, wish: Wish) -> JobOrder:
    """The wish as a job file of an image; its name is its own."""
    text = _JOB.format(image=image, command=repr(wish.command), memory=wish.memory, cpu=wish.cpu, timeout=wish.timeout)
    return JobOrder(
        text, str(image.parent), f"job-{secrets.token_hex(6)}", None, wish.announce, wish.policy, accept="auto"
    )


async def submit(region: Region, party: Party, wanted: JobOrder) -> JobView:
    """Hand a job to a node, again when it went away meanwhile; it is taken once."""
    while True:
        try:
            return await region.ask(party, lambda client: _taken(client, wanted))
        except Unavailable:
            await trio.sleep(POLL_S)


async def insist(region: Region, party: Party, call: Callable[[NodeClient], object]) -> None:
    """Make an idempotent call until it is answered."""
    while True:
        try:
            await region.ask(party, call)
            return
        except Unavailable:
            await trio.sleep(POLL_S)


async def until(region: Region, party: Party, job_id: str, is_so: Callable[[JobView], bool]) -> JobView:
    """The job as soon as it is so far, or at its end."""
    while True:
        try:
            view: JobView = await region.ask(party, lambda client: client.job(job_id))
        except Unavailable:
            await trio.sleep(POLL_S)
            continue
        if view.phase in ENDED or is_so(view):
            return view
        await trio.sleep(POLL_S)  # it may be killed at any time, so nobody else tells


async def all_over(region: Region, deals: Iterable[DealId], within_s: float = 60) -> None:
    """Make blocks until these deals have ended on chain; what a reorganisation undid last has to be done again."""
    market = Market(region.rpc, region.contracts.market)
    with trio.fail_after(within_s):
        for deal in deals:
            while (await market.slot(deal)).phase not in TERMINAL:
                await region.rpc.call_once("evm_mine")
                await trio.sleep(POLL_S)


async def wealth(region: Region) -> Mapping[str, Wealth]:
    """What each party has now, by name, as the chain says it."""
    market, token = Market(region.rpc, region.contracts.market), Token(region.rpc, region.contracts.token)
    providers = tuple(party.address for party in region.providers)
    found: dict[str, Wealth] = {}
    for party in region.parties:
        account = await market.account(party.address)
        earmarks = await market.earmarks(party.address, providers)
        found[party.name] = Wealth(
            await token.balance(party.address),
            account.free_wei,
            Wei(sum(earmark.amount_wei for earmark in earmarks)),
            account.stake_wei,
            account.locked_wei,
        )
    return found


@dataclass(frozen=True, slots=True)
class Money:
    """All tokens that there are, and where, base units."""

    supply_wei: int
    market_wei: int
    burned_wei: int
    wallets_wei: int
    claims_wei: int
    """What the market owes its parties and the court: free balances, earmarks, stakes, arbiters' stakes."""

    @property
    def is_conserved(self) -> bool:
        """Whether each token is in a wallet or in the market, and the market owes or has burned all that it holds.

        Holds only while no deal is open.
        """
        is_somewhere = self.wallets_wei + self.market_wei == self.supply_wei
        return is_somewhere and self.claims_wei + self.burned_wei == self.market_wei


async def money(region: Region, owned: Iterable[Wealth]) -> Money:
    """The region's money, given what its parties own."""
    token, market = region.contracts.token, region.contracts.market
    owned = tuple(owned)
    burned = View(market, bindings.encode_deal_market_total_burned(), bindings.decode_deal_market_total_burned)
    supply = View(token, bindings.encode_test_token_total_supply(), bindings.decode_test_token_total_supply)
    court = (
        0
        if region.contracts.court is None
        else (await Market(region.rpc, market).account(region.contracts.court)).free_wei
    )
    return Money(
        supply_wei=await read(region.rpc, supply, "latest"),
        market_wei=await Token(region.rpc, token).balance(market),
        burned_wei=await read(region.rpc, burned, "latest"),
        wallets_wei=sum(one.wallet_wei for one in owned),
        claims_wei=court + sum(one.total_wei - one.wallet_wei for one in owned),
    )


def _taken(client: NodeClient, wanted: JobOrder) -> JobView:
    # It may have been taken by a node that died before it could say so.
    for view in client.jobs():
        if view.name == wanted.name:
            return view
    taken: JobView = next(item["job"] for item in client.submit(wanted) if "job" in item)
    return taken
