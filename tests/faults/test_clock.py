"""The machine's clock is set: chain time and how long a container has run do not follow it."""

import subprocess
import time
from pathlib import Path

import pytest

from capanode.node.chain.clock import ChainClock
from capanode.node.executors.docker_engine import ContainerState
from capanode.node.executors.lifetime import ran_s
from capanode.node.steady_time import unix_now
from capanode.protocol.ids import UnixTime

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
