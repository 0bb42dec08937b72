"""What the operator has to hear of while nobody looks: one channel in the node, a webhook and a command out of it.

`Alerts.raise_` may be called from any part and any thread; it never blocks, fails or waits for the outside. The first
alert of a kind goes out at once; more of the same kind within the pause go out together at its end, as the last one
with their count, so that a flood is one message and none is lost.
"""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import httpx
import orjson
import structlog
import trio

from capanode.node.config import AlertSettings
from capanode.protocol.faults import Misconfigured, Unavailable

Field = str | int | float | bool | None

ATTEMPTS: Final = 3
FIRST_RETRY_S: Final = 2.0
WEBHOOK_S: Final = 10.0
COMMAND_S: Final = 30.0
"""How often and how long one delivery is tried; the pause between attempts doubles."""

KEPT: Final = 32
"""Alerts of late that `status` can show."""
MAX_WAITING: Final = 64
"""Alerts that wait for a slow receiver; the oldest is dropped beyond it."""
MAX_SENTENCE_CHARS: Final = 500
MAX_FIELDS: Final = 16
MAX_FIELD_CHARS: Final = 200

_SAFE_ENVIRONMENT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
)
"""What a command inherits: never the variables that name or hold the node's secrets."""

log = structlog.get_logger()


class Occasion(StrEnum):
    """What an alert is about; docs/operations.md holds the same list."""

    FINALITY_VIOLATED = "finality-violated"
    ENDPOINTS_DISAGREE = "endpoints-disagree"
    GAS_LOW = "gas-low"
    DISK_LOW = "disk-low"
    ENGINE_AWAY = "engine-away"
    DEAL_LOST = "deal-lost"
    DEAL_SLASHED = "deal-slashed"
    DEAL_REFUNDED = "deal-refunded"
    RESULT_MISSING = "result-missing"
    RESULT_WRONG = "result-wrong"
    TRANSACTION_STUCK = "transaction-stuck"
    DRAINED = "drained"
    UPDATE_NEEDED = "update-needed"
    MARKET_TAKEN_UP = "market-taken-up"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as it travels. `at` is in Unix seconds; `repeats` counts the same kind since the one told before."""

    kind: Occasion
    sentence: str
    fields: Mapping[str, Field]
    at: float
    repeats: int = 1


@dataclass(slots=True)
class _Quiet:
    """A kind that was told a moment ago: until when it keeps still, and what came meanwhile."""

    until: float
    held: Alert | None = None


@dataclass(slots=True)
class _Box:
    """What callers and the sender share; reached by any thread under the lock."""

    recent: deque[Alert] = field(default_factory=lambda: deque[Alert](maxlen=KEPT))
    waiting: deque[Alert] = field(default_factory=lambda: deque[Alert](maxlen=MAX_WAITING))
    quiet: dict[Occasion, _Quiet] = field(default_factory=dict[Occasion, _Quiet])
    lock: threading.Lock = field(default_factory=threading.Lock)


class Alerts:
    """The node's one channel to its operator. Alerts raised before `run` wait for it."""

    def __init__(
        self, settings: AlertSettings, *, node: str = "", network: str = "", now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._origin = {"node": node, "network": network}
        self._now = now
        self._box = _Box()
        self._token: trio.lowlevel.TrioToken | None = None
        self._woken = trio.Event()
        self._settled = trio.Event()
        self._is_delivering = False

    def raise_(self, kind: Occasion, sentence: str, fields: Mapping[str, Field] | None = None) -> None:
        """Tell the operator, now or at the end of the pause of this kind. Any thread; never blocks, never raises.

        The sentence says what is wrong and what to do. Nothing secret belongs into it or the fields; both are cut to
        a bound.
        """
        alert = Alert(kind, sentence[:MAX_SENTENCE_CHARS], _bounded(fields or {}), self._now())
        log.warning(
            "alert", kind=kind.value, sentence=alert.sentence, **{f"field_{k}": v for k, v in alert.fields.items()}
        )
        with self._box.lock:
            self._box.recent.append(alert)
            quiet = self._box.quiet.get(kind)
            if quiet is not None and self._now() < quiet.until:
                quiet.held = replace(alert, repeats=quiet.held.repeats + 1 if quiet.held else 1)
            else:
                self._send(alert)
        self._wake()

    def recent(self) -> tuple[Alert, ...]:
        """The last alerts since the start, newest last, those held back included."""
        with self._box.lock:
            return tuple(self._box.recent)

    async def settle(self) -> None:
        """Return once nothing waits for a receiver; for the moment before the process ends."""
        while self._box.waiting or self._is_delivering:
            self._settled = trio.Event()
            await self._settled.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled. A receiver that fails is logged and costs nobody else anything."""
        self._token = trio.lowlevel.current_trio_token()
        task_status.started()
        try:
            while True:
                self._woken = trio.Event()
                pause = self._release()
                if (alert := self._take()) is not None:
                    self._is_delivering = True
                    await self._deliver(alert)
                    self._is_delivering = False
                    self._settled.set()
                else:
                    with trio.move_on_after(pause):
                        await self._woken.wait()
        finally:
            self._token = None

    def _send(self, alert: Alert) -> None:
        self._box.quiet[alert.kind] = _Quiet(self._now() + self._settings.pause)
        self._box.waiting.append(alert)

    def _release(self) -> float:
        """Let go of what was held back long enough; the seconds until the next one."""
        now = self._now()
        with self._box.lock:
            for quiet in tuple(self._box.quiet.values()):
                if quiet.held is not None and now >= quiet.until:
                    self._send(quiet.held)
            return min((q.until - now for q in self._box.quiet.values() if q.held), default=float("inf"))

    def _take(self) -> Alert | None:
        with self._box.lock:
            return self._box.waiting.popleft() if self._box.waiting else None

    def _wake(self) -> None:
        if (token := self._token) is not None:
            try:
                token.run_sync_soon(lambda: self._woken.set())
            except trio.RunFinishedError:
                return

    async def _deliver(self, alert: Alert) -> None:
        body = message(alert, self._origin)
        async with trio.open_nursery() as nursery:
            for name, send in receivers(self._settings).items():
                nursery.start_soon(_patiently, name, send, body)


Send = Callable[[bytes], Awaitable[None]]


def receivers(settings: AlertSettings) -> dict[str, Send]:
    """Where alerts go, by name; none when the operator set none."""
    found: dict[str, Send] = {}
    if settings.webhook:
        found["webhook"] = partial(post, settings.webhook)
    if settings.command:
        found["command"] = partial(execute, settings.command)
    return found


async def _patiently(name: str, send: Send, body: bytes) -> None:
    """Try a few times; what fails after all is in the log."""
    pause = FIRST_RETRY_S
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await send(body)
            return
        except (Unavailable, Misconfigured) as fault:
            log.warning("alert-not-taken", receiver=name, attempt=attempt, reason=str(fault))
        if attempt < ATTEMPTS:
            await trio.sleep(pause)
            pause *= 2


def message(alert: Alert, origin: Mapping[str, str]) -> bytes:
    """The JSON object that a receiver gets."""
    return orjson.dumps({**origin, **asdict(alert)})


async def post(url: str, body: bytes) -> None:
    """POST the alert as JSON; any answer below 300 will do, its body is not read.

    Raises:
        Unavailable: the receiver did not take it.
    """
    shown = urlsplit(url).hostname
    try:
        with trio.fail_after(WEBHOOK_S):
            await _require_sheltered(url)
            async with (
                httpx.AsyncClient(follow_redirects=False, trust_env=False) as client,
                client.stream("POST", url, content=body, headers={"Content-Type": "application/json"}) as reply,
            ):
                status = reply.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, trio.TooSlowError) as error:
        # The address itself may hold a key, so neither it nor what a library says of it is shown.
        raise Unavailable(f"The webhook at {shown} cannot be reached ({type(error).__name__}): check it.") from error
    if status >= 300:
        raise Unavailable(f"The webhook at {shown} answered HTTP {status}: check its address.")


async def _require_sheltered(url: str) -> None:
    """Plain http stays within this machine or the operator's own network."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return
    for *_, address in await trio.socket.getaddrinfo(parts.hostname, parts.port or 80):
        found = ip_address(str(address[0]).partition("%")[0])
        if not found.is_private and not found.is_link_local:
            raise Misconfigured("The webhook is plain http on a public address: use https.")


async def execute(argv: tuple[str, ...], body: bytes) -> None:
    """Run the operator's command with the alert on its standard input; it and its children are killed when slow.

    Raises:
        Unavailable: it cannot be started, did not end in time, or ended with another exit code than zero.
    """
    environment = {name: os.environ[name] for name in _SAFE_ENVIRONMENT if name in os.environ}
    try:
        with trio.fail_after(COMMAND_S):
            done = await trio.run_process(
                list(argv),
                stdin=body,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                env=environment,
                start_new_session=True,
                deliver_cancel=_kill_group,
            )
    except (OSError, trio.TooSlowError) as error:
        raise Unavailable(f"The alert command {argv[0]} did not run through ({error!r}): check it.") from error
    if done.returncode != 0:
        raise Unavailable(f"The alert command {argv[0]} ended with exit code {done.returncode}: check it.")


async def _kill_group(process: trio.Process) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _bounded(fields: Mapping[str, Field]) -> dict[str, Field]:
    """So much of the fields as any receiver can take."""
    kept = list(fields.items())[:MAX_FIELDS]
    return {name: value[:MAX_FIELD_CHARS] if isinstance(value, str) else value for name, value in kept}
