"""What an operator does to real nodes: end and start them in the middle of a job, drain them, lose their machines."""

import shutil
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capanode.node.api.client import NodeClient
from capanode.node.chain.rpc import open_rpc
from capanode.node.cli.exits import Exit
from capanode.node.cli.networks import adopted
from capanode.node.cli.recovering import Wanted, place_keystore, recovered
from capanode.node.cli.stops import stopped
from capanode.node.data_folder import DataFolder
from capanode.node.devnet_parties import Party
from capanode.node.executors.docker import executor_name
from capanode.node.executors.docker_engine import Engine
from capanode.node.executors.sandbox import NODE_LABEL
from capanode.node.network_profile import profile_text
from capanode.protocol.faults import Refused
from capanode.protocol.ids import PeerId
from tests.e2e.held_job import held_order, let_go, running_containers
from tests.e2e.town import Town, eventually, open_town, result

ENDLESS = "echo up; sleep 600"


def test_a_node_that_is_stopped_in_order_leaves_its_container_running(town: Town) -> None:
    job = town.submit(held_order(town))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    provider = town.provider_of(view)
    before = running_containers(provider)
    assert len(before) == 1
    assert stopped(NodeClient(provider.folder.socket), provider.folder, 30) is Exit.DONE
    assert running_containers(provider) == before, "it runs on while its node is away"
    town.start(provider)
    let_go(provider)
    view = town.until(job.job_id, lambda _: False)
    assert (view.state, view.exit_code) == ("paid", 0)
    assert result(view, "answer") == b"done\n"


def test_a_draining_node_finishes_its_work_and_takes_no_more(shell_image: Path) -> None:
    with open_town(shell_image, providers=1) as town:
        (provider,) = town.providers
        seller = NodeClient(provider.folder.socket)
        job = town.submit(held_order(town))
        town.until(job.job_id, lambda view: view.state == "running")
        eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
        view = seller.drain()
        assert (view["is_safe"], view["working"]) == (False, 1)
        assert view["safe_at"] is not None
        town.kill(provider)
        town.start(provider)
        assert seller.status()["is_draining"], "a restarted node is still draining"
        let_go(provider)
        assert town.until(job.job_id, lambda _: False).state == "paid"
        last: dict[str, Any] = {}
        for last in seller.drained():
            assert last["is_draining"]
        assert last["is_safe"], "an accepted result is not waited for"
        eventually(lambda: [alert["kind"] for alert in seller.status()["alerts"]] == ["drained"])
        town.client.drain()
        with pytest.raises(Refused, match="drain --off"):
            town.submit(town.order("true"))
        town.client.drain(on=False)
        seller.drain(on=False)
        assert town.buy(town.order("true")).state == "paid"


def test_lost_machines_of_both_sides_lose_no_money(shell_image: Path, tmp_path: Path) -> None:
    with open_town(shell_image, providers=1) as town:
        (provider,), requester = town.providers, town.requester
        before = town.wealth()
        done = town.submit(town.order("echo done > /out/answer", accept="never"))
        done = town.until(done.job_id, lambda view: view.state == "result_ready")
        announced = town.submit(town.order(ENDLESS, announce="chain", timeout="300s"))
        announced = town.until(announced.job_id, lambda view: view.state == "running")
        town.kill(requester)
        town.kill(provider)
        locked = town.wealth()
        assert locked[provider.name].locked_wei > 0
        take_away(provider)
        town.run(pass_time, town, 100_000)
        views = {party.name: recovered_elsewhere(town, party, tmp_path / party.name) for party in (requester, provider)}
        acts = sorted(one["what"].split()[0] for one in views[requester.name]["sent"])
        assert acts == ["claim", "expire"]
        after = town.wealth()
        assert after[provider.name].locked_wei == 0
        paid = done.price_wei
        reward = after[requester.name].total_wei - (before[requester.name].total_wei - paid)
        assert 0 <= reward <= announced.price_wei // 10, "its reward for the expiry, out of the late provider's bond"
        assert announced.price_wei // 10 == before[provider.name].total_wei + paid - after[provider.name].total_wei


def test_a_requester_that_was_away_for_long_gets_its_money_by_itself(shell_image: Path) -> None:
    with open_town(shell_image, providers=1) as town:
        (provider,), requester = town.providers, town.requester
        before = town.wealth()
        done = town.submit(town.order("echo done > /out/answer", accept="never"))
        done = town.until(done.job_id, lambda view: view.state == "result_ready")
        endless = town.submit(town.order(ENDLESS, announce="chain", timeout="300s"))
        endless = town.until(endless.job_id, lambda view: view.state == "running")
        town.kill(requester)
        town.kill(provider)
        take_away(provider)
        town.run(pass_time, town, 100_000)
        # Its provider never comes back: nobody else sends the claim or the expiry.
        town.start_alone(requester)
        assert town.until(done.job_id, lambda view: view.state == "paid").state == "paid"
        eventually(lambda: is_asked_for_again_or_over(town, endless.job_id))
        if town.client.job(endless.job_id).state == "queued":
            town.client.cancel(endless.job_id)
        assert town.until(endless.job_id, lambda _: False, within_s=90).state in ("cancelled", "refunded")
        after = town.wealth()
        assert after[provider.name].locked_wei == 0
        reward = after[requester.name].total_wei - (before[requester.name].total_wei - done.price_wei)
        assert 0 <= reward <= endless.price_wei // 10


def is_asked_for_again_or_over(town: Town, job_id: str) -> bool:
    return town.client.job(job_id).state in ("queued", "refunded")


def take_away(provider: Party) -> None:
    """What a machine that is lost takes with it: its containers, and the disks that they write to."""
    with closing(Engine(None)) as engine:
        for container, _ in engine.labelled({NODE_LABEL: executor_name(PeerId(provider.peer_id))}):
            engine.remove(container)
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mounted in mounts:
        if Path(mounted).is_relative_to(provider.folder.root):
            subprocess.run(["umount", mounted], check=True)


async def pass_time(town: Town, seconds: int) -> None:
    """Let every clock of every deal run out."""
    profile = town.devnet.profile
    async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
        await rpc.call_once("evm_increaseTime", seconds)
        await rpc.call_once("evm_mine")


def recovered_elsewhere(town: Town, party: Party, root: Path) -> Any:
    """Delete the party's data folder, and recover from a copy of its keystore alone."""
    root.mkdir()
    keystore, password, profile = root / "copy.json", root / "password", root / "network.toml"
    for source, target in ((party.folder.wallet, keystore), (party.folder.root / "password", password)):
        shutil.copy2(source, target)
    profile.write_text(profile_text(town.devnet.profile))
    shutil.rmtree(party.folder.root)
    folder = DataFolder(root / "data")
    place_keystore(folder, keystore)
    adopted(str(profile), folder.root)
    wanted = Wanted(execute=True, withdraw=False, abandon=False, to=None)
    seen = recovered(folder, replace(wanted, execute=False), None, lambda _: None)
    assert seen["sent"] == []
    return recovered(folder, wanted, password, lambda _: None)
