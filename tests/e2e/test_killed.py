"""Nodes that are killed in the middle of a job and started again: the job goes on, is done once and is paid once."""

import time
from contextlib import closing

import pytest

from capanode.node.devnet_parties import Party
from capanode.node.executors.docker import executor_name
from capanode.node.executors.docker_engine import Engine
from capanode.node.executors.sandbox import EXECUTION_LABEL, NODE_LABEL
from capanode.proofs import receipt as receipts
from capanode.protocol.ids import PeerId
from tests.e2e.town import Town, eventually, false_checks, result

SLOW = "echo up; sleep 4; echo done > /out/answer"


def job_runs(provider: Party) -> bool:
    """Whether a job's container of this node runs."""
    with closing(Engine(None)) as engine:
        mine = engine.labelled({NODE_LABEL: executor_name(PeerId(provider.peer_id)), EXECUTION_LABEL: ""})
        return any(engine.inspect(container).running for container, _ in mine)


@pytest.mark.parametrize("ends_before", [False, True], ids=["running", "ended meanwhile"])
def test_provider_killed_while_the_program_runs_takes_its_container_up_again(town: Town, ends_before: bool) -> None:
    job = town.submit(town.order(SLOW, timeout="20s"))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    provider = town.provider_of(view)
    before = town.wealth()
    killed_at = time.time()
    town.kill(provider)
    if ends_before:
        eventually(lambda: not job_runs(provider))
    town.start(provider)
    view = town.until(job.job_id, lambda _: False)
    assert (view.state, view.exit_code) == ("paid", 0)
    assert result(view, "answer") == b"done\n"
    assert false_checks(view) == []
    assert view.receipt is not None
    with open(view.receipt, "rb") as file:
        receipt = receipts.decode(file.read()).receipt
    assert receipt.started_at_ms / 1000 < killed_at < receipt.finished_at_ms / 1000
    after = town.wealth()[provider.name]
    assert after.total_wei - before[provider.name].total_wei == view.paid_wei
    assert after.locked_wei == 0


def test_requester_killed_while_the_provider_works_gets_its_result_later(town: Town) -> None:
    before = town.wealth()[town.requester.name]
    job = town.submit(town.order(SLOW, timeout="20s"))
    town.until(job.job_id, lambda view: view.state == "running")
    town.kill(town.requester)
    town.start(town.requester)
    view = town.until(job.job_id, lambda _: False)
    assert (view.state, view.exit_code) == ("paid", 0)
    assert result(view, "answer") == b"done\n"
    assert before.total_wei - town.wealth()[town.requester.name].total_wei == view.paid_wei
