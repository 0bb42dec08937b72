"""Whole deals through endpoints that fail a fifth of the time, on a chain that reorganises itself meanwhile.

Every way to a deal, in real processes. The money in the end is that of the undisturbed deal.
"""

import random
from collections.abc import Mapping
from operator import methodcaller
from pathlib import Path

import pytest
import trio

from bench.shell_image import write_shell_image
from capanode.node.api.port import JobView
from capanode.node.devnet_parties import Party
from capanode.node.units import wei_from_tokens
from capanode.protocol.ids import DealId
from tests.chaos.region import Region, RegionPlan, open_region
from tests.chaos.reorgs import Reorgs
from tests.chaos.trade import Wealth, Wish, all_over, insist, money, order, submit, until, wealth

SEED = 7
RATE = 0.2
EARMARK = wei_from_tokens("3")
WISHES = (
    ("LOCK", 0, Wish("gossip", "award")),
    ("AWARD", 0, Wish("chain", "award")),
    ("FIRST", 0, Wish("chain", "first")),
    ("DIRECT", 1, Wish("gossip", "award")),
)
"""Mode, whose job, and how it is bought; the second requester has set money aside for every provider."""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    archive = tmp_path / "shell.tar"
    write_shell_image(archive)
    return archive


@pytest.mark.timeout(400)
async def test_every_way_to_a_deal_gets_through(image: Path, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    root = tmp_path / "region"
    root.mkdir()
    plan = RegionPlan(root, providers=2, requesters=2, seed=SEED, rpc_fault_rate=0.0, hang_s=1.0)
    async with open_region(plan) as region:
        await _earmark(region, region.requesters[1])
        before = await wealth(region)
        bought: dict[str, JobView] = {}
        region.spoil(RATE)
        async with trio.open_nursery() as weather:
            reorgs = Reorgs(region.rpc, random.Random(SEED))
            weather.start_soon(reorgs.run)
            async with trio.open_nursery() as buying:
                for mode, buyer, wish in WISHES:
                    buying.start_soon(_buy, region, region.requesters[buyer], image, wish, mode, bought)
            weather.cancel_scope.cancel()
        print(f"{reorgs.count} reorganisations, {region.rpc_faults}")
        region.heal()
        assert {mode: (view.state, view.mode, view.exit_code) for mode, view in bought.items()} == {
            mode: ("paid", mode, 0) for mode, _, _ in WISHES
        }
        assert all(view.paid_wei == view.price_wei > 0 for view in bought.values())
        assert all(Path(str(view.result_dir), "answer").read_bytes() == b"42\n" for view in bought.values())
        await all_over(region, [DealId(bytes.fromhex(str(view.deal_id)[2:])) for view in bought.values()])
        after = await wealth(region)
        _check_money(region, before, after, list(bought.values()))
        assert (await money(region, after.values())).is_conserved
        assert reorgs.count > 0
        assert sum(region.rpc_faults.values()) > 0.1 * region.rpc_requests


async def _earmark(region: Region, payer: Party) -> None:
    for provider in region.providers:
        to = {"provider": f"0x{provider.address.hex()}", "amount_wei": EARMARK}
        await insist(region, payer, methodcaller("wallet_call", "earmark", **to))
    await region.rpc.call_once("anvil_mine", "0x8")


async def _buy(region: Region, party: Party, image: Path, wish: Wish, mode: str, bought: dict[str, JobView]) -> None:
    job = await submit(region, party, order(image, wish))
    bought[mode] = await until(region, party, job.job_id, lambda _: False)


def _check_money(
    region: Region, before: Mapping[str, Wealth], after: Mapping[str, Wealth], bought: list[JobView]
) -> None:
    gained = {name: after[name].total_wei - before[name].total_wei for name in after}
    for provider in region.providers:
        address = f"0x{provider.address.hex()}"
        assert gained[provider.name] == sum(view.paid_wei for view in bought if view.provider == address)
    assert -sum(gained[party.name] for party in region.requesters) == sum(view.paid_wei for view in bought)
    assert [one.locked_wei for one in after.values()] == [0] * len(after)
