"""`capanode job …`: everything about one's own jobs."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from capanode.node.api.port import JobOrder, JobView, ReplicaView
from capanode.node.cli.options import AsJson, Data
from capanode.node.cli.output import emit, note, pairs, say, table
from capanode.node.cli.session import reached, running
from capanode.node.cli.timeline import exit_of_job, follow, follow_submit, has_ended, has_result
from capanode.node.units import duration, tokens
from capanode.protocol.faults import Fault, Misconfigured, Refused

app = typer.Typer(help="Submit jobs and see to them.", no_args_is_help=True)

MAX_JOB_FILE_BYTES = 2**20


def known_jobs(incomplete: str) -> list[str]:
    """Names for the shell's completion; none when no node runs, as completion must be quick and silent."""
    try:
        views = running(None).jobs()
    except Fault:
        return []
    return sorted({view.name for view in views if view.name.startswith(incomplete)})


JobFile = Annotated[Path, typer.Argument(metavar="FILE", help="A job file (docs/jobfile.md).")]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Its id, its name, or the beginning of either.", autocompletion=known_jobs)
]
Announce = Annotated[str, typer.Option(help="How it becomes known: `gossip` (signed award) or `chain`.")]
Policy = Annotated[str, typer.Option(help="On chain: `award` one of the bids, or `first` provider wins.")]
Accept = Annotated[
    str, typer.Option(help="`auto`: accept once verified here; `wait`: let the window pass; `never`: by hand.")
]


@app.command()
def validate(file: JobFile, as_json: AsJson = False) -> None:
    """Check a job file; all mistakes at once, with their lines."""
    from capanode.node.cli.job_files import checked

    checked(read_job_file(file), file)
    if as_json:
        emit({"valid": True})
    else:
        say(f"{file} is a valid job file")


@app.command()
def quote(
    file: JobFile,
    announce: Announce = "gossip",
    policy: Policy = "award",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Say what a job would cost at most, and what its provider would have to put up."""
    order = order_of(file, "", announce, policy, "auto", data)
    answer = reached(data).quote(order)
    if as_json:
        emit(answer)
        return
    each = f" for each of {answer['replicas']} replicas" if answer["replicas"] > 1 else ""
    pairs({
        "price, at most": f"{tokens(answer['price_cap_wei'])} tokens{each}",
        "verification deposit": f"{tokens(answer['verification_wei'])} tokens, back unless it is used",
        "provider's deadline bond": f"{tokens(answer['deadline_bond_wei'])} tokens",
        "provider's fraud bond": f"{tokens(answer['fraud_bond_wei'])} tokens",
        "mode": answer["mode"],
        "window": f"{answer['window_s']} s to challenge in",
        "judged by": answer["judged_by"],
        "readers": answer["readers"],
    })  # fmt: skip


@app.command()
def submit(
    file: JobFile,
    name: Annotated[str, typer.Option(help="What to call it; else the name in the file.")] = "",
    announce: Announce = "gossip",
    policy: Policy = "award",
    accept: Accept = "auto",
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it is paid or refunded.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Hand a job to the node, which carries it on by itself."""
    order = order_of(file, name, announce, policy, accept, data)
    client = reached(data)
    view = follow_submit(client.submit(order), quiet=as_json)
    if wait:
        view = follow(client.watch(view.job_id), has_ended, quiet=as_json)
    if as_json:
        emit(view)
    else:
        say(f"job {view.job_id} ({view.name}): {view.state}")
        if not wait:
            note(f"follow it with: capanode job status {view.job_id[:8]} --watch")
    if wait:
        raise typer.Exit(exit_of_job(view))


@app.command("list")
def list_jobs(data: Data = None, as_json: AsJson = False) -> None:
    """List the jobs of this node, newest first."""
    views = sorted(reached(data).jobs(), key=lambda view: view.created_at, reverse=True)
    if as_json:
        emit(views)
        return
    rows = [row for view in views for row in _rows(view)]
    table(("JOB", "NAME", "STATE", "PRICE", "PROVIDER", ""), rows, "no jobs yet; submit one with `capanode run`")


@app.command()
def status(
    job: JobId,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it has ended.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show where a job stands and all that happened to it."""
    client = reached(data)
    view = follow(client.watch(job), has_ended, quiet=as_json) if watch else client.job(job)
    if as_json:
        emit(view)
    else:
        show(view, with_timeline=not watch)
    if watch:
        raise typer.Exit(exit_of_job(view))


@app.command()
def logs(
    job: JobId,
    tail: Annotated[int, typer.Option(min=1, max=2**24, help="The last so many bytes.")] = 65_536,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print what the job's program wrote."""
    content = reached(data).logs(job, tail)
    if as_json:
        emit({"log": content.decode(errors="replace")})
    else:
        typer.echo(printable(content), nl=False)


@app.command()
def result(
    job: JobId,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Copy the outputs there.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until they are here.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Say where the verified outputs are, or copy them."""
    client = reached(data)
    view = follow(client.watch(job), has_result, quiet=as_json) if wait else client.job(job)
    if view.result_dir is None:
        if has_ended(view):
            raise typer.Exit(_told(view, as_json))
        raise Refused(f"the job {view.name} is {view.state} and has no result yet: add --wait.")
    folder = copied(view.result_dir, to) if to is not None else view.result_dir
    if as_json:
        emit({"result_dir": str(folder), "receipt": view.receipt, "exit_code": view.exit_code})
    else:
        say(str(folder))
    raise typer.Exit(exit_of_job(view))


@app.command()
def accept(job: JobId, data: Data = None, as_json: AsJson = False) -> None:
    """Accept a result now, so that its provider need not wait for the window."""
    _shown(reached(data).accept(job), as_json)


@app.command()
def cancel(job: JobId, data: Data = None, as_json: AsJson = False) -> None:
    """Take a job back that nobody has been assigned yet."""
    _shown(reached(data).cancel(job), as_json)


def order_of(file: Path, name: str, announce: str, policy: str, accept: str, data: Path | None) -> JobOrder:
    """The order for a job file; its image is pinned here, where the user's own images are."""
    from capanode.node.cli.job_files import pinned_image

    for value, known in ((announce, ("gossip", "chain")), (policy, ("award", "first"))):
        if value not in known:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}")
    if accept not in ("auto", "wait", "never"):
        raise typer.BadParameter(f"{accept!r} is none of auto, wait, never", param_hint="--accept")
    text = read_job_file(file)
    folder = str(file.absolute().parent)
    return JobOrder(text, folder, name, pinned_image(text, file, data), announce, policy, accept)


def read_job_file(path: Path) -> str:
    """The text of a job file, bounded."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_JOB_FILE_BYTES + 1)
    except OSError as error:
        raise Misconfigured(f"the job file {path} cannot be read ({error.strerror}): correct the path.") from error
    if len(content) > MAX_JOB_FILE_BYTES:
        raise Misconfigured(f"the job file {path} is larger than 1 MiB: put data in inputs.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Misconfigured(f"the job file {path} is not UTF-8 text: save it as that.") from None


def show(view: JobView, *, with_timeline: bool) -> None:
    """A job for a person."""
    pairs({
        "job": f"{view.job_id}  {view.name}",
        "state": f"{view.state}  ({view.phase})",
        "reason": view.reason,
        "notice": view.notice,
        "deal": view.deal_id,
        "provider": view.provider,
        "price": f"{price_of(view)} tokens" if view.price_wei else "",
        "paid": f"{tokens(view.paid_wei)} tokens" if view.paid_wei else "",
        "returned": f"{tokens(view.returned_wei)} tokens" if view.returned_wei else "",
        "exit code": "" if view.exit_code is None else str(view.exit_code),
        "result": view.result_dir,
        "receipt": view.receipt,
    })  # fmt: skip
    for replica in view.replicas:
        _, number, state, price, _, remark = _row_of(replica)
        say(f"  {number}  {state:<12}  {price:>8} tokens  {replica.provider or 'no provider yet':<42}  {remark}")
    for entry in view.timeline if with_timeline else ():
        say(f"  {duration(entry.at - view.created_at):>12}  {entry.event:<18} {entry.sentence}")


def price_of(view: JobView) -> str:
    """The price in tokens, as text."""
    return tokens(view.price_wei)


def copied(source: str, target: Path) -> Path:
    """Copy the outputs to a folder that is new or empty; links are copied as links, never followed."""
    if target.exists() and any(target.iterdir()):
        raise Misconfigured(f"{target} is not empty: name a new folder with --to.")
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    return target


def printable(content: bytes) -> str:
    """A job's output without what could drive the terminal."""
    text = content.decode(errors="replace")
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _rows(view: JobView) -> list[tuple[str, ...]]:
    """A job's line in the list, and those of its replicas beneath it."""
    told = view.reason or view.notice
    own = (view.job_id[:8], view.name, view.state, price_of(view), (view.provider or "")[:10], told)
    return [own, *map(_row_of, view.replicas)]


def _row_of(replica: ReplicaView) -> tuple[str, ...]:
    number = f"-{replica.job_id.rpartition('-')[2]}"
    remark = ": ".join(filter(None, (replica.finding, replica.reason)))
    return ("", number, replica.state, tokens(replica.price_wei), (replica.provider or "")[:10], remark)


def _shown(view: JobView, as_json: bool) -> None:
    emit(view) if as_json else show(view, with_timeline=False)


def _told(view: JobView, as_json: bool) -> int:
    _shown(view, as_json)
    return exit_of_job(view)
