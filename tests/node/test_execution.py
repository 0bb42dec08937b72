"""What an earlier process of a node left running, and what the chain does to it meanwhile."""

from pathlib import Path

import pytest

from capanode.node.assigned.preparation import Preparation, PreparationLimits
from capanode.node.executed.execution import Execution, execution_of, executions_of
from capanode.node.executors.port import RunRequest
from capanode.node.storage.blobs import BlobStore
from capanode.protocol import provider
from capanode.protocol.events import ExecutionFinished
from capanode.protocol.ids import ZERO_ADDRESS
from tests.fakes.fake_executor import FakeExecutor
from tests.fakes.fake_network import FakeInternet
from tests.protocol.deals import work_taken


def test_a_deal_that_the_chain_took_back_keeps_whichever_attempt_was_running() -> None:
    taken = provider.take(work_taken()).deal
    assert isinstance(taken, provider.Preparing)
    assigning = provider.Assigning(taken.work)
    assert executions_of([assigning]) == {execution_of(taken.work, attempt) for attempt in (1, 2, 3)}
    assert executions_of([provider.Executing(taken.work, ZERO_ADDRESS, 2)]) == {execution_of(taken.work, 2)}
    assert executions_of([provider.Abandoning(taken.work, ZERO_ADDRESS, "")]) == set()


@pytest.mark.parametrize("was_taken_back", [True, False])
async def test_a_container_of_an_earlier_process_is_taken_up_and_not_made_anew(
    tmp_path: Path, was_taken_back: bool
) -> None:
    executor = FakeExecutor(tmp_path / "executor")
    blobs = BlobStore(tmp_path / "blobs", limit_bytes=2**24)
    preparation = Preparation(
        executor, FakeInternet().node("provider"), blobs, tmp_path / "https", PreparationLimits(2**24, 2**24, 30)
    )
    deal = provider.take(work_taken()).deal
    assert isinstance(deal, provider.Preparing)
    executing = provider.Executing(deal.work, ZERO_ADDRESS, 1)
    before = Execution(executor, preparation, blobs, ())
    assert isinstance(await before.run(executing), ExecutionFinished)
    ran: list[RunRequest] = list(executor.runs)

    executor.restart()
    after = Execution(executor, preparation, blobs, ())
    await after.take_over([provider.Assigning(deal.work) if was_taken_back else executing])
    if was_taken_back:
        await after.stage(deal.work)
    assert isinstance(await after.run(executing), ExecutionFinished)
    assert executor.runs == ran
