"""The contracts of a network, found through its directory and compared with what this release ships."""

from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from capanode.contracts_abi import artifacts, bindings
from capanode.node.chain.directory import DEAL_MARKET, PROVIDER_REGISTRY, Directory
from capanode.node.chain.follower import LogFilter
from capanode.node.chain.market import Market, MarketClocks
from capanode.node.chain.rpc import Call, Rpc
from capanode.node.chain.token import Token, TokenDetails
from capanode.node.chain.view import ViewRefused
from capanode.node.chain.wire import hexadecimal, read_bytes, read_object, read_quantity
from capanode.node.network_profile import NetworkProfile
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
)
"""What a node's decisions can depend on."""


class UnknownContract(Misconfigured):
    """Code on the chain that neither this release ships nor the operator approved."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """Where a network's contracts are, and what they are set to."""

    directory: Address
    market: Address
    registry: Address
    token: Address
    token_details: TokenDetails
    clocks: MarketClocks
    is_disputable: bool


async def resolve(rpc: Rpc, profile: NetworkProfile) -> Contracts:
    """Find the contracts that a profile's directory names now.

    Raises:
        UnknownContract: one of them is not of this release and not approved in the profile.
        Misconfigured: there is no directory at that address, or it names no market.
        Unavailable: no endpoint answers.
    """
    directory = Directory(rpc, profile.directory)
    await check_code(rpc, profile, DIRECTORY, profile.directory)
    now = UnixTime(
        read_quantity(read_object(await rpc.call("eth_getBlockByNumber", "pending", False)).get("timestamp"))
    )
    try:
        market = (await directory.active(DEAL_MARKET, now)).address
        registry = (await directory.active(PROVIDER_REGISTRY, now)).address
    except ViewRefused as error:
        raise Misconfigured(
            f"The directory 0x{profile.directory.hex()} names no active market: check the network profile."
        ) from error
    await check_code(rpc, profile, DEAL_MARKET, market)
    await check_code(rpc, profile, PROVIDER_REGISTRY, registry)
    reader = Market(rpc, market)
    token = await reader.token()
    return Contracts(
        directory=profile.directory,
        market=market,
        registry=registry,
        token=token,
        token_details=await Token(rpc, token).details(),
        clocks=await reader.clocks(),
        is_disputable=await reader.is_disputable(),
    )


async def check_code(rpc: Rpc, profile: NetworkProfile, name: str, address: Address) -> None:
    """Compare the code at an address with the release's, constructor arguments aside.

    Raises:
        UnknownContract, Unavailable: as `resolve`.
    """
    (reply,) = await rpc.batch((Call("eth_getCode", (hexadecimal(address), "latest")),))
    code = read_bytes(reply)
    if not code:
        raise UnknownContract(
            f"There is no contract at 0x{address.hex()}, where the network {profile.name} has its {name}: "
            "check the network profile and the chain."
        )
    code_hash = hexadecimal(keccak(code))
    if not artifacts.load(name).is_code(code) and code_hash not in profile.approved_code:
        raise UnknownContract(
            f"The {name} at 0x{address.hex()} is not of this release (code hash {code_hash}): "
            "update capanode, or add the hash to approved_code in the network profile if you trust it."
        )


def log_filter(contracts: Contracts, profile: NetworkProfile) -> LogFilter:
    """The logs that a node follows."""
    return LogFilter(
        addresses=(contracts.market, contracts.registry),
        topics=tuple(Digest(event.TOPIC) for event in FOLLOWED_EVENTS),
        decode=bindings.decode_log,
        first_block=profile.first_block,
    )
