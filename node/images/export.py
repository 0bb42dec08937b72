"""How an image that a person names becomes one that a job can pin: a registry digest, or an archive.

The engine is asked, so this is for machines that have one; a requester with a pinned image needs none.
"""

from dataclasses import dataclass
from pathlib import Path

from capanode.node.executors.docker_engine import Engine, EngineRefused, ImageFacts, NoSuchThing
from capanode.node.images.archive import ImageLimits, check_archive
from capanode.node.images.reference import ImageId, ImageRejected, RegistryImage, registry_image


@dataclass(frozen=True, slots=True)
class PinnedByDigest:
    """The tag's digest at its registry; `asked_registry` is False when only the local engine knew it."""

    image: RegistryImage
    asked_registry: bool


@dataclass(frozen=True, slots=True)
class NeedsArchive:
    """The image exists on this machine only; it travels as an archive of about `size_bytes`."""

    local_id: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An archive on disk that loads as `image_id`."""

    archive: Path
    image_id: ImageId
    size_bytes: int


def pin_image(name: str, *, address: str | None = None) -> PinnedByDigest | NeedsArchive:
    """Decide how `name` (a tag, an id, or already pinned) travels; blocking.

    Raises ImageRejected when neither a registry nor this machine has it, EngineDown without an engine.
    """
    if "@" in name:
        return PinnedByDigest(registry_image(name), asked_registry=False)
    engine = Engine(address)
    try:
        local = _local(engine, name)
        if local is not None and not local.repo_digests:
            return NeedsArchive(local.id, local.size_bytes)
        return _by_registry(engine, name, local)
    finally:
        engine.close()


def export_image(
    name: str, target: Path, *, address: str | None = None, limits: ImageLimits | None = None
) -> ExportedImage:
    """Write an image of this machine as an archive that any node can load and check; blocking.

    Raises ImageRejected when there is no such image or it breaks `limits`, EngineDown without an engine.
    """
    bounds = limits or ImageLimits()
    engine = Engine(address)
    try:
        _save(engine, name, target, bounds)
    finally:
        engine.close()
    checked = check_archive(target, None, bounds)
    return ExportedImage(target, checked.image_id, target.stat().st_size)


def _local(engine: Engine, name: str) -> ImageFacts | None:
    try:
        return engine.image(name)
    except NoSuchThing:
        return None


def _by_registry(engine: Engine, name: str, local: ImageFacts | None) -> PinnedByDigest:
    repository = _without_tag(name)
    try:
        return PinnedByDigest(registry_image(f"{repository}@{engine.digest_at_registry(name)}"), asked_registry=True)
    except EngineRefused as refused:
        for known in local.repo_digests if local else ():
            if known.partition("@")[0].endswith(repository):
                return PinnedByDigest(registry_image(known), asked_registry=False)
        raise ImageRejected(
            f"the image {name[:120]!r} is neither on this machine nor at its registry ({refused}); "
            "check the name, or pull or build it first"
        ) from refused


def _without_tag(name: str) -> str:
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _save(engine: Engine, name: str, target: Path, limits: ImageLimits) -> None:
    written = 0
    try:
        with target.open("wb") as out:
            for chunk in engine.save(name):
                written += len(chunk)
                if written > limits.archive_bytes:
                    raise ImageRejected(
                        f"the image {name[:120]!r} exceeds {limits.archive_bytes} bytes; make it smaller"
                    )
                out.write(chunk)
    except NoSuchThing as missing:
        raise ImageRejected(f"there is no image {name[:120]!r} on this machine; pull or build it first") from missing
