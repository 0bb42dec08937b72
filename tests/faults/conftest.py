"""The image of the jobs, made once."""

from pathlib import Path

import pytest

from bench.shell_image import write_shell_image


@pytest.fixture(scope="session")
def shell_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = tmp_path_factory.mktemp("image") / "shell.tar"
    write_shell_image(archive)
    return archive
