"""The engine dies in the middle of a job, somebody meddles with what it holds: the job is paid all the same."""

import os
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobView
from capanode.node.devnet_parties import Party
from tests.e2e.town import Town, eventually, false_checks, open_town, result
from tests.faults.private_engine import PrivateEngine, private_engine

AWAY_S = float(os.environ.get("CAPANODE_FAULT_S", "0"))
"""How much longer than its notice the engine is away; a minute in `make chaos-faults`."""

SLOW = "echo up; sleep 5; echo done > /out/answer"


@contextmanager
def town_on(
    monkeypatch: pytest.MonkeyPatch, image: Path, *, live_restore: bool = False
) -> Generator[tuple[Town, PrivateEngine]]:
    """One provider, on an engine of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="cpe-") as folder,
        private_engine(Path(folder), live_restore=live_restore) as engine,
    ):
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        with open_town(image, providers=1) as town:
            try:
                yield town, engine
            finally:
                engine.ensure()  # the town's own clean-up needs it


def objection(party: Party) -> str:
    """Why the provider takes no work, as its status says."""
    return str(NodeClient(party.folder.socket).status()["objection"])


def running(town: Town) -> JobView:
    """A job whose program has begun."""
    job = town.submit(town.order(SLOW, timeout="90s" if AWAY_S else "20s"))
    view = town.until(job.job_id, lambda view: view.state == "running")
    eventually(lambda: b"up" in town.client.logs(job.job_id, 100))
    return view


def finished(town: Town, job: JobView) -> JobView:
    """The job at its end, which is that of an undisturbed one."""
    view = town.until(job.job_id, lambda _: False, within_s=120)
    assert (view.state, view.exit_code) == ("paid", 0), view.reason
    assert result(view, "answer") == b"done\n"
    assert false_checks(view) == []
    return view


def assert_paid_once(town: Town, job: JobView, before: int) -> None:
    """The job's end is that of an undisturbed one, and nobody has more or less by what happened."""
    view = finished(town, job)
    wealth = town.wealth()[town.providers[0].name]
    assert wealth.total_wei - before == view.paid_wei
    assert wealth.locked_wei == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("live_restore", [False, True], ids=["containers die", "containers go on"])
def test_an_engine_that_is_killed_and_comes_back_costs_no_money(
    monkeypatch: pytest.MonkeyPatch, shell_image: Path, live_restore: bool
) -> None:
    with town_on(monkeypatch, shell_image, live_restore=live_restore) as (town, engine):
        (provider,) = town.providers
        before = town.wealth()[provider.name].total_wei
        job = running(town)
        engine.kill()
        eventually(lambda: "does not answer" in objection(provider))
        waiting = town.submit(town.order("echo done > /out/answer", timeout="5s"))
        time.sleep(AWAY_S)
        back_at = time.time()
        engine.start()
        views = [finished(town, one) for one in (job, waiting)]
        assert objection(provider) == ""
        bids = [entry.at for entry in views[1].timeline if entry.event == "BidsClosed"]
        assert min(bids) >= back_at, "a provider without an engine does not bid"
        wealth = town.wealth()[provider.name]
        assert wealth.total_wei - before == sum(view.paid_wei for view in views)
        assert wealth.locked_wei == 0


@pytest.mark.timeout(600)
def test_what_someone_does_to_a_job_on_the_engine_costs_no_money(
    monkeypatch: pytest.MonkeyPatch, shell_image: Path
) -> None:
    with town_on(monkeypatch, shell_image, live_restore=False) as (town, engine):
        (provider,) = town.providers
        for meddle in (removed, paused, stopped, unmounted, holder_removed, image_wiped):
            before = town.wealth()[provider.name].total_wei
            job = running(town)
            meddle(engine, provider)
            assert_paid_once(town, job, before)


def job_container(engine: PrivateEngine) -> str:
    """The container of the job that runs."""
    return engine.docker("ps", "--quiet", "--filter", "label=capanode.execution").split()[0]


def removed(engine: PrivateEngine, _: Party) -> None:
    engine.docker("rm", "--force", job_container(engine))


def paused(engine: PrivateEngine, _: Party) -> None:
    engine.docker("pause", job_container(engine))


def stopped(engine: PrivateEngine, _: Party) -> None:
    engine.docker("stop", "--time", "1", job_container(engine))


def unmounted(_: PrivateEngine, provider: Party) -> None:
    for path in (provider.folder.executions / "outputs").iterdir():
        if path.is_mount():
            subprocess.run(["umount", "--lazy", str(path)], check=True)


def holder_removed(engine: PrivateEngine, _: Party) -> None:
    for holder in engine.docker("ps", "--quiet", "--filter", "label=capanode.holder").split():
        engine.docker("rm", "--force", holder)


def image_wiped(engine: PrivateEngine, _: Party) -> None:
    for name in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split():
        engine.docker("image", "rm", "--force", name)
    engine.docker("rm", "--force", job_container(engine))
