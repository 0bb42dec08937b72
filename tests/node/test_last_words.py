"""A chain that takes back what was final stops the node, but not before its operator has heard of it."""

import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from capanode.node.alerts import Alerts, Occasion
from capanode.node.chain.follower import FinalityViolated
from capanode.node.config import AlertSettings
from capanode.node.wiring.following import with_last_words


async def test_violated_finality_is_told_before_the_node_ends(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    write = f"import sys; open({str(heard)!r}, 'w').write(sys.stdin.read())"
    alerts = Alerts(AlertSettings(command=(sys.executable, "-c", write)))

    async def follow(*, task_status: trio.TaskStatus[object]) -> None:
        raise FinalityViolated("Chain 7 replaced block 5, which it had called final.")

    failure = None
    async with trio.open_nursery() as nursery:
        await nursery.start(alerts.run)
        try:
            await with_last_words(alerts, follow)
        except FinalityViolated as error:
            failure = error
        nursery.cancel_scope.cancel()
    assert failure is not None
    assert Occasion.FINALITY_VIOLATED.value in heard.read_text()
    assert "Chain 7 replaced block 5" in heard.read_text()


async def test_receiver_that_hangs_does_not_keep_the_node(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    alerts = Alerts(AlertSettings())

    async def follow(*, task_status: trio.TaskStatus[object]) -> None:
        raise FinalityViolated("Chain 7 replaced block 5, which it had called final.")

    # Nobody runs the alerts, so nothing is ever delivered.
    with pytest.raises(FinalityViolated):
        await with_last_words(alerts, follow)
    assert alerts.recent()[0].kind is Occasion.FINALITY_VIOLATED
