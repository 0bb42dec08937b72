"""`capanode challenge open|list|show|watch` and `capanode wallet arbiter …`: disputing results, and judging them."""

import secrets
from typing import Annotated, Any

import typer

from capanode.node.api.port import Json
from capanode.node.cli.options import AsJson, Data
from capanode.node.cli.output import emit, note, pairs, say, table
from capanode.node.cli.session import reached, running
from capanode.node.units import clock_time, tokens, wei_from_tokens
from capanode.protocol.faults import Refused

Named = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS,…", help="All arbiters of a named set, this wallet among them; nothing is staked."),
]

arbiter_app = typer.Typer(help="Judge disputed results with this machine, for a fee.", no_args_is_help=True)


def add_to(challenges: typer.Typer, wallet: typer.Typer) -> None:
    """Put the commands in their places."""
    challenges.command("open")(open_)
    challenges.command("list")(list_)
    challenges.command("show")(show)
    challenges.command("watch")(watch)
    wallet.add_typer(arbiter_app, name="arbiter")


def open_(
    deal: Annotated[str, typer.Argument(metavar="DEAL", help="A deal's id (0x…).")],
    step: Annotated[
        int | None, typer.Option(min=0, help="The step that does not hold, as `challenge check` names it.")
    ] = None,
    missing: Annotated[
        int | None, typer.Option(min=0, metavar="STEP", help="The bytes of the state after it cannot be had.")
    ] = None,
    spec: Annotated[
        int | None, typer.Option(min=1, metavar="POSITION", help="The leaf there says what none may.")
    ] = None,
    leaves: Annotated[bool, typer.Option("--leaves", help="The leaves of its trace are withheld.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Dispute a committed result, of one thing: it is looked at here once more, then a bond is locked."""
    grounds = {"step": step, "data": missing, "spec": spec, "leaves": leaves or None}
    chosen = {name: value for name, value in grounds.items() if value is not None}
    if len(chosen) != 1:
        raise Refused("say what is wrong with the result, one thing: --step, --missing, --spec or --leaves")
    found = reached(data).dispute("open", deal=deal, **chosen)
    if as_json:
        emit(found)
        return
    one = found["challenge"]
    say(f"challenge {one['name']} is begun: {one['reason']}")
    note("keep the node running until its answer is shown; `capanode challenge show` says how it stands")


def list_(data: Data = None, as_json: AsJson = False) -> None:
    """Own challenges and duties, and the cases of this network that this node has heard of."""
    found = reached(data).dispute("list")
    if as_json:
        emit(found)
        return
    table(
        ("challenge", "phase", "kind", "step"),
        [(one["name"], one["phase"], one["kind"], str(one["step"])) for one in found["challenges"]],
        "no challenge of this node",
    )
    table(
        ("duty", "phase", "vote"),
        [(one["name"], one["phase"], one["vote"] or "") for one in found["duties"]],
        "no duty as an arbiter",
    )
    table(
        ("case", "deal", "kind", "step", "phase", "verdict"),
        [
            (one["case_id"][:12], one["deal_id"][:12], one["kind"], str(one["step"]), one["phase"], one["verdict"])
            for one in found["cases"]
        ],
        "no case in this network",
    )


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An own challenge, or the start of a case's id.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """One challenge or case: who has said what, who judges, and what came of it."""
    found = reached(data).dispute("show", name=name)
    if as_json:
        emit(found)
        return
    if found["challenge"]:
        one = found["challenge"]
        pairs({"challenge": one["name"], "phase": one["phase"], "reason": one["reason"]})
    if found["case"]:
        _show_case(found["case"])


def watch(
    sample: Annotated[
        int | None, typer.Option(min=0, max=1_000_000, help="Results of a million that are looked at.")
    ] = None,
    dry_run: Annotated[
        bool | None, typer.Option("--dry-run/--stake", help="Send nothing; say what would have been earned.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Recompute a sample of what is committed from now on, and dispute what is wrong, until Ctrl-C."""
    chosen: dict[str, Any] = {"sample_ppm": sample, "dry_run": dry_run}
    earned_wei = 0
    for item in running(data).watch_results(**{name: value for name, value in chosen.items() if value is not None}):
        if as_json:
            emit(item)
        elif "watching" in item:
            share = item["watching"]["sample_ppm"] / 10_000
            note(f"looking at {share:g} % of what is committed{_dry(item['watching']['dry_run'])}")
        else:
            earned_wei += item["finding"].get("earned_wei", 0)
            _show_finding(item["finding"], earned_wei)


def _dry(is_dry: bool) -> str:
    return ", without sending anything" if is_dry else ""


def _show_finding(found: Json, earned_wei: int) -> None:
    deal = found["deal_id"][:12]
    match found["verdict"]:
        case "passed":
            say(f"{deal}…  passed over: {found['reason']}")
        case "differs":
            say(
                f"{deal}…  step {found['step']} does not hold: a challenge locks {tokens(found['bond_wei'])} tokens "
                f"and brings {_amount(found['earned_wei'])}; {found['reason']}"
            )
        case verdict:
            say(f"{deal}…  {verdict}: looking cost {_amount(-found['earned_wei'])}; in all {_amount(earned_wei)}")


def _amount(wei: int) -> str:
    return f"{'-' if wei < 0 else ''}{tokens(abs(wei))} tokens"


def _show_case(one: Json) -> None:
    pairs({
        "case": one["case_id"],
        "deal": one["deal_id"],
        "about": f"{one['kind'].lower()}, step {one['step']}",
        "phase": one["phase"],
        "verdict": one["verdict"],
        "opened": clock_time(one["opened_at"]),
        "challengers": ", ".join(each["address"] for each in one["challengers"]) or "none",
    })  # fmt: skip
    for each in one["rounds"]:
        votes = {vote["seat"]: vote["vote"] for vote in each["votes"]}
        for seat, address in enumerate(each["arbiters"]):
            say(f"  round {each['round']}, seat {seat}: {address} {votes.get(seat, 'has not revealed')}")


@arbiter_app.command("show")
def show_arbiter(data: Data = None, as_json: AsJson = False) -> None:
    """Stake, fees and duty in the pool of this machine's hardware class, and the named sets it serves in."""
    _show_arbiter(reached(data).dispute("arbiter"), as_json)


@arbiter_app.command()
def enroll(
    amount: Annotated[str, typer.Argument(metavar="TOKENS", help="Stake, out of the free balance.")] = "",
    named: Named = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Stake so much more and be drawn to judge, or serve in a named set; while the node runs as `arbiter`."""
    if bool(amount) == bool(named):
        raise Refused("say how many tokens to stake on this machine's class, or with whom to serve: --named")
    if named:
        _show_arbiter(reached(data).dispute("enroll", arbiters=_listed(named)), as_json)
        return
    amount_wei = wei_from_tokens(amount)
    _show_arbiter(reached(data).dispute("enroll", request=secrets.token_hex(16), amount_wei=amount_wei), as_json)


@arbiter_app.command()
def leave(named: Named = None, data: Data = None, as_json: AsJson = False) -> None:
    """End the duty; once the wait is over, the same command takes the stake back. A named set is left at once."""
    if named:
        _show_arbiter(reached(data).dispute("leave", arbiters=_listed(named)), as_json)
        return
    _show_arbiter(reached(data).dispute("leave", request=secrets.token_hex(16)), as_json)


def _listed(named: str) -> list[str]:
    return [part.strip() for part in named.split(",") if part.strip()]


@arbiter_app.command()
def collect(data: Data = None, as_json: AsJson = False) -> None:
    """Take the fees that were earned, those of named sets too."""
    _show_arbiter(reached(data).dispute("collect", request=secrets.token_hex(16)), as_json)


def _show_arbiter(found: Json, as_json: bool) -> None:
    if as_json:
        emit(found)
        return
    pairs({
        "arbiter": found["arbiter"],
        "hardware class": found["hardware_class"],
        "duty": found["duty"] + (f" until {clock_time(found['ready_at'])}" if found["ready_at"] else ""),
        "stake": f"{tokens(found['stake_wei'])} tokens, at least {tokens(found['min_stake_wei'])}",
        "fees": f"{tokens(found['fees_wei'])} tokens",
        "pool": f"{found['pool_active']} arbiters with {tokens(found['pool_stake_wei'])} tokens",
    })  # fmt: skip
    for one in found["named_sets"]:
        does = "serves in" if one["serves"] else "has left"
        say(f"{does} the named set {', '.join(one['arbiters'])}: {tokens(one['fees_wei'])} tokens of fees")
