"""A job that does nothing, bought on a devnet, against a bare `docker run` of the same image, one after the other.

A chain that mines at once, three bidding providers and the requester's node, each a process of its own. A job counts
from the submission until its result lies on the requester's disk: bid window, market, chain, container, commitment,
transfer and every check included. It is accepted and paid before the other side's turn.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from bench import report
from bench.shell_image import write_shell_image
from capanode.node.announced.offers import SETTLED_S
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.devnet import DevnetPlan, end, open_devnet, start_node, until_up
from capanode.node.executors.sandbox import EXECUTION_LABEL
from capanode.node.images.reference import ImageId

JOBS: Final = 40
WARM_UP: Final = 3
"""The first jobs bring the image to each provider."""

CLI_STARTS: Final = 10
NO_OP: Final = "echo done > /out/done"
JOB: Final = f"""\
version: 1
image: image.tar
command: ["{NO_OP}"]
resources: {{cpu: 1, memory: 64MiB, disk: 4MiB}}
timeout: 5s
price_cap: "1"
verification: exact
"""


@dataclass(frozen=True, slots=True)
class Job:
    """Seconds of one bought job: in all, until an award was signed, and while it waited for its container."""

    whole_s: float
    bidding_s: float
    container_s: float


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as folder:
        trio.run(_measure, Path(folder))


async def _measure(folder: Path) -> None:
    image = write_shell_image(folder / "image.tar")
    load = ["docker", "load", "--quiet", "--input", str(folder / "image.tar")]
    await trio.run_process(load, capture_stdout=True, capture_stderr=True)
    async with open_devnet(DevnetPlan(folder / "devnet", providers=3), _say) as devnet:
        process = await start_node(devnet.requester)
        try:
            await until_up(devnet.requester, process, len(devnet.providers))
            _say(f"listening for {SETTLED_S:.0f} s, until the requester knows who is there")
            await trio.sleep(SETTLED_S)
            client = NodeClient(devnet.requester.folder.socket)
            figures = await trio.to_thread.run_sync(_in_turn, client, image, folder)
            figures["cli_start_s"] = _cli_start_s(devnet.requester.folder.root)
        finally:
            with trio.CancelScope(shield=True):
                await end(process)
    report.write("job_overhead", figures)


def _in_turn(client: NodeClient, image: ImageId, folder: Path) -> dict[str, report.Figure]:
    for _ in range(WARM_UP):
        _bought(client, folder)
        _bare_s(image)
    jobs: list[Job] = []
    bare: list[float] = []
    for _ in range(JOBS):
        jobs.append(_bought(client, folder))
        bare.append(_bare_s(image))
    whole = [job.whole_s for job in jobs]
    bare_p50 = statistics.median(bare)
    return {
        "jobs": JOBS,
        "p50_s": statistics.median(whole),
        "p90_s": _p90(whole),
        "bare_docker_p50_s": bare_p50,
        "bare_docker_p90_s": _p90(bare),
        "ratio_vs_bare": statistics.median(whole) / bare_p50,
        "container_p50_s": statistics.median(job.container_s for job in jobs),
        "agent_overhead_p50_s": statistics.median(job.whole_s - job.container_s for job in jobs),
        "bid_window_s": statistics.median(job.bidding_s for job in jobs),
    }


def _bought(client: NodeClient, folder: Path) -> Job:
    began_at = time.time()
    order = JobOrder(JOB, str(folder), "no-op", None, "gossip", "award", "auto")
    began = time.monotonic()
    taken: JobView = next(item["job"] for item in client.submit(order) if "job" in item)
    whole_s = 0.0
    view = taken
    for view in client.watch(taken.job_id, timeout_s=60):
        if view.result_dir is not None and not whole_s:
            whole_s = time.monotonic() - began
            assert Path(view.result_dir, "done").read_bytes() == b"done\n"
    if (view.state, view.mode, view.exit_code) != ("paid", "LOCK", 0):
        raise RuntimeError(f"a job went wrong: {view.state}, {view.reason}")
    at = {entry.event: entry.at for entry in view.timeline}
    engine_at = _engine_events(began_at, str(view.deal_id).removeprefix("0x"))
    return Job(
        whole_s,
        bidding_s=at["BidsClosed"] - at["JobSubmitted"],
        # It is created while the assignment is on its way, so the job waits for it only from then on.
        container_s=engine_at["die"] - max(engine_at["create"], at["DealAssigned"]),
    )


def _engine_events(since: float, deal_id: str) -> dict[str, float]:
    """When the engine says that the deal's container was created, started and had ended."""
    command = ["docker", "events", "--since", f"{since:.6f}", "--until", f"{time.time():.6f}"]
    command += ["--filter", f"label={EXECUTION_LABEL}={deal_id}01", "--format", "{{.Action}} {{.TimeNano}}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {action: int(nanoseconds) / 1e9 for action, nanoseconds in map(str.split, said.splitlines())}


def _bare_s(image: ImageId) -> float:
    began = time.monotonic()
    subprocess.run(["docker", "run", "--rm", "--network", "none", str(image), NO_OP], check=True)
    return time.monotonic() - began


def _cli_start_s(data: Path) -> float:
    """Of a command that asks the running node and prints what it says."""
    command = [str(Path(sys.executable).with_name("capanode")), "job", "list", "--json", "--data", str(data)]
    times: list[float] = []
    for _ in range(CLI_STARTS):
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def _p90(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=10)[-1]


def _say(sentence: str) -> None:
    print(f"[bench] {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
