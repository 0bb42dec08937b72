"""How soon a requester is told that the provider of a running job has died, is frozen, or cannot be reached.

A devnet of three providers, each a process of its own, and one long job. Its provider is killed (SIGKILL), frozen
(SIGSTOP) or cut off (the firewall drops every packet to and from it, which needs root), round after round at a random
moment, until the requester's own node shows the notice; then it is brought back, until the notice is gone. In the end
the provider of a second job is killed for good, until the money is back.
"""

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from bench import report
from bench.shell_image import write_shell_image
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.devnet import Devnet, DevnetPlan, end, open_devnet, start_node, until_up
from capanode.node.devnet_parties import Party

ROUNDS: Final = 8
BETWEEN_PINGS_S: Final = 3.0
"""Failures come at any moment between two pings."""

NOTICE_S: Final = 60.0
REFUND_S: Final = 600.0
FIREWALL: Final = shutil.which("iptables", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
JOB: Final = """\
version: 1
image: image.tar
command: ["sleep {seconds}"]
resources: {{cpu: 0.1, memory: 64MiB, disk: 4MiB}}
timeout: {timeout}
price_cap: "5"
verification: exact
"""


@dataclass(slots=True)
class Scene:
    """The devnet, and what has been started beside it."""

    devnet: Devnet
    folder: Path
    again: dict[str, trio.Process] = field(default_factory=dict[str, trio.Process])

    @property
    def client(self) -> NodeClient:
        return NodeClient(self.devnet.requester.folder.socket)

    def process(self, party: Party) -> trio.Process:
        return self.again.get(party.name) or self.devnet.processes[party.name]

    async def bound(self, seconds: int, timeout: str) -> tuple[JobView, Party]:
        """A job whose program runs for so long, and its provider."""
        order = JobOrder(
            JOB.format(seconds=seconds, timeout=timeout), str(self.folder), "", None, "gossip", "award", "auto"
        )
        view = await trio.to_thread.run_sync(_bought, self.client, order)
        party = next(one for one in self.devnet.providers if f"0x{one.address.hex()}" == view.provider)
        return view, party

    async def kill(self, party: Party) -> None:
        process = self.process(party)
        process.kill()
        await process.wait()

    async def restart(self, party: Party) -> None:
        self.again[party.name] = process = await start_node(party)
        await until_up(party, process, 1)

    async def seconds_until(self, job: str, is_so: Callable[[JobView], bool], within_s: float = NOTICE_S) -> float:
        """How long it takes from now until the job's view is so."""
        began = time.monotonic()
        await trio.to_thread.run_sync(_watched, self.client, job, is_so, within_s)
        return time.monotonic() - began


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as folder:
        trio.run(_measure, Path(folder))


async def _measure(folder: Path) -> None:
    write_shell_image(folder / "image.tar")
    async with open_devnet(DevnetPlan(folder / "devnet", providers=3), _say) as devnet:
        requester = await start_node(devnet.requester)
        scene = Scene(devnet, folder)
        try:
            await until_up(devnet.requester, requester, len(devnet.providers))
            figures = await _figures(scene)
        finally:
            with trio.CancelScope(shield=True):
                for process in (requester, *scene.again.values()):
                    await end(process)
    report.write("failure_detect", figures)


async def _figures(scene: Scene) -> dict[str, report.Figure]:
    view, party = await scene.bound(1500, "30m")
    killed = [await _killed(scene, view, party) for _ in range(ROUNDS)]
    frozen = [await _frozen(scene, view, party) for _ in range(ROUNDS)]
    cut = [await _cut(scene, view, party) for _ in range(ROUNDS)] if FIREWALL and os.geteuid() == 0 else []
    silent = frozen + cut
    return {
        "rounds": ROUNDS,
        "killed_p50_s": statistics.median(killed),
        "killed_p90_s": _p90(killed),
        "frozen_p50_s": statistics.median(silent),
        "frozen_p90_s": _p90(silent),
        "frozen_max_s": max(silent),
        "cut_rounds": len(cut),
        **await _refund(scene),
    }


async def _killed(scene: Scene, view: JobView, party: Party) -> float:
    await _any_moment()
    await scene.kill(party)
    noticed_s = await scene.seconds_until(view.job_id, _has_notice)
    _say(f"killed: noticed after {noticed_s:.2f} s")
    await scene.restart(party)
    await scene.seconds_until(view.job_id, _has_no_notice)
    return noticed_s


async def _frozen(scene: Scene, view: JobView, party: Party) -> float:
    await _any_moment()
    pid = scene.process(party).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        noticed_s = await scene.seconds_until(view.job_id, _has_notice)
    finally:
        os.kill(pid, signal.SIGCONT)
    _say(f"frozen: noticed after {noticed_s:.2f} s")
    await scene.seconds_until(view.job_id, _has_no_notice)
    return noticed_s


async def _cut(scene: Scene, view: JobView, party: Party) -> float:
    await _any_moment()
    with _dropped(party, scene.devnet.requester):
        noticed_s = await scene.seconds_until(view.job_id, _has_notice)
    _say(f"cut off: noticed after {noticed_s:.2f} s")
    await scene.seconds_until(view.job_id, _has_no_notice)
    return noticed_s


async def _refund(scene: Scene) -> dict[str, report.Figure]:
    view, party = await scene.bound(20, "20s")
    await scene.kill(party)
    killed_at = time.time()
    assert view.refund_at is not None, "a running job has a deadline"
    _say(f"killed for good: the refund can be claimed in {view.refund_at - killed_at:.0f} s")
    refunded_s = await scene.seconds_until(view.job_id, _was_refunded, REFUND_S)
    return {"refund_claimable_s": view.refund_at - killed_at, "refunded_s": refunded_s}


def _was_refunded(view: JobView) -> bool:
    """The job itself goes on: it is bought again of somebody else."""
    return any(entry.event == "DealRefunded" for entry in view.timeline)


async def _any_moment() -> None:
    await trio.sleep(random.uniform(0, BETWEEN_PINGS_S))


@contextmanager
def _dropped(*parties: Party) -> Generator[None]:
    """Drop what goes to or comes from where these nodes listen, so that no end of a connection is told of it."""
    ports = [str(party.port) for party in parties]
    rules = [
        ["INPUT", "-i", "lo", "-p", "tcp", side, port, "-j", "DROP"]
        for port in ports
        for side in ("--dport", "--sport")
    ]
    try:
        for rule in rules:
            _firewall("-I", *rule)
        yield
    finally:
        for rule in rules:
            _firewall("-D", *rule)


def _firewall(*arguments: str) -> None:
    assert FIREWALL is not None
    subprocess.run([FIREWALL, "-w", *arguments], check=arguments[0] == "-I", capture_output=True)


def _bought(client: NodeClient, order: JobOrder) -> JobView:
    taken: JobView = next(item["job"] for item in client.submit(order) if "job" in item)
    return _watched(client, taken.job_id, lambda view: view.state == "running", NOTICE_S)


def _watched(client: NodeClient, job: str, is_so: Callable[[JobView], bool], within_s: float) -> JobView:
    view = None
    for view in client.watch(job, timeout_s=within_s):
        if is_so(view):
            return view
    raise RuntimeError(f"the job ended otherwise: {view.state if view else 'nowhere'}")


def _has_notice(view: JobView) -> bool:
    return bool(view.notice)


def _has_no_notice(view: JobView) -> bool:
    return not view.notice


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


def _say(sentence: str) -> None:
    print(f"[bench] {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
