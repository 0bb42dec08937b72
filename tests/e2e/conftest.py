"""One image and one devnet for all who leave them as they were."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.shell_image import write_shell_image
from tests.e2e.town import Town, open_town


@pytest.fixture(scope="session")
def shell_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("image") / "shell.tar"
    write_shell_image(archive)
    return archive


@pytest.fixture(scope="session")
def town(shell_image: Path) -> Iterator[Town]:
    with open_town(shell_image, providers=2) as opened:
        yield opened
