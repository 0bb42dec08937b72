"""Bringing an image onto this machine, and the checks that it must pass before any job runs in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from capanode.node.executors.docker_engine import Engine, EngineRefused, ImageFacts, NoSuchThing
from capanode.node.executors.port import ImageProgress, PreparedImage
from capanode.node.fault_points import durable
from capanode.node.images.archive import ImageLimits, check_archive, loadable, machine_architecture
from capanode.node.images.reference import ArchivedImage, ImageId, ImageRef, ImageRejected, RegistryImage
from capanode.protocol.faults import Unavailable

Progress = Callable[[ImageProgress], None]

_MAX_VOLUMES: Final = 16
_OURS: Final = ("/in", "/out", "/tmp", "/dev", "/proc", "/sys")
# A vendor's hook runs as root on the host with the image's environment (CVE-2025-23266).
_LOADER_NAMES: Final = ("LD_", "GLIBC_TUNABLES", "GCONV_PATH", "MALLOC_")
_HOST_FOLDERS: Final = ("/proc", "/dev", "/sys", "/tmp", "/run", "/var", "/home", "/root")


@dataclass(frozen=True, slots=True)
class FitImage:
    """An image that may run here: the name the engine runs it by, and what the sandbox must cover."""

    name: str
    image: PreparedImage
    volumes: tuple[str, ...]
    env: tuple[str, ...]


def prepare_image(
    engine: Engine, image: ImageRef, archive: Path | None, progress: Progress, limits: ImageLimits
) -> FitImage:
    """Have the image on the engine, with its digest verified; idempotent, blocking."""
    match image:
        case RegistryImage():
            facts = _from_registry(engine, image, progress)
            return _fit(facts, facts.id, ImageId(facts.id), limits)
        case ArchivedImage():
            facts, name = _from_archive(engine, image, archive, progress, limits)
            return _fit(facts, name, image.image_id, limits)


def find_image(engine: Engine, image: ImageId, limits: ImageLimits) -> FitImage:
    """An image prepared by an earlier process of this node; raises NoSuchThing when it is gone."""
    name = _archive_name(image)
    try:
        facts = engine.image(name)
    except NoSuchThing:
        name, facts = image, engine.image(image)
    return _fit(facts, name, image, limits)


def gpu_objection(env: tuple[str, ...]) -> str | None:
    """Why these variables must not meet a GPU vendor's hook, or None when they may."""
    for variable in env:
        name, _, value = variable.partition("=")
        if name == "LD_LIBRARY_PATH":
            if not all(_is_image_path(part) for part in value.split(":")):
                return "LD_LIBRARY_PATH names folders outside the usual ones of an image"
        elif name.startswith(_LOADER_NAMES):
            return f"it sets {name[:40]}, which could load code into the GPU vendor's hook on the host"
    return None


def _is_image_path(part: str) -> bool:
    path = PurePosixPath(part)
    return path.is_absolute() and ".." not in path.parts and not str(path).startswith(_HOST_FOLDERS)


def _from_registry(engine: Engine, image: RegistryImage, progress: Progress) -> ImageFacts:
    reference = str(image)
    try:
        return engine.image(reference)
    except NoSuchThing:
        _pull(engine, image, progress)
    facts = engine.image(reference)
    if not any(known.endswith("@" + image.digest) for known in facts.repo_digests):
        raise ImageRejected(f"the engine pulled another image than {reference}; do not use this registry")
    return facts


def _pull(engine: Engine, image: RegistryImage, progress: Progress) -> None:
    try:
        with durable("image.pull"):
            for doing, done, total in engine.pull(image.name, image.digest):
                progress(ImageProgress(doing, done, total))
    except EngineRefused as refused:
        raise Unavailable(f"the image {image} cannot be pulled: {refused}") from refused


def _from_archive(
    engine: Engine, image: ArchivedImage, archive: Path | None, progress: Progress, limits: ImageLimits
) -> tuple[ImageFacts, str]:
    name = _archive_name(image.image_id)
    try:
        return engine.image(name), name
    except NoSuchThing:
        if archive is None:
            raise ImageRejected(f"the image {image} needs its archive, and none is given") from None
    progress(ImageProgress("checking the image archive", 0, 0))
    checked = check_archive(archive, image.image_id, limits)
    done = 0

    def counted() -> Iterator[bytes]:
        nonlocal done
        for chunk in loadable(checked, name):
            done += len(chunk)
            progress(ImageProgress("loading the image", done, checked.unpacked_bytes))
            yield chunk

    try:
        with durable("image.load"):
            engine.load(counted())
    except EngineRefused as refused:
        raise Unavailable(f"the image {image} cannot be loaded: {refused}") from refused
    return engine.image(name), name


def _archive_name(image: ImageId) -> str:
    # A tag of our own: engines with the newer image store number images by manifest, not by config.
    return f"capanode-image:{image.removeprefix('sha256:')}"


def _fit(facts: ImageFacts, name: str, image: ImageId, limits: ImageLimits) -> FitImage:
    if (facts.os, facts.architecture) != ("linux", machine_architecture()):
        raise ImageRejected(
            f"the image is for {facts.os}/{facts.architecture}, this machine is "
            f"linux/{machine_architecture()}; pin the image of that platform"
        )
    if facts.size_bytes > limits.unpacked_bytes:
        raise ImageRejected(f"the image takes {facts.size_bytes} bytes, more than the {limits.unpacked_bytes} allowed")
    if len(facts.volumes) > _MAX_VOLUMES or not all(_is_plain_volume(path) for path in facts.volumes):
        raise ImageRejected("the image declares volumes in places that the sandbox keeps; leave VOLUME out")
    prepared = PreparedImage(image, facts.size_bytes, gpu_objection(facts.env))
    return FitImage(name, prepared, facts.volumes, facts.env)


def _is_plain_volume(path: str) -> bool:
    pure = PurePosixPath(path)
    taken = any(pure == PurePosixPath(ours) or PurePosixPath(ours) in pure.parents for ours in _OURS)
    return pure.is_absolute() and str(pure) != "/" and ".." not in pure.parts and not taken
