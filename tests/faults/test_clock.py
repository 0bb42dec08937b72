"""The machine's clock is set by an hour while a job runs: deadlines are the chain's, and nothing changes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from capanode.node.chain.clock import ChainClock
from capanode.node.devnet import until_up
from capanode.node.devnet_parties import Party
from capanode.node.executors.docker_engine import ContainerState
from capanode.node.executors.lifetime import ran_s
from capanode.node.steady_time import unix_now
from capanode.protocol.ids import UnixTime
from tests.e2e.town import Town, eventually, false_checks, open_town, result

HOUR_S = 3600
NOW = 1_800_000_000


def test_the_steady_time_is_the_machine_s_while_nobody_sets_it() -> None:
    assert abs(unix_now() - time.time()) < 60


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 600, -600])
def test_a_machine_s_clock_that_jumps_does_not_move_chain_time(jump_s: int) -> None:
    machine = [float(NOW)]
    clock = ChainClock(lambda: float(NOW), lambda: machine[0])
    clock.saw_head(UnixTime(NOW - 2))
    machine[0] += jump_s
    assert clock.now() == NOW
    clock.saw_head(UnixTime(NOW - 1))
    assert clock.now() == NOW


@pytest.mark.parametrize("wrong_s", [-7200, 700])
def test_a_machine_s_clock_that_is_put_right_is_believed(wrong_s: int) -> None:
    machine = [float(NOW + wrong_s)]
    clock = ChainClock(lambda: float(NOW + wrong_s), lambda: machine[0])
    clock.saw_head(UnixTime(NOW))
    machine[0] = float(NOW + 1)
    clock.saw_head(UnixTime(NOW))
    assert clock.now() == NOW + 1


def container(pid: int, started_at: float) -> ContainerState:
    return ContainerState("id", "image", "running", 0, False, "", pid, started_at, None, {}, "", "", ())


def test_how_long_a_container_has_run_does_not_come_from_the_time_of_day() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert ran_s(container(process.pid, time.time() - HOUR_S)) < 60
        finally:
            process.kill()


def test_without_the_process_in_sight_the_engine_s_time_has_to_do(tmp_path: Path) -> None:
    state = container(2**22 + 1, time.time() - 100)
    assert 99 < ran_s(state, tmp_path) < 200
    assert ran_s(container(2**22 + 1, time.time() + HOUR_S), tmp_path) == 0


@pytest.fixture(scope="module")
def town(shell_image: Path) -> Iterator[Town]:
    with open_town(shell_image, providers=1) as opened:
        yield opened


async def start_jumping(party: Party, file: Path) -> trio.Process:
    command = [sys.executable, str(Path(__file__).with_name("jumping_node.py")), str(file)]
    command += ["start", "--data", str(party.folder.root)]
    with party.folder.log.open("ab") as log:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(os.environ)
        )
    await until_up(party, process, 0)
    return process


@pytest.mark.timeout(600)
@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S], ids=["forward", "backward"])
@pytest.mark.parametrize("side", ["provider", "requester"])
def test_a_clock_that_jumps_in_the_middle_of_a_job_changes_nothing(
    town: Town, tmp_path: Path, side: str, jump_s: int
) -> None:
    (provider,) = town.providers
    party = provider if side == "provider" else town.requester
    file = tmp_path / "jump"
    town.kill(party)
    town._processes[party.name] = town.run(start_jumping, party, file)
    town.run(until_up, town.requester, town.process(town.requester), 1)
    before = town.wealth()[provider.name].total_wei
    job = town.submit(town.order("echo up; sleep 2; echo done > /out/answer", timeout="10s"))
    town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    file.write_text(str(jump_s))
    view = town.until(job.job_id, lambda _: False)
    assert (view.state, view.exit_code) == ("paid", 0), view.reason
    assert result(view, "answer") == b"done\n"
    assert false_checks(view) == []
    assert town.wealth()[provider.name].total_wei - before == view.paid_wei
    again = town.buy(town.order("echo done > /out/answer", timeout="10s"))
    assert (again.state, again.exit_code) == ("paid", 0), again.reason
