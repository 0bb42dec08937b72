"""`capanode init, doctor, start, drain, stop, status` and `capanode node …`: the node itself."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from capanode.node.cli.exits import Exit
from capanode.node.cli.options import AsJson, Data, PasswordFile, WeakKey
from capanode.node.cli.output import emit, note, pairs, say
from capanode.node.cli.session import reached, running
from capanode.node.data_folder import data_folder
from capanode.node.units import duration, size, tokens
from capanode.protocol.ids import Address

node_app = typer.Typer(help="The machines that work under one stake.", no_args_is_help=True)

Provider = Annotated[bool, typer.Option("--provider", help="Take jobs and earn.")]
Requester = Annotated[bool, typer.Option("--requester", help="Submit jobs.")]


def add_to(app: typer.Typer) -> None:
    """The commands that stand at the top level."""
    for command in (init, doctor, start, drain, stop, status, alert, recover):
        app.command()(command)


def init(
    provider: Provider = False,
    requester: Requester = False,
    network: Annotated[str | None, typer.Option(metavar="FILE", help="A network profile to join.")] = None,
    weak: WeakKey = False,
    data: Data = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Set a data folder up: config, wallet, network."""
    from capanode.node.cli.networks import adopted
    from capanode.node.cli.starting import config_text
    from capanode.node.cli.wallets import made
    from capanode.node.data_folder import prepare
    from capanode.node.storage.whole_file import write_whole

    folder = data_folder(data)
    prepare(folder)
    if not folder.config.exists():
        write_whole("config.write", folder.config, config_text(provider, requester or not provider, password_file))
    address = None
    if not folder.wallet.exists():
        address, _ = made(data, password_file, weak)
    name = adopted(network, data) if network is not None else None
    if as_json:
        emit({"data": str(folder.root), "config": str(folder.config), "address": address, "network": name})
        return
    say(f"this node lives in {folder.root}; change {folder.config} to your needs")
    if address:
        say(f"its wallet is {address}; keep a copy of {folder.wallet} and of the password")
    note("next: `capanode doctor` says what is still missing, then `capanode start`")


def doctor(data: Data = None, as_json: AsJson = False) -> None:
    """Look at everything that a node needs, and say what to do about what is missing."""
    from capanode.node.cli.checkup import checkup

    raise typer.Exit(checkup(data_folder(data), as_json))


def start(
    provider: Provider = False,
    requester: Requester = False,
    network: Annotated[str | None, typer.Option(metavar="FILE|NAME", help="Not the chosen one.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="For peers; 0 is any.")] = None,
    until_idle: Annotated[float | None, typer.Option(metavar="S", min=0.1, help="End when idle for so long.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from there.")] = False,
    data: Data = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the node until it is told to stop; Ctrl-C does."""
    from capanode.node.cli.starting import overridden, started

    roles = [name for name, wanted in (("provider", provider), ("requester", requester)) if wanted]
    config = overridden(
        data_folder(data),
        roles=roles or None,
        network=network,
        until_idle_s=until_idle,
        port=port,
        password_file=password_file,
    )
    secret = sys.stdin.readline().rstrip("\n") if password_stdin else None
    started(config, secret, as_json)


def drain(
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is safe to power off.")] = False,
    off: Annotated[bool, typer.Option("--off", help="Take work again.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take no new work, also after a restart, and say when it is safe to power off."""
    from capanode.node.cli.draining import lines, watched

    client = running(data)
    answer = client.drain(on=not off)
    if wait and not off:
        answer = watched(client, quiet=as_json)
    if as_json:
        emit(answer)
        return
    for line in ["takes work again"] if off else lines(answer):
        say(line)


def stop(
    within: Annotated[str, typer.Option(metavar="TIME", help="Cut it short after so long, such as 30s.")] = "30s",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """End the running node and wait for that; containers run on, open deals go on when it starts again."""
    from capanode.node.cli.stops import stopped

    code = stopped(running(data), data_folder(data), seconds(within))
    if as_json:
        emit({"stopped": True, "in_order": code is Exit.DONE})
    else:
        say("the node has ended" if code is Exit.DONE else "the node was cut short; nothing is lost")
    raise typer.Exit(code)


def seconds(text: str) -> float:
    """A time on the command line, checked."""
    from capanode.node.units import seconds_from_duration

    try:
        found = seconds_from_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if found <= 0:
        raise typer.BadParameter("the time has to be above zero")
    return found


def status(data: Data = None, as_json: AsJson = False) -> None:
    """Show the running node: peers, chain, money, work."""
    from capanode.node.cli.overview import lines, open_deals

    client = running(data)
    answer = client.status()
    deals = client.deals()
    if as_json:
        emit({**answer, "open_deals": open_deals(deals)})
        return
    _show(answer)
    for line in lines(answer, deals):
        say(line)


def alert(data: Data = None, as_json: AsJson = False) -> None:
    """Send a test alert to the receivers of the config, once, and say which took it."""
    from capanode.node.cli.alarms import tried

    outcome = tried(data_folder(data))
    if as_json:
        emit(outcome)
    else:
        for name, fault in outcome.items():
            say(f"{name}: {fault or 'took it'}")
    if any(outcome.values()):
        raise typer.Exit(Exit.UNAVAILABLE)


def recover(
    execute: Annotated[bool, typer.Option("--execute", help="Send what is due now; else only look.")] = False,
    withdraw: Annotated[bool, typer.Option(help="Also take everything out of the market, thaw by thaw.")] = False,
    abandon: Annotated[bool, typer.Option(help="Also give up work that only this wallet's lost machine had.")] = False,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where withdrawals go; else the wallet.")] = None,
    keystore: Annotated[Path | None, typer.Option(metavar="FILE", help="The wallet, for an empty data folder.")] = None,
    network: Annotated[str | None, typer.Option(metavar="FILE|NAME", help="The network, for the same.")] = None,
    data: Data = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Find what a wallet has in a network by its key and the chain alone, and get it back."""
    from capanode.node.cli.networks import adopted
    from capanode.node.cli.recovering import Wanted, lines, place_keystore, recovered
    from capanode.node.cli.wallets import address

    folder = data_folder(data)
    place_keystore(folder, keystore)
    if network is not None:
        adopted(network, data)
    target = None if to is None else Address(bytes.fromhex(address(to)[2:]))
    view = recovered(folder, Wanted(execute, withdraw, abandon, target), password_file, note)
    if as_json:
        emit(view)
    else:
        for line in lines(view):
            say(line)
    if any(one["refusal"] for one in view["sent"]):
        raise typer.Exit(Exit.REFUSED)


@node_app.command("key")
def node_key(
    owner: Annotated[str, typer.Option(metavar="ADDRESS", help="The wallet that this machine will work for.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print this machine's card: its peer and hot key, signed for a wallet that lives elsewhere."""
    from capanode.node.cli.cards import card_of
    from capanode.node.cli.wallets import address

    card = card_of(data_folder(data), address(owner))
    emit(card) if as_json else say(card["card"])


@node_app.command("add")
def node_add(
    card: Annotated[str, typer.Argument(help="What `capanode node key` printed on the other machine.")],
    ceiling: Annotated[str, typer.Option(metavar="TOKENS", help="The most that it may have locked in bonds.")] = "1000",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Let another machine work under this wallet's stake."""
    from capanode.node.cli.cards import read_card
    from capanode.node.cli.wallets import parsed

    fields = read_card(card)
    client, limit = reached(data), parsed(ceiling)
    client.wallet_call("hot-key", key=fields.pop("hot_key"), ceiling_wei=limit)
    answer = client.wallet_call("add-node", **fields)
    emit(answer) if as_json else say(f"added in transaction {answer['tx_hash']}")


def _show(answer: dict[str, Any]) -> None:
    empty: dict[str, Any] = {}
    chain, wallet, capacity = (answer.get(name) or empty for name in ("chain", "wallet", "capacity"))
    if draining := answer.get("drain"):
        from capanode.node.cli.draining import verdict

        say(f"DRAINING: {verdict(draining)}")
    pairs({
        "node": answer.get("peer_id"),
        "version": answer.get("version"),
        "roles": ", ".join(answer.get("roles", ())),
        "network": answer.get("network"),
        "addresses": "  ".join(answer.get("addresses", ())),
        "peers": answer.get("peers"),
        "chain": f"{chain.get('chain_id')}, block {chain.get('head')}" if chain else "",
        "endpoints": "  ".join(f"{each['name']} {each['state']}" for each in chain.get("endpoints", ())),
        "wallet": wallet.get("address"),
        "free": f"{tokens(wallet['free_wei'])} tokens" if "free_wei" in wallet else "",
        "staked": f"{tokens(wallet['stake_wei'])} tokens" if wallet.get("stake_wei") else "",
        "offers": _capacity(capacity) if capacity else "",
        "takes no work": answer.get("objection", ""),
        "up": duration(answer["up_s"]) if "up_s" in answer else "",
        "jobs": answer.get("jobs"),
        "deals": answer.get("deals"),
    })  # fmt: skip


def _capacity(capacity: dict[str, Any]) -> str:
    cores, memory, disk = (capacity.get(k, 0) for k in ("cpu_millis", "memory_bytes", "disk_bytes"))
    gpus = len(capacity.get("gpus", ()) or ())
    return f"{cores / 1000:g} cores, {size(memory)} memory, {size(disk)} disk, {gpus} GPUs"
