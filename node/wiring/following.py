"""The chain: followed, kept in time, and told to the parts that wait for it."""

import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio

from capanode.contracts_abi import bindings
from capanode.node.alerts import Alerts, Occasion
from capanode.node.bid.bidding import Announced
from capanode.node.chain.blocks import BlockRef
from capanode.node.chain.clock import ChainClock
from capanode.node.chain.contracts import log_filter
from capanode.node.chain.court import COURT_LOGS
from capanode.node.chain.follower import FinalityViolated, Follower, FollowerOptions, run_follower
from capanode.node.chain.head import HeadWatch
from capanode.node.chain.intake import ChainIntake
from capanode.node.chain.logs import DecodedLog
from capanode.node.wiring.ground import Ground, confirmations
from capanode.protocol import provider

log = structlog.get_logger()


LAST_WORDS_S: Final = 15.0
"""How long a node that has to stop waits for its alert to be taken."""


PATIENT: Final = (provider.Executing, provider.Committed, provider.Retaining)
"""Phases that last, in which nothing of the chain is awaited within seconds."""


MAX_ANNOUNCED: Final = 256
"""Announcements that may wait for a bid; more are dropped."""


Announcements = trio.MemoryReceiveChannel[Announced]


def announcements(ground: Ground) -> tuple[Announcements, Callable[[DecodedLog], None]]:
    """A channel of announcements that can still be assigned, and what the chain's intake tells the node by."""
    send, receive = trio.open_memory_channel[Announced](MAX_ANNOUNCED)

    def offer(announced: Announced) -> None:
        if announced.event.terms.assign_by > ground.clock.now():
            try:
                send.send_nowait(announced)
            except trio.WouldBlock:
                log.info("announcement-dropped", deal=announced.event.deal_id.hex())

    def hear(heard: DecodedLog) -> None:
        # The intake works in the database's thread.
        match heard.event:
            case bindings.DealAnnounced() as event:
                trio.from_thread.run_sync(offer, Announced(heard.address, event))
            case bindings.Published() | bindings.Deprecated():
                trio.from_thread.run_sync(ground.upgrades.hear)
            case bindings.DealCommitted(deal_id=deal_id):
                trio.from_thread.run_sync(ground.commits.tell, deal_id)
            case event if isinstance(event, COURT_LOGS):
                trio.from_thread.run_sync(ground.cases.touch)
            case bindings.Staked(provider=owner) | bindings.Unstaked(provider=owner) if owner == ground.keys.wallet:
                trio.from_thread.run_sync(ground.stakes.touch)
            case _:
                return

    return receive, hear


async def follow_chain(ground: Ground, hear: Callable[[DecodedLog], None], chain: trio.Nursery) -> None:
    options = FollowerOptions(
        confirmations=confirmations(ground.config, ground.profile),
        ws_urls=ground.profile.ws_urls,
        lag_patience_s=0.0 if ground.profile.is_devnet else 10.0,
        idle_poll_s=1.0 if ground.profile.is_devnet else 8.0,
        with_pending=ground.profile.is_devnet,
    )
    wallet = ground.keys.wallet if ground.config.is_arbiter else None
    intake = ChainIntake(hear, ground.courts.market_of, wallet)

    def wake() -> None:
        ground.agent.chain_moved()
        ground.sender.look()

    def unwind(connection: sqlite3.Connection, block: BlockRef) -> None:
        intake.unwind(connection, block)
        # In the database's thread, as the intake.
        trio.from_thread.run_sync(ground.sender.doubt)

    follow = partial(
        run_follower,
        ground.rpc,
        ground.database,
        log_filter(ground.contracts, ground.profile),
        options,
        intake.apply,
        unwind,
        wake=wake,
        head=ground.head,
        is_busy=lambda: any(not isinstance(deal.state, PATIENT) for deal in ground.agent.open_deals()),
        tell=partial(ground.alerts.raise_, Occasion.ENDPOINTS_DISAGREE),
    )
    chain.start_soon(_keep_time, ground.head, ground.clock)
    chain.start_soon(_watch_more, ground, await chain.start(with_last_words, ground.alerts, follow))


async def with_last_words(
    alerts: Alerts,
    follow: Callable[..., Awaitable[None]],
    *,
    task_status: trio.TaskStatus[Follower] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Follow the chain; where that has to stop for good, the operator hears of it before the node ends."""
    try:
        await follow(task_status=task_status)
    except FinalityViolated as error:
        alerts.raise_(Occasion.FINALITY_VIOLATED, str(error))
        with trio.move_on_after(LAST_WORDS_S):
            await alerts.settle()
        raise


async def _watch_more(ground: Ground, follower: Follower) -> None:
    """Have the follower take up each market that the node takes up."""
    while True:
        await ground.markets.wait_change()
        await ground.courts.learn()
        follower.watch(log_filter(ground.contracts, ground.profile, ground.markets.adopted()))
        ground.stakes.touch()


async def _keep_time(head: HeadWatch, clock: ChainClock) -> None:
    if head.head is not None:
        clock.saw_head(head.head.next_time)
    while True:
        clock.saw_head((await head.wait_change()).next_time)
