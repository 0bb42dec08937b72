"""Nodes that are killed in the middle of a job and started again: the job goes on, is done once and is paid once."""

import time

from capanode.proofs import receipt as receipts
from tests.e2e.town import Town, eventually, false_checks, result

SLOW = "echo up; sleep 4; echo done > /out/answer"


def test_provider_killed_while_the_program_runs_takes_its_container_up_again(town: Town) -> None:
    job = town.submit(town.order(SLOW, timeout="20s"))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    provider = town.provider_of(view)
    before = town.wealth()
    killed_at = time.time()
    town.kill(provider)
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
