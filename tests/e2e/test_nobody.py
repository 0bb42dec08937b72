"""Jobs that nobody does: all money comes back, and the user is told why."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from capanode.node.chain.rpc import open_rpc
from tests.e2e.town import Town, events, eventually, open_town

HUGE = "3000GiB"
LONGER_THAN_A_DEMAND_S = 700


@pytest.fixture(scope="module")
def village(shell_image: Path) -> Iterator[Town]:
    """A devnet of its own, whose clock can be moved."""
    with open_town(shell_image, providers=1) as opened:
        yield opened


def test_announced_job_that_is_cancelled_gives_all_money_back(village: Town) -> None:
    before = village.wealth()
    job = village.submit(village.order("true", announce="chain", memory=HUGE))
    view = village.until(job.job_id, lambda view: "DealAnnounced" in events(view))
    locked = view.price_wei + view.verification_wei
    assert before[village.requester.name].free_wei - village.wealth()[village.requester.name].free_wei == locked
    village.client.cancel(job.job_id)
    view = village.until(job.job_id, lambda _: False)
    assert view.state == "cancelled"
    assert village.wealth() == before


def test_job_that_nobody_can_do_fails_with_a_sentence(village: Town) -> None:
    before = village.wealth()
    job = village.submit(village.order("true", memory=HUGE))

    def has_failed() -> bool:
        if village.client.job(job.job_id).state == "queued":
            village.run(_let_time_pass, village)
        return village.client.job(job.job_id).state != "queued"

    eventually(has_failed, within_s=60)
    view = village.client.job(job.job_id)
    assert view.state == "failed"
    assert "no provider bid for it" in view.reason
    assert village.wealth() == before


async def _let_time_pass(village: Town) -> None:
    profile = village.devnet.profile
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        await rpc.call_once("evm_increaseTime", LONGER_THAN_A_DEMAND_S)
        await rpc.call_once("evm_mine")
    await trio.sleep(1)
