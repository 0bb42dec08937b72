"""One job goes the whole way, on real parts: a chain, three providers and a requester, each a process of its own.

The job trains a classifier on handwritten digits. It is bought twice: once by a gossiped demand and a signed award,
once announced on the chain. Run it with `make demo`; what it makes is in `demo-out/`.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.cli.app import run as run_command
from capanode.node.config import LogSettings
from capanode.node.devnet import Devnet, DevnetPlan, open_devnet
from capanode.node.devnet_parties import COIN, TOKEN, Grant, Party
from capanode.node.keys.recover import recover
from capanode.node.logs import open_log
from capanode.node.storage.tree_walk import Tree, walk_here
from capanode.node.units import tokens
from capanode.proofs import receipt as receipts
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Ppm, Wei
from capanode.protocol.money import deadline_bond_wei, fraud_bond_wei
from capanode.protocol.records import VerificationClass
from demo import ingredients
from demo.screen import Screen

ROOT: Final = Path(__file__).resolve().parents[1]
OUT: Final = ROOT / "demo-out"
CACHE: Final = ROOT / ".cache" / "demo"

LIMIT_S: Final = 240
"""Longest that both deals together may take; on a quiet machine they need some twenty seconds."""

PRICE_CAP: Final = Wei(TOKEN * 30 // 100)
ASKS: Final = ("0.20", "0.22", "0.24")
"""What each provider asks at least, in tokens. The job costs them less than that, so these are their bids."""

BONDS: Final = deadline_bond_wei(PRICE_CAP) + fraud_bond_wei(PRICE_CAP, Ppm(200_000), VerificationClass.EXACT)
STAKE: Final = Wei(BONDS * 6 // 5)
"""Covers the bonds of one deal, not of two: whoever has a deal in its window leaves the next one to others."""

JOB: Final = """\
version: 1
name: digits
image: ./image.tar
command: [/in/train.py]
inputs:
  digits.csv.gz: {{path: {data}}}
  train.py: {{path: {program}}}
outputs: [model.npz, metrics.json, learning_curve.png]
resources: {{cpu: 1, memory: 512MiB, disk: 64MiB}}
timeout: 60s
price_cap: "{cap}"
verification: exact
"""


@dataclass(frozen=True, slots=True)
class Bought:
    """One job at its end, with what was checked of its receipt."""

    path: str
    view: JobView
    checks: tuple[receipts.Check, ...]
    trace_root: str

    @property
    def is_verified(self) -> bool:
        """Whether every check of the receipt holds, the outputs included."""
        return bool(self.checks) and all(check.ok for check in self.checks)


def main() -> None:
    """Run the demo; the exit code is zero when every deal was finalized and every receipt holds."""
    sys.exit(run_command(_main))


def _main() -> None:
    open_log(LogSettings(level="error"))
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="capanode-demo-"))
    with Screen() as screen:
        try:
            summary = trio.run(_demo, screen, folder)
        except BaseException as error:
            if isinstance(error, Exception):
                screen.step(f"the nodes' logs are in {folder}/devnet/nodes/*/node.log")
            else:
                shutil.rmtree(folder, ignore_errors=True)  # interrupted: nobody wants to look at logs
            raise
    shutil.rmtree(folder)
    sys.exit(0 if summary["receipt_verified"] and summary["deals_finalized"] == 2 else 6)


async def _demo(screen: Screen, folder: Path) -> dict[str, Any]:
    data = await trio.to_thread.run_sync(ingredients.data_set, CACHE, screen.step)
    image = await trio.to_thread.run_sync(ingredients.image, CACHE, screen.step)
    plan = DevnetPlan(
        root=folder / "devnet",
        requester_runs=True,
        provider_config=[f'[provider.pricing]\nfloor_tokens = "{ask}"\n' for ask in ASKS],
        provider_grant=Grant(Wei(10 * COIN), Wei(100 * TOKEN), Wei(50 * TOKEN), STAKE),
        requester_grant=Grant(Wei(10 * COIN), Wei(100 * TOKEN), Wei(50 * TOKEN), Wei(0)),
    )
    async with open_devnet(plan, screen.step) as devnet:
        return await _bought_twice(screen, devnet, data, image)


async def _bought_twice(screen: Screen, devnet: Devnet, data: Path, image: Path) -> dict[str, Any]:
    parties = (devnet.requester, *devnet.providers)
    screen.names = {f"0x{party.address.hex()}": party.name for party in parties}
    before = await _money(parties)
    started_at = time.monotonic()
    text = JOB.format(data=data, program=ROOT / "examples" / "digits" / "train.py", cap=tokens(PRICE_CAP))
    client = NodeClient(devnet.requester.folder.socket)
    bought: dict[str, Bought] = {}
    first_is_assigned = trio.Event()
    with trio.move_on_after(LIMIT_S) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_buy, screen, client, text, image, "gossip", bought, first_is_assigned)
            await first_is_assigned.wait()
            nursery.start_soon(_buy, screen, client, text, image, "chain", bought, trio.Event())
    if limit.cancelled_caught:
        raise Unavailable(f"the deals were not done within {LIMIT_S} s: look at the nodes' logs")
    wall_s = time.monotonic() - started_at
    after = await _money(parties)
    screen.money(before, after)
    summary = _summary(bought, before["requester"] - after["requester"], wall_s)
    _write(summary, bought)
    screen.end(_rows(screen, summary, bought))
    return summary


async def _buy(
    screen: Screen,
    client: NodeClient,
    text: str,
    image: Path,
    path: str,
    bought: dict[str, Bought],
    is_assigned: trio.Event,
) -> None:
    """Submit the job by one of the two paths, show what happens to it, and check what came of it."""
    order = JobOrder(text, str(ROOT), path, str(image), path, "award", "wait")

    def follow() -> JobView:
        taken: JobView = next(item["job"] for item in client.submit(order) if "job" in item)
        view, shown = taken, 0
        for view in client.watch(taken.job_id):
            for entry in view.timeline[shown:]:
                screen.happened(path, entry)
            shown = len(view.timeline)
            screen.window(view)
            if view.deal_id is not None and any(e.event == "DealAssigned" for e in view.timeline):
                trio.from_thread.run_sync(is_assigned.set)
        return view

    try:
        # What is left of it when the demo gives up ends with the node that it listens to.
        view = await trio.to_thread.run_sync(follow, abandon_on_cancel=True)
    finally:
        is_assigned.set()
    bought[path] = await trio.to_thread.run_sync(_checked, path, view)


def _checked(path: str, view: JobView) -> Bought:
    committed = [entry for entry in view.timeline if entry.event == "DealCommitted"]
    trace_root = str(committed[-1].fields["trace_root"]) if committed else ""
    if view.receipt is None or view.result_dir is None:
        return Bought(path, view, (), trace_root)
    signed = receipts.decode(Path(view.receipt).read_bytes())
    outputs = walk_here(Path(view.result_dir))
    entries = outputs.entries if isinstance(outputs, Tree) else ()
    return Bought(path, view, tuple(receipts.verify(signed, recover, outputs=entries)), trace_root)


async def _money(parties: tuple[Party, ...]) -> dict[str, int]:
    """Base units of each party, in its wallet, its escrow and its stake."""
    wallets = {p.name: await trio.to_thread.run_sync(NodeClient(p.folder.socket).wallet) for p in parties}
    return {name: w["token_wei"] + w["free_wei"] + w["stake_wei"] for name, w in wallets.items()}


def _summary(bought: Mapping[str, Bought], spent_wei: int, wall_s: float) -> dict[str, Any]:
    paid = [one for one in bought.values() if one.view.state == "paid"]
    metrics = json.loads((Path(result_of(bought["gossip"])) / "metrics.json").read_text("utf-8"))
    return {
        "deals_finalized": len(paid),
        "paths": [one.path for one in paid],
        "accuracy": metrics["accuracy"],
        "provider_paid_wei": sum(one.view.paid_wei for one in paid),
        "requester_spent_wei": spent_wei,
        "wall_s": round(wall_s, 3),
        "commit_root": bought["gossip"].trace_root,
        "receipt_verified": all(one.is_verified for one in bought.values()),
        "providers": sorted({str(one.view.provider) for one in paid}),
    }


def _write(summary: Mapping[str, Any], bought: Mapping[str, Bought]) -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(result_of(bought["gossip"]), OUT, symlinks=True)
    (OUT / "receipts").mkdir()
    for one in bought.values():
        if one.view.receipt is not None:
            shutil.copy(one.view.receipt, OUT / "receipts" / f"{one.path}.receipt")
    (OUT / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")


def _rows(screen: Screen, summary: Mapping[str, Any], bought: Mapping[str, Bought]) -> list[tuple[str, str]]:
    return [
        ("accuracy", f"{summary['accuracy']:.4f} on digits that the model had not seen"),
        *((f"won by ({one.path})", screen.named(str(one.view.provider))) for one in bought.values()),
        ("receipts", "hold, outputs included" if summary["receipt_verified"] else "DO NOT HOLD"),
        ("outputs", str(OUT)),
    ]


def result_of(one: Bought) -> str:
    """Where the outputs of a job are.

    Raises:
        Unavailable: it has none, or not all: its program did not end as it should.
    """
    view = one.view
    if view.result_dir is None:
        raise Unavailable(f"the {one.path} job ended without a result: {view.state}, {view.reason}")
    if view.exit_code:
        raise Unavailable(f"the {one.path} job ended with exit code {view.exit_code}: look into {view.result_dir}")
    return view.result_dir


if __name__ == "__main__":
    main()
