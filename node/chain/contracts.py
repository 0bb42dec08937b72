"""The contracts of a network, found through its directory and compared with what this release ships."""

from dataclasses import dataclass, replace
from typing import Final

from eth_hash.auto import keccak

from capanode.contracts_abi import artifacts, bindings
from capanode.node.chain.court import COURT_LOGS
from capanode.node.chain.directory import PROVIDER_REGISTRY, Directory
from capanode.node.chain.follower import LogFilter
from capanode.node.chain.market import MarketClocks
from capanode.node.chain.markets import MarketVersion, Waiting
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.token import Token, TokenDetails
from capanode.node.chain.versions import Survey, Trust, codes_at, survey_markets, why_unknown
from capanode.node.chain.view import ViewRefused
from capanode.node.chain.wire import hexadecimal, read_object, read_quantity
from capanode.node.network_profile import DEVELOPMENT_CHAIN, NetworkProfile
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address, Digest, UnixTime

DIRECTORY: Final = "Directory"

FOLLOWED_EVENTS: Final = (
    bindings.DealAnnounced,
    bindings.DealAssigned,
    bindings.DealCommitted,
    bindings.DealFinalized,
    bindings.DealRefunded,
    bindings.DealCancelled,
    bindings.DealJudged,
    bindings.Deposited,
    bindings.Withdrawn,
    bindings.Earmarked,
    bindings.UnearmarkBegun,
    bindings.Unearmarked,
    bindings.Staked,
    bindings.UnstakeBegun,
    bindings.Unstaked,
    bindings.HotKeySet,
    bindings.NodeRegistered,
    bindings.NodeRemoved,
    bindings.Published,
    bindings.Deprecated,
    *COURT_LOGS,
)
"""What a node's decisions can depend on."""


class UnknownContract(Misconfigured):
    """Code on the chain that neither this release ships nor the operator approved."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """Where a network's contracts are, and what they are set to.

    `market`, `clocks` and `court` are those of the newest version that this node trades on and that is active.
    """

    directory: Address
    market: Address
    registry: Address
    token: Address
    token_details: TokenDetails
    clocks: MarketClocks
    court: Address | None
    markets: tuple[MarketVersion, ...]
    """Every version that this node trades on, oldest first."""

    waiting: tuple[Waiting, ...]
    """Published versions that it does not trade on."""


async def resolve(rpc: Rpc, profile: NetworkProfile, trust: Trust | None = None) -> Contracts:
    """Find the contracts that a profile's directory names now; `trust` adds to what the profile approves.

    Raises:
        UnknownContract: none of the active versions is of this release or approved.
        Misconfigured: there is no directory at that address, or it names no market.
        Unavailable: no endpoint answers.
    """
    trusted = with_profile(trust or Trust(), profile)
    await check_code(rpc, profile, DIRECTORY, profile.directory)
    pending = read_object(await rpc.call("eth_getBlockByNumber", "pending", False))
    now = UnixTime(read_quantity(pending.get("timestamp")))
    try:
        survey = await survey_markets(rpc, profile.directory, trusted)
        registry = await _registry(rpc, profile, trusted, now)
    except ViewRefused as error:
        raise _nameless(profile) from error
    market = _newest(survey, profile, now)
    return Contracts(
        directory=profile.directory,
        market=market.address,
        registry=registry,
        token=market.token,
        token_details=await Token(rpc, market.token).details(),
        clocks=market.clocks,
        court=market.court,
        markets=survey.adopted,
        waiting=survey.waiting,
    )


def with_profile(trust: Trust, profile: NetworkProfile) -> Trust:
    """The trust, with what a profile approves, and as a network of its kind needs it."""
    is_devnet = profile.is_devnet or profile.chain_id == DEVELOPMENT_CHAIN
    approved = frozenset(Digest(bytes.fromhex(code_hash[2:])) for code_hash in profile.approved_code)
    return replace(trust, approved=trust.approved | approved, is_devnet=is_devnet)


async def check_code(rpc: Rpc, profile: NetworkProfile, name: str, address: Address) -> None:
    """Compare the code at an address with the release's, constructor arguments aside.

    Raises:
        UnknownContract, Unavailable: as `resolve`.
    """
    code = (await codes_at(rpc, (address,)))[address]
    if not code:
        raise UnknownContract(
            f"There is no contract at 0x{address.hex()}, where the network {profile.name} has its {name}: "
            "check the network profile and the chain."
        )
    code_hash = hexadecimal(keccak(code))
    if artifacts.shipped_as(name, code) is None and code_hash not in profile.approved_code:
        raise UnknownContract(
            f"The {name} at 0x{address.hex()} is not of this release (code hash {code_hash}): "
            "update capanode, or add the hash to approved_code in the network profile if you trust it."
        )


def log_filter(
    contracts: Contracts, profile: NetworkProfile, markets: tuple[MarketVersion, ...] | None = None
) -> LogFilter:
    """The logs that a node follows: those of the markets and their courts, else of the ones that it started with."""
    versions = contracts.markets if markets is None else markets
    courts = tuple(version.court for version in versions if version.court is not None)
    followed = tuple(version.address for version in versions)
    return LogFilter(
        addresses=(*followed, *courts, contracts.registry, contracts.directory),
        topics=tuple(Digest(event.TOPIC) for event in FOLLOWED_EVENTS),
        decode=bindings.decode_log,
        first_block=profile.first_block,
    )


def _newest(survey: Survey, profile: NetworkProfile, now: UnixTime) -> MarketVersion:
    active = [version for version in survey.adopted if version.active_from <= now]
    preferred = [version for version in active if not version.is_deprecated] or active
    if preferred:
        return preferred[-1]
    if survey.waiting:
        raise UnknownContract(survey.waiting[-1].reason)
    raise _nameless(profile)


async def _registry(rpc: Rpc, profile: NetworkProfile, trust: Trust, now: UnixTime) -> Address:
    """The newest active registry whose code is known: a strange one must not keep a node from starting."""
    found = [
        entry
        for entry in await Directory(rpc, profile.directory).versions(PROVIDER_REGISTRY)
        if entry.active_from <= now
    ]
    if not found:
        raise _nameless(profile)
    codes = await codes_at(rpc, tuple(entry.address for entry in found))
    reasons = [why_unknown(entry, codes[entry.address], trust) for entry in found]
    for entry, reason in zip(reversed(found), reversed(reasons), strict=True):
        if not reason:
            return entry.address
    raise UnknownContract(reasons[-1])


def _nameless(profile: NetworkProfile) -> Misconfigured:
    return Misconfigured(
        f"The directory 0x{profile.directory.hex()} names no active market: check the network profile."
    )
