"""The end of a node has a deadline that holds whatever hangs."""

import os
import subprocess
import sys
import threading
from pathlib import Path

from capanode.node.api.client import NodeClient
from capanode.node.cli.exits import Exit
from capanode.node.cli.stops import stopped
from capanode.node.data_folder import DataFolder, holder, prepare
from capanode.node.stopping import Stop

HANGING = """
import os, sys, time
from pathlib import Path
import trio
from capanode.node.api.server import serve_api
from capanode.node.data_folder import DataFolder, held
from capanode.node.stopping import Stop
from tests.fakes.fake_node_api import FakeNodeApi

folder = DataFolder(Path(sys.argv[1]))
stop = Stop(cut_short=lambda: os._exit(8))

class Api(FakeNodeApi):
    async def stop(self, within_s):
        stop.ask(within_s)

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_api, Api(), folder.socket)
        print("up", flush=True)
        await stop.requested.wait()
        if sys.argv[2] == "hang":
            time.sleep(3600)  # a loop that is stuck
        stop.over()
        nursery.cancel_scope.cancel()

with held(folder):
    trio.run(main)
"""


def node(folder: DataFolder, how: str) -> "subprocess.Popen[str]":
    prepare(folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HANGING, str(folder.root), how]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_stop_waits_for_the_end(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with node(folder, "well") as process:
        assert stopped(NodeClient(folder.socket), folder, 30) is Exit.DONE
        assert holder(folder) is None
        assert process.wait() == 0


def test_a_node_that_hangs_is_cut_short(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with node(folder, "hang") as process:
        assert stopped(NodeClient(folder.socket), folder, 0.5) is Exit.CUT_SHORT
        assert process.wait() == Exit.CUT_SHORT


async def test_a_new_time_replaces_the_old_one_and_the_end_calls_it_off() -> None:
    cut = threading.Event()
    stop = Stop(cut.set)
    stop.ask(3600)
    stop.ask(0.01)
    assert stop.requested.is_set()
    assert cut.wait(10)
    cut.clear()
    stop.ask(0.2)
    stop.over()
    assert not cut.wait(0.5)
