"""Which published markets a node takes up: by their code, and by how that code was set up."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from eth_hash.auto import keccak

from capanode.contracts_abi import artifacts, bindings
from capanode.node.alerts import Alerts, Occasion
from capanode.node.chain.anvil import Anvil, development_key
from capanode.node.chain.approvals import SCHEMA, Approvals, code_hash_of
from capanode.node.chain.contracts import Contracts, UnknownContract, resolve, with_profile
from capanode.node.chain.deploy import DEVNET_CLOCKS, DEVNET_COURT_CLOCKS, DeployPlan, deploy, publish_market
from capanode.node.chain.directory import DEAL_MARKET, PROVIDER_REGISTRY, Directory
from capanode.node.chain.markets import Markets
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Sender
from capanode.node.chain.transaction import created_address
from capanode.node.chain.upgrades import Upgrades
from capanode.node.chain.versions import Survey, Trust, codes_at, survey_markets
from capanode.node.config import AlertSettings
from capanode.node.keys.signer import LocalSigner
from capanode.node.network_profile import NetworkProfile
from capanode.node.storage.database import Database, open_database
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_ADDRESS, Address, Digest, UnixTime
from tests.chain.test_contracts import done, running_sender

OWNER = LocalSigner(development_key(0))
FOREVER = UnixTime(2**39)
SHIPPED = Trust()


@dataclass(slots=True)
class Network:
    """A network whose directory's owner may do what it likes."""

    rpc: Rpc
    sender: Sender
    profile: NetworkProfile
    contracts: Contracts
    published: int = 0

    async def publish(
        self, *, code: bytes | None = None, clocks: bindings.Clocks = DEVNET_CLOCKS, token: Address | None = None
    ) -> Address:
        self.published += 1
        paid_in = token or self.contracts.token
        return await publish_market(
            self.sender, f"version-{self.published}", self.profile.directory, paid_in, clocks, code
        )

    async def publish_judged(self, court_clocks: bindings.CourtClocks = DEVNET_COURT_CLOCKS) -> Address:
        """A version with a court of its own."""
        self.published += 1
        return await publish_market(
            self.sender,
            f"version-{self.published}",
            self.profile.directory,
            self.contracts.token,
            DEVNET_CLOCKS,
            court_clocks=court_clocks,
        )

    async def publish_judged_by(self, court: Address) -> Address:
        """A version whose court is any contract."""
        arguments = bindings.encode_deal_market_constructor(self.contracts.token, court, DEVNET_CLOCKS)
        await self.sender.submit("judged-by", None, artifacts.load(DEAL_MARKET).bytecode + arguments)
        await self.sender.outcome("judged-by")
        entry = await self.sender.entry("judged-by")
        assert entry is not None
        market = created_address(OWNER.address, entry.nonce)
        await done(
            self.sender, "judged-by/publish", Directory(self.rpc, self.profile.directory).publish(DEAL_MARKET, market)
        )
        return market

    async def publish_code(self, runtime: bytes) -> Address:
        """A contract whose deployed code is exactly this."""
        self.published += 1
        key = f"raw-{self.published}"
        creation = bytes.fromhex("61") + len(runtime).to_bytes(2, "big") + bytes.fromhex("80600a3d393df3") + runtime
        await self.sender.submit(key, None, creation)
        await self.sender.outcome(key)
        entry = await self.sender.entry(key)
        assert entry is not None
        address = created_address(OWNER.address, entry.nonce)
        call = Directory(self.rpc, self.profile.directory).publish(DEAL_MARKET, address)
        await done(self.sender, f"{key}/publish", call)
        return address

    async def code(self, address: Address) -> bytes:
        return (await codes_at(self.rpc, (address,)))[address]

    async def survey(self, trust: Trust = SHIPPED) -> Survey:
        return await survey_markets(self.rpc, self.profile.directory, trust)

    async def refused(self, trust: Trust = SHIPPED) -> str:
        """Why the newest version is not taken up."""
        (waiting,) = (await self.survey(trust)).waiting
        return waiting.reason


@asynccontextmanager
async def opened(anvil: Anvil, rpc: Rpc, folder: Path) -> AsyncGenerator[Network]:
    async with running_sender(rpc, folder / "owner.sqlite", OWNER) as sender:
        profile = await deploy(sender, DeployPlan("test", (anvil.rpc_url,), directory_delay_s=60))
        yield Network(rpc, sender, profile, await resolve(rpc, profile))


@pytest.fixture
async def network(anvil: Anvil, rpc: Rpc, tmp_path: Path) -> AsyncGenerator[Network]:
    async with opened(anvil, rpc, tmp_path) as found:
        yield found


def another_constant() -> bytes:
    usual, other = (b"\x63" + (days * 86_400).to_bytes(4, "big") for days in (366, 365))
    return artifacts.load("DealMarket").bytecode.replace(usual, other)


async def test_what_the_release_ships_is_taken_up_whatever_its_clocks_within_reason(network: Network) -> None:
    other_clocks = replace(DEVNET_CLOCKS, grace=7, stake_thaw=86_400)
    address = await network.publish(clocks=other_clocks)
    first, second = (await network.survey()).adopted
    assert (second.address, second.number, second.clocks.grace_s) == (address, 1, 7)
    assert second.active_from >= first.active_from + 60
    assert second.domain != first.domain
    assert (await resolve(network.rpc, network.profile)).market == first.address, "the second is not active yet"


async def test_unknown_code_waits_for_the_operators_word(network: Network) -> None:
    address = await network.publish(code=another_constant())
    code_hash = Digest(keccak(await network.code(address)))
    assert f"network approve 0x{code_hash.hex()}" in await network.refused()
    survey = await network.survey(Trust(approved=frozenset({code_hash})))
    assert [version.address for version in survey.adopted][1:] == [address]
    by_profile = replace(network.profile, approved_code=(f"0x{code_hash.hex()}",))
    assert len((await resolve(network.rpc, by_profile)).markets) == 2


async def test_an_operator_may_ask_to_be_asked_always(network: Network) -> None:
    address = await network.publish()
    assert "as chain.upgrades asks for" in await network.refused(Trust(takes_shipped=False))
    code_hash = Digest(keccak(await network.code(address)))
    assert len((await network.survey(Trust(frozenset({code_hash}), takes_shipped=False))).adopted) == 2


async def test_another_token_is_never_taken_up(network: Network) -> None:
    call = artifacts.load("TestToken").bytecode
    await network.sender.submit("token", None, call)
    await network.sender.outcome("token")
    entry = await network.sender.entry("token")
    assert entry is not None
    address = await network.publish(token=created_address(OWNER.address, entry.nonce))
    code_hash = Digest(keccak(await network.code(address)))
    for trust in (Trust(), Trust(approved=frozenset({code_hash}))):
        assert "pays in another token" in await network.refused(trust)


@pytest.mark.parametrize("clock", ["grace", "window_floor", "free_thaw", "earmark_thaw", "stake_thaw"])
async def test_waits_without_end_need_the_operators_word(network: Network, clock: str) -> None:
    address = await network.publish(clocks=replace(DEVNET_CLOCKS, **{clock: 8 * 86_400}))
    assert "wait for longer than is usual" in await network.refused()
    code_hash = Digest(keccak(await network.code(address)))
    assert len((await network.survey(Trust(approved=frozenset({code_hash})))).adopted) == 2


async def test_shipped_code_that_checks_anothers_signatures_is_refused(network: Network) -> None:
    """The same code with the first market's separator: an award for the first would be good in the second."""
    code = await network.code(network.contracts.market)
    assert network.contracts.markets[0].domain.separator in code
    address = await network.publish_code(code)
    assert artifacts.load("DealMarket").is_code(await network.code(address))
    assert "not made by its own constructor" in await network.refused()


async def test_approved_code_that_is_no_market_is_told_and_harms_nobody(network: Network) -> None:
    address = await network.publish_code(bytes.fromhex("600080fd"))
    code_hash = Digest(keccak(await network.code(address)))
    trust = Trust(approved=frozenset({code_hash}))
    assert "is no market" in await network.refused(trust)
    assert (await resolve(network.rpc, network.profile, trust)).market == network.contracts.market


async def test_a_market_with_open_deals_is_kept_whatever_is_trusted_today(network: Network) -> None:
    address = await network.publish(code=another_constant())
    survey = await network.survey(Trust(kept=frozenset({address})))
    assert not survey.waiting
    assert survey.adopted[-1].address == address


async def test_no_known_market_keeps_a_node_from_starting_and_says_what_to_do(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shipped_as(name: str, _: bytes) -> object:
        return None if name == DEAL_MARKET else name

    monkeypatch.setattr(artifacts, "shipped_as", shipped_as)
    with pytest.raises(UnknownContract, match="network approve 0x"):
        await resolve(network.rpc, network.profile)


async def test_a_strange_registry_changes_nothing(network: Network) -> None:
    call = Directory(network.rpc, network.profile.directory).publish(PROVIDER_REGISTRY, network.contracts.token)
    await done(network.sender, "registry", call)
    await network.rpc.call_once("evm_increaseTime", 61)
    await network.rpc.call_once("evm_mine")
    assert (await resolve(network.rpc, network.profile)).registry == network.contracts.registry


async def test_what_earlier_releases_shipped_is_still_known(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await network.publish(code=another_constant())
    code = bytearray(await network.code(address))
    places = artifacts.load("DealMarket").immutables
    for start, length in places:
        code[start : start + length] = bytes(length)
    earlier = artifacts.Code(keccak(bytes(code)), places)
    present = artifacts.shipped

    def shipped(name: str) -> tuple[artifacts.Code, ...]:
        return (*present(name), earlier) if name == DEAL_MARKET else present(name)

    monkeypatch.setattr(artifacts, "shipped", shipped)
    assert [version.number for version in (await network.survey()).adopted] == [0, 1]


@asynccontextmanager
async def upgrading(network: Network, database: Database) -> AsyncGenerator[tuple[Markets, Upgrades, Alerts]]:
    alerts = Alerts(AlertSettings())
    markets = Markets(network.contracts.markets, lambda: FOREVER)
    upgrades = Upgrades(network.rpc, network.profile, markets, Approvals(database), alerts, takes_shipped=True)
    yield markets, upgrades, alerts


async def test_an_approval_is_durable_and_takes_effect_at_once(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "node.sqlite"
    async with open_database(path, [SCHEMA]) as database, upgrading(network, database) as (markets, upgrades, alerts):
        address = await network.publish(code=another_constant())
        code_hash = Digest(keccak(await network.code(address)))
        with pytest.raises(Refused, match="no version of the market waits"):
            await upgrades.approve(code_hash)
        upgrades.hear()
        await upgrades.look()
        assert [entry.address for entry in markets.waiting] == [address]
        assert [alert.kind for alert in alerts.recent()] == [Occasion.UPDATE_NEEDED]
        await upgrades.approve(code_hash)
        assert markets.of(address).number == 1
        assert not markets.waiting
        assert [alert.kind for alert in alerts.recent()] == [Occasion.UPDATE_NEEDED, Occasion.MARKET_TAKEN_UP]
    async with open_database(path, [SCHEMA]) as database:
        assert await Approvals(database).all() == {code_hash}


async def test_deprecation_is_advice(network: Network, tmp_path: Path) -> None:
    """New jobs leave a deprecated version as soon as there is another one, and not before."""
    directory = Directory(network.rpc, network.profile.directory)
    async with (
        open_database(tmp_path / "node.sqlite", [SCHEMA]) as database,
        upgrading(network, database) as (markets, upgrades, _),
    ):
        await done(network.sender, "deprecate", directory.deprecate(DEAL_MARKET, 0))
        await upgrades.look()
        (first,) = markets.for_new_jobs()
        assert first.is_deprecated
        second = await network.publish()
        await upgrades.look()
        assert [version.address for version in markets.for_new_jobs()] == [second]
        assert [version.address for version in markets.active()] == [second, first.address]
        assert markets.grace_s(first.address) == DEVNET_CLOCKS.grace


@pytest.mark.parametrize("text", ["", "0x", "0x12", "zz" * 32, "0x" + "ab" * 33])
def test_what_is_no_code_hash_is_said(text: str) -> None:
    with pytest.raises(Refused, match="is no code hash"):
        code_hash_of(text)


def test_a_market_that_nobody_knows_is_nobodys() -> None:
    assert Markets((), lambda: FOREVER).find(ZERO_ADDRESS) is None


async def test_a_version_with_a_court_of_the_release_is_taken_up(network: Network) -> None:
    market = await network.publish_judged()
    version = (await network.survey()).adopted[-1]
    assert version.address == market
    assert version.court not in (None, network.contracts.court)


async def test_a_court_that_nobody_ships_is_refused(network: Network) -> None:
    await network.publish_judged_by(network.contracts.token)
    assert "is not of this release (code hash 0x" in await network.refused()


async def test_a_court_without_code_is_refused(network: Network) -> None:
    await network.publish_judged_by(Address(b"\x01" * 20))
    assert "has no code" in await network.refused()


async def test_the_court_of_another_market_is_refused(network: Network) -> None:
    assert network.contracts.court is not None
    await network.publish_judged_by(network.contracts.court)
    assert "judges another market" in await network.refused()


async def test_beyond_a_devnet_arbiters_may_not_leave_before_their_fine(network: Network) -> None:
    """Of a case that is opened with the longest window, and split when its dispute has lasted longest."""
    public = with_profile(Trust(), replace(network.profile, is_devnet=False, chain_id=1))
    longest = replace(DEVNET_COURT_CLOCKS, leave_time=30 * 86_400 + DEVNET_COURT_CLOCKS.max_dispute)
    await network.publish_judged(longest)
    await network.publish_judged(replace(longest, leave_time=longest.leave_time - 1))
    first, third = (await network.survey(public)).waiting
    assert (first.number, third.number) == (0, 2)
    assert "lets arbiters leave before they can be fined" in third.reason
    code_hash = Digest(bytes.fromhex(third.reason.split("approve 0x")[1][:64]))
    approved = replace(public, approved=frozenset({code_hash}))
    assert [one.number for one in (await network.survey(approved)).adopted] == [1, 2]
    assert (await network.survey(with_profile(Trust(), network.profile))).waiting == ()


@pytest.mark.parametrize(
    ("clock", "value", "sentence"),
    [
        ("max_dispute", 61 * 86_400, "wait for longer"),
        ("appeal_time", 8 * 86_400, "wait for longer"),
        ("min_arbiters", 1, "other numbers"),
        ("gas_allowance", 10**18, "other numbers"),
    ],
)
async def test_a_court_of_odd_clocks_waits_for_the_operator(
    network: Network, clock: str, value: int, sentence: str
) -> None:
    await network.publish_judged(replace(DEVNET_COURT_CLOCKS, **{clock: value}))
    reason = await network.refused()
    assert sentence in reason
    code_hash = Digest(bytes.fromhex(reason.split("approve 0x")[1][:64]))
    assert (await network.survey(Trust(approved=frozenset({code_hash})))).waiting == ()
