"""One engine with the recording hook, and one image, for all GPU tests."""

from pathlib import Path

import pytest

from capanode.node.images.pack_python import pack_python
from capanode.node.images.reference import ArchivedImage
from capanode.protocol.ids import Cid


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArchivedImage]:
    """The archive of an image made of this Python alone."""
    archive = tmp_path_factory.mktemp("image") / "python.tar"
    return archive, ArchivedImage(Cid("bafytest"), pack_python(archive, packages=()))
