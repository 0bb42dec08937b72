"""What every part of a node stands on, and what its settings come to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from capanode.node.agent import Agent
from capanode.node.alerts import Alerts
from capanode.node.announced.offers import OfferBook
from capanode.node.bid.stakes import Stakes
from capanode.node.chain import case_log
from capanode.node.chain.budget import RequestBudget
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.contracts import Contracts
from capanode.node.chain.courts import Courts
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.markets import Markets
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.sender import Sender
from capanode.node.chain.upgrades import Upgrades
from capanode.node.challenged.commits import Commits
from capanode.node.challenged.named_sets import NamedSets
from capanode.node.config import NodeConfig
from capanode.node.drain import Drain
from capanode.node.executors.docker import DockerSettings, executor_name
from capanode.node.executors.port import Executor
from capanode.node.keys.key_file import read_private_file
from capanode.node.keys.peer_key import PeerKey, open_peer_key
from capanode.node.keys.signer import LocalSigner, Signer
from capanode.node.keys.wallet import find_password, unlock_wallet, wallet_address
from capanode.node.network_profile import NetworkProfile
from capanode.node.p2p.config import NetworkConfig
from capanode.node.p2p.port import Network
from capanode.node.stopping import Stop
from capanode.node.storage.blobs import BlobStore
from capanode.node.storage.database import Database
from capanode.node.storage.room import Room
from capanode.protocol.ids import Address
from capanode.protocol.messages import topic
from capanode.protocol.typed_data import Domain, domain
from capanode.scheduler.pricing import Rates

LINE_BYTES_PER_S: Final = 4 * 2**20
"""Transfer rate that times are reckoned with: a modest home line."""


DEVNET_LINE_BYTES_PER_S: Final = 256 * 2**20
"""The same on one machine."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Whom the node acts for, and with what."""

    wallet: Address
    signer: Signer
    peer: PeerKey


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part of the node stands on."""

    config: NodeConfig
    profile: NetworkProfile
    contracts: Contracts
    markets: Markets
    upgrades: Upgrades
    stakes: Stakes
    keys: Keys
    database: Database
    rpc: Rpc
    sender: Sender
    head: HeadWatch
    clock: ChainClock
    network: Network
    offers: OfferBook
    blobs: BlobStore
    agent: Agent
    courts: Courts
    cases: case_log.CaseLog
    commits: Commits
    named_sets: NamedSets
    alerts: Alerts
    drain: Drain
    stop: Stop
    disguise: Callable[[Executor], Executor]
    """What stands in front of a provider's executor: nothing, but in the practice of a devnet."""

    @property
    def room(self) -> Room:
        """The disk that all of this lies on."""
        return Room(self.config.folder.root)

    @property
    def domain(self) -> Domain:
        """What signatures are bound to that are about the network, not about one market."""
        return domain(self.profile.chain_id, self.contracts.directory)

    def topic(self, name: str) -> str:
        """A gossip topic of this network."""
        return topic(self.profile.chain_id, self.contracts.directory, name)


async def open_keys(config: NodeConfig, password: Callable[[], str] | None) -> Keys:
    """The wallet, or the hot key where this machine has one in its place."""
    folder = config.folder
    peer = open_peer_key(folder.p2p / "peer.key")
    if folder.hot_key.exists():
        hot = LocalSigner(read_private_file(folder.hot_key, 32))
        return Keys(wallet_address(folder.wallet), hot, peer)
    secret = find_password(config.wallet.password_file, password)
    signer = await unlock_wallet(folder.wallet, secret)
    return Keys(signer.address, signer, peer)


def request_budget(config: NodeConfig, profile: NetworkProfile) -> RequestBudget:
    return RequestBudget(None if profile.is_devnet else config.chain.requests_per_minute or None)


def network_config(config: NodeConfig, profile: NetworkProfile, key: PeerKey) -> NetworkConfig:
    return NetworkConfig(
        key=key,
        data_dir=config.folder.p2p,
        network=f"{profile.chain_id}-{profile.directory.hex()}",
        listen=(f"/ip4/{config.p2p.host}/tcp/{config.p2p.port}",),
        announce=config.p2p.announce,
        bootstrap=config.p2p.bootstrap + profile.bootstrap,
        hub=config.p2p.hub,
        dht=config.p2p.dht,
        mdns=config.p2p.mdns,
    )


def docker_settings(ground: Ground) -> DockerSettings:
    return DockerSettings(
        node=executor_name(ground.network.peer_id),
        state=ground.config.folder.executions,
        patience_s=ground.config.timeouts.engine if ground.config.is_provider else 0.0,
    )


def asking_rates(config: NodeConfig) -> Rates:
    pricing = config.provider.pricing
    return Rates(
        cpu_hour_wei=pricing.cpu_hour_wei,
        memory_gib_hour_wei=pricing.memory_gib_hour_wei,
        disk_gib_hour_wei=pricing.disk_gib_hour_wei,
        gpu_hour_wei=pricing.gpu_hour_wei,
        floor_wei=pricing.floor_wei,
        tokens_per_coin_wei=pricing.tokens_per_coin_wei,
        margin_ppm=pricing.margin_ppm,
        load_ppm=pricing.load_ppm,
        transfer_gib_wei=pricing.transfer_gib_wei,
    )


def confirmations(config: NodeConfig, profile: NetworkProfile) -> int:
    wanted = config.chain.confirmations
    return profile.confirmations if wanted is None else wanted


def line_bytes_per_s(profile: NetworkProfile) -> int:
    return DEVNET_LINE_BYTES_PER_S if profile.is_devnet else LINE_BYTES_PER_S
