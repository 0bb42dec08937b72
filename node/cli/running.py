"""`capanode run IMAGE -- CMD`: one job from the command line, here or on the market."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from capanode.node.api.client import NodeClient
from capanode.node.api.port import JobOrder, JobView
from capanode.node.cli.jobs import copied, printable
from capanode.node.cli.options import AsJson, Data
from capanode.node.cli.output import emit, note
from capanode.node.cli.session import reached
from capanode.node.cli.timeline import exit_of_job, follow, follow_submit, has_ended, has_result
from capanode.node.data_folder import data_folder
from capanode.node.units import tokens
from capanode.protocol.faults import Unavailable

LOG_BYTES = 2**20

Pairs = Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="Public; repeat for more.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="[NAME=]PATH", help="A file, seen as /in/NAME; repeat for more."),
]


def add_to(app: typer.Typer) -> None:
    """The command that stands at the top level."""
    app.command()(run)


def run(
    image: Annotated[str, typer.Argument(help="A tag, a pinned name@sha256:…, an image of your own engine, or a tar.")],
    command: Annotated[list[str] | None, typer.Argument(metavar="-- CMD…", help="What to run in it.")] = None,
    env: Pairs = None,
    inputs: Inputs = None,
    cpu: Annotated[float, typer.Option(help="Cores.")] = 1.0,
    memory: Annotated[str, typer.Option(help="Such as 512MiB.")] = "512MiB",
    disk: Annotated[str, typer.Option(help="For the outputs.")] = "256MiB",
    gpus: Annotated[int, typer.Option(min=0, max=64, help="How many.")] = 0,
    timeout: Annotated[str, typer.Option(help="Longest run, such as 10m.")] = "10m",
    price: Annotated[str, typer.Option(metavar="TOKENS", help="The most that it may cost.")] = "1",
    verification: Annotated[str, typer.Option("--class", help="exact or none; tolerance needs a job file.")] = "none",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Copy the outputs there.")] = None,
    name: Annotated[str, typer.Option(help="What to call it.")] = "run",
    announce: Annotated[str, typer.Option(help="`gossip` or `chain`.")] = "gossip",
    accept: Annotated[str, typer.Option(help="`auto`, `wait` or `never`.")] = "auto",
    local: Annotated[bool, typer.Option("--local", help="In the same sandbox on this machine; free.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Run one command in a container, on the market or here, and fetch what it wrote to /out."""
    from capanode.node.cli.job_files import pinned

    fields = job_fields(name, image, command or [], env or [], inputs or [], verification)
    resources: dict[str, Any] = {"cpu": cpu, "memory": memory, "disk": disk}
    if gpus:
        resources["gpu"] = {"count": gpus}
    fields["resources"] = resources
    fields |= {"timeout": timeout, "price_cap": price}
    found = pinned(image, Path.cwd(), data_folder(data))
    text = json.dumps(fields, indent=2)
    if local:
        from capanode.node.cli.local import ran

        raise typer.Exit(ran(text, found, out, data_folder(data), as_json))
    order = JobOrder(text, str(Path.cwd()), name, found, announce, "award", accept)
    client = reached(data)
    view = follow_submit(client.submit(order), quiet=as_json)
    view = follow(client.watch(view.job_id), has_result, quiet=as_json)
    _finish(client, view, out, as_json)


def job_fields(
    name: str, image: str, command: list[str], env: list[str], inputs: list[str], verification: str
) -> dict[str, Any]:
    """A job file's fields, without resources and price; a job file may be JSON, which YAML includes."""
    fields: dict[str, Any] = {"version": 1, "name": name, "image": image, "verification": {"class": verification}}
    if command:
        fields["command"] = command
    if env:
        fields["env"] = dict(split(pair, "--env") for pair in env)
    if inputs:
        named = [split(pair, "--input") if "=" in pair else (Path(pair).name, pair) for pair in inputs]
        fields["inputs"] = {name: {"path": path} for name, path in named}
    return fields


def split(pair: str, option: str) -> tuple[str, str]:
    """NAME=VALUE as two texts."""
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint=option)
    return name, value


def _finish(client: NodeClient, view: JobView, out: Path | None, as_json: bool) -> None:
    folder = str(copied(view.result_dir, out)) if out is not None and view.result_dir else view.result_dir
    if as_json:
        emit({"job": view, "result_dir": folder})
        raise typer.Exit(exit_of_job(view))
    if view.result_dir is not None:
        try:
            typer.echo(printable(client.logs(view.job_id, LOG_BYTES)), nl=False)
        except Unavailable as error:
            note(f"the program's output cannot be shown now: {error}")
    if has_ended(view) and view.result_dir is None:
        note(f"job {view.job_id[:8]} ended without a result: {view.reason or view.state}")
    else:
        note(f"outputs: {folder}")
        note(f"price: {tokens(view.price_wei)} tokens to {view.provider}")
    if view.exit_code:
        note(f"the program ended with the exit code {view.exit_code}")
    raise typer.Exit(exit_of_job(view))
