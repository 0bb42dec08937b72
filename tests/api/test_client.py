"""`capanode.client.Client`, and the short-lived node behind it."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from capanode import client as clients
from capanode.client import Client, Misconfigured, Refused, Unavailable
from capanode.node import launch
from capanode.node.api.client import NodeClient
from capanode.node.data_folder import DataFolder
from capanode.node.launch import node_client
from tests.fakes.fake_node_api import job_view

NODE = """
import sys
from pathlib import Path
import trio
from capanode.node.api.server import serve_api
from capanode.node.data_folder import DataFolder
from tests.fakes.fake_node_api import FakeNodeApi, job_view
from dataclasses import replace

folder = DataFolder(Path(sys.argv[sys.argv.index("--data") + 1]))
(folder.root / "said").write_text(" ".join(sys.argv[1:]) + "|" + sys.stdin.read())

async def main():
    view = replace(job_view(state="paid"), result_dir=str(folder.root), exit_code=0)
    api = FakeNodeApi(steps=(view,))
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: serve_api(api, folder.socket, task_status=task_status))
        with trio.move_on_after(20):
            await api.stopped.wait()
        nursery.cancel_scope.cancel()

trio.run(main)
"""
JOB = "version: 1\nimage: x\n"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / "wallet.json").write_text("{}")
    return DataFolder(tmp_path)


def starter(text: str) -> tuple[str, ...]:
    return sys.executable, "-c", text


@pytest.fixture
def client(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client whose node is a fake in a process of its own."""

    def with_fake(given: DataFolder, *, password: Callable[[], str] | None = None) -> NodeClient:
        return node_client(given, password=password, command=starter(NODE))

    monkeypatch.setattr(clients, "node_client", with_fake)
    return Client(folder.root, password=lambda: "secret")


def test_node_is_started_for_the_occasion_and_used_again(client: Client, folder: DataFolder) -> None:
    job = client.submit(JOB, name="digits")
    assert client.wait(job, timeout_s=10).state == "paid"
    result = client.result("digits")
    assert (result.folder, result.exit_code) == (folder.root, 0)
    assert [view.name for view in client.jobs()] == ["digits"]
    said = (folder.root / "said").read_text()
    assert said == f"start --requester --until-idle 30 --data {folder.root} --password-stdin|secret\n"
    NodeClient(folder.socket).stop()


def test_node_that_cannot_start_says_why(folder: DataFolder) -> None:
    complaint = "import sys; print('capanode: the port is taken: choose another.', file=sys.stderr); sys.exit({})"
    with pytest.raises(Misconfigured, match="the port is taken"):
        node_client(folder, command=starter(complaint.format(2)))
    with pytest.raises(Unavailable, match="the port is taken"):
        node_client(folder, command=starter(complaint.format(4)))
    with pytest.raises(Unavailable, match="exit code 9"):
        node_client(folder, command=starter("raise SystemExit(9)"))


def test_node_that_never_answers_is_given_up(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START_TIMEOUT_S", 0.2)
    started = time.monotonic()
    with pytest.raises(Unavailable, match="did not come up"):
        node_client(folder, command=starter("import sys; sys.stdin.read(); import time; time.sleep(3)"))
    assert time.monotonic() - started < 3


def test_folder_without_a_wallet_starts_no_node(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="capanode init"):
        Client(tmp_path).jobs()


def test_job_without_a_result_is_refused(client: Client, folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = replace(job_view(state="refunded"), reason="nobody took it")
    monkeypatch.setattr(NodeClient, "watch", lambda *_, **__: iter((ended,)))
    with pytest.raises(Refused, match="nobody took it"):
        client.result("digits")
    NodeClient(folder.socket).stop()


def test_job_file_that_is_missing_is_the_callers_to_correct(client: Client) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        client.submit("/nowhere/job.yaml")


def test_wallet_call_that_its_nodes_end_cuts_off_is_asked_again_under_the_same_name(tmp_path: Path) -> None:
    """Else a deposit that was signed before the end would be made twice."""
    asked: list[str] = []

    def serve(listener: socket.socket) -> None:
        for reply in (b"", b'{"result": {"tx_hash": "0x44"}}\n'):
            connection, _ = listener.accept()
            with connection:
                asked.append(json.loads(connection.recv(65_536))["arguments"]["arguments"]["request"])
                connection.sendall(reply)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "api.sock"))
        listener.listen()
        node = threading.Thread(target=serve, args=(listener,))
        node.start()
        assert NodeClient(tmp_path / "api.sock").wallet_call("deposit", amount_wei=1) == {"tx_hash": "0x44"}
        node.join()
    assert len(asked) == 2
    assert asked[0] == asked[1]
