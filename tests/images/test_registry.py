"""Images from a real registry: pinned by digest, immune to a moved tag, and how people's names are pinned."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from capanode.node.executors.docker_engine import Engine
from capanode.node.executors.port import ImageProgress
from capanode.node.executors.preparing import prepare_image
from capanode.node.images.archive import ImageLimits, check_archive, loadable, write_archive
from capanode.node.images.export import NeedsArchive, PinnedByDigest, export_image, pin_image
from capanode.node.images.reference import ImageId, ImageRejected, RegistryImage
from capanode.protocol.faults import Unavailable
from tests.fakes.registry import local_registry
from tests.images.layers import entry, tar_of

LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class Shop:
    """A registry with one repository, and the engine that pushes to it and pulls from it."""

    repository: str
    engine: Engine

    def push(self, content: bytes, folder: Path, **config: object) -> ImageId:
        """Make an image of one file, push it as `latest`, and forget it locally."""
        (folder / "root.tar").write_bytes(tar_of(entry("file", content)))
        loads_as = write_archive(folder / "root.tar", {"Cmd": ["/file"]} | config, folder / "image.tar")
        name = f"{self.repository}:latest"
        self.engine.load(loadable(check_archive(folder / "image.tar", loads_as), name))
        client: Any = docker.from_env()
        try:
            client.images.push(self.repository, tag="latest")
        finally:
            client.close()
        self.engine.remove_image(name)
        return loads_as


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    engine = Engine()
    with local_registry(tmp_path_factory.mktemp("registry")) as address:
        yield Shop(f"{address}/team/tool-{secrets.token_hex(4)}", engine)
    engine.close()


def pinned(shop: Shop) -> RegistryImage:
    found = pin_image(f"{shop.repository}:latest")
    assert isinstance(found, PinnedByDigest)
    assert found.asked_registry
    return found.image


def test_a_tag_becomes_a_digest_that_a_moved_tag_does_not_change(shop: Shop, tmp_path: Path) -> None:
    old_id = shop.push(b"old", tmp_path)
    old = pinned(shop)
    new_id = shop.push(b"new", tmp_path)
    new = pinned(shop)
    steps: list[ImageProgress] = []

    fit = prepare_image(shop.engine, old, None, steps.append, LIMITS)
    again = prepare_image(shop.engine, old, None, steps.append, LIMITS)

    assert old.digest != new.digest
    assert (fit.image.image_id, again) == (old_id, fit)
    assert prepare_image(shop.engine, new, None, steps.append, LIMITS).image.image_id == new_id
    assert steps
    for image in (old, new):
        shop.engine.remove_image(str(image))


def test_an_unknown_digest_and_a_silent_registry_are_told(shop: Shop, tmp_path: Path) -> None:
    shop.push(b"some", tmp_path)
    unknown = RegistryImage(shop.repository, "sha256:" + "0" * 64)
    nowhere = RegistryImage("127.0.0.1:9/x", "sha256:" + "0" * 64)

    for image in (unknown, nowhere):
        with pytest.raises(Unavailable, match="cannot be pulled"):
            prepare_image(shop.engine, image, None, lambda _: None, LIMITS)


def test_an_image_that_is_too_large_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.push(b"x" * 100_000, tmp_path)
    image = pinned(shop)

    with pytest.raises(ImageRejected, match="more than"):
        prepare_image(shop.engine, image, None, lambda _: None, ImageLimits(unpacked_bytes=1000))
    shop.engine.remove_image(str(image))


def test_volumes_in_the_sandbox_s_places_are_refused(shop: Shop, tmp_path: Path) -> None:
    shop.push(b"x", tmp_path, Volumes={"/out/data": {}})
    image = pinned(shop)

    with pytest.raises(ImageRejected, match="VOLUME"):
        prepare_image(shop.engine, image, None, lambda _: None, LIMITS)
    shop.engine.remove_image(str(image))


def test_a_local_image_travels_as_an_archive(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(tar_of(entry("file", b"local")))
    loads_as = write_archive(tmp_path / "root.tar", {"Cmd": ["/file"]}, tmp_path / "image.tar")
    name = f"local-{secrets.token_hex(4)}:latest"
    shop.engine.load(loadable(check_archive(tmp_path / "image.tar", loads_as), name))

    how = pin_image(name)
    exported = export_image(name, tmp_path / "exported.tar")
    shop.engine.remove_image(name)

    assert isinstance(how, NeedsArchive)
    assert (how.local_id, exported.image_id) == (loads_as, loads_as)
    assert check_archive(exported.archive, loads_as).unpacked_bytes > 0


def test_names_that_lead_nowhere_are_told(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(ImageRejected, match="neither on this machine"):
        pin_image(f"{shop.repository}:missing")
    with pytest.raises(ImageRejected, match="no image"):
        export_image("nothing-of-that-name", tmp_path / "x.tar")
    with pytest.raises(ImageRejected):
        pin_image("x@sha256:short")
