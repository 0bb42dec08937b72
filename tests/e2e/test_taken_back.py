"""Whole deals on real nodes while the chain takes back what it said, and after an old journal was put back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from capanode.node.api.port import JobView
from capanode.node.chain.contracts import resolve
from capanode.node.chain.market import Market
from capanode.node.chain.rpc import open_rpc
from capanode.node.chain.wire import hexadecimal, read_quantity
from capanode.node.cli.app import app, run
from capanode.node.devnet_parties import Party
from capanode.protocol.faults import Refused
from capanode.protocol.ids import DealId
from capanode.protocol.phases import Phase
from tests.e2e.town import Town, events, eventually, false_checks, open_town, result

UUID = "sleep 3; cat /proc/sys/kernel/random/uuid > /out/answer"
"""Another answer each time that it runs."""


@pytest.fixture(scope="module")
def town(shell_image: Path) -> Iterator[Town]:
    """A chain of its own: what others rely on must not be taken back."""
    with open_town(shell_image, providers=1) as opened:
        yield opened


TRANSITIONS = ("DealAssigned", "DealCommitted", "DealFinalized")
"""Each happens once, whatever was taken back."""

DEEPEST = 5
"""A block or two may lie above the one that is to be taken back: others use the chain too."""


def take_back(town: Town, deal_id: str | None, to: Phase) -> None:
    """Empty blocks come in the place of the newest ones, until a deal is where it was before.

    Nothing is mined meanwhile: the nodes send again what was taken back within moments.
    """
    assert deal_id is not None

    async def reorganise() -> Phase:
        profile = town.devnet.profile
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            market = Market(rpc, (await resolve(rpc, profile)).market)
            deal = DealId(bytes.fromhex(deal_id.removeprefix("0x")))
            await rpc.call_once("evm_setAutomine", False)
            found = Phase.NONE
            for depth in range(1, DEEPEST + 1):
                await rpc.call_once("anvil_reorg", depth, [])
                found = (await market.slot(deal)).phase
                if found is to:
                    break
            await rpc.call_once("evm_setAutomine", True)
            # What came meanwhile waits for the next block.
            await rpc.call_once("evm_mine")
        return found

    assert town.run(reorganise) is to


def is_accepted(town: Town, job: JobView) -> bool:
    """Accept a job's result; refused while its commitment has not come again."""
    try:
        town.client.accept(job.job_id)
    except Refused:
        return False
    return True


def sent_by(town: Town, party: Party) -> int:
    async def count() -> int:
        profile = town.devnet.profile
        async with open_rpc(profile.rpc_urls, profile.chain_id) as rpc:
            await resolve(rpc, profile)
            return read_quantity(await rpc.call("eth_getTransactionCount", hexadecimal(party.address), "latest"))

    found: int = town.run(count)
    return found


def command(*arguments: str) -> int:
    return run(lambda: app(args=list(arguments), prog_name="capanode"))


@pytest.mark.parametrize("announce", ["gossip", "chain"])
def test_each_transition_is_taken_back_once_and_the_end_is_the_same(town: Town, announce: str) -> None:
    provider, before = town.providers[0], town.wealth()
    job = town.submit(town.order(UUID, timeout="20s", accept="never", announce=announce))
    running = town.until(job.job_id, lambda view: view.state == "running")
    take_back(town, running.deal_id, Phase.NONE)
    ready = town.until(job.job_id, lambda view: view.state == "result_ready")
    answer = result(ready, "answer")
    take_back(town, ready.deal_id, Phase.ASSIGNED)
    eventually(lambda: is_accepted(town, job))
    paid = town.until(job.job_id, lambda _: False)
    take_back(town, paid.deal_id, Phase.COMMITTED)

    def has_settled() -> bool:
        view, after = town.client.job(job.job_id), town.wealth()
        gained = after[provider.name].total_wei - before[provider.name].total_wei
        spent = before[town.requester.name].total_wei - after[town.requester.name].total_wei
        is_paid = view.state == "paid" and gained == spent == paid.price_wei and after[provider.name].locked_wei == 0
        # A requester that has not heard of the last reorganisation yet says "paid" too: its events are read until they
        # stand, and a second one of a kind would never go away.
        return is_paid and all(events(view).count(name) == 1 for name in TRANSITIONS)

    eventually(has_settled, within_s=60)
    view = town.client.job(job.job_id)
    assert result(view, "answer") == answer, "the container ran once"
    assert false_checks(view) == []


def test_an_old_journal_catches_up_with_the_chain(town: Town, tmp_path: Path) -> None:
    """Put back after the deal has ended: the same end, no second transaction, not a token less."""
    provider, kept = town.providers[0], str(tmp_path / "kept")
    data = str(provider.folder.root)
    job = town.submit(town.order("sleep 2; echo done > /out/answer", timeout="20s"))
    town.until(job.job_id, lambda view: view.state == "running")
    assert command("backup", kept, "--data", data) == 0
    view = town.until(job.job_id, lambda _: False)
    assert view.state == "paid"
    eventually(lambda: town.wealth()[provider.name].locked_wei == 0)
    wealth, sent = town.wealth(), sent_by(town, provider)
    town.kill(provider)
    assert command("restore", kept, "--force", "--data", data) == 0
    town.start(provider)
    eventually(lambda: town.deal_phase(provider, view) in ("Retaining", "Done"), within_s=60)
    assert sent_by(town, provider) == sent
    assert town.wealth() == wealth
