"""Alerts reach a webhook and a command, once a pause with their count, and never hold the node up."""

import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from capanode.node import alerts as channel
from capanode.node.alerts import Alert, Alerts, Occasion, execute, post
from capanode.node.config import AlertSettings
from capanode.protocol.faults import Misconfigured, Unavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """A webhook on loopback that answers as told and keeps what it got."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hook?key=verysecret"
        self.got: list[dict[str, object]] = []
        self.answers: list[bytes] = []
        self.heard = trio.Event()

    async def until(self, count: int) -> None:
        while len(self.got) < count:
            self.heard = trio.Event()
            await self.heard.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        received = b""
        async with stream:
            while b"\r\n\r\n" not in received:
                received += await stream.receive_some()
            head, _, body = received.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += await stream.receive_some()
            self.got.append(json.loads(body))
            self.heard.set()
            await stream.send_all(self.answers.pop(0) if self.answers else OK)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    receiver = Receiver(listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, receiver.serve, [listener])
        yield receiver
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running(settings: AlertSettings, now: Callable[[], float] = trio.current_time) -> AsyncIterator[Alerts]:
    alerts = Alerts(settings, node="16Uiu2", network="devnet", now=now)
    async with trio.open_nursery() as nursery:
        await nursery.start(alerts.run)
        yield alerts
        nursery.cancel_scope.cancel()


async def test_a_webhook_gets_the_alert_as_json() -> None:
    async with receiving() as receiver, running(AlertSettings(webhook=receiver.url)) as alerts:
        alerts.raise_(Occasion.GAS_LOW, "the wallet is short of gas: send it coins", {"coins": 0.25})
        await receiver.until(1)
    (got,) = receiver.got
    assert got.pop("at")
    assert got == {
        "node": "16Uiu2",
        "network": "devnet",
        "kind": "gas-low",
        "sentence": "the wallet is short of gas: send it coins",
        "fields": {"coins": 0.25},
        "repeats": 1,
    }


async def test_a_command_gets_it_on_its_input_without_shell_or_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPANODE_PASSWORD_FILE", "/secret")
    target = tmp_path / "got"
    script = "import os,sys;open(sys.argv[1],'w').write(sys.stdin.read()+' '.join(os.environ))"
    body = channel.message(Alert(Occasion.DISK_LOW, "the disk is full; $(reboot)", {}, 1.0), {"node": "x"})
    await execute((sys.executable, "-c", script, str(target)), body)
    text = target.read_text()
    assert json.loads(text[: text.rindex("}") + 1])["sentence"] == "the disk is full; $(reboot)"
    assert "CAPANODE" not in text


async def test_a_slow_command_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "COMMAND_S", 0.5)
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    script = f"sleep 600 & echo $! > {pid}; wait"
    children: list[int] = []

    async def read() -> None:
        children.append(int(await trio.Path(pid).read_text()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        with pytest.raises(Unavailable, match="did not run through"):
            await execute(("/bin/sh", "-c", script), b"{}")
    with trio.fail_after(30):
        while is_alive(children[0]):  # noqa: ASYNC110  # nobody tells when another process has ended
            await trio.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("argv", [("/nonexistent",), ("/bin/false",)])
async def test_a_command_that_fails_is_told(argv: tuple[str, ...]) -> None:
    with pytest.raises(Unavailable, match=argv[0]):
        await execute(argv, b"{}")


async def test_a_refusing_webhook_is_told_without_its_path() -> None:
    async with receiving() as receiver:
        receiver.answers = [b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"]
        with pytest.raises(Unavailable, match="HTTP 302") as caught:
            await post(receiver.url, b"{}")
    assert "verysecret" not in str(caught.value)


async def test_plain_http_stays_in_the_house() -> None:
    with pytest.raises(Misconfigured, match="use https"):
        await post("http://192.0.2.1.nip.invalid@8.8.8.8/", b"{}")


async def test_a_failing_webhook_is_tried_again(autojump_clock: MockClock) -> None:
    tries: list[float] = []

    async def failing(_: str, __: bytes) -> None:
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise Unavailable("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "post", failing)
        async with running(AlertSettings(webhook="https://hook.example/")) as alerts:
            alerts.raise_(Occasion.TEST, "hello")
            await trio.sleep(3600)
    assert [at - tries[0] for at in tries] == [0, 2, 6]


async def test_a_flood_is_two_messages_and_none_is_lost(autojump_clock: MockClock) -> None:
    got: list[dict[str, object]] = []

    async def take(_: str, body: bytes) -> None:
        got.append(json.loads(body))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "post", take)
        async with running(AlertSettings(webhook="https://hook.example/", pause=600.0)) as alerts:
            for number in range(1000):
                alerts.raise_(Occasion.DEAL_LOST, f"deal {number} is lost")
            alerts.raise_(Occasion.DISK_LOW, "another kind is not held back")
            await trio.sleep(599)
            assert [item["sentence"] for item in got] == ["deal 0 is lost", "another kind is not held back"]
            await trio.sleep(2)
            assert (got[2]["sentence"], got[2]["repeats"]) == ("deal 999 is lost", 999)
            await trio.sleep(5000)
            assert len(got) == 3
            assert len(alerts.recent()) == channel.KEPT


async def test_any_thread_may_raise_and_bounds_hold() -> None:
    async with receiving() as receiver, running(AlertSettings(webhook=receiver.url), now=lambda: 5.0) as alerts:
        fields: dict[str, channel.Field] = {f"f{n}": "y" * 5000 for n in range(50)}
        thread = threading.Thread(target=lambda: alerts.raise_(Occasion.TEST, "x" * 10_000, fields))
        thread.start()
        await receiver.until(1)
        thread.join()
    assert len(json.dumps(receiver.got[0])) < 6000


def test_raising_without_a_receiver_or_a_loop_is_no_fault() -> None:
    alerts = Alerts(AlertSettings())
    alerts.raise_(Occasion.TEST, "nobody listens")
    assert alerts.recent()[0].sentence == "nobody listens"


@pytest.mark.parametrize("url", ["ftp://x/", "https://", "nonsense", "https://x/\n"])
def test_a_webhook_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        AlertSettings(webhook=url)


def test_the_page_lists_every_occasion() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text("utf-8")
    missing = [occasion.value for occasion in Occasion if f"| `{occasion.value}` |" not in page]
    assert not missing
