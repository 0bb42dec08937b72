"""Puts a network's contracts on a bare chain and names them in its directory.

Every transaction has a key, so a deployment that was interrupted goes on where it was when it is started again
with the same data folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from capanode.contracts_abi import artifacts, bindings
from capanode.node.chain.directory import DEAL_MARKET, DISPUTE_COURT, PROVIDER_REGISTRY, Directory
from capanode.node.chain.sender import Mined, Sender, WouldRevert
from capanode.node.chain.token import Token
from capanode.node.chain.transaction import created_address
from capanode.node.chain.wire import hexadecimal, read_quantity
from capanode.node.network_profile import NetworkProfile
from capanode.protocol.faults import Refused
from capanode.protocol.ids import ZERO_ADDRESS, Address, Wei
from capanode.protocol.money import GAS_ALLOWANCE_WEI

DEVNET_CLOCKS: Final = bindings.Clocks(
    grace=0, window_floor=5, free_thaw=60, earmark_thaw=60, stake_thaw=120, expire_reward=10**15
)
"""Short enough to watch. Source: PROTOCOL, windows; DESIGN §6."""

PUBLIC_CLOCKS: Final = bindings.Clocks(
    grace=600, window_floor=600, free_thaw=600, earmark_thaw=3600, stake_thaw=86_400, expire_reward=10**16
)
"""A public test network. Source: PROTOCOL §2 to §4, §7."""

DEVNET_COURT_CLOCKS: Final = bindings.CourtClocks(
    join_blocks=1,
    reveal_blocks=100,
    vote_time=120,
    reveal_time=60,
    appeal_time=5,
    answer_time=30,
    max_dispute=600,
    min_age=0,
    leave_time=660,
    min_arbiters=3,
    min_stake=10**18,
    gas_allowance=GAS_ALLOWANCE_WEI,
)
"""A devnet is watched: nobody waits for long. A round that is complete ends before its clock, so these are for a
machine that is busy with all its nodes. Source: PROTOCOL §7, small networks."""

PUBLIC_COURT_CLOCKS: Final = bindings.CourtClocks(
    join_blocks=10,
    reveal_blocks=150,
    vote_time=600,
    reveal_time=1_800,
    appeal_time=21_600,
    answer_time=86_400,
    max_dispute=30 * 86_400,
    min_age=7 * 86_400,
    leave_time=61 * 86_400,
    min_arbiters=7,
    min_stake=100 * 10**18,
    gas_allowance=GAS_ALLOWANCE_WEI,
)
"""Time enough for a node that was off over night. A stake stays for a day more than a case can last: the longest window
and the longest dispute after it. Source: PROTOCOL §3, §6, §7."""

PUBLIC_DIRECTORY_DELAY_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """What to deploy."""

    name: str
    rpc_urls: tuple[str, ...]
    ws_urls: tuple[str, ...] = ()
    token: Address | None = None
    """The payment token; without one a test token is deployed that anybody may mint."""

    clocks: bindings.Clocks = DEVNET_CLOCKS
    court_clocks: bindings.CourtClocks | None = DEVNET_COURT_CLOCKS
    """None makes a market without a court: nothing can be disputed in it, ever."""

    directory_delay_s: int = 0
    """Seconds between publishing a version that replaces another and its activity; a first version needs none."""

    is_devnet: bool = True
    confirmations: int = 0
    bid_window_ms: int = 100


async def deploy(sender: Sender, plan: DeployPlan, report: Callable[[str], None] = lambda _: None) -> NetworkProfile:
    """Deploy and publish; needs `run_sender` beside it. The sender's wallet owns the directory.

    Raises:
        Refused: the wallet cannot pay, or the chain refuses the contracts.
        Unavailable: no endpoint answers; call again with the same database to go on.
    """
    owner = sender.account.address
    token = plan.token
    if token is None:
        report("deploying the test token")
        token, _ = await _create(sender, plan, "TestToken", b"")
    report("deploying the directory")
    directory, first_block = await _create(
        sender, plan, "Directory", bindings.encode_directory_constructor(owner, plan.directory_delay_s)
    )
    report("deploying the market" if plan.court_clocks is None else "deploying the market and its court")
    judged = await _judged(sender, f"deploy/{plan.name}", Making(token, plan.clocks, plan.court_clocks))
    market = judged.market
    report("deploying the registry")
    registry, _ = await _create(sender, plan, PROVIDER_REGISTRY, bindings.encode_provider_registry_constructor(market))
    report("publishing the contracts in the directory")
    for name, target in ((DEAL_MARKET, market), (PROVIDER_REGISTRY, registry), (DISPUTE_COURT, judged.court)):
        if target is None:
            continue
        await _publish(sender, f"deploy/{plan.name}/publish-{name}", directory, name, target)
    details = await Token(sender.rpc, token).details()
    return NetworkProfile(
        name=plan.name,
        chain_id=sender.rpc.chain_id,
        rpc_urls=plan.rpc_urls,
        ws_urls=plan.ws_urls,
        directory=directory,
        first_block=first_block,
        confirmations=plan.confirmations,
        is_devnet=plan.is_devnet,
        bid_window_ms=plan.bid_window_ms,
        token_symbol=details.symbol,
        token_decimals=details.decimals,
        window_floor_s=plan.clocks.window_floor,
        grace_s=plan.clocks.grace,
    )


async def publish_market(
    sender: Sender,
    key: str,
    directory: Address,
    token: Address,
    clocks: bindings.Clocks,
    bytecode: bytes | None = None,
    court_clocks: bindings.CourtClocks | None = None,
) -> Address:
    """Deploy another version of the market and publish it; the sender's wallet owns the directory. Idempotent by key.

    Args:
        bytecode: what creates the market, without arguments; else this release's.
        court_clocks: those of a court of its own; without them nothing can be disputed in it.

    Raises:
        Refused, Unavailable: as `deploy`.
    """
    judged = await _judged(sender, key, Making(token, clocks, court_clocks, bytecode))
    await _publish(sender, f"{key}/publish", directory, DEAL_MARKET, judged.market)
    if judged.court is not None:
        await _publish(sender, f"{key}/publish-{DISPUTE_COURT}", directory, DISPUTE_COURT, judged.court)
    return judged.market


async def mint(sender: Sender, key: str, token: Address, to: Address, amount_wei: Wei) -> None:
    """Make test tokens for somebody on a devnet, and wait until they are there."""
    call = Token(sender.rpc, token).mint(to, amount_wei)
    await sender.submit(key, call.to, call.data)
    await _mined(sender, key)


@dataclass(frozen=True, slots=True)
class Making:
    """How a market is made."""

    token: Address
    clocks: bindings.Clocks
    court_clocks: bindings.CourtClocks | None
    bytecode: bytes | None = None


@dataclass(frozen=True, slots=True)
class JudgedMarket:
    """A market, and the court that it was made for."""

    market: Address
    court: Address | None


async def _judged(sender: Sender, key: str, making: Making) -> JudgedMarket:
    """Deploy a market, and its court as the wallet's next contract, at the address that the market was told before.

    Neither can ever be paired with another one.
    """
    creation = artifacts.load(DEAL_MARKET).bytecode if making.bytecode is None else making.bytecode
    market_key, court_key = f"{key}/{DEAL_MARKET}", f"{key}/{DISPUTE_COURT}"
    if making.court_clocks is None:
        arguments = bindings.encode_deal_market_constructor(making.token, ZERO_ADDRESS, making.clocks)
        market, _ = await _created(sender, market_key, creation + arguments)
        return JudgedMarket(market, None)
    promised = created_address(sender.account.address, await _nonce_of(sender, market_key) + 1)
    arguments = bindings.encode_deal_market_constructor(making.token, promised, making.clocks)
    market, _ = await _created(sender, market_key, creation + arguments)
    arguments = bindings.encode_dispute_court_constructor(market, making.court_clocks)
    try:
        court, _ = await _created(sender, court_key, artifacts.load(DISPUTE_COURT).bytecode + arguments)
    except WouldRevert as error:
        raise Refused(
            "The court would not be where its market expects it, as another program used this wallet meanwhile: "
            "deploy again, under another name."
        ) from error
    return JudgedMarket(market, court)


async def _nonce_of(sender: Sender, key: str) -> int:
    """The nonce of a transaction that was submitted, or would be now."""
    entry = await sender.entry(key)
    if entry is not None:
        return entry.nonce
    own = hexadecimal(sender.account.address)
    return read_quantity(await sender.rpc.call("eth_getTransactionCount", own, "pending"))


async def _create(sender: Sender, plan: DeployPlan, name: str, arguments: bytes) -> tuple[Address, int]:
    """Deploy one contract; its address and block."""
    return await _created(sender, f"deploy/{plan.name}/{name}", artifacts.load(name).bytecode + arguments)


async def _created(sender: Sender, key: str, creation: bytes) -> tuple[Address, int]:
    await sender.submit(key, None, creation)
    return await _found(sender, key)


async def _found(sender: Sender, key: str) -> tuple[Address, int]:
    block_number = await _mined(sender, key)
    entry = await sender.entry(key)
    assert entry is not None
    return created_address(sender.account.address, entry.nonce), block_number


async def _publish(sender: Sender, key: str, directory: Address, name: str, target: Address) -> None:
    call = Directory(sender.rpc, directory).publish(name, target)
    await sender.submit(key, call.to, call.data)
    await _mined(sender, key)


async def _mined(sender: Sender, key: str) -> int:
    outcome = await sender.outcome(key)
    if not isinstance(outcome, Mined):
        raise Refused(f"The deployment's transaction {key} failed ({outcome}): see why, then deploy again.")
    return outcome.inclusion.block_number
