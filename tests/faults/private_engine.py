"""A Docker engine of a test's own, to be killed and started again; nothing of the machine's engine is touched."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from capanode.node.executors.docker_engine import Engine, EngineDown

_TOOLS = os.environ["PATH"] + ":/usr/sbin:/sbin"
_UP_S = 60.0
_DYING_S = 3.0


class PrivateEngine:
    """`dockerd` with its own data, state, socket and bridge, all below `folder`."""

    def __init__(self, folder: Path, bridge: str, *, live_restore: bool) -> None:
        self.address = f"unix://{folder}/docker.sock"
        self._folder = folder
        self._bridge = bridge
        self._live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        # A bridge of its own: without one an engine deletes that of the machine's engine.
        command = ["dockerd", "--data-root", f"{self._folder}/data", "--exec-root", f"{self._folder}/exec"]
        command += ["--pidfile", f"{self._folder}/pid", "--host", self.address, "--bridge", self._bridge]
        command += ["--iptables=false", "--ip-masq=false", *(["--live-restore"] if self._live_restore else [])]
        (self._folder / "pid").unlink(missing_ok=True)
        self._forget_stale_containerd()
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": _TOOLS})
        give_up = time.monotonic() + _UP_S
        while not self.answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < give_up, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel would; its containers are not asked."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ensure(self) -> None:
        """Start it unless it runs."""
        if self._process is None or self._process.poll() is not None:
            self.start()

    def answers(self) -> bool:
        """Whether it takes calls now."""
        try:
            with closing(Engine(self.address)) as engine:
                engine.ping()
        except EngineDown:
            return False
        return True

    def _forget_stale_containerd(self) -> None:
        """Its containerd dies with it; an engine waits in vain for a dead one, or for whoever has its number by now."""
        pid_file = self._folder / "exec/containerd/containerd.pid"
        give_up = time.monotonic() + _DYING_S
        while _is_containerd(pid_file) and time.monotonic() < give_up:
            time.sleep(0.1)
        if not _is_containerd(pid_file):
            pid_file.unlink(missing_ok=True)

    def docker(self, *arguments: str) -> str:
        """What the docker command says to this engine."""
        command = ["docker", "--host", self.address, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def remove(self) -> None:
        """End it and everything that it started."""
        with suppress(AssertionError):
            self.ensure()  # a killed one has left its containers
        if self._process is not None and self._process.poll() is None:
            for container in self.docker("ps", "--all", "--quiet").split():
                with suppress(subprocess.CalledProcessError):
                    self.docker("rm", "--force", container)
            self._process.terminate()
            self._process.wait()
        for pid_file in self._folder.rglob("containerd.pid"):
            with suppress(ProcessLookupError, ValueError, FileNotFoundError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
        for shim in psutil.process_iter(["cmdline"]):
            # A containerd that was killed has left those of containers that it was making.
            if f"{self._folder}/exec/containerd/containerd.sock" in (shim.info["cmdline"] or ()):
                with suppress(psutil.Error):
                    shim.kill()
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if (mount := line.split()[1]).startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)


def _is_containerd(pid_file: Path) -> bool:
    try:
        process = psutil.Process(int(pid_file.read_text()))
        return process.name() == "containerd" and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.Error):
        return False


@contextmanager
def private_engine(folder: Path, *, live_restore: bool = False) -> Generator[PrivateEngine]:
    """A running `PrivateEngine`; needs root."""
    ip = str(shutil.which("ip", path=_TOOLS))
    bridge = f"cpe{os.getpid() % 1_000_000}"
    subprocess.run([ip, "link", "add", bridge, "type", "bridge"], check=True, capture_output=True)
    subprocess.run([ip, "addr", "add", "10.213.79.1/24", "dev", bridge], check=True, capture_output=True)
    engine = PrivateEngine(folder, bridge, live_restore=live_restore)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()
        subprocess.run([ip, "link", "del", bridge], check=False, capture_output=True)
