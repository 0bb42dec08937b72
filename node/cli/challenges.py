"""`capanode challenge …`: results that others have committed to."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from capanode.node.api.port import Json
from capanode.node.cli.exits import Exit
from capanode.node.cli.options import AsJson, Data
from capanode.node.cli.output import emit, note, pairs, say
from capanode.node.cli.session import reached
from capanode.node.units import clock_time, tokens
from capanode.protocol.faults import Unavailable

app = typer.Typer(help="Check results that others have committed to, and dispute them.", no_args_is_help=True)

MAX_SHOWN = 20
"""Files that are shown to a person; `--json` has them all."""

DealName = Annotated[str, typer.Argument(metavar="DEAL", help="A deal's id (0x…), or the id or name of an own job.")]
_EXITS = {
    "holds": Exit.DONE,
    "differs": Exit.UNVERIFIED,
    "withheld": Exit.UNVERIFIED,
    "forbidden": Exit.UNVERIFIED,
    "unclear": Exit.UNAVAILABLE,
}


@app.command()
def check(
    deal: DealName,
    step: Annotated[int | None, typer.Option(min=0, help="Only this step.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Only so many steps, drawn by chance.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Recompute a committed result here and say whether it holds; costs nothing and signs nothing."""
    found = _followed(reached(data).check(deal, step, sample), quiet=as_json)
    if as_json:
        emit(found)
    else:
        show(found)
    raise typer.Exit(_EXITS[found["verdict"]])


def _followed(items: Iterable[Json], *, quiet: bool) -> Json:
    """The result of a check, with what is being done on the way."""
    for item in items:
        if "check" in item:
            return dict(item["check"])
        progress = item["progress"]
        if not quiet:
            note(progress["doing"] + _at(progress))
    raise Unavailable("the node ended before the check did: start it again, then repeat the check")


def _at(progress: Json) -> str:
    return "" if progress["step"] is None else f" step {progress['step']} ({progress['done'] + 1} of {progress['of']})"


def show(found: Json) -> None:
    """A check for a person."""
    pairs({
        "deal": found["deal_id"],
        "provider": found["provider"],
        "price": f"{tokens(found['price_wei'])} tokens",
        "phase": found["phase"],
        "class": f"{found['class']}, on {found['hardware_class']}",
        "recomputed": f"{len(found['checked'])} of {found['steps']} steps",
    })  # fmt: skip
    match found["verdict"]:
        case "holds":
            say("the result holds: what was recomputed is what was committed")
        case "withheld":
            say(found["reason"])
            say("`capanode challenge open DEAL --leaves` computes all steps here, and forces them where they differ")
            _show_challenge(found["challenge"])
        case "forbidden":
            say(found["reason"])
            say(f"`capanode challenge open DEAL --spec {found['position']}` shows it to the court, which takes no bond")
        case "unclear":
            say("nothing can be said: what differs may come of the machines (limits, another hardware class)")
            _show_step(found["checked"][-1])
        case _:
            say(f"step {found['divergent_step']} does not hold")
            _show_step(found["checked"][-1])
            _show_challenge(found["challenge"])


def _show_step(one: Json) -> None:
    for reason in one["reasons"]:
        say(f"  {reason}")
    files: list[Any] = one["files"]
    for file in files[:MAX_SHOWN]:
        say(f"  {_printable(file['path'])}: {file['reason']}")
    if len(files) > MAX_SHOWN:
        say(f"  and {len(files) - MAX_SHOWN} more (--json shows them all)")


def _show_challenge(challenge: Json) -> None:
    if not challenge["is_possible"]:
        say(f"it cannot be challenged: {challenge['why_not']}")
        return
    say(
        f"a challenge locks {tokens(challenge['bond_wei'])} tokens until the verdict and is possible until "
        f"{clock_time(challenge['until'])}; who is right gets the bond back, and a share of "
        f"{tokens(challenge['bounty_wei'])} tokens"
    )


def _printable(path: str) -> str:
    """A stranger's path without what could drive the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path[:200])
