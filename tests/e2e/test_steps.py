"""Jobs of several steps through whole deals, on a real engine and chain, with a provider that dies on the way."""

import json
from pathlib import Path

from capanode.node.committed.delivery import LEAVES_FILE
from capanode.node.devnet_parties import Party
from capanode.proofs import leaf_list
from capanode.proofs import receipt as receipts
from capanode.proofs.trace import trace_root
from tests.e2e.held_job import running_containers
from tests.e2e.town import Town, eventually, false_checks, result

COUNT = (
    "[ ! -f /state/n ] || read n < /state/n; "
    'echo "step $CAPANODE_STEP of $CAPANODE_STEPS"; '
    "echo $((n + CAPANODE_STEP)) > /state/n"
)
SLOW = f"{COUNT}; sleep 2"
STOPS = f"{COUNT}; [ $CAPANODE_STEP -lt 1 ] || : > /state/.capanode-done"


def told(provider: Party, event: str, deal_id: str) -> list[int]:
    """The steps of a deal of which a node's log says this, in order."""
    lines = [json.loads(line) for line in provider.folder.log.read_text().splitlines() if line.startswith("{")]
    return [line["step"] for line in lines if line.get("event") == event and line["deal"] == deal_id.removeprefix("0x")]


def test_five_steps_with_a_provider_that_is_killed_between_them(town: Town) -> None:
    before = town.wealth()
    job = town.submit(town.order_of_steps(SLOW, limit=5))
    view = town.until(job.job_id, lambda view: view.state == "running")
    provider = town.provider_of(view)
    assert view.deal_id is not None
    eventually(lambda: 1 in told(provider, "step-over", str(view.deal_id)))
    town.kill(provider)
    town.start(provider)
    view = town.until(job.job_id, lambda _: False)
    assert (view.state, view.exit_code) == ("paid", 0)
    assert result(view, "n") == b"10\n"
    assert told(provider, "execution-begins", str(view.deal_id)) == [0, 1, 2, 3, 4], "no step is computed twice"
    assert told(provider, "step-over", str(view.deal_id)) == [0, 1, 2, 3, 4]
    log = b"".join(b"step %d of 5\n" % step for step in range(5))
    assert town.client.logs(job.job_id, 1000) == log
    assert not running_containers(provider)

    assert view.receipt is not None
    receipt = receipts.decode(Path(view.receipt).read_bytes()).receipt
    listed = leaf_list.decode(Path(view.receipt).with_name(LEAVES_FILE).read_bytes())
    assert trace_root(leaf_list.trace_of(listed)) == receipt.trace_root
    assert (receipt.commitment.step_count, receipt.step_limit) == (5, 5)
    assert false_checks(view) == []
    paid = town.wealth()[provider.name].total_wei - before[provider.name].total_wei
    assert paid == view.paid_wei


def test_a_job_that_says_that_it_is_done_ends_before_its_limit(town: Town) -> None:
    view = town.buy(town.order_of_steps(STOPS, limit=20))
    assert (view.state, view.exit_code) == ("paid", 0)
    assert result(view, "n") == b"1\n"
    assert view.receipt is not None
    assert receipts.decode(Path(view.receipt).read_bytes()).receipt.commitment.step_count == 2


def test_a_job_whose_first_step_is_its_last_is_committed_as_one(town: Town) -> None:
    view = town.buy(town.order_of_steps("echo no > /state/why; exit 3", limit=20))
    assert (view.state, view.exit_code) == ("paid", 3)
    assert result(view, "why") == b"no\n"
    assert false_checks(view) == []
