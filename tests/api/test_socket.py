"""The API socket: calls, streams, faults, and callers that misbehave or go away."""

import dataclasses
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from capanode.node.api.client import NodeClient, NoNode
from capanode.node.api.port import JobOrder
from capanode.node.api.server import serve_api
from capanode.node.api.wire import MAX_REQUEST_BYTES, line, value_of
from capanode.protocol.faults import InvariantViolated, Misconfigured, Refused, Unavailable
from tests.fakes.fake_node_api import FakeNodeApi, job_view

ORDER = JobOrder("version: 1", "/somewhere", "digits", None, "gossip", "award", "auto")


@asynccontextmanager
async def served(api: FakeNodeApi, path: Path, **options: int) -> AsyncIterator[NodeClient]:
    async with trio.open_nursery() as nursery:

        async def start(task_status: trio.TaskStatus[None]) -> None:
            await serve_api(api, path, task_status=task_status, **options)

        await nursery.start(start)
        yield NodeClient(path)
        nursery.cancel_scope.cancel()


async def test_socket_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run" / "api.sock"
    async with served(FakeNodeApi(), path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_socket_of_a_dead_node_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(path))
    listener.close()
    async with served(FakeNodeApi(), path) as client:
        assert await trio.to_thread.run_sync(client.is_there)


async def test_socket_that_cannot_be_made_is_the_operators_to_correct(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="file"):
        await serve_api(FakeNodeApi(), tmp_path / "file" / "api.sock")


async def test_views_travel_unchanged(tmp_path: Path) -> None:
    api = FakeNodeApi({"a1b2c3d4": job_view()})
    async with served(api, tmp_path / "api.sock") as client:
        assert await trio.to_thread.run_sync(client.jobs) == await api.jobs()
        assert await trio.to_thread.run_sync(client.job, "digits") == job_view()
        assert await trio.to_thread.run_sync(client.deals) == await api.deals()
        assert await trio.to_thread.run_sync(client.wallet) == await api.wallet()
        assert await trio.to_thread.run_sync(client.logs, "digits", 5) == await api.logs("digits", 5)
        assert await trio.to_thread.run_sync(client.quote, ORDER) == await api.quote(ORDER)


async def test_submit_streams_progress_and_then_the_job(tmp_path: Path) -> None:
    api = FakeNodeApi()
    async with served(api, tmp_path / "api.sock") as client:
        items = await trio.to_thread.run_sync(lambda: list(client.submit(ORDER)))
    assert api.orders == [ORDER]
    assert [sorted(item) for item in items] == [["progress"], ["progress"], ["job"]]
    assert items[-1]["job"] == job_view(job_id="00000001")


async def test_watch_ends_with_the_job(tmp_path: Path) -> None:
    api = FakeNodeApi({"a1b2c3d4": job_view()})
    async with served(api, tmp_path / "api.sock") as client:
        states: list[str] = []

        def watch() -> None:
            for view in client.watch("digits"):
                states.append(view.state)
                if view.state == "queued":
                    trio.from_thread.run(api.advance, job_view(state="running"))
                if view.state == "running":
                    trio.from_thread.run(api.advance, job_view(state="paid"))

        await trio.to_thread.run_sync(watch)
    assert states == ["queued", "running", "paid"]


async def test_caller_that_goes_away_ends_its_stream(tmp_path: Path) -> None:
    api = FakeNodeApi({"a1b2c3d4": job_view()})
    async with served(api, tmp_path / "api.sock") as client:
        stream = await trio.open_unix_socket(client.socket_path)
        await stream.send_all(line({"call": "watch", "arguments": {"job_id": "digits"}}))
        assert "item" in value_of((await stream.receive_some()).splitlines()[0])
        assert api.watchers == 1
        await stream.aclose()
        with trio.fail_after(2):
            while api.watchers:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("fault", [Refused("no."), Unavailable("later."), Misconfigured("change it.")])
async def test_faults_keep_their_kind_and_sentence(tmp_path: Path, fault: Exception) -> None:
    async with served(FakeNodeApi(failure=fault), tmp_path / "api.sock") as client:
        with pytest.raises(type(fault), match=str(fault)):
            await trio.to_thread.run_sync(client.status)


async def test_bug_in_one_call_is_told_and_the_node_goes_on(tmp_path: Path) -> None:
    api = FakeNodeApi(failure=KeyError("oops"))
    async with served(api, tmp_path / "api.sock") as client:
        with pytest.raises(InvariantViolated, match="oops"):
            await trio.to_thread.run_sync(client.status)
        api.failure = None
        assert (await trio.to_thread.run_sync(client.status))["peers"] == 3


@pytest.mark.parametrize(
    ("request_line", "sentence"),
    [
        (b"hello\n", "not JSON"),
        (b"[1]\n", "not an object"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"call": 3}\n', "call as text"),
        (b'{"call": "steal"}\n', "no call 'steal'"),
        (b'{"call": "job"}\n', "job_id as text"),
        (b'{"call": "job", "arguments": 4}\n', "arguments as an object"),
        (b'{"call": "logs", "arguments": {"job_id": "a", "tail_bytes": -1}}\n', "not negative"),
        (b'{"call": "submit", "arguments": {"order": {"text": 1}}}\n', "one version"),
        (b'{"call": "quote"}\n', "one version"),
        (b"x" * (MAX_REQUEST_BYTES + 1), "longer than 2 MiB"),
    ],
)
async def test_malformed_requests_are_refused_with_a_sentence(
    tmp_path: Path, request_line: bytes, sentence: str
) -> None:
    async with served(FakeNodeApi(), tmp_path / "api.sock") as client:
        async with await trio.open_unix_socket(client.socket_path) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, request_line)
            reply = bytearray()
            while not reply.endswith(b"\n"):
                reply += await stream.receive_some()
            nursery.cancel_scope.cancel()
        error = value_of(bytes(reply))["error"]
        assert error["kind"] == "Refused"
        assert sentence in error["sentence"]
        assert await trio.to_thread.run_sync(client.is_there)


async def test_connection_takes_one_call_after_another(tmp_path: Path) -> None:
    async with served(FakeNodeApi(), tmp_path / "api.sock") as client:
        reply = bytearray()
        async with await trio.open_unix_socket(client.socket_path) as stream:
            await stream.send_all(line({"call": "jobs"}) + line({"call": "stop", "arguments": {"within_s": 5}}))
            while reply.count(b"\n") < 2:
                reply += await stream.receive_some()
        assert [value_of(part) for part in bytes(reply).splitlines()] == [{"result": []}, {"result": None}]


async def test_callers_beyond_the_limit_are_turned_away(tmp_path: Path) -> None:
    async with (
        served(FakeNodeApi(), tmp_path / "api.sock", max_connections=1) as client,
        await trio.open_unix_socket(client.socket_path) as first,
    ):
        await first.send_all(line({"call": "jobs"}))
        await first.receive_some()
        with pytest.raises(Unavailable, match="too many callers"):
            await trio.to_thread.run_sync(client.status)


async def test_callers_turned_away_in_the_middle_of_their_call_are_told_why(tmp_path: Path) -> None:
    large = dataclasses.replace(ORDER, text=" " * 1_000_000)
    async with served(FakeNodeApi(), tmp_path / "api.sock", max_connections=0) as client:
        with pytest.raises(Unavailable, match="too many callers"):
            await trio.to_thread.run_sync(lambda: list(client.submit(large)))


async def test_no_node_is_said_so(tmp_path: Path) -> None:
    client = NodeClient(tmp_path / "api.sock")
    assert not client.is_there()
    with pytest.raises(NoNode, match="capanode start"):
        client.status()


async def test_node_that_ends_while_it_answers(tmp_path: Path) -> None:
    api = FakeNodeApi({"a1b2c3d4": job_view()})

    def watch(client: NodeClient) -> None:
        for _ in client.watch("digits"):
            trio.from_thread.run_sync(ended.set)

    ended = trio.Event()
    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  # the caller outlives the node here
        async with trio.open_nursery() as nursery, served(api, tmp_path / "api.sock") as client:
            nursery.start_soon(trio.to_thread.run_sync, watch, client)
            await ended.wait()
    assert caught.group_contains(Unavailable, match="went away")
