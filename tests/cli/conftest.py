"""Commands run in this process, against a node of the test's own that answers on a real socket."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from capanode.node.api.server import serve_api
from capanode.node.cli.app import app, run
from capanode.node.data_folder import DataFolder
from tests.fakes.fake_node_api import FakeNodeApi


@dataclass
class Town:
    """A data folder with a fake node behind its socket."""

    folder: DataFolder
    api: FakeNodeApi

    async def run(self, *arguments: str) -> int:
        """Run a command as the terminal would; its exit code."""
        return await trio.to_thread.run_sync(lambda: command(*arguments, "--data", str(self.folder.root)))


def command(*arguments: str) -> int:
    """The exit code of a command."""
    return run(lambda: app(args=list(arguments), prog_name="capanode"))


@pytest.fixture
def capanode() -> Callable[..., int]:
    """Run a command as the terminal would; its exit code."""
    return command


@pytest.fixture
async def town(tmp_path: Path) -> AsyncGenerator[Town]:
    folder, api = DataFolder(tmp_path), FakeNodeApi()
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            await serve_api(api, folder.socket, task_status=task_status)

        await nursery.start(serve)
        yield Town(folder, api)
        nursery.cancel_scope.cancel()
