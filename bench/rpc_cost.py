"""What a node asks of its chain: calls per idle minute and per deal, of real nodes on a real chain.

Blocks come every two seconds, as on a rollup. One provider and one requester are told that they are on a public
network: no subscription, no look at pending blocks, and the request budget of the default config. Counted is what the
nodes' own status says that they have asked; a batch counts as its calls, as public endpoints count it.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import trio

from bench import report
from bench.shell_image import write_shell_image
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder
from capanode.node.config import ChainSettings
from capanode.node.devnet import DevnetPlan, end, open_devnet, start_node, until_up
from capanode.node.devnet_parties import Party

BLOCK_TIME_S: Final = 2
SETTLE_S: Final = 45
"""The start's own questions have to be earned back before a minute counts as idle."""

IDLE_S: Final = 120
DEALS: Final = 5
AFTER_DEALS_S: Final = 30
"""Until the last payment is seen by both."""

DEAL_TIMEOUT_S: Final = 120
JOB: Final = """\
version: 1
image: image.tar
command: ["echo done > /out/done"]
resources: {cpu: 1, memory: 64MiB, disk: 4MiB}
timeout: 5s
price_cap: "1"
verification: exact
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="capanode-bench-") as folder:
        trio.run(_measure, Path(folder))


async def _measure(folder: Path) -> None:
    write_shell_image(folder / "image.tar")
    plan = DevnetPlan(folder / "devnet", providers=1, block_time_s=BLOCK_TIME_S)
    async with open_devnet(plan, _say) as devnet:
        (provider,), requester = devnet.providers, devnet.requester
        await end(devnet.processes[provider.name])
        parties, processes = (provider, requester), list[trio.Process]()
        try:
            for party in parties:
                _make_public(party)
                processes.append(await start_node(party))
            for party, process in zip(parties, processes, strict=True):
                await until_up(party, process, 1)
            figures = await _counted(folder, provider, requester)
        finally:
            with trio.CancelScope(shield=True):
                for process in processes:
                    await end(process)
    report.write("rpc_cost", figures)


def _make_public(party: Party) -> None:
    """Change a party's profile to what one of a public network without subscriptions says."""
    (profile,) = party.folder.networks.glob("devnet.toml")
    lines = profile.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("is_devnet", "ws_urls"))]
    profile.write_text("\n".join(kept) + "\n")


async def _counted(folder: Path, provider: Party, requester: Party) -> dict[str, report.Figure]:
    parties = {"provider": provider, "requester": requester}
    _say(f"waiting {SETTLE_S} s, then counting for {IDLE_S} s")
    await trio.sleep(SETTLE_S)
    idle = {name: await _calls(party) for name, party in parties.items()}
    await trio.sleep(IDLE_S)
    per_minute = {name: (await _calls(party) - idle[name]) * 60 / IDLE_S for name, party in parties.items()}
    before = {name: await _calls(party) for name, party in parties.items()}
    began = trio.current_time()
    for number in range(DEALS):
        _say(f"deal {number + 1} of {DEALS}")
        await trio.to_thread.run_sync(_bought, NodeClient(requester.folder.socket), folder)
    deals_s = trio.current_time() - began
    await trio.sleep(AFTER_DEALS_S)
    spent = {name: await _calls(party) - before[name] for name, party in parties.items()}
    return {
        **{f"{name}_per_idle_minute": figure for name, figure in per_minute.items()},
        **{f"{name}_per_deal": count / DEALS for name, count in spent.items()},
        "budget_per_minute": ChainSettings().requests_per_minute,
        "deals": DEALS,
        "deals_s": deals_s,
        "after_deals_s": AFTER_DEALS_S,
        "idle_s": IDLE_S,
        "block_time_s": BLOCK_TIME_S,
    }


async def _calls(party: Party) -> int:
    status: dict[str, Any] = await trio.to_thread.run_sync(NodeClient(party.folder.socket).status)
    return sum(endpoint["requests"] for endpoint in status["chain"]["endpoints"])


def _bought(client: NodeClient, folder: Path) -> None:
    order = JobOrder(JOB, str(folder), "no-op", None, "gossip", "award", "auto")
    taken = next(item["job"] for item in client.submit(order) if "job" in item)
    deadline = time.monotonic() + DEAL_TIMEOUT_S
    for view in client.watch(taken.job_id, timeout_s=DEAL_TIMEOUT_S):
        if view.state == "paid":
            return
        if time.monotonic() > deadline:
            break
    raise RuntimeError(f"the job is not paid after {DEAL_TIMEOUT_S} s")


def _say(sentence: str) -> None:
    print(f"[bench] {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
