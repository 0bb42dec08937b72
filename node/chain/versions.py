"""Which published versions of the network's contracts this node may use.

The directory says what there is, and its owner is trusted with nothing more: code counts only if this release ships it
or the operator approved it. Shipped code may still be set up against its users (another token, waits without end, the
signatures of another market), since what a constructor sets is not part of what a release can ship; that waits for
the operator as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eth_hash.auto import keccak

from capanode.contracts_abi import artifacts
from capanode.node.chain.directory import DEAL_MARKET, DISPUTE_COURT, Directory, Published
from capanode.node.chain.jsonrpc import Call
from capanode.node.chain.market import Market, MarketClocks
from capanode.node.chain.markets import MarketVersion, Waiting, deprecated
from capanode.node.chain.pools import Pools
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.view import ViewRefused
from capanode.node.chain.wire import BadReply, hexadecimal, read_bytes
from capanode.protocol.ids import ZERO_ADDRESS, Address, Digest
from capanode.protocol.money import GAS_ALLOWANCE_WEI
from capanode.protocol.typed_data import domain

LONGEST_GRACE_S: Final = 3_600
LONGEST_THAW_S: Final = 7 * 86_400
LONGEST_WINDOW_S: Final = 86_400
"""What a version may make its users wait for without their operator's word. Source: docs/protocol.md, "Versions"."""

LONGEST_MOVE_S: Final = 7 * 86_400
LONGEST_DISPUTE_S: Final = 60 * 86_400
LONGEST_LEAVE_S: Final = 90 * 86_400
LEAST_ARBITERS: Final = 3
"""What a court may make its users wait for, and the least that a pool must have, without their operator's word."""

LONGEST_OPEN_S: Final = 30 * 86_400
"""How long a deal can be challenged at most. Source: `DealMarket.MAX_WINDOW`."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What this node takes for good code."""

    approved: frozenset[Digest] = frozenset()
    takes_shipped: bool = True
    """Whether a version that replaces another needs no approval where the release ships it."""

    kept: frozenset[Address] = frozenset()
    """Markets in which this node has open deals: they are served to their end, whatever is trusted today."""

    is_devnet: bool = True
    """Else arbiters' stakes have to stay for as long as any case can last."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the directory names, oldest first, sorted by what this node does about it."""

    adopted: tuple[MarketVersion, ...]
    waiting: tuple[Waiting, ...]


async def survey_markets(
    rpc: Rpc, directory: Address, trust: Trust, known: Mapping[Address, MarketVersion] | None = None
) -> Survey:
    """Look at every version of the market; `known` ones are not read again.

    Raises:
        Unavailable: no endpoint answers, or there is no directory.
    """
    before = known or {}
    found = await Directory(rpc, directory).versions(DEAL_MARKET)
    codes = await codes_at(rpc, tuple(entry.address for entry in found if entry.address not in before))
    adopted: list[MarketVersion] = []
    waiting: list[Waiting] = []
    for entry in found:
        if entry.address in before:
            adopted.append(deprecated(before[entry.address], entry.is_deprecated))
            continue
        reason = why_unknown(entry, codes[entry.address], trust)
        if not reason:
            reason = await _take(rpc, entry, codes[entry.address], trust, adopted)
        if reason:
            waiting.append(Waiting(entry.version, entry.address, entry.code_hash, entry.active_from, reason))
    return Survey(tuple(adopted), tuple(waiting))


async def _take(rpc: Rpc, entry: Published, code: bytes, trust: Trust, adopted: list[MarketVersion]) -> str:
    """Add a version of known code to the adopted ones; why not, where it cannot be used all the same."""
    try:
        version = await _read(rpc, entry)
    except (ViewRefused, BadReply) as error:
        return f"Version {entry.version} of the market at 0x{entry.address.hex()} is no market: {error}"
    reason = _why_odd(version, code, trust, adopted) or await _why_unjust(rpc, version, trust)
    if not reason:
        adopted.append(version)
    return reason


async def codes_at(rpc: Rpc, addresses: tuple[Address, ...]) -> Mapping[Address, bytes]:
    """The code at each address, empty where there is none."""
    if not addresses:
        return {}
    replies = await rpc.batch([Call("eth_getCode", (hexadecimal(address), "latest")) for address in addresses])
    return {address: read_bytes(reply) for address, reply in zip(addresses, replies, strict=True)}


def why_unknown(entry: Published, code: bytes, trust: Trust) -> str:
    """Why a published version's code is none that this node uses; empty when it is."""
    where = f"Version {entry.version} of the {entry.name} at 0x{entry.address.hex()}"
    code_hash = Digest(keccak(code))
    if not code:
        return f"{where} has no code: wait for the network's operator."
    if code_hash != entry.code_hash:
        return f"{where} is not what was published: do not use it."
    if code_hash in trust.approved or entry.address in trust.kept:
        return ""
    if artifacts.shipped_as(entry.name, code) is None:
        return (
            f"{where} is not of this release (code hash 0x{code_hash.hex()}): update capanode, "
            f"or `capanode network approve 0x{code_hash.hex()}` if you trust it."
        )
    return ""


def _why_odd(version: MarketVersion, code: bytes, trust: Trust, earlier: list[MarketVersion]) -> str:
    """What is strange about the way in which good code was set up; empty when nothing is."""
    where = f"Version {version.number} of the market at 0x{version.address.hex()}"
    if version.address in trust.kept or not earlier:
        return ""
    if version.token != earlier[0].token:
        return f"{where} pays in another token: use a data folder of its own for it."
    code_hash = Digest(keccak(code))
    if code_hash in trust.approved:
        return ""
    if not trust.takes_shipped:
        return f"{where} waits for `capanode network approve 0x{code_hash.hex()}`, as chain.upgrades asks for."
    shipped = artifacts.shipped_as(DEAL_MARKET, code)
    if shipped is None or not shipped.immutables_in(code) <= _constructed(version):
        return f"{where} was not made by its own constructor: do not use it."
    if _is_slow(version.clocks, earlier[0].clocks):
        return (
            f"{where} makes its users wait for longer than is usual: look at it, and "
            f"`capanode network approve 0x{code_hash.hex()}` if that is what you want."
        )
    return ""


async def _why_unjust(rpc: Rpc, version: MarketVersion, trust: Trust) -> str:
    """Why the court of a good market is not to be trusted with its users' bonds; empty when it is, or there is none."""
    court = version.court
    if court is None or version.address in trust.kept:
        return ""
    where = f"The court of version {version.number} of the market, at 0x{court.hex()},"
    code = (await codes_at(rpc, (court,)))[court]
    code_hash = Digest(keccak(code))
    if not code:
        return f"{where} has no code: do not use that market."
    if code_hash in trust.approved:
        return ""
    if artifacts.shipped_as(DISPUTE_COURT, code) is None:
        return (
            f"{where} is not of this release (code hash 0x{code_hash.hex()}): update capanode, "
            f"or `capanode network approve 0x{code_hash.hex()}` if you trust it."
        )
    found = await Pools(rpc).court(court)
    if found.market != version.address:
        return f"{where} judges another market: do not use that market."
    clocks = found.clocks
    longest = max(clocks.vote_time, clocks.reveal_time, clocks.appeal_time, clocks.answer_time)
    if longest > LONGEST_MOVE_S or clocks.max_dispute > LONGEST_DISPUTE_S or clocks.leave_time > LONGEST_LEAVE_S:
        return f"{where} makes its users wait for longer than is usual: approve 0x{code_hash.hex()} if you want that."
    if not trust.is_devnet and clocks.leave_time < LONGEST_OPEN_S + clocks.max_dispute:
        return f"{where} lets arbiters leave before they can be fined: approve 0x{code_hash.hex()} if you want that."
    if clocks.min_arbiters < LEAST_ARBITERS or clocks.gas_allowance != GAS_ALLOWANCE_WEI:
        return f"{where} judges by other numbers than this release: approve 0x{code_hash.hex()} if you want that."
    return ""


def _is_slow(clocks: MarketClocks, usual: MarketClocks) -> bool:
    return (
        clocks.grace_s > max(LONGEST_GRACE_S, usual.grace_s)
        or clocks.window_floor_s > max(LONGEST_WINDOW_S, usual.window_floor_s)
        or clocks.free_thaw_s > max(LONGEST_THAW_S, usual.free_thaw_s)
        or clocks.earmark_thaw_s > max(LONGEST_THAW_S, usual.earmark_thaw_s)
        or clocks.stake_thaw_s > max(LONGEST_THAW_S, usual.stake_thaw_s)
    )


def _constructed(version: MarketVersion) -> frozenset[bytes]:
    """Every word that the market's constructor can have left in its code. Source: DealMarket.sol, EIP712.sol."""
    clocks = version.clocks
    numbers = (
        clocks.grace_s,
        clocks.window_floor_s,
        clocks.free_thaw_s,
        clocks.earmark_thaw_s,
        clocks.stake_thaw_s,
        clocks.expire_reward_wei,
        version.chain_id,
    )
    texts = (b"capanode", b"1")
    return frozenset(
        (
            *(number.to_bytes(32, "big") for number in numbers),
            *(address.rjust(32, b"\0") for address in (version.token, version.address, version.court or ZERO_ADDRESS)),
            *(keccak(text) for text in texts),
            # A short string of OpenZeppelin: left-aligned, its length in the last byte.
            *(text.ljust(31, b"\0") + bytes([len(text)]) for text in texts),
            bytes(32),
            version.domain.separator,
        )
    )


async def _read(rpc: Rpc, entry: Published) -> MarketVersion:
    contract = Market(rpc, entry.address)
    return MarketVersion(
        number=entry.version,
        contract=contract,
        chain_id=rpc.chain_id,
        active_from=entry.active_from,
        is_deprecated=entry.is_deprecated,
        clocks=await contract.clocks(),
        token=await contract.token(),
        court=await contract.court(),
        domain=domain(rpc.chain_id, entry.address),
    )
