"""What judging costs: the share of a job that one arbiter does again, the challenger's transactions, and the time.

For k = 1, 16 and 256 steps one provider of a devnet cheats: of several steps it skips the last two fifths, of
a single one it changes the result. A watcher opens a case about the first wrong step, three other providers judge it,
and the money moves; every step that an arbiter recomputes is counted in its log. `challenger_transactions` are those
that a challenger has to send itself; what anybody may send (drawing, counting, settling) is counted apart.
"""

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from bench import report
from bench.shell_image import write_shell_image
from capanode.contracts_abi import bindings
from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.chain.rpc import open_rpc
from capanode.node.devnet import Devnet, DevnetPlan, open_devnet
from capanode.node.devnet_parties import COIN, TOKEN, Grant, Party
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Address, Wei
from demo.court_room import VERDICTS, CourtRoom, Happened, found, gas_of

STEP_COUNTS: Final = (1, 16, 256)
POLL_S: Final = 0.2
LIMIT_S: Final = 900
OWN_ACTS: Final = (bindings.Challenged, bindings.Joined, bindings.AnswerShown)

RICH: Final = Grant(Wei(10 * COIN), Wei(4_000 * TOKEN), Wei(3_500 * TOKEN), Wei(1_000 * TOKEN), Wei(1_000 * TOKEN))

WHOLE: Final = """\
version: 1
name: whole
image: ./image.tar
command: ["echo done > /out/result"]
timeout: 30s
price_cap: 1
verification: exact
"""
STEPPED: Final = """\
version: 1
name: stepped
image: ./image.tar
command: ["echo $CAPANODE_STEP >> /state/log"]
steps: {{limit: {steps}, timeout: 5s, state: 1MiB}}
price_cap: 1
verification: exact
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """One dispute, from the challenge to the money."""

    case: tuple[Happened, ...]
    redone: tuple[int, ...]
    """Steps that each drawn arbiter recomputed."""

    wall_s: float


def main() -> None:
    """Measure, and write bench/out/dispute.json."""
    folder = Path(tempfile.mkdtemp(prefix="capanode-bench-"))
    try:
        report.write("dispute", trio.run(_figures, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _figures(folder: Path) -> Mapping[str, report.Figure]:
    image = folder / "image.tar"
    await trio.to_thread.run_sync(write_shell_image, image)
    plan = DevnetPlan(
        root=folder / "devnet",
        providers=3,
        cheater=True,
        watcher=True,
        watcher_config="sample_ppm = 0\n",
        requester_runs=True,
        idle_block_s=1,
        provider_grant=RICH,
        requester_grant=RICH,
    )
    figures: dict[str, report.Figure] = {}
    async with open_devnet(plan, print) as devnet, open_rpc((devnet.rpc_url,), devnet.profile.chain_id) as rpc:
        court = CourtRoom(rpc)
        for steps in STEP_COUNTS:
            with trio.fail_after(LIMIT_S):
                judged = await _disputed(devnet, court, steps, image)
            figures |= _of(judged, steps, devnet)
    return figures


def _of(judged: Judged, steps: int, devnet: Devnet) -> Mapping[str, report.Figure]:
    assert devnet.watcher is not None
    (settled,) = found(judged.case, bindings.Settled)
    if VERDICTS[settled.verdict] != "OVERTURNED":
        raise Unavailable(f"the case about {steps} steps ended as {VERDICTS[settled.verdict]}: see the nodes' logs")
    by_challenger = {one.tx_hash: one for one in judged.case if one.sender == f"0x{devnet.watcher.address.hex()}"}
    own = {one.tx_hash for one in judged.case if isinstance(one.event, OWN_ACTS)}
    figures: dict[str, report.Figure] = {
        f"arbiter_work_fraction_k{steps}": max(judged.redone) / steps,
        f"gas_total_k{steps}": gas_of(judged.case),
        f"wall_s_k{steps}": judged.wall_s,
    }
    if steps == 16:
        # The usual job: all leaves are on chain, and the case is about one step.
        figures |= {
            "challenger_transactions": len(own & by_challenger.keys()),
            "tending_transactions_by_challenger": len(by_challenger.keys() - own),
            "wall_s": judged.wall_s,
        }
    return figures


async def _disputed(devnet: Devnet, court: CourtRoom, steps: int, image: Path) -> Judged:
    assert devnet.watcher is not None
    view = await trio.to_thread.run_sync(_committed, devnet, steps, image)
    wrong = next((step for step in range(steps) if step * 5 >= steps * 3), 0)
    watcher = NodeClient(devnet.watcher.folder.socket)
    started_at = time.monotonic()

    def open_case() -> None:
        watcher.dispute("open", deal=str(view.deal_id), step=wrong)

    await trio.to_thread.run_sync(open_case)
    case: list[Happened] = []
    while not any(found(case, bindings.CommitteePaid)):
        case += await court.listen()
        await trio.sleep(POLL_S)
    wall_s = time.monotonic() - started_at
    await trio.to_thread.run_sync(_cancel, devnet, view.job_id)
    (drawn,) = found(case, bindings.Drawn)
    redone = tuple(_recomputed(devnet, arbiter, str(view.deal_id)) for arbiter in drawn.arbiters)
    return Judged(tuple(case), redone, wall_s)


def _committed(devnet: Devnet, steps: int, image: Path) -> JobView:
    """Buy the job from the cheater, and follow it until its result is committed and here."""
    text = WHOLE if steps == 1 else STEPPED.format(steps=steps)
    client = NodeClient(devnet.requester.folder.socket)
    *honest, cheater = devnet.providers
    _take_work(honest, is_on=False)
    _take_work([cheater], is_on=True)
    order = JobOrder(text, str(image.parent), f"k{steps}", str(image), "gossip", "award", "wait")
    taken: JobView = next(item["job"] for item in client.submit(order) if "job" in item)
    for view in client.watch(taken.job_id):
        if view.result_dir is not None:
            # The requester would buy anew what is overturned.
            _take_work([cheater], is_on=False)
            print(f"k = {steps}: committed by {view.provider}")
            return view
    raise Unavailable(f"the job of {steps} steps ended without a result")


def _take_work(providers: Sequence[Party], *, is_on: bool) -> None:
    """Let providers bid, or not; judging goes on."""
    for party in providers:
        NodeClient(party.folder.socket).drain(on=not is_on)


def _cancel(devnet: Devnet, job_id: str) -> None:
    """End a job whose money is back."""
    client = NodeClient(devnet.requester.folder.socket)
    for view in client.watch(job_id):
        if any(entry.event == "DealJudged" for entry in view.timeline):
            break
    with suppress(Refused):  # it may have given up by itself
        client.cancel(job_id)
    for view in client.watch(job_id):
        print(f"the job {view.name} is {view.state}")


def _recomputed(devnet: Devnet, arbiter: Address, deal_id: str) -> int:
    """How many steps of a deal an arbiter's node has computed again, as its log says."""
    party = next(one for one in devnet.providers if one.address == arbiter)
    lines = party.folder.log.read_text("utf-8", errors="replace").splitlines()
    return sum('"event": "recomputed"' in line and deal_id.removeprefix("0x") in line for line in lines)


if __name__ == "__main__":
    main()
