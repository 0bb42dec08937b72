"""A provider that cheats, to practise on: it saves itself work, and commits what comes of it as an honest result.

It runs in a devnet only, as a program of its own: no setting of a node and no variable turns a provider into this.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog

from capanode.node.cli.app import run as run_command
from capanode.node.cli.starting import overridden, started
from capanode.node.config import NodeConfig
from capanode.node.data_folder import DataFolder, private_folder
from capanode.node.executors.port import End, ExecutionId, Executor, RunOutcome, RunRequest, Usage
from capanode.node.network_profile import DEVELOPMENT_CHAIN, NetworkProfile, read_profile
from capanode.node.storage.tree_walk import materialise
from capanode.proofs.step import STEP_VARIABLE, STEPS_VARIABLE
from capanode.protocol.faults import Misconfigured

OWN_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})

log = structlog.get_logger()


class Cheater:
    """An executor that leaves work out.

    Of a job in steps it skips the last two fifths: each gives the state that it begins with. Of a job in one step it
    changes the last byte of the first file that the program wrote. What it checks, it checks well: it knows what it has
    done, and pays for no appeal.
    """

    def __init__(self, honest: Executor, folder: Path) -> None:
        self._honest = honest
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        # Whatever is not about results it does as everybody.
        return getattr(self._honest, name)

    async def run(self, request: RunRequest, *, started: Callable[[str], None]) -> RunOutcome:
        """Run the program as it should be, or not at all, or improve on what it wrote."""
        if request.is_check:
            return await self._honest.run(request, started=started)
        folder = self._folder / request.execution_id
        # A node that died over this has left it there.
        shutil.rmtree(folder, ignore_errors=True)
        if request.state is None:
            folder.mkdir()
            return _altered(await self._honest.run(request, started=started), folder)
        if not is_skipped(request):
            return await self._honest.run(request, started=started)
        await materialise(request.state.entries, request.state.content, folder)
        log.warning("cheated", execution=request.execution_id, skipped=dict(request.env)[STEP_VARIABLE])
        now = time.time()
        usage = Usage(0.0, 0, 0)
        return RunOutcome(request.execution_id, End.EXITED, 0, "", b"", b"", None, folder, usage, now, now)

    async def adopt(self, execution_id: ExecutionId) -> RunOutcome | None:
        """Take up what an earlier process has begun, and tell the same lie of it."""
        outcome, folder = await self._honest.adopt(execution_id), self._folder / execution_id
        return outcome if outcome is None or not folder.is_dir() else _altered(outcome, folder)

    async def release(self, execution_id: ExecutionId) -> None:
        """Forget a step, done or not."""
        shutil.rmtree(self._folder / execution_id, ignore_errors=True)
        await self._honest.release(execution_id)


def main() -> None:
    """Start the node of a devnet's cheating provider; for `capanode.node.devnet`."""
    start_disguised("devnet_cheater", _cheater)


def start_disguised(program: str, disguise: Callable[[Executor, DataFolder], Executor]) -> None:
    """Be a devnet's node that has its jobs run by another executor than it seems to; ends the process."""
    sys.exit(run_command(partial(_start, program, disguise)))


def _start(program: str, disguise: Callable[[Executor, DataFolder], Executor]) -> None:
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("start", choices=("start",))
    parser.add_argument("--data", required=True, type=Path)
    folder = DataFolder(parser.parse_args(sys.argv[1:]).data)
    config = overridden(folder, roles=None, network=None, until_idle_s=None, port=None, password_file=None)
    require_devnet(read_profile(config.profile_path), config)
    from capanode.node.wiring.run import run_node

    started(config, None, False, partial(run_node, disguise=lambda executor: disguise(executor, folder)))


def _cheater(honest: Executor, folder: DataFolder) -> Executor:
    skipped = folder.root / "skipped"
    private_folder(skipped)
    return cast(Executor, Cheater(honest, skipped))


def is_skipped(request: RunRequest) -> bool:
    """Whether the step is one of the last two fifths."""
    env = dict(request.env)
    return int(env[STEP_VARIABLE]) * 5 >= int(env[STEPS_VARIABLE]) * 3


def require_devnet(profile: NetworkProfile, config: NodeConfig) -> None:
    """Refuse any network but a devnet of this machine.

    Raises:
        Misconfigured: it is another one.
    """
    urls = config.chain.rpc_urls + profile.rpc_urls
    is_here = all(urlsplit(url).hostname in OWN_MACHINE for url in urls)
    if not (profile.is_devnet and profile.chain_id == DEVELOPMENT_CHAIN and is_here):
        raise Misconfigured(
            f"the network {profile.name} is no devnet of this machine, and a provider that cheats is for those only: "
            "start one with `capanode devnet up --cheater`."
        )


def _altered(outcome: RunOutcome, folder: Path) -> RunOutcome:
    """Change a byte; the folder keeps what it was, as a name: whoever died over this changes it to the same again."""
    written = sorted(path for path in outcome.outputs.rglob("*") if path.is_file()) if outcome.outputs else []
    target = next((path for path in written if not path.is_symlink() and path.stat().st_size), None)
    if target is not None:
        with target.open("r+b") as stream:
            stream.seek(-1, 2)
            found = stream.read(1).hex()
            last = next((kept.name for kept in folder.iterdir()), found)
            (folder / last).mkdir(exist_ok=True)
            stream.seek(-1, 2)
            stream.write(bytes([int(last, 16) ^ 1]))
        log.warning("cheated", execution=outcome.execution_id, changed=target.name)
    return outcome


if __name__ == "__main__":
    main()
