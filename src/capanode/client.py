"""Buying from Python: submit a job, wait for it, read its result.

    from capanode.client import Client

    client = Client()
    job = client.submit("job.yaml")
    print(client.wait(job).state, client.result(job))

It talks to the running node of the data folder, else it starts a short-lived one, which carries the job on even
when this program ends.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.data_folder import data_folder
from capanode.node.launch import node_client
from capanode.protocol.faults import Misconfigured, Refused, Unavailable

__all__ = ["Client", "JobView", "Misconfigured", "Refused", "Unavailable"]

ENDED: Final = frozenset({"paid", "refunded", "failed", "cancelled"})

Progress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a job left: the folder with its verified outputs, its exit code, and the receipt's file."""

    folder: Path
    exit_code: int
    receipt: Path | None


class Client:
    """A requester's view of its own node. Blocking; use one object from one thread at a time.

    Every call may raise `Misconfigured` (change something), `Refused` (with the reason, nothing was done) or
    `Unavailable` (try again); `str()` of each is a sentence.
    """

    def __init__(self, data: str | Path | None = None, *, password: Callable[[], str] | None = None) -> None:
        """Use the node of a data folder; `password` is asked when a node has to be started for it."""
        self._folder = data_folder(Path(data) if data is not None else None)
        self._password = password

    def submit(
        self,
        job: str | Path,
        *,
        name: str = "",
        image: str | None = None,
        announce: Literal["gossip", "chain"] = "gossip",
        policy: Literal["award", "first"] = "award",
        accept: Literal["auto", "wait", "never"] = "auto",
        progress: Progress = lambda _: None,
    ) -> str:
        """Hand a job file to the node; its id. Once this returns, the job goes on without this program.

        Args:
            job: a path, or the text of a job file when it holds a newline.
            image: a pinned image to use in place of the file's: `name@sha256:…` or the path of a docker archive.
        """
        is_text = isinstance(job, str) and "\n" in job
        path = Path.cwd() / "job.yaml" if is_text else Path(job)
        text = str(job) if is_text else _read(path)
        order = JobOrder(text, str(path.absolute().parent), name, image, announce, policy, accept)
        for item in self._node().submit(order):
            if "job" in item:
                view: JobView = item["job"]
                return view.job_id
            progress(item["progress"])
        raise Unavailable("the node ended the submission without taking the job: look at its log")

    def job(self, job_id: str) -> JobView:
        """Where a job stands; by id, by name, or by the beginning of either."""
        return self._node().job(job_id)

    def jobs(self) -> tuple[JobView, ...]:
        """All jobs of this node."""
        return self._node().jobs()

    def watch(self, job_id: str) -> Iterator[JobView]:
        """The job now and after every change, until it has ended."""
        return self._node().watch(job_id)

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> JobView:
        """Wait until a job has ended: paid, refunded, failed or cancelled.

        Raises:
            Unavailable: it has not ended in time; it goes on.
        """
        return self._until(job_id, lambda view: view.state in ENDED, timeout_s)

    def result(self, job_id: str, *, timeout_s: float | None = None) -> Result:
        """Wait for the verified outputs of a job.

        Raises:
            Refused: it ended without a result.
            Unavailable: the outputs are not here in time; it goes on.
        """
        view = self._until(job_id, lambda view: view.result_dir is not None or view.state in ENDED, timeout_s)
        if view.result_dir is None:
            raise Refused(f"the job {view.name} has no result: it is {view.state} ({view.reason})")
        receipt = Path(view.receipt) if view.receipt else None
        return Result(Path(view.result_dir), view.exit_code or 0, receipt)

    def accept(self, job_id: str) -> JobView:
        """Accept a result now, so that its provider need not wait for the window."""
        return self._node().accept(job_id)

    def cancel(self, job_id: str) -> JobView:
        """Take a job back that nobody has been assigned yet."""
        return self._node().cancel(job_id)

    def logs(self, job_id: str, tail_bytes: int = 65_536) -> bytes:
        """The last bytes that the job's program wrote."""
        return self._node().logs(job_id, tail_bytes)

    def wallet(self) -> Mapping[str, Any]:
        """The wallet's address and balances, in base units."""
        return self._node().wallet()

    def _until(self, job_id: str, is_far_enough: Callable[[JobView], bool], timeout_s: float | None) -> JobView:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for view in self._node().watch(job_id, timeout_s=timeout_s):
            if is_far_enough(view):
                return view
            if deadline is not None and time.monotonic() > deadline:
                break
        raise Unavailable(f"the job {job_id} is not as far as wanted yet: it goes on, wait again")

    def _node(self) -> NodeClient:
        return node_client(self._folder, password=self._password)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the job file {path} cannot be read: {error}") from error
