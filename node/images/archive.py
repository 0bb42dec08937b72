"""Images as files: build one in the format of `docker save`, and check one before the engine sees it.

The image id is the sha256 of the config, so with fixed times and sorted entries the same root file
system has the same id on every machine. **Source**: OCI image spec, "Image JSON" and "Layer DiffID".
"""

import gzip
import hashlib
import io
import platform
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

import orjson

from capanode.node.images.reference import ImageId, ImageRejected

_CHUNK: Final = 2**20
_BLOCK: Final = 512
_MAX_JSON_BYTES: Final = 4 * 2**20
_MAX_OUTER_ENTRIES: Final = 4096
_MAX_LAYERS: Final = 127
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYER_TYPES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE,
                                 tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE})  # fmt: skip

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """How large an archive may be, packed and unpacked, and how many files it may hold."""

    archive_bytes: int = 20 * 2**30
    unpacked_bytes: int = 40 * 2**30
    files: int = 2_000_000


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer inside an archive: where its bytes lie and what they unpack to."""

    offset: int
    packed_bytes: int
    gzipped: bool
    unpacked_bytes: int
    diff_id: str


@dataclass(frozen=True, slots=True)
class CheckedArchive:
    """An archive whose every digest has been recomputed."""

    path: Path
    image_id: ImageId
    config: bytes
    layers: tuple[Layer, ...]

    @property
    def unpacked_bytes(self) -> int:
        return sum(layer.unpacked_bytes for layer in self.layers)


def machine_architecture() -> str:
    """This machine's architecture as images name it (`amd64`, `arm64`)."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def write_archive(root_tar: Path, config: Mapping[str, Any], target: Path) -> ImageId:
    """Wrap one root file system as an image archive; the id depends on the tar and `config` alone.

    `config` is the "config" object of the image JSON (Env, Entrypoint, Cmd, WorkingDir …).
    """
    with root_tar.open("rb") as layer:
        diff_id = "sha256:" + hashlib.file_digest(layer, "sha256").hexdigest()
    image: Json = {
        "architecture": machine_architecture(),
        "config": dict(config),
        "created": "1970-01-01T00:00:00Z",
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "capanode"}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    blob = orjson.dumps(image, option=orjson.OPT_SORT_KEYS)
    size = root_tar.stat().st_size
    with root_tar.open("rb") as layer, target.open("wb") as out:
        out.writelines(_docker_archive(blob, [(layer, size)]))
    return ImageId("sha256:" + hashlib.sha256(blob).hexdigest())


def check_archive(path: Path, expected: ImageId | None, limits: ImageLimits | None = None) -> CheckedArchive:
    """Recompute every digest of an archive and bound what it unpacks to; raises ImageRejected.

    Reads each layer once, never unpacks it to disk. `expected` None accepts whatever id it has.
    """
    bounds = limits or ImageLimits()
    if path.stat().st_size > bounds.archive_bytes:
        raise ImageRejected(f"the image archive exceeds {bounds.archive_bytes} bytes; make it smaller")
    try:
        return _check(path, expected, bounds)
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, KeyError, TypeError,
            AttributeError, UnicodeError, RecursionError, OverflowError) as error:  # fmt: skip
        raise ImageRejected(f"the image archive is damaged or not of `docker save`'s format: {error}") from error


def loadable(checked: CheckedArchive, tag: str) -> Iterator[bytes]:
    """The archive rewritten for the engine: the checked parts only, under our own `name:tag`.

    The names inside a stranger's archive would let it replace an image that the operator uses.
    """
    with checked.path.open("rb") as file:
        layers = [(cast("IO[bytes]", _Slice(file, one)), one.unpacked_bytes) for one in checked.layers]
        yield from _docker_archive(checked.config, layers, tag)


def _check(path: Path, expected: ImageId | None, limits: ImageLimits) -> CheckedArchive:
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as outer:
        entries = _outer_entries(outer)
        manifest: list[Json] = orjson.loads(_small_file(outer, entries, "manifest.json"))
        if len(manifest) != 1:
            raise ImageRejected("the image archive must hold exactly one image; save a single one")
        only = manifest[0]
        config = _small_file(outer, entries, str(only["Config"]))
        found = ImageId("sha256:" + hashlib.sha256(config).hexdigest())
        if expected is not None and found != expected:
            raise ImageRejected(f"the archive holds the image {found}, not {expected} as the job says")
        diff_ids = _diff_ids(config)
        names = [str(name) for name in only["Layers"]]
        if len(names) != len(diff_ids):
            raise ImageRejected("the image archive lists other layers than its config; save it again")
        layers: list[Layer] = []
        budget = _Budget(limits)
        for name, diff_id in zip(names, diff_ids, strict=True):
            layers.append(_check_layer(file, entries[_real_name(entries, name)], diff_id, budget))
    return CheckedArchive(path, found, config, tuple(layers))


def _outer_entries(outer: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    entries: dict[str, tarfile.TarInfo] = {}
    for member in outer:
        if len(entries) >= _MAX_OUTER_ENTRIES:
            raise ImageRejected(f"the image archive holds more than {_MAX_OUTER_ENTRIES} entries")
        if _escapes(member.name) or member.issparse():
            raise ImageRejected(f"the image archive holds a forbidden entry {member.name[:80]!r}")
        if member.isfile() or member.issym():
            entries[member.name.removeprefix("./")] = member
        elif not member.isdir():
            raise ImageRejected(f"the image archive holds a forbidden entry {member.name[:80]!r}")
    return entries


def _real_name(entries: Mapping[str, tarfile.TarInfo], name: str) -> str:
    """Older `docker save` writes a layer that occurs twice as a link to the first, one folder up."""
    member = entries[name]
    if not member.issym():
        return name
    folder = PurePosixPath(name).parent.parent
    target = str(folder / member.linkname.removeprefix("../"))
    if entries[target].issym():
        raise ImageRejected("the image archive holds a chain of links; save it again")
    return target


def _small_file(outer: tarfile.TarFile, entries: Mapping[str, tarfile.TarInfo], name: str) -> bytes:
    member = entries[name]
    if not member.isfile() or member.size > _MAX_JSON_BYTES:
        raise ImageRejected(f"{name[:80]!r} in the image archive is not a file of at most 4 MiB")
    opened = outer.extractfile(member)
    if opened is None:
        raise ImageRejected(f"{name[:80]!r} in the image archive cannot be read")
    return opened.read()


def _diff_ids(config: bytes) -> list[str]:
    image = cast("Json", orjson.loads(config))
    architecture, system = image.get("architecture"), image.get("os")
    if (architecture, system) != (machine_architecture(), "linux"):
        raise ImageRejected(
            f"the image is for {system}/{architecture}, this machine is linux/{machine_architecture()}; "
            "build it for that"
        )
    diff_ids = [str(one) for one in image["rootfs"]["diff_ids"]]
    if not 0 < len(diff_ids) <= _MAX_LAYERS:
        raise ImageRejected(f"an image has 1 to {_MAX_LAYERS} layers, this one {len(diff_ids)}")
    return diff_ids


def _check_layer(file: IO[bytes], member: tarfile.TarInfo, diff_id: str, budget: "_Budget") -> Layer:
    file.seek(member.offset_data)
    gzipped = file.read(2) == b"\x1f\x8b"
    place = Layer(member.offset_data, member.size, gzipped, 0, diff_id)
    stream = _Hashed(_Slice(file, place), budget)
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as layer:
        for entry in layer:
            budget.count_file()
            _check_entry(entry)
    stream.drain()
    if stream.digest() != diff_id:
        raise ImageRejected(f"a layer has the digest {stream.digest()}, its config says {diff_id}; save it again")
    return Layer(member.offset_data, member.size, gzipped, stream.count, diff_id)


def _check_entry(entry: tarfile.TarInfo) -> None:
    if entry.type not in _LAYER_TYPES:
        raise ImageRejected(f"a layer holds a device or an unknown entry {entry.name[:80]!r}; leave it out")
    if _escapes(entry.name) or (entry.islnk() and _escapes(entry.linkname)):
        raise ImageRejected(f"a layer's entry {entry.name[:80]!r} leads out of the image")


def _escapes(name: str) -> bool:
    return ".." in PurePosixPath(name).parts or "\0" in name


class _Budget:
    """Counts what all layers together unpack to."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self._files = 0

    def count_bytes(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._limits.unpacked_bytes:
            raise ImageRejected(f"the image unpacks to more than {self._limits.unpacked_bytes} bytes")

    def count_file(self) -> None:
        self._files += 1
        if self._files > self._limits.files:
            raise ImageRejected(f"the image holds more than {self._limits.files} files")


class _Slice:
    """A layer's bytes inside the archive, unpacked when they are gzipped."""

    def __init__(self, file: IO[bytes], layer: Layer) -> None:
        self._file = file
        self._at = layer.offset
        self._left = layer.packed_bytes
        self._gunzip = zlib.decompressobj(31) if layer.gzipped else None
        self._ready = b""

    def read(self, size: int = _CHUNK) -> bytes:
        if self._gunzip is None:
            return self._packed(size)
        while not self._ready and not self._gunzip.eof:
            source = self._gunzip.unconsumed_tail or self._packed(64 * 1024)
            if not source:
                raise EOFError("a compressed layer ends early")
            self._ready = self._gunzip.decompress(source, _CHUNK)
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken

    def _packed(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(min(size, self._left))
        self._at += len(data)
        self._left -= len(data)
        return data


class _Hashed:
    """A stream that hashes and counts what is read through it."""

    def __init__(self, source: _Slice, budget: _Budget) -> None:
        self._source = source
        self._budget = budget
        self._sha256 = hashlib.sha256()
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._sha256.update(data)
        self.count += len(data)
        self._budget.count_bytes(len(data))
        return data

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass

    def digest(self) -> str:
        return "sha256:" + self._sha256.hexdigest()


def _docker_archive(config: bytes, layers: list[tuple[IO[bytes], int]], tag: str | None = None) -> Iterator[bytes]:
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    names = [f"{index:03d}/layer.tar" for index in range(len(layers))]
    manifest = orjson.dumps([{"Config": config_name, "RepoTags": [tag] if tag else None, "Layers": names}])
    yield from _entry(config_name, len(config), io.BytesIO(config))
    for name, (layer, size) in zip(names, layers, strict=True):
        yield from _entry(name, size, layer)
    yield from _entry("manifest.json", len(manifest), io.BytesIO(manifest))
    yield bytes(2 * _BLOCK)


def _entry(name: str, size: int, content: IO[bytes]) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    yield info.tobuf(tarfile.GNU_FORMAT)
    left = size
    while left:
        chunk = content.read(min(_CHUNK, left))
        if not chunk:
            raise EOFError(f"{name} ended {left} bytes early")
        left -= len(chunk)
        yield chunk
    yield bytes(-size % _BLOCK)
