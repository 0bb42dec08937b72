"""A replicated job on a real chain: three providers, of whom one cheats; the majority's result is delivered."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.devnet import DevnetPlan
from capanode.protocol.faults import Refused
from tests.e2e.town import Town, events, false_checks, open_planned_town, result


@pytest.fixture(scope="module")
def town(shell_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Two honest providers and one that cheats."""
    plan = DevnetPlan(tmp_path_factory.mktemp("replicas") / "devnet", providers=2, cheater=True, idle_block_s=1)
    with open_planned_town(plan, shell_image) as opened:
        yield opened


def replicated(town: Town, command: str) -> JobOrder:
    order = town.order(command)
    return replace(order, text=order.text.replace("verification: exact", "verification: replicated"))


def test_the_majority_is_delivered_and_the_cheat_is_named(town: Town) -> None:
    before, cheater = town.wealth(), town.providers[-1]
    taken = town.submit(replicated(town, "echo $((6 * 7)) > /out/answer"))
    town.kill(town.requester)
    town.start(town.requester)
    view = town.until(taken.job_id, lambda _: False)
    assert (view.state, view.exit_code, result(view, "answer")) == ("paid", 0, b"42\n")
    assert false_checks(view) == []
    assert "ReplicasCompared" in events(view)
    assert sorted(one.provider or "" for one in view.replicas) == sorted(
        f"0x{party.address.hex()}" for party in town.providers
    )
    odd = next(one for one in view.replicas if one.provider == f"0x{cheater.address.hex()}")
    assert [one.finding for one in view.replicas if one is not odd] == ["agrees", "agrees"]
    assert (odd.finding, odd.reason) == ("differs", "'answer': its bytes are not the same")
    assert odd.provider is not None
    assert odd.provider in view.reason
    listed = town.client.jobs()
    assert [one.job_id for one in listed] == [view.job_id]
    goes_by_its_names(town, view)
    settled(town, view)
    gained = {name: after.total_wei - before[name].total_wei for name, after in town.wealth().items()}
    prices = {town.provider_of(town.client.job(one.job_id)).name: one.price_wei for one in view.replicas}
    assert gained == {town.requester.name: -sum(prices.values()), **prices}


def goes_by_its_names(town: Town, view: JobView) -> None:
    """The job and its replicas are found by name and by the beginning of their ids; neither can be cancelled now."""
    second = view.replicas[1].job_id
    assert {town.client.job(name).job_id for name in (view.job_id, view.job_id[:6], view.name)} == {view.job_id}
    assert {town.client.job(name).job_id for name in (second, f"{view.job_id[:6]}-2", f"{view.name}-2")} == {second}
    assert town.client.logs(view.job_id, 100) == b""
    with pytest.raises(Refused, match="one replica of a job"):
        town.client.cancel(second)
    with pytest.raises(Refused, match="already compared"):
        town.client.cancel(view.job_id)


def settled(town: Town, view: JobView) -> None:
    """Once the last replica is paid too: nobody judges it, so its window passes."""
    for replica in view.replicas:
        assert town.until(replica.job_id, lambda _: False).state == "paid"


def test_nobody_else_sees_a_result(town: Town) -> None:
    job = town.client.jobs()[0]
    stranger = NodeClient(town.providers[0].folder.socket)
    other = next(one for one in job.replicas if one.provider != f"0x{town.providers[0].address.hex()}")
    assert other.deal_id is not None
    with pytest.raises(Exception, match="evidence"):
        for _ in stranger.check(other.deal_id, None, None):
            pass
