"""What an operator can set, with the default and the reason for it; validated whole before anything starts.

`capanode.node.config_file` reads it from TOML and the environment. Amounts are written in tokens and held in
base units: the name in the file ends in `_tokens`, the attribute in `_wei`.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from capanode.node.addresses import address_of
from capanode.node.bid.accept_rules import parse_rules
from capanode.node.data_folder import DataFolder
from capanode.node.units import bytes_from_size, seconds_from_duration, wei_from_gwei, wei_from_tokens
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address, Ppm, Wei
from capanode.protocol.judging import VerificationClass
from capanode.scheduler.rules import Rules


class Role(StrEnum):
    """What a node does for its operator; several at once are allowed."""

    PROVIDER = "provider"
    REQUESTER = "requester"
    CHALLENGER = "challenger"
    ARBITER = "arbiter"


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _addresses(value: Any) -> frozenset[Address]:
    listed: object = _split(value)
    if not isinstance(listed, list):
        raise ValueError("a list of addresses is expected")
    found: set[Address] = set()
    for text in cast(list[object], listed):
        found.add(address_of(str(text)))
    return frozenset(found)


def _rules(text: str) -> str:
    try:
        parse_rules(text, Rules())
    except Misconfigured as error:
        raise ValueError(str(error).rstrip(".")) from error
    return text


Amount = Annotated[Wei, PlainValidator(wei_from_tokens)]
UnitPrice = Annotated[Wei, PlainValidator(wei_from_gwei)]
Size = Annotated[int, BeforeValidator(bytes_from_size), Field(ge=0, lt=2**50)]
Duration = Annotated[float, BeforeValidator(seconds_from_duration), Field(gt=0, le=30 * 86_400)]
Patience = Annotated[float, BeforeValidator(seconds_from_duration), Field(ge=0, le=7 * 86_400)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]
Addresses = Annotated[frozenset[Address], PlainValidator(_addresses)]
Rate = Annotated[Ppm, Field(ge=0, le=1_000_000)]


class UpgradePolicy(StrEnum):
    """What a node does about a new version of the market without its operator's word."""

    ASK = "ask"
    HOLD = "hold"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WalletSettings(_Section):
    """Where the wallet's password comes from; `CAPANODE_PASSWORD_FILE` names the file as well."""

    password_file: Path | None = None
    """One line; the file must be readable by its owner only."""


class ChainSettings(_Section):
    """What differs from the network profile on this machine; empty means the profile's value."""

    rpc_urls: Texts = ()
    """Own endpoints, asked before those of the profile."""
    confirmations: Annotated[int, Field(ge=0, le=1000)] | None = None
    requests_per_minute: Annotated[int, Field(ge=0, le=100_000)] = 30
    """Reading in the background keeps within it; what deals need never waits. Zero, or a devnet, is no bound."""
    max_clock_skew: Duration = 30.0
    """Beyond this `doctor` and the start complain: deadlines are block times."""
    max_fee_wei: UnitPrice = Field(default=Wei(500 * 10**9), alias="max_fee_gwei")
    """Most that a unit of gas may ever cost; while the chain asks more, transactions wait."""
    max_tip_wei: UnitPrice = Field(default=Wei(100 * 10**9), alias="max_tip_gwei")
    """Most that an endpoint's advice on the tip is followed to."""
    raise_fees_after: Duration = 60.0
    """A transaction that is next and waits longer is offered with higher fees."""
    upgrades: UpgradePolicy = UpgradePolicy.ASK
    """`ask` takes up new versions of the market that this release ships and asks about others; `hold` asks always."""


class ClaimSettings(_Section):
    """When deals that are due are claimed: at once, or with others in one transaction, which is a third of the gas."""

    max_wait: Patience = 0.0
    """Longest time that a claim waits for company or for cheaper gas; none by default."""
    at_once_wei: Amount = Field(default=Wei(100 * 10**18), alias="at_once_tokens")
    """A claim of so much waits for nothing."""
    comfort_price_wei: UnitPrice = Field(default=Wei(20 * 10**9), alias="comfort_price_gwei")
    """Above this price of gas even many claims together wait, as long as they may."""


class P2pSettings(_Section):
    """How other nodes reach this one."""

    host: str = "0.0.0.0"
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Zero lets the system choose; a provider behind a firewall needs a fixed one."""
    announce: Texts = ()
    """Multiaddrs to publish in place of the ones listened on."""
    bootstrap: Texts = ()
    """Added to the profile's."""
    hub: bool = False
    mdns: bool = False
    dht: bool = True


class PricingSettings(_Section):
    """What an hour of each resource must earn; a bid is the cost plus the margin, or the floor."""

    cpu_hour_wei: Amount = Field(default=Wei(2 * 10**16), alias="cpu_hour_tokens")
    memory_gib_hour_wei: Amount = Field(default=Wei(3 * 10**15), alias="memory_gib_hour_tokens")
    disk_gib_hour_wei: Amount = Field(default=Wei(10**14), alias="disk_gib_hour_tokens")
    gpu_hour_wei: Amount = Field(default=Wei(10**18), alias="gpu_hour_tokens")
    transfer_gib_wei: Amount = Field(default=Wei(10**14), alias="transfer_gib_tokens")
    floor_wei: Amount = Field(default=Wei(10**16), alias="floor_tokens")
    """Below this no job is worth its paperwork."""
    tokens_per_coin_wei: Amount = Field(default=Wei(1_000 * 10**18), alias="tokens_per_coin")
    """What one coin of the chain costs in tokens, to turn gas into a price."""
    margin_ppm: Annotated[int, Field(ge=0, le=10_000_000)] = 200_000
    load_ppm: Annotated[int, Field(ge=0, le=10_000_000)] = 500_000
    """Surcharge of a node that is full; between empty and full it grows in proportion to the share in use."""


class ProviderSettings(_Section):
    """What this node offers, to whom, and for how much."""

    accept: Annotated[str, AfterValidator(_rules)] = ""
    """Rules, one a line; empty accepts every job that fits. Source: docs/cli.md, "Accept rules"."""
    slots: Annotated[int, Field(ge=1, le=1024)] = 2
    """Jobs at the same time."""
    cpu: Annotated[float, Field(gt=0, le=4096)] | None = None
    """Cores offered; empty means all but the reserved ones."""
    reserved_cpu: Annotated[float, Field(ge=0, le=4096)] = 0.0
    memory: Size | None = None
    """Memory offered; empty means four fifths of the machine's."""
    disk: Size | None = None
    """Disk offered; empty means half of what is free under the data folder."""
    gpus: Texts = ("all",)
    """UUIDs of the GPUs offered, `all`, or `none`."""
    max_fraud_bond_wei: Amount = Field(default=Wei(1_000 * 10**18), alias="max_fraud_bond_tokens")
    """Jobs that demand a higher bond are declined."""
    named_arbiters: Addresses = frozenset()
    """Arbiters whom this operator lets judge its results by name: jobs that name theirs need a quorum of these."""
    max_appeal_wei: Amount = Field(default=Wei(10 * 10**18), alias="max_appeal_tokens")
    """Most that an appeal for an own result may cost, where that comes out as committed here; zero is never."""
    max_input: Size = 10 * 2**30
    max_image: Size = 20 * 2**30
    pricing: PricingSettings = PricingSettings()


class RequesterSettings(_Section):
    """How this node buys."""

    audit_rate_ppm: Rate = Ppm(200_000)
    """Share of results that this node recomputes by a secret coin; the fraud bond follows from it."""
    audits: bool = True
    """Carry these audits out where a container engine runs; off only where somebody else does."""
    accept_unclear: bool = False
    """Accept results early, where jobs say so, though this node was to recompute them and could not."""
    bid_window_ms: Annotated[int, Field(ge=1, le=600_000)] | None = None
    """Longest time to collect bids; empty means the network profile's."""
    target_price_wei: Amount | None = Field(default=None, alias="target_price_tokens")
    """The first acceptable bid at or under this ends the bid window."""
    max_price_wei: Amount | None = Field(default=None, alias="max_price_tokens")
    """No job may cost more, whatever its file says."""
    avoid: Addresses = frozenset()
    """Wallets of providers that are not to be awarded."""


class ChallengerSettings(_Section):
    """What results of others this node computes again, and what it risks on those that are wrong."""

    sample_ppm: Rate = Ppm(100_000)
    """Share of the committed results that are looked at, drawn by chance."""
    classes: Annotated[frozenset[VerificationClass], BeforeValidator(_split)] = frozenset({VerificationClass.EXACT})
    """Only `exact` can be told beyond doubt by one machine."""
    min_price_wei: Amount = Field(default=Wei(0), alias="min_price_tokens")
    """Results worth less are not looked at."""
    max_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of one deal that are computed again, drawn by chance; zero means all."""
    max_bonds_wei: Amount = Field(default=Wei(10 * 10**18), alias="max_bonds_tokens")
    """Bonds of all open challenges together."""
    max_appeal_wei: Amount = Field(default=Wei(10 * 10**18), alias="max_appeal_tokens")
    """Most that an appeal against a verdict on an own challenge may cost; zero is never."""
    named_arbiters: Addresses = frozenset()
    """Before a named set a bond is put up only where a quorum of it is of these."""
    dry_run: bool = False
    """Send nothing, and log what a challenge would have earned."""


class ArbiterSettings(_Section):
    """How this node serves as an arbiter."""

    begin_audits: bool = True
    """Begin audits by lot where this arbiter's share of the fees may be expected to be more than the gas."""


class Limits(_Section):
    """Bounds on what this node keeps and carries at once."""

    open_jobs: Annotated[int, Field(ge=1)] = 1024
    store: Size = 50 * 2**30
    """Blobs beyond this are dropped, oldest first, except those of open deals."""
    result: Size = 2 * 2**30
    """Largest result that the requester downloads."""
    api_connections: Annotated[int, Field(ge=1, le=1024)] = 64


class Timeouts(_Section):
    """Waits on the outside that depend on the operator's lines and machines; the others are constants."""

    image: Duration = 1800.0
    """Bringing image and inputs onto this machine before a deal is assigned."""
    engine: Duration = 60.0
    """How long the start waits for a container engine that is late, as after a boot."""
    peer_request: Duration = 10.0


def _webhook(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable()):
        raise ValueError("it is no address; write https://host/path")
    return url


class AlertSettings(_Section):
    """Whom to tell when something needs the operator; docs/operations.md says of what."""

    webhook: Annotated[str, AfterValidator(_webhook)] = ""
    """Gets each alert as JSON by POST; plain http only within this machine or a private network."""
    command: Texts = ()
    """Program and arguments; gets each alert as JSON on its standard input, without a shell."""
    pause: Duration = 600.0
    """Alerts of one kind are told once in so long, with their count."""


class LogSettings(_Section):
    """The log goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"
    """`auto` is console on a terminal, else json."""


class NodeConfig(_Section):
    """One node, whole."""

    data_dir: Path
    roles: Annotated[frozenset[Role], BeforeValidator(_split)] = frozenset({Role.REQUESTER})
    network: str = ""
    """Name of a profile under `networks/`, or the path of one; empty means what `network use` chose."""
    until_idle_s: Annotated[float, Field(gt=0)] | None = None
    """Stop after so many seconds without an open job and without a caller; never by itself when empty."""
    wallet: WalletSettings = WalletSettings()
    chain: ChainSettings = ChainSettings()
    claims: ClaimSettings = ClaimSettings()
    p2p: P2pSettings = P2pSettings()
    provider: ProviderSettings = ProviderSettings()
    requester: RequesterSettings = RequesterSettings()
    challenger: ChallengerSettings = ChallengerSettings()
    arbiter: ArbiterSettings = ArbiterSettings()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    alerts: AlertSettings = AlertSettings()
    log: LogSettings = LogSettings()

    @property
    def folder(self) -> DataFolder:
        """The layout of the data folder."""
        return DataFolder(self.data_dir)

    @property
    def is_provider(self) -> bool:
        return Role.PROVIDER in self.roles

    @property
    def is_requester(self) -> bool:
        return Role.REQUESTER in self.roles

    @property
    def is_arbiter(self) -> bool:
        return Role.ARBITER in self.roles

    @property
    def profile_path(self) -> Path:
        """The network profile's file; it may not exist yet."""
        if "/" in self.network or self.network.endswith(".toml"):
            return Path(self.network).expanduser()
        return self.folder.networks / f"{self.network or 'default'}.toml"
