"""`capanode backup` and `capanode restore`."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from capanode.node.cli.exits import Exit
from capanode.node.data_folder import DataFolder, held, prepare
from capanode.node.storage.database import open_database
from capanode.node.wiring.schemas import SCHEMAS
from tests.cli.conftest import Town

Run = Callable[..., int]


async def _journal(path: Path) -> None:
    async with open_database(path, SCHEMAS):
        pass


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    prepare(made)
    trio.run(_journal, made.database)
    return made


def test_what_was_kept_is_put_back(
    folder: DataFolder, tmp_path: Path, capanode: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, data = tmp_path / "kept", ("--data", str(folder.root))
    assert capanode("backup", str(kept), *data, "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["files"] == ["node.db"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert capanode("backup", str(kept), *data) == Exit.REFUSED
    assert capanode("restore", str(kept), *data) == Exit.REFUSED
    assert "--force" in capsys.readouterr().err
    assert capanode("restore", str(kept), *data, "--force", "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["files"] == ["node.db"]
    trio.run(_journal, folder.database)


def test_nothing_is_put_back_under_a_running_node(
    folder: DataFolder, tmp_path: Path, capanode: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, data = tmp_path / "kept", ("--data", str(folder.root))
    assert capanode("backup", str(kept), *data) == Exit.DONE
    assert "unencrypted" in capsys.readouterr().err
    with held(folder):
        assert capanode("restore", str(kept), *data, "--force") == Exit.INPUT
    assert "in use" in capsys.readouterr().err


def test_a_folder_without_a_journal_has_nothing_to_keep(tmp_path: Path, capanode: Run) -> None:
    assert capanode("backup", str(tmp_path / "kept"), "--data", str(tmp_path / "none")) == Exit.REFUSED


async def test_a_running_node_is_asked_for_its_journal(town: Town, tmp_path: Path) -> None:
    town.folder.database.touch()
    assert await town.run("backup", str(tmp_path / "kept")) == Exit.DONE
    assert (tmp_path / "kept").exists()
