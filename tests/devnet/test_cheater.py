"""The provider that cheats: in a devnet it does, anywhere else it does not start."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from capanode.node.cli.exits import Exit
from capanode.node.config import ChainSettings, NodeConfig
from capanode.node.data_folder import DataFolder, prepare
from capanode.node.devnet_cheater import Cheater, require_devnet
from capanode.node.devnet_parties import join
from capanode.node.executed.steps import EMPTY
from capanode.node.executors.port import ExecutionId, Executor, RunOutcome, RunRequest, State
from capanode.node.images.reference import ImageId
from capanode.node.network_profile import NetworkProfile
from capanode.node.storage.tree_walk import Tree, content_of, walk_here
from capanode.proofs.step import STEP_VARIABLE, STEPS_VARIABLE
from capanode.proofs.tree import tree_root
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Address
from tests.fakes.fake_executor import MIB, FakeExecutor, Played

DEVNET = NetworkProfile("devnet", 31337, ("http://127.0.0.1:8545",), Address(b"\x01" * 20), is_devnet=True)


def test_devnet_of_this_machine_is_fine(tmp_path: Path) -> None:
    require_devnet(DEVNET, NodeConfig(data_dir=tmp_path))


@pytest.mark.parametrize(
    "profile",
    [
        replace(DEVNET, is_devnet=False),
        replace(DEVNET, chain_id=1),
        replace(DEVNET, rpc_urls=("http://127.0.0.1:8545", "https://rpc.example")),
    ],
    ids=["public", "another chain", "another machine"],
)
def test_cheater_starts_in_no_other_network(profile: NetworkProfile, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="devnet up --cheater"):
        require_devnet(profile, NodeConfig(data_dir=tmp_path))


def test_own_endpoints_count_as_well(tmp_path: Path) -> None:
    config = NodeConfig(data_dir=tmp_path, chain=ChainSettings(rpc_urls=("https://rpc.example",)))
    with pytest.raises(Misconfigured, match="devnet up --cheater"):
        require_devnet(DEVNET, config)


def test_program_itself_refuses(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    prepare(folder)
    join(folder, replace(DEVNET, chain_id=1))
    command = [sys.executable, "-m", "capanode.node.devnet_cheater", "start", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == Exit.INPUT
    assert "is no devnet of this machine" in done.stderr


def test_no_setting_and_no_other_module_knows_of_cheating() -> None:
    """It is one file, and what starts it is the devnet alone."""
    sources = Path(__file__).parents[2] / "node"
    knowing = {path.name for path in sources.rglob("*.py") if "cheat" in path.read_text("utf-8").lower()}
    assert knowing == {"devnet_cheater.py", "devnet.py"}


def step_of(count: int, step: int, state: State) -> RunRequest:
    env = ((STEP_VARIABLE, str(step)), (STEPS_VARIABLE, str(count)))
    execution = ExecutionId(f"{step:02x}")
    return RunRequest(execution, ImageId("sha256:" + "ab" * 32), (), env, 100, 16 * MIB, MIB, 8, 10, state=state)


async def _write(request: RunRequest) -> Played:
    return Played(files=(("weights", dict(request.env).get(STEP_VARIABLE, "0").encode()),))


def ready(tmp_path: Path) -> tuple[Cheater, FakeExecutor]:
    honest = FakeExecutor(tmp_path / "engine", play=_write, known_images={ImageId("sha256:" + "ab" * 32)})
    (tmp_path / "skipped").mkdir()
    return Cheater(honest, tmp_path / "skipped"), honest


async def test_last_two_fifths_of_the_steps_are_skipped(tmp_path: Path) -> None:
    cheater, honest = ready(tmp_path)
    state, roots = EMPTY, [tree_root(())]
    for step in range(20):
        outcome = await cheater.run(step_of(20, step, state), started=lambda _: None)
        assert outcome.outputs is not None
        found = walk_here(outcome.outputs)
        assert isinstance(found, Tree)
        state = State(found.entries, content_of(outcome.outputs))
        roots.append(found.root)
    assert [request.execution_id for request in honest.runs] == [f"{step:02x}" for step in range(12)]
    assert len(set(roots[:13])) == 13
    assert set(roots[12:]) == {roots[12]}


async def test_skipped_step_leaves_nothing_once_it_is_released(tmp_path: Path) -> None:
    cheater, _ = ready(tmp_path)
    outcome = await cheater.run(step_of(5, 4, EMPTY), started=lambda _: None)
    assert [path.name for path in (tmp_path / "skipped").iterdir()] == [outcome.execution_id]
    await cheater.release(outcome.execution_id)
    assert list((tmp_path / "skipped").iterdir()) == []


async def test_step_that_was_skipped_before_a_crash_is_skipped_again(tmp_path: Path) -> None:
    cheater, _ = ready(tmp_path)
    first = await cheater.run(step_of(5, 4, EMPTY), started=lambda _: None)
    assert first.outputs is not None
    (first.outputs / "half-written").touch()
    again = await cheater.run(step_of(5, 4, EMPTY), started=lambda _: None)
    assert again.outputs is not None
    assert list(again.outputs.iterdir()) == []


async def test_result_of_a_single_step_is_a_byte_off(tmp_path: Path) -> None:
    cheater, _ = ready(tmp_path)
    request = replace(step_of(1, 0, EMPTY), state=None)
    outcome = await cheater.run(request, started=lambda _: None)
    assert outcome.outputs is not None
    assert (outcome.outputs / "weights").read_bytes() == b"1"


class Died(Exception):
    """The process ended there."""


class Mortal:
    """An executor whose process dies when the program has ended."""

    def __init__(self, honest: FakeExecutor) -> None:
        self._honest = honest

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        await self._honest.run(request, started=started)
        raise Died


async def test_lie_of_a_single_step_is_told_after_any_death(tmp_path: Path) -> None:
    cheater, honest = ready(tmp_path)
    request = replace(step_of(1, 0, EMPTY), state=None)
    with pytest.raises(Died):
        await Cheater(cast(Executor, Mortal(honest)), tmp_path / "skipped").run(request, started=lambda _: None)
    for _ in range(3):
        honest.restart()
        outcome = await cheater.adopt(request.execution_id)
        assert outcome is not None
        assert outcome.outputs is not None
        assert (outcome.outputs / "weights").read_bytes() == b"1"
    await cheater.release(request.execution_id)
    assert list((tmp_path / "skipped").iterdir()) == []


async def test_steps_that_were_computed_well_stay_so_after_a_death(tmp_path: Path) -> None:
    cheater, honest = ready(tmp_path)
    request = step_of(5, 0, EMPTY)
    await cheater.run(request, started=lambda _: None)
    honest.restart()
    outcome = await cheater.adopt(request.execution_id)
    assert outcome is not None
    assert outcome.outputs is not None
    assert (outcome.outputs / "weights").read_bytes() == b"0"
    assert await cheater.adopt(ExecutionId("ff")) is None


async def test_what_it_checks_it_checks_well(tmp_path: Path) -> None:
    """Else it would take its own lies for right, and appeal against every verdict."""
    cheater, honest = ready(tmp_path)
    for request, written in ((replace(step_of(1, 0, EMPTY), state=None), b"0"), (step_of(5, 4, EMPTY), b"4")):
        outcome = await cheater.run(replace(request, is_check=True), started=lambda _: None)
        assert honest.runs[-1].execution_id == request.execution_id
        assert outcome.outputs is not None
        assert (outcome.outputs / "weights").read_bytes() == written
