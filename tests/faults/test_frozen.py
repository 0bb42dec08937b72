"""Nodes that stand still or are cut off for a while: everything goes on by itself."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from capanode.node.api.client import NodeClient
from capanode.node.devnet_parties import Party
from tests.e2e.town import Town, events, eventually, false_checks, open_town, result
from tests.faults.firewall import cut_off

SLOW = "echo up; sleep 4; echo done > /out/answer"
AWAY_S = float(os.environ.get("CAPANODE_FAULT_S", "0"))
"""How long a fault lasts beyond its notice; a minute in `make chaos-faults`."""


@pytest.fixture(scope="module")
def town(shell_image: Path) -> Iterator[Town]:
    with open_town(shell_image, providers=2) as opened:
        yield opened


@contextmanager
def frozen(town: Town, party: Party) -> Iterator[None]:
    """The node's process does not run."""
    pid = town.process(party).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def cut(town: Town, party: Party) -> Iterator[None]:
    """No packet passes between the node and its requester, whichever of the two has dialled."""
    with cut_off(party.port, town.requester.port):
        yield


def has_committed(provider: Party, deal_id: str | None) -> bool:
    """Whether the provider's side of the deal is done."""
    deals = {deal.deal_id: deal.phase for deal in NodeClient(provider.folder.socket).deals()}
    return deals.get(str(deal_id)) in ("Committed", "Claiming", "Retaining")


Fault = Callable[[Town, Party], AbstractContextManager[None]]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", [frozen, cut])
def test_a_provider_that_falls_silent_while_it_works_is_noticed_and_paid_later(town: Town, fault: Fault) -> None:
    job = town.submit(town.order(SLOW, timeout="20s" if not AWAY_S else "90s"))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    provider = town.provider_of(view)
    before = town.wealth()[provider.name].total_wei
    with fault(town, provider):
        noticed = town.until(job.job_id, lambda view: bool(view.notice))
        assert "does not answer since" in noticed.notice or "no peer answers" in noticed.notice
        assert noticed.refund_at is not None or noticed.exit_code is not None
        time.sleep(AWAY_S)
    view = town.until(job.job_id, lambda _: False, within_s=120)
    assert (view.state, view.exit_code) == ("paid", 0), view.reason
    assert view.notice == ""
    assert result(view, "answer") == b"done\n"
    assert false_checks(view) == []
    assert town.wealth()[provider.name].total_wei - before == view.paid_wei
    assert "ProviderLost" in events(view)


@pytest.mark.timeout(600)
def test_a_requester_that_stands_still_gets_its_result_later(town: Town) -> None:
    before = town.wealth()[town.requester.name].total_wei
    job = town.submit(town.order(SLOW, timeout="20s" if not AWAY_S else "90s"))
    view = town.until(job.job_id, lambda view: view.state == "running")
    provider = town.provider_of(view)
    with frozen(town, town.requester):
        eventually(lambda: has_committed(provider, view.deal_id))
        time.sleep(AWAY_S)
    view = town.until(job.job_id, lambda _: False, within_s=120)
    assert (view.state, view.exit_code) == ("paid", 0), view.reason
    assert result(view, "answer") == b"done\n"
    assert before - town.wealth()[town.requester.name].total_wei == view.paid_wei
