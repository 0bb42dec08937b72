"""What a provider costs that has nothing to do: CPU and memory of its process, from /proc.

Three other nodes are connected, blocks come every two seconds, the container engine is connected, and every provider
renews its standing offer every 30 seconds, so that this one sends one and hears two in each such time.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

import trio

from bench import report
from capanode.node.api.client import NodeClient
from capanode.node.devnet import DevnetPlan, end, open_devnet, peers_in, start_node, until_up

BLOCK_TIME_S: Final = 2
PROVIDERS: Final = 3
SETTLE_S: Final = 20
MEASURE_S: Final = 150
SAMPLE_EVERY_S: Final = 5
MIB: Final = 2**20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as folder:
        trio.run(_measure, Path(folder))


async def _measure(folder: Path) -> None:
    plan = DevnetPlan(folder / "devnet", providers=PROVIDERS, block_time_s=BLOCK_TIME_S)
    async with open_devnet(plan, _say) as devnet:
        requester = await start_node(devnet.requester)
        try:
            await until_up(devnet.requester, requester, PROVIDERS)
            provider = devnet.providers[0]
            await until_up(provider, devnet.processes[provider.name], PROVIDERS)
            _say(f"waiting {SETTLE_S} s, then measuring for {MEASURE_S} s")
            await trio.sleep(SETTLE_S)
            figures = await _idle(devnet.processes[provider.name].pid)
            status = await trio.to_thread.run_sync(NodeClient(provider.folder.socket).status)
            figures["peers"] = peers_in(status)
        finally:
            with trio.CancelScope(shield=True):
                await end(requester)
    report.write("idle", figures)


async def _idle(pid: int) -> dict[str, report.Figure]:
    began_at, began_cpu_s = trio.current_time(), _cpu_s(pid)
    resident: list[int] = []
    while trio.current_time() - began_at < MEASURE_S:
        await trio.sleep(SAMPLE_EVERY_S)
        resident.append(_resident_bytes(pid))
    measured_s = trio.current_time() - began_at
    return {
        "cpu_fraction": (_cpu_s(pid) - began_cpu_s) / measured_s,
        "rss_mib": max(resident) / MIB,
        "rss_p50_mib": statistics.median(resident) / MIB,
        "measured_s": measured_s,
        "block_time_s": BLOCK_TIME_S,
    }


def _cpu_s(pid: int) -> float:
    """CPU time of the process so far, its ended children left out. **Source**: proc(5), stat, fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _say(sentence: str) -> None:
    print(f"[bench] {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
