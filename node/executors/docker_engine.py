"""The one place that talks to the Docker engine: blocking calls, each with a timeout, typed results.

docker-py's low-level client is used since it makes one HTTP request per call; the object layer on
top of it inspects after each create. Nothing of docker-py leaves this file.
"""

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final, cast

import docker
import docker.errors
import requests.exceptions
from docker.utils import kwargs_from_env

from capanode.protocol.faults import Fault, Unavailable

_CALL_S: Final = 30.0
_KNOCK_S: Final = 5.0
_PING_S: Final = 5.0
_MAX_SENTENCE: Final = 400
_DEFAULT_SOCKET: Final = "unix:///var/run/docker.sock"

Json = dict[str, Any]


class EngineDown(Unavailable):
    """The Docker engine does not answer."""


class EngineRefused(Fault):
    """The engine answered with an error; `status` is its HTTP code."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class NoSuchThing(EngineRefused):
    """The engine knows no such container, image or volume."""


class StillRunning(Exception):
    """A wait ended before the container did."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine says about itself and its machine."""

    version: str
    is_docker: bool
    cgroup_driver: str
    cgroup_version: int
    cpus: int
    memory_bytes: int
    architecture: str
    containerd_images: bool
    cdi: bool


@dataclass(frozen=True, slots=True)
class ContainerState:
    """A container as one inspect call shows it; times are Unix seconds, None when never reached."""

    id: str
    image: str
    status: str
    exit_code: int
    oom_killed: bool
    error: str
    pid: int
    started_at: float | None
    finished_at: float | None
    labels: Mapping[str, str]
    network: str
    cgroup_parent: str
    gpu_uuids: tuple[str, ...]

    @property
    def running(self) -> bool:
        return self.status in ("running", "paused", "restarting")

    @property
    def paused(self) -> bool:
        return self.status == "paused"

    @property
    def never_started(self) -> bool:
        return self.status == "created"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """An image as the engine shows it; `repo_digests` are the `name@sha256:…` it was pulled by."""

    id: str
    size_bytes: int
    architecture: str
    os: str
    env: tuple[str, ...]
    volumes: tuple[str, ...]
    repo_digests: tuple[str, ...]
    repo_tags: tuple[str, ...]


class Engine:
    """Blocking calls to one engine; safe to use from several threads at once."""

    def __init__(self, address: str | None = None) -> None:
        """`address` as DOCKER_HOST has it; None takes the environment's, then the default socket."""
        with _translated("connect"):
            base: Json = {"base_url": address} if address else dict(kwargs_from_env())
            # docker-py is typed in parts only; each result gets its type where it leaves this class.
            self._address = str(base.get("base_url") or _DEFAULT_SOCKET)
            _knock(self._address)
            self._api: Any = docker.APIClient(**base, version="1.41", timeout=int(_CALL_S))

    def close(self) -> None:
        self._api.close()

    def ping(self) -> None:
        """Ask for a sign of life; quick to give up, as an engine that hangs is as good as one that is gone."""
        with _translated("answer"):
            _knock(self._address)
            answer = self._api.get(f"{self._api.base_url}/_ping", timeout=_PING_S)
            if answer.status_code >= 400:
                raise _refusal(answer.status_code, f"the engine is not ready: {_short(answer.text)}")

    def facts(self) -> EngineFacts:
        with _translated("describe itself"):
            info: Json = self._api.info()
            version: Json = self._api.version()
        parts: list[Json] = version.get("Components") or []
        rows: list[object] = info.get("DriverStatus") or []
        components = [str(part.get("Name", "")) for part in parts]
        status = [str(row) for row in rows]
        return EngineFacts(
            version=str(info.get("ServerVersion", "")),
            is_docker=not any("podman" in name.lower() for name in components),
            cgroup_driver=str(info.get("CgroupDriver", "")),
            cgroup_version=int(info.get("CgroupVersion") or 1),
            cpus=int(info["NCPU"]),
            memory_bytes=int(info["MemTotal"]),
            architecture=str(info.get("Architecture", "")),
            containerd_images=any("io.containerd.snapshotter" in row for row in status),
            cdi=bool(info.get("CDISpecDirs")),
        )

    def create(self, body: Json, name: str) -> str:
        """Create a container from its description; the id. Raises EngineRefused 409 when the name is taken."""
        with _translated("create a container"):
            return str(self._api.create_container_from_config(body, name)["Id"])

    def start(self, container: str) -> None:
        with _translated("start a container"):
            self._api.start(container)

    def wait(self, container: str, at_most_s: float) -> int:
        """Block until the container has ended; its exit code. Raises StillRunning after `at_most_s`."""
        until = time.monotonic() + at_most_s
        try:
            with _translated("wait for a container"):
                return int(self._api.wait(container, timeout=at_most_s)["StatusCode"])
        except EngineDown as down:
            # docker-py reports a read timeout and a broken connection alike.
            if time.monotonic() >= until:
                raise StillRunning from down
            raise

    def kill(self, container: str) -> None:
        """Send SIGKILL; nothing happens when it has already ended."""
        try:
            with _translated("kill a container"):
                self._api.kill(container)
        except EngineRefused as refused:
            if refused.status not in (404, 409):
                raise

    def unpause(self, container: str) -> None:
        """Let a paused container go on; nothing happens when it is not paused."""
        try:
            with _translated("unpause a container"):
                self._api.unpause(container)
        except EngineRefused as refused:
            if refused.status not in (404, 409, 500):  # 500: it is not paused
                raise

    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; idempotent."""
        try:
            with _translated("remove a container"):
                self._api.remove_container(container, force=True, v=True)
        except EngineRefused as refused:
            if refused.status not in (404, 409):  # 409: its removal is already under way
                raise

    def inspect(self, container: str) -> ContainerState:
        with _translated("inspect a container"):
            return _container(self._api.inspect_container(container))

    def output(self, container: str) -> tuple[bytes, bytes]:
        """What the engine still has of standard output and standard error; bounded by the log limits.

        docker-py's own call inspects the container first, and once more for the other stream.
        """
        path = f"{self._api.base_url}/v{self._api.api_version}/containers/{container}/logs"
        with _translated("read a container's output"):
            answer = self._api.get(path, params={"stdout": 1, "stderr": 1}, timeout=_CALL_S)
            if answer.status_code >= 400:
                sentence = f"the engine cannot give the output of {container}: {_short(answer.text)}"
                raise _refusal(answer.status_code, sentence)
            return _two_streams(answer.content)

    def labelled(self, labels: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
        """Ids and labels of all containers, running or not, that carry these labels."""
        filters = {"label": [f"{key}={value}" if value else key for key, value in labels.items()]}
        with _translated("list containers"):
            rows: list[Json] = self._api.containers(all=True, filters=filters)
        return [(str(row["Id"]), dict(row.get("Labels") or {})) for row in rows]

    def touched_by_someone(self, container: str, until: float) -> frozenset[str]:
        """Which of kill (a stop too) and pause went through the engine for this container, as its events tell.

        Of all that it remembers: the machine's clock may have been set since. `until` must be past already, since the
        engine else keeps the list open until then.
        """
        with _translated("list events"):
            events = self._api.events(
                since="0.000001",
                until=f"{until:.6f}",
                filters={"container": [container], "event": ["kill", "pause"]},
                decode=True,
            )
            return frozenset(str(event.get("Action", "")) for event in events)

    def image(self, reference: str) -> ImageFacts:
        with _translated("inspect an image"):
            return _image(self._api.inspect_image(reference))

    def pull(self, name: str, digest: str) -> Iterator[tuple[str, int, int]]:
        """Pull `name@digest`; yields (what, bytes done, bytes in all) as the engine reports them."""
        with _translated(f"pull {name}"):
            for row in self._api.pull(name, tag=digest, stream=True, decode=True):
                event: Json = row
                if "error" in event:
                    raise Unavailable(f"the image {name}@{digest} cannot be pulled: {_short(event['error'])}")
                detail = cast("Json", event.get("progressDetail") or {})
                yield (
                    str(event.get("status", "")),
                    int(detail.get("current") or 0),
                    int(detail.get("total") or 0),
                )

    def load(self, archive: Iterable[bytes]) -> None:
        """Load an archive in the format of `docker save`."""
        with _translated("load an image"):
            for row in self._api.load_image(archive, quiet=True):
                if "error" in row:
                    raise EngineRefused(f"the engine cannot load the image: {_short(row['error'])}", 500)

    def save(self, image: str) -> Iterator[bytes]:
        """The image as an archive in the format of `docker save`."""
        with _translated("save an image"):
            yield from self._api.get_image(image)

    def digest_at_registry(self, reference: str) -> str:
        """The manifest digest that a registry serves for a tag now."""
        with _translated(f"look up {reference}"):
            return str(self._api.inspect_distribution(reference)["Descriptor"]["digest"])

    def archive(self, container: str, path: str) -> Iterator[bytes]:
        """A folder of a container as a tar whose entries start with the folder's own name."""
        with _translated("copy out of a container"):
            chunks, _ = self._api.get_archive(container, path)
            yield from chunks

    def unpack(self, container: str, path: str, tar: IO[bytes]) -> None:
        """Unpack a tar into a folder of a container, with the owners and times that it says."""
        with _translated("copy into a container"):
            self._api.put_archive(container, path, tar)

    def create_memory_volume(self, name: str, options: str, labels: Mapping[str, str]) -> None:
        """Make a volume that is a tmpfs with these mount options while a container uses it."""
        driver_options = {"type": "tmpfs", "device": "tmpfs", "o": options}
        with _translated("create a volume"):
            self._api.create_volume(name, driver="local", driver_opts=driver_options, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a volume; idempotent."""
        try:
            with _translated("remove a volume"):
                self._api.remove_volume(name)
        except NoSuchThing:
            return

    def tag(self, image: str, repository: str, tag: str) -> None:
        with _translated("tag an image"):
            self._api.tag(image, repository, tag)

    def remove_image(self, image: str) -> None:
        """Remove a name of an image, and the image with its last one; idempotent, refused while a container uses it."""
        try:
            with _translated("remove an image"):
                self._api.remove_image(image)
        except NoSuchThing:
            return


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except docker.errors.APIError as error:
        status = error.status_code or 500
        sentence = f"the Docker engine refused to {doing}: {_short(error.explanation or str(error))}"
        raise _refusal(status, sentence) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
        raise EngineDown(
            f"the Docker engine does not answer (asked to {doing}); start it, or check DOCKER_HOST "
            f"and that this user may use its socket: {_short(error)}"
        ) from error


def _knock(address: str) -> None:
    """Connect once and hang up; docker-py would leave a socket behind that nobody closes."""
    scheme, _, path = address.partition("://")
    if scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(_KNOCK_S)
            knocking.connect("/" + path.lstrip("/"))


def _refusal(status: int, sentence: str) -> EngineRefused:
    return NoSuchThing(sentence, status) if status == 404 else EngineRefused(sentence, status)


def _two_streams(frames: bytes) -> tuple[bytes, bytes]:
    """Split frames of (stream 1 or 2, three zero bytes, length, data). **Source**: Engine API, "Attach"."""
    parts: dict[int, list[bytes]] = {1: [], 2: []}
    at = 0
    while at + 8 <= len(frames):
        stream, length = frames[at], int.from_bytes(frames[at + 4 : at + 8], "big")
        parts.setdefault(stream, []).append(frames[at + 8 : at + 8 + length])
        at += 8 + length
    return b"".join(parts[1]), b"".join(parts[2])


def _short(what: object) -> str:
    text = " ".join(str(what).split())
    return text if len(text) <= _MAX_SENTENCE else text[:_MAX_SENTENCE] + "…"


def _container(row: Json) -> ContainerState:
    state, host = cast("Json", row["State"]), cast("Json", row["HostConfig"])
    requests_ = cast("list[Json]", host.get("DeviceRequests") or [])
    return ContainerState(
        id=str(row["Id"]),
        image=str(row["Image"]),
        status=str(state["Status"]),
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        error=_short(state.get("Error") or ""),
        pid=int(state.get("Pid") or 0),
        started_at=_unix(str(state["StartedAt"])),
        finished_at=_unix(str(state["FinishedAt"])),
        labels=dict(row["Config"].get("Labels") or {}),
        network=str(host.get("NetworkMode", "")),
        cgroup_parent=str(host.get("CgroupParent", "")),
        gpu_uuids=tuple(
            str(one).removeprefix("nvidia.com/gpu=")
            for wish in requests_
            for one in cast("list[str]", wish.get("DeviceIDs") or [])
        ),
    )


def _image(row: Json) -> ImageFacts:
    config = cast("Json", row.get("Config") or {})
    return ImageFacts(
        id=str(row["Id"]),
        size_bytes=int(row.get("Size") or 0),
        architecture=str(row.get("Architecture", "")),
        os=str(row.get("Os", "")),
        env=tuple(str(one) for one in config.get("Env") or ()),
        volumes=tuple(str(one) for one in config.get("Volumes") or ()),
        repo_digests=tuple(str(one) for one in row.get("RepoDigests") or ()),
        repo_tags=tuple(str(one) for one in row.get("RepoTags") or ()),
    )


def _unix(text: str) -> float | None:
    """Engine times are RFC 3339 with up to nine digits of a second; year 1 means never."""
    if text.startswith("0001-"):
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    return moment.timestamp() + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)
