"""A node that only buys has an engine when it needs one, and says so where there is none."""

from pathlib import Path

import pytest
import trio

from capanode.node.challenged.engine_on_demand import EngineOnDemand, NoEngine
from capanode.node.executors.docker import DockerSettings


async def test_without_docker_its_user_is_told(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/docker.sock"
    async with trio.open_nursery() as nursery:
        engine = EngineOnDemand(DockerSettings("buyer", tmp_path / "executions", nowhere), nursery)
        for _ in range(2):
            with pytest.raises(NoEngine, match="install and start Docker here"):
                await engine.executor()


async def test_nothing_is_opened_where_nothing_was_left(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await EngineOnDemand(DockerSettings("buyer", tmp_path / "executions", "unix:///nowhere"), nursery).clear()


async def test_one_engine_serves_all_who_ask(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        engine = EngineOnDemand(DockerSettings("buyer", tmp_path / "executions"), nursery)
        assert await engine.executor() is await engine.executor()
        nursery.cancel_scope.cancel()
