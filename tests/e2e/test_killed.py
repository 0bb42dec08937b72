"""Nodes that are killed in the middle of a job and started again: the job goes on, is done once and is paid once."""

import time

import pytest

from capanode.proofs import receipt as receipts
from tests.e2e.held_job import held_order, let_go, running_containers
from tests.e2e.town import Town, eventually, false_checks, result


@pytest.mark.parametrize("ends_before", [False, True], ids=["running", "ended meanwhile"])
def test_provider_killed_while_the_program_runs_takes_its_container_up_again(town: Town, ends_before: bool) -> None:
    job = town.submit(held_order(town))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    provider = town.provider_of(view)
    before = town.wealth()
    killed_at = time.time()
    town.kill(provider)
    if ends_before:
        let_go(provider)
        eventually(lambda: not running_containers(provider))
    town.start(provider)
    if not ends_before:
        let_go(provider)
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
    job = town.submit(held_order(town))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    town.kill(town.requester)
    town.start(town.requester)
    let_go(town.provider_of(view))
    view = town.until(job.job_id, lambda _: False)
    assert (view.state, view.exit_code) == ("paid", 0)
    assert result(view, "answer") == b"done\n"
    assert before.total_wei - town.wealth()[town.requester.name].total_wei == view.paid_wei
