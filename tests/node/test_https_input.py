"""Inputs named by a stranger's address: nothing but public https, nothing but the stated bytes, and never a crash."""

import hashlib
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from capanode.node.assigned.https_input import MAX_REDIRECTS, download
from capanode.protocol.faults import Refused, Unavailable
from capanode.protocol.ids import Digest
from capanode.protocol.records import Input

CONTENT = b"forty-two" * 1000
PUBLIC = "93.184.215.14"
URL = "https://data.example/set.csv"

Handle = Callable[[httpx.Request], httpx.Response]


class Names(trio.abc.HostnameResolver):
    """A resolver that is a table."""

    def __init__(self, table: dict[str, tuple[str, ...]]) -> None:
        self.table = table
        self.asked: list[str] = []

    async def getaddrinfo(self, host: bytes | None, port: Any, *_: Any, **__: Any) -> Any:
        await trio.lowlevel.checkpoint()
        assert host is not None
        self.asked.append(host.decode())
        if host.decode() not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.table[host.decode()]
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise AssertionError("nobody asks for names")


@pytest.fixture
async def names() -> Names:
    known = Names({"data.example": (PUBLIC,), "mirror.example": (PUBLIC,)})
    trio.socket.set_custom_hostname_resolver(known)
    return known


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handle], list[str]]:
    def begin(handle: Handle) -> list[str]:
        asked: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(str(request.url))
            return handle(request)

        client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer))
        monkeypatch.setattr("capanode.node.assigned.https_input.httpx.AsyncClient", client)
        return asked

    return begin


def item(url: str = URL, content: bytes = CONTENT) -> Input:
    return Input("set.csv", Digest(hashlib.sha256(content).digest()), len(content), None, url)


def whole(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=CONTENT)


def redirect(location: str) -> Handle:
    return lambda request: whole(request) if request.url.host == "mirror.example" else _moved(location)


def _moved(location: str) -> httpx.Response:
    return httpx.Response(302, headers={"location": location})


async def test_stated_bytes_arrive_once(names: Names, serve: Any, tmp_path: Path) -> None:
    asked = serve(whole)
    target = tmp_path / "inputs" / "set.csv"
    await download(item(), target)
    await download(item(), target)
    assert target.read_bytes() == CONTENT
    assert asked == [URL]
    assert list(target.parent.iterdir()) == [target], "nothing half done stays"


@pytest.mark.parametrize(
    "handle",
    [
        pytest.param(lambda _: httpx.Response(200, content=CONTENT + b"!"), id="too long"),
        pytest.param(lambda _: httpx.Response(200, content=CONTENT[:-1]), id="too short"),
        pytest.param(lambda _: httpx.Response(200, content=b"x" * len(CONTENT)), id="other bytes"),
        pytest.param(lambda _: httpx.Response(200, content=b""), id="nothing"),
    ],
)
async def test_other_bytes_are_refused(names: Names, serve: Any, tmp_path: Path, handle: Handle) -> None:
    serve(handle)
    with pytest.raises(Refused, match="states"):
        await download(item(), tmp_path / "set.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [404, 500, 503])
async def test_a_server_that_does_not_serve_is_asked_again(
    names: Names, serve: Any, tmp_path: Path, status: int
) -> None:
    serve(lambda _: httpx.Response(status))
    with pytest.raises(Unavailable, match=r"set\.csv could not be fetched"):
        await download(item(), tmp_path / "set.csv")


async def test_a_broken_connection_is_tried_again(names: Names, serve: Any, tmp_path: Path) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset", request=request)

    serve(broken)
    with pytest.raises(Unavailable, match="reset"):
        await download(item(), tmp_path / "set.csv")


async def test_a_name_that_is_not_known_now_is_asked_again(names: Names, serve: Any, tmp_path: Path) -> None:
    serve(whole)
    with pytest.raises(Unavailable, match="cannot be resolved"):
        await download(item("https://unknown.example/"), tmp_path / "set.csv")


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1", "fe80::1", "fd00::1",
     "::ffff:10.0.0.1"],
)  # fmt: skip
async def test_the_operators_own_network_is_not_entered(names: Names, serve: Any, tmp_path: Path, address: str) -> None:
    asked = serve(whole)
    names.table["inside.example"] = (PUBLIC, address)
    literal = f"[{address}]" if ":" in address else address
    for host in ("inside.example", literal):
        with pytest.raises(Refused, match="private network"):
            await download(item(f"https://{host}/"), tmp_path / "set.csv")
    serve(redirect("https://inside.example/"))
    with pytest.raises(Refused, match="private network"):
        await download(item(), tmp_path / "set.csv")
    assert asked == []


async def test_a_redirect_is_followed_under_the_same_rule(names: Names, serve: Any, tmp_path: Path) -> None:
    asked = serve(redirect("//mirror.example/copy"))
    await download(item(), tmp_path / "set.csv")
    assert asked == [URL, "https://mirror.example/copy"]
    assert names.asked == ["data.example", "mirror.example"]


async def test_redirects_in_a_circle_end(names: Names, serve: Any, tmp_path: Path) -> None:
    asked = serve(lambda _: _moved("/again"))
    with pytest.raises(Refused, match="redirects more than"):
        await download(item(), tmp_path / "set.csv")
    assert len(asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "data", "HTTPX"])
async def test_a_redirect_away_from_https_is_refused(names: Names, serve: Any, tmp_path: Path, scheme: str) -> None:
    serve(redirect(f"{scheme}://mirror.example/"))
    with pytest.raises(Refused, match="not https"):
        await download(item(), tmp_path / "set.csv")


MALFORMED = [
    "https://data.example/\x01",
    "https://data.example/\x7f",
    "https://[/",
    "https://[::1/",
    "https://data.example:99999/",
    "https://data.example:port/",
    "https://" + "a" * 70 + ".example/",
    "https://a..example/",
    "https://\u2488.example/",
]


@pytest.mark.parametrize("url", MALFORMED)
async def test_a_malformed_address_is_its_requesters_fault(names: Names, serve: Any, tmp_path: Path, url: str) -> None:
    """What these raise in libraries is no fault of ours, and must not stop the node."""
    serve(whole)
    with pytest.raises((Refused, Unavailable)):
        await download(item(url), tmp_path / "set.csv")


@pytest.mark.parametrize("url", [*MALFORMED, "https://data.example/" + "x" * 70_000])
async def test_a_malformed_redirect_is_its_servers_fault(names: Names, serve: Any, tmp_path: Path, url: str) -> None:
    serve(lambda _: httpx.Response(302, headers=[(b"location", url.encode())]))
    with pytest.raises((Refused, Unavailable)):
        await download(item(), tmp_path / "set.csv")
    assert list(tmp_path.iterdir()) == []


async def test_what_was_called_off_leaves_nothing(names: Names, serve: Any, tmp_path: Path) -> None:
    async def never() -> Any:
        yield CONTENT[:100]
        await trio.sleep_forever()

    serve(lambda _: httpx.Response(200, content=never()))
    with trio.move_on_after(0.05):
        await download(item(), tmp_path / "set.csv")
    assert list(tmp_path.iterdir()) == []
