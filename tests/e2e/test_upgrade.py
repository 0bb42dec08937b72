"""A network moves to a new market under load: nobody restarts, nothing is lost, a hostile version changes nothing."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from capanode.contracts_abi import artifacts, bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobView
from capanode.node.chain.anvil import development_key
from capanode.node.chain.contracts import resolve
from capanode.node.chain.deploy import DEVNET_CLOCKS, publish_market
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import Rpc, open_rpc
from capanode.node.chain.token import Token
from capanode.node.chain.view import View, read
from capanode.node.data_folder import holder
from capanode.node.devnet import DevnetPlan
from capanode.node.devnet_parties import Party, sending
from capanode.node.keys.signer import LocalSigner
from capanode.proofs import receipt as receipts
from capanode.protocol.ids import Address
from tests.e2e.town import Town, eventually, open_planned_town, result

TOKENS = 10**18
DELAY_S = 2
WORKERS = 2
OWNER = LocalSigner(development_key(0))


def variant(days: int) -> bytes:
    """The market's own code with another constant: the furthest that `commitBy` may lie ahead."""
    usual, other = (b"\x63" + (length * 86_400).to_bytes(4, "big") for length in (366, days))
    code = artifacts.load("DealMarket").bytecode
    assert code.count(usual) == 1
    return code.replace(usual, other)


@dataclass(slots=True)
class Load:
    """Jobs without a pause, until told to stop."""

    town: Town
    ended: list[JobView] = field(default_factory=list[JobView])
    is_over: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        while not self.is_over.is_set():
            self.ended.append(self.town.buy(self.town.order("echo done > /out/f", timeout="20s")))

    def until_more(self, count: int, market: Address | None = None) -> None:
        """Return once so many more jobs have ended, in that market if one is named."""

        def seen() -> int:
            return sum(market is None or market_of(view) == market for view in tuple(self.ended))

        wanted = seen() + count
        eventually(lambda: seen() >= wanted, 120)


@contextmanager
def load_on(town: Town) -> Iterator[Load]:
    load = Load(town)
    with ThreadPoolExecutor(WORKERS) as pool:
        work = [pool.submit(load.work) for _ in range(WORKERS)]
        try:
            yield load
        finally:
            load.is_over.set()
    for done in work:
        done.result()


def market_of(view: JobView) -> Address | None:
    """The market that a job's receipt names."""
    if view.receipt is None:
        return None
    return receipts.decode(Path(view.receipt).read_bytes()).receipt.market


@pytest.fixture
def village(shell_image: Path, tmp_path: Path) -> Iterator[Town]:
    plan = DevnetPlan(tmp_path / "devnet", providers=2, directory_delay_s=DELAY_S)
    with open_planned_town(plan, shell_image) as town:
        yield town


def test_a_network_moves_to_a_new_market_under_load(village: Town) -> None:
    parties = (village.requester, *village.providers)
    clients = [NodeClient(party.folder.socket) for party in parties]
    processes = [holder(party.folder) for party in parties]
    (first,) = markets_of(clients[0])
    tokens_before = village.run(_conserved, village, parties, (first,))
    with load_on(village) as load:
        load.until_more(2, first)

        second = publish(village, "second", variant(365))
        code_hash = until_waiting(clients, second)
        load.until_more(2, first)
        # What is begun in the old market ends there, however long it takes.
        slow = village.submit(village.order("sleep 10; echo slow > /out/f", timeout="30s"))
        for client in clients:
            assert not client.approve(code_hash)["waiting"]
        for provider in village.providers:
            client = NodeClient(provider.folder.socket)
            client.wallet_call("deposit", amount_wei=200 * TOKENS, market=1)
            client.wallet_call("stake", amount_wei=150 * TOKENS, market=1)
        clients[0].wallet_call("deposit", amount_wei=500 * TOKENS, market=1)
        load.until_more(4, second)
        drained = village.until(slow.job_id, lambda _: False)

        hostile = publish(village, "hostile", variant(364))
        until_waiting(clients, hostile)
        assert all("update-needed" in party.folder.log.read_text() for party in parties)
        load.until_more(4, second)

    assert result(drained, "f") == b"slow\n"
    assert market_of(drained) == first
    assert {view.state for view in load.ended} == {"paid"}
    assert {market_of(view) for view in load.ended} == {first, second}
    assert [holder(party.folder) for party in parties] == processes
    assert all(markets_of(client) == {first, second} for client in clients)
    eventually(lambda: all(place["locked_wei"] == 0 for client in clients for place in client.wallet()["markets"]))
    assert village.run(_conserved, village, parties, (first, second)) == tokens_before


def markets_of(client: NodeClient) -> set[Address]:
    return {Address(bytes.fromhex(entry["address"][2:])) for entry in client.upgrades()["markets"]}


def publish(town: Town, key: str, code: bytes) -> Address:
    """Deploy and publish a market as the directory's owner does."""
    published: Address = town.run(_publish, town, key, code)
    return published


async def _publish(town: Town, key: str, code: bytes) -> Address:
    profile = town.devnet.profile
    async with (
        open_rpc(profile.rpc_urls, profile.chain_id) as rpc,
        sending(rpc, town.devnet.root / "deployer.db", OWNER) as sender,
    ):
        contracts = await resolve(rpc, profile)
        return await publish_market(sender, key, profile.directory, contracts.token, DEVNET_CLOCKS, code)


def until_waiting(clients: Sequence[NodeClient], market: Address) -> str:
    """The code hash of a version, once every node has refused it for want of its operator's word."""

    def found(client: NodeClient) -> list[str]:
        waiting = client.status()["upgrades"]
        return [entry["code_hash"] for entry in waiting if entry["address"] == f"0x{market.hex()}"]

    eventually(lambda: all(found(client) for client in clients))
    (code_hash,) = {code_hash for client in clients for code_hash in found(client)}
    return code_hash


async def _conserved(town: Town, parties: Sequence[Party], markets: Sequence[Address]) -> int:
    """All tokens of the parties and the court; each market holds exactly what its accounts say."""
    profile = town.devnet.profile
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        contracts = await resolve(rpc, profile)
        token = Token(rpc, contracts.token)
        total = 0
        for party in parties:
            total += await token.balance(party.address)
        for address in markets:
            held = await token.balance(address)
            market = Market(rpc, address)
            court = 0 if contracts.court is None else (await market.account(contracts.court)).free_wei
            assert court + await _owed(rpc, market, parties) == held
            total += held
    return total


async def _owed(rpc: Rpc, market: Market, parties: Sequence[Party]) -> int:
    owed = await _burned(rpc, market)
    everybody = tuple(party.address for party in parties)
    for party in parties:
        account = await market.account(party.address)
        earmarks = await market.earmarks(party.address, everybody)
        owed += account.free_wei + account.stake_wei + sum(earmark.amount_wei for earmark in earmarks)
    return owed


async def _burned(rpc: Rpc, market: Market) -> int:
    decode: Callable[[bytes], int] = bindings.decode_deal_market_total_burned
    return await read(rpc, View(market.address, bindings.encode_deal_market_total_burned(), decode))
