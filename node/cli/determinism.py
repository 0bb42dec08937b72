"""`capanode job check-determinism FILE`: which class a job could have, found out before it is sent."""

from pathlib import Path
from typing import Annotated

import typer

from capanode.node.cli.jobs import read_job_file
from capanode.node.cli.options import AsJson, Data
from capanode.node.data_folder import data_folder

JobPath = Annotated[Path, typer.Argument(metavar="FILE", help="A job file (docs/jobfile.md).")]


def add_to(app: typer.Typer) -> None:
    """The command, among those about jobs."""
    app.command()(check_determinism)


def check_determinism(file: JobPath, data: Data = None, as_json: AsJson = False) -> None:
    """Run a job twice on this machine and say which files differ, and which class would hold."""
    from capanode.node.cli.job_files import checked, pinned
    from capanode.node.cli.two_runs import checked_twice

    job, base, folder = checked(read_job_file(file), file), file.absolute().parent, data_folder(data)
    raise typer.Exit(checked_twice(job, pinned(job.image, base, folder), base, folder, as_json=as_json))
