"""`capanode backup` and `capanode restore`: a node's memory in one file, and back from it."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from capanode.node.cli.options import AsJson, Data
from capanode.node.cli.output import emit, note, say
from capanode.node.cli.session import running
from capanode.node.data_folder import DataFolder, data_folder, held, locked
from capanode.node.units import clock_time
from capanode.protocol.faults import Refused

BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]


def add_to(app: typer.Typer) -> None:
    """The commands that stand at the top level."""
    app.command()(backup)
    app.command()(restore)


def backup(file: BackupFile, data: Data = None, as_json: AsJson = False) -> None:
    """Write journal, config, networks and keys to one new file, while the node runs or not."""
    from capanode.node.storage.backup import write_backup

    folder = data_folder(data)
    if not folder.database.exists():
        raise Refused(f"there is no journal in {folder.root} yet, so there is nothing to keep: name another --data.")
    made = write_backup(folder, file.absolute(), lambda target: _snapshot(folder, data, target))
    if as_json:
        emit({"file": str(file.absolute()), "made_at": made.made_at, "files": list(made.files)})
        return
    say(f"{file} holds {len(made.files)} files of {folder.root}")
    note(
        "it holds the peer key and a hot key unencrypted, the wallet under its password: keep it as you keep the folder"
    )


def restore(
    file: BackupFile,
    force: Annotated[bool, typer.Option("--force", help="Replace what the data folder holds.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of what the data folder holds; the node must not run."""
    from capanode.node.storage.backup import restore_backup
    from capanode.node.wiring.schemas import SCHEMAS

    folder = data_folder(data)
    with held(folder):
        made = restore_backup(folder, file.absolute(), SCHEMAS, force=force)
    if as_json:
        emit({"data": str(folder.root), "made_at": made.made_at, "files": list(made.files)})
        return
    say(f"{folder.root} is as it was at {clock_time(made.made_at)}; `capanode start` follows what has happened since")
    note(
        "a job or deal made later is not in it and may be bought again: "
        f"`capanode recover --data {folder.root}` shows first what the wallet has on chain"
    )


def _snapshot(folder: DataFolder, data: Path | None, target: Path) -> None:
    client = running(data)
    if client.is_there():
        client.snapshot(str(target))
        return
    from capanode.node.storage.database import connect, snapshot_of
    from capanode.node.storage.integrity import seal

    with locked(folder):
        with closing(connect(folder.database)) as connection:
            snapshot_of(connection, target)
        seal(folder.database)
