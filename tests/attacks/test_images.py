"""Attack 6: an image that is another one tomorrow, on another machine, or nowhere."""

from collections.abc import Iterator
from typing import cast

import pytest

from capanode.node.executors.docker_engine import Engine, EngineRefused, ImageFacts, NoSuchThing
from capanode.node.executors.preparing import prepare_image
from capanode.node.images.archive import ImageLimits, machine_architecture
from capanode.node.images.reference import ImageRejected, RegistryImage, registry_image
from capanode.protocol.faults import Unavailable

PINNED = registry_image("registry.test/team/tool@sha256:" + "ab" * 32)
OTHER_DIGEST = "registry.test/team/tool@sha256:" + "cd" * 32
OTHER_MACHINE = {"amd64": "arm64", "arm64": "amd64"}[machine_architecture()]


def facts(repo_digest: str = str(PINNED), architecture: str = machine_architecture()) -> ImageFacts:
    return ImageFacts("sha256:" + "01" * 32, 1000, architecture, "linux", (), (), (repo_digest,), ())


class Registry:
    """What an engine gets from a registry that serves what it likes: an image, or none any more."""

    def __init__(self, served: ImageFacts | None) -> None:
        self._served = served
        self._here: ImageFacts | None = None

    def image(self, reference: str) -> ImageFacts:
        if self._here is None:
            raise NoSuchThing(reference, 404)
        return self._here

    def pull(self, name: str, digest: str) -> Iterator[tuple[str, int, int]]:
        if self._served is None:
            raise EngineRefused("manifest unknown", 404)
        self._here = self._served
        yield "pulling", 1, 1


def prepared(served: ImageFacts | None, image: RegistryImage = PINNED) -> str:
    engine = cast(Engine, Registry(served))
    return prepare_image(engine, image, None, lambda _: None, ImageLimits()).image.image_id


def test_attack_06_honest_registry_is_served() -> None:
    assert prepared(facts()) == facts().id


@pytest.mark.parametrize("text", ["tool", "tool:latest", "registry.test/team/tool:v1", "tool@sha256:short"])
def test_attack_06_tag_that_can_move_is_no_image(text: str) -> None:
    with pytest.raises(ImageRejected, match="does not pin"):
        registry_image(text)


def test_attack_06_registry_that_serves_another_image_is_found_out() -> None:
    with pytest.raises(ImageRejected, match="pulled another image"):
        prepared(facts(repo_digest=OTHER_DIGEST))


def test_attack_06_index_that_is_another_image_on_another_machine() -> None:
    with pytest.raises(ImageRejected, match="pin the image of that platform"):
        prepared(facts(architecture=OTHER_MACHINE))


def test_attack_06_image_that_was_taken_back_binds_nobody() -> None:
    """A provider prepares before it assigns: what cannot be pulled ends there, at no cost."""
    with pytest.raises(Unavailable, match="cannot be pulled"):
        prepared(None)
