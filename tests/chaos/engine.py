"""A container engine of one's own, beside the machine's, that may be killed and started again."""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from capanode.node.executors.docker_engine import Engine
from capanode.protocol.faults import Unavailable

START_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1


class PrivateEngine:
    """One dockerd with its own containerd under a folder, whose path has to be short: sockets are made in it."""

    def __init__(self, root: Path) -> None:
        self.address = f"unix://{root}/d.sock"
        self.log = root / "dockerd.log"
        self._root = root
        self._process: trio.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers; it ends the containers of an earlier life itself."""
        # After a kill the pid file may name a process that somebody else is by now.
        (self._root / "d.pid").unlink(missing_ok=True)
        command = [
            str(shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")),
            f"--data-root={self._root}/data",
            f"--exec-root={self._root}/exec",
            f"--pidfile={self._root}/d.pid",
            f"--host={self.address}",
            # Jobs have no network; a bridge of its own would take the other engine's away.
            f"--bridge={_bridge()}",
            "--iptables=false",
            "--ip-masq=false",
        ]
        with self.log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        with trio.move_on_after(START_TIMEOUT_S):
            while not await trio.to_thread.run_sync(self._answers):
                if self._process.poll() is not None:
                    raise Unavailable(f"the engine ended at its start: see {self.log}")
                await trio.sleep(POLL_S)  # it says so in no other way
            return
        raise Unavailable(f"the engine did not answer within {START_TIMEOUT_S:.0f} s: see {self.log}")

    async def start_again(self) -> None:
        """Start it if it does not run."""
        if self._process is None or self._process.poll() is not None:
            await self.start()

    async def kill(self) -> None:
        """SIGKILL for dockerd alone: its containerd and the containers go on, as after a crash."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """Stop it with all that it runs; not to be cancelled."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with trio.move_on_after(START_TIMEOUT_S / 2):
                await self._process.wait()
            if self._process.poll() is None:
                await self.kill()
        with suppress(OSError, ValueError):
            os.kill(int((self._root / "exec/containerd/containerd.pid").read_text()), signal.SIGKILL)
        # It mounts its own folder, once for each life that was not ended in order.
        for mounted in reversed(mounts_under(self._root)):
            await trio.run_process(["umount", "--lazy", mounted], check=False, capture_stderr=True)

    def _answers(self) -> bool:
        try:
            Engine(self.address).close()
        except Unavailable:
            return False
        return True


def mounts_under(folder: Path) -> list[str]:
    """Where something is mounted below a folder, in the order of mounting."""
    points = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


@asynccontextmanager
async def private_engine(root: Path) -> AsyncGenerator[PrivateEngine]:
    """An engine under `root` for the length of the block."""
    root.mkdir()
    made = not Path("/sys/class/net", _bridge()).exists()
    if made:
        await trio.run_process(["ip", "link", "add", _bridge(), "type", "bridge"])
    engine = PrivateEngine(root)
    try:
        await engine.start()
        yield engine
    finally:
        with trio.CancelScope(shield=True):
            await engine.end()
            if made:
                await trio.run_process(["ip", "link", "delete", _bridge()])


def _bridge() -> str:
    return f"cape{os.getpid() % 1_000_000}"
