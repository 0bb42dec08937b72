"""`capanode network …`: which market this node is on, and how to make one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capanode.node.cli.options import AsJson, Data, PasswordFile
from capanode.node.cli.output import emit, note, pairs, say, table
from capanode.node.cli.session import reached
from capanode.node.cli.wallets import address, when
from capanode.node.data_folder import data_folder, prepare
from capanode.node.storage.whole_file import link_whole, write_whole
from capanode.node.units import tokens
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Wei

if TYPE_CHECKING:
    from capanode.node.network_profile import NetworkProfile

app = typer.Typer(help="Join a network, or make one.", no_args_is_help=True)


@app.command()
def use(
    profile: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A profile's file, or the name of one here.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a network profile this node's network; nodes take it up when they start."""
    name = adopted(profile, data)
    if as_json:
        emit({"network": name})
    else:
        say(f"this node's network is now {name}")


@app.command()
def show(
    court: Annotated[bool, typer.Option("--court", help="Ask the chain who judges, and by which clocks.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print the network profile of this node; or its court's times and numbers, as the chain has them."""
    from capanode.node.network_profile import as_plain

    profile, path = _chosen_profile(data)
    if court:
        _show_court(profile, as_json)
    elif as_json:
        emit(dict(as_plain(profile)))
    else:
        note(str(path.resolve()))
        typer.echo(path.read_text("utf-8"), nl=False)


def _chosen_profile(data: Path | None) -> tuple["NetworkProfile", Path]:
    from capanode.node.network_profile import read_profile

    path = data_folder(data).networks / "default.toml"
    if not path.exists():
        raise Misconfigured("this node is on no network yet: choose one with `capanode network use FILE`.")
    return read_profile(path), path


@app.command()
def arbiters(data: Data = None, as_json: AsJson = False) -> None:
    """List the named sets of arbiters that this network's courts know, and whether this node trusts them."""
    from capanode.node.cli.named_sets import rows, sets_json
    from capanode.node.config_file import load_config
    from capanode.node.keys.wallet import wallet_address

    profile, _ = _chosen_profile(data)
    folder = data_folder(data)
    wallet = wallet_address(folder.wallet) if folder.wallet.exists() else None
    found = sets_json(profile, load_config(folder), wallet)
    if as_json:
        emit(found)
        return
    header = ("quorum", "as provider", "as challenger", "arbiters")
    table(header, rows(found), f"no named set is known to the courts of the network {profile.name}")
    if found["count"] > len(found["sets"]):
        note(f"these are the newest of {found['count']}: anybody may have a set known")


def _show_court(profile: "NetworkProfile", as_json: bool) -> None:
    from capanode.node.cli.court_clocks import court_json

    found = court_json(profile)
    if as_json:
        emit(found)
    elif found["address"] is None:
        say("this network has no court: nothing can be disputed in its market")
    else:
        pairs({name.replace("_", " "): _readable(name, value) for name, value in found.items()})


def _readable(name: str, value: object) -> str:
    if name.endswith("_wei"):
        return f"{tokens(Wei(int(str(value))))} tokens"
    return f"{value} s" if name.endswith("_s") else str(value)


@app.command()
def deploy(
    rpc: Annotated[str, typer.Option("--rpc", metavar="URL", help="An endpoint of the chain.")],
    name: Annotated[str, typer.Option(help="What to call the network.")],
    token: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The payment token; without it a test token is deployed.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A raw private key (0600) that pays; else the wallet does.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write the profile there as well.")] = None,
    public: Annotated[bool, typer.Option(help="Clocks of a public network instead of a devnet's.")] = False,
    data: Data = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Deploy the contracts on a bare chain and write the profile that others join with."""
    from capanode.node.cli.deploying import deployed

    folder = data_folder(data)
    path = folder.networks / f"{named(name)}.toml"
    text = deployed(folder, rpc, name, token and address(token), key_file, password_file, public, note)
    prepare(folder)
    for target in (path, *([to] if to else ())):
        write_whole("network.deployed", target, text)
    chosen(name, data)
    if as_json:
        emit({"network": name, "profile": str(to or path)})
    else:
        say(f"the network {name} is deployed; its profile is {to or path}")
        note("give that file to others: `capanode network use FILE` is all they need, and a funded key")


@app.command()
def upgrades(data: Data = None, as_json: AsJson = False) -> None:
    """Show the versions of the market that this node trades on, and those that wait for you."""
    answer = reached(data).upgrades()
    if as_json:
        emit(answer)
        return
    for version in answer["markets"]:
        advice = ", deprecated" if version["is_deprecated"] else ""
        say(f"version {version['version']} at {version['address']}: in use from {when(version['active_from'])}{advice}")
    for entry in answer["waiting"]:
        say(f"version {entry['version']} waits: {entry['reason']}")


@app.command()
def approve(
    code_hash: Annotated[str, typer.Argument(metavar="HASH", help="The code hash, as `upgrades` shows it.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Trust a contract's code for good; a running node takes it up at once."""
    from capanode.node.cli.session import running

    client = running(data)
    if client.is_there():
        answer = client.approve(code_hash)
    else:
        from capanode.node.cli.deploying import approved

        answer = approved(data_folder(data), code_hash)
    if as_json:
        emit(answer)
    else:
        say(f"{code_hash} is approved")


def adopted(profile: str, data: Path | None) -> str:
    """Copy a profile into the data folder, checked, and choose it; its name."""
    from capanode.node.network_profile import read_profile

    folder = data_folder(data)
    prepare(folder)
    path = Path(profile).expanduser()
    if "/" not in profile and not profile.endswith(".toml"):
        path = folder.networks / f"{named(profile)}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.networks.glob("*.toml") if p.stem != "default"))
        raise Misconfigured(f"there is no network profile {path}: name a file, or one of: {known or 'none yet'}.")
    name = read_profile(path).name
    target = folder.networks / f"{name}.toml"
    if target.resolve() != path.resolve():
        write_whole("network.adopt", target, path.read_text("utf-8"))
    chosen(name, data)
    return name


def chosen(name: str, data: Path | None) -> None:
    """Make a profile of the data folder the default one."""
    link_whole("network.choose", data_folder(data).networks / "default.toml", f"{name}.toml")


def named(name: str) -> str:
    """A network's name, fit for a file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) or name == "default":
        raise typer.BadParameter(f"{name!r} is no name for a network; use letters, digits, '-' and '_'")
    return name
