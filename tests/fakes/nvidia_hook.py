"""A stand-in for NVIDIA's container hook and a Docker engine of its own that finds it.

The hook records how it was called and makes the device files that the real one would. The engine gets
its own network namespace, since a second engine would else take the first one's bridge away.
"""

import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from capanode.node.executors.docker_engine import Engine, EngineDown

_HOOK = """#!{python} -IS
import json, os, subprocess, sys
state = json.load(sys.stdin)
config = json.load(open(os.path.join(state["bundle"], "config.json")))
env = dict(one.split("=", 1) for one in config["process"]["env"])
with open({record!r}, "a") as record:
    record.write(json.dumps({{"arguments": sys.argv[1:], "env": env}}) + "\\n")
minors = {minors!r}
for uuid in env.get("NVIDIA_VISIBLE_DEVICES", "").split(","):
    if uuid in minors:
        node = os.path.join(config["root"]["path"], "dev", "nvidia%d" % minors[uuid])
        command = ["nsenter", "--target", str(state["pid"]), "--mount", "mknod", "-m", "666", node, "c", "1", "3"]
        subprocess.run(command, check=True)
"""


@dataclass(frozen=True, slots=True)
class HookedEngine:
    """Where the engine listens, and what its hook has seen."""

    address: str
    record: Path

    def calls(self) -> list[dict[str, Any]]:
        """Each call of the hook, oldest first: its arguments and the container's environment."""
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]


@asynccontextmanager
async def engine_with_hook(folder: Path, minors: Mapping[str, int]) -> AsyncIterator[HookedEngine]:
    """Run an engine whose hook makes /dev/nvidia<minor> for the GPUs in `minors`, by UUID."""
    programs, record = folder / "bin", folder / "calls.jsonl"
    programs.mkdir(parents=True)
    hook = programs / "nvidia-container-runtime-hook"
    hook.write_text(_HOOK.format(python=sys.executable, record=str(record), minors=dict(minors)))
    hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    hooked = HookedEngine(f"unix://{folder}/engine.sock", record)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin"}
    with (folder / "engine.log").open("wb") as log:
        process = await trio.lowlevel.open_process(_command(folder), env=environment, stdout=log, stderr=log)
        try:
            await _until_up(hooked.address, process, folder / "engine.log")
            yield hooked
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()


def _command(folder: Path) -> list[str]:
    own = f"capanode-{folder.name}"
    return [
        *("unshare", "--net", "dockerd", "--host", f"unix://{folder}/engine.sock", "--bridge", "none"),
        *("--iptables=false", "--ip6tables=false", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/pid", "--containerd-namespace", own, "--containerd-plugins-namespace", own + "-p"),
    ]


async def _until_up(address: str, process: trio.Process, log: Path) -> None:
    with trio.move_on_after(60):
        while process.poll() is None:
            try:
                engine = await trio.to_thread.run_sync(Engine, address)
                await trio.to_thread.run_sync(engine.facts)
                engine.close()
            except EngineDown:
                await trio.sleep(0.1)
            else:
                return
    raise AssertionError(f"the second engine did not start: {log.read_text()[-2000:]}")
