"""`capanode wallet …`: the key, and the money in escrow, earmarks and stake."""

from pathlib import Path
from typing import Annotated, Any

import typer

from capanode.node.cli.options import AsJson, Data, PasswordFile, WeakKey, Yes
from capanode.node.cli.output import emit, note, pairs, say, table
from capanode.node.cli.session import reached
from capanode.node.units import duration, gwei, tokens, wei_from_tokens
from capanode.protocol.faults import Misconfigured
from capanode.protocol.ids import Wei

app = typer.Typer(help="Keys and money.", no_args_is_help=True)

AmountText = Annotated[str, typer.Argument(metavar="TOKENS", help="An amount such as 1.5.")]
MaybeAmount = Annotated[
    str | None, typer.Argument(metavar="[TOKENS]", help="An amount such as 1.5; none ends what was begun earlier.")
]
Transaction = Annotated[str, typer.Argument(metavar="KEY|NONCE", help="As `wallet transactions` shows it.")]
InMarket = Annotated[
    int | None, typer.Option("--market", metavar="VERSION", help="A version of the market; else the newest active one.")
]
ProviderAddress = Annotated[str, typer.Argument(metavar="PROVIDER", help="The provider's wallet, 0x….")]


@app.command()
def create(
    data: Data = None,
    password_file: PasswordFile = None,
    weak: WeakKey = False,
    as_json: AsJson = False,
) -> None:
    """Make the wallet of this data folder, unless there is one."""
    address, path = made(data, password_file, weak)
    if as_json:
        emit({"address": address, "keystore": str(path)})
    else:
        say(address)
        note(f"the key is in {path}; keep a copy of it and of the password, nobody can restore them")


@app.command()
def show(data: Data = None, as_json: AsJson = False) -> None:
    """Print the wallet's address; needs no password and no node."""
    from capanode.node.data_folder import data_folder
    from capanode.node.keys.wallet import wallet_address

    folder = data_folder(data)
    address = address_text(wallet_address(folder.wallet))
    if as_json:
        emit({"address": address, "keystore": str(folder.wallet)})
    else:
        say(address)


@app.command()
def balance(data: Data = None, as_json: AsJson = False) -> None:
    """Show what the wallet has, and where."""
    wallet = reached(data).wallet()
    if as_json:
        emit(wallet)
        return
    amounts = {
        "in the wallet": wallet.get("token_wei"),
        "in escrow, free": wallet.get("free_wei"),
        "staked": wallet.get("stake_wei"),
        "locked in deals": wallet.get("locked_wei"),
    }
    places = wallet.get("markets", ())
    pairs({
        "address": wallet["address"],
        **{name: f"{tokens(wei)} tokens" for name, wei in amounts.items() if wei is not None},
        **{f"for {e['provider']}": f"{tokens(e['amount_wei'])} tokens" for e in wallet.get("earmarks", ())},
        "for gas": f"{tokens(wallet['native_wei'])} coins",
    })  # fmt: skip
    for place in places if len(places) > 1 else ():
        say(f"version {place['version']} of the market, {place['address']}{_standing(place)}")
        pairs({
            "  in escrow, free": f"{tokens(place['free_wei'])} tokens",
            "  staked": f"{tokens(place['stake_wei'])} tokens",
            "  locked in deals": f"{tokens(place['locked_wei'])} tokens",
        })  # fmt: skip
    for thaw in wallet.get("thaws", ()):
        note(f"{thaw['what']}: {tokens(thaw['amount_wei'])} tokens can be taken after {when(thaw['ready_at'])}")


@app.command()
def deposit(amount: AmountText, market: InMarket = None, data: Data = None, as_json: AsJson = False) -> None:
    """Put tokens of the wallet into escrow, to buy with or to stake."""
    _sent(data, as_json, "deposit", market, amount_wei=parsed(amount))


@app.command()
def withdraw(
    amount: MaybeAmount = None,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where to; else the wallet itself.")] = None,
    market: InMarket = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Begin to take tokens out of escrow; without an amount, take out what has thawed."""
    wei = None if amount is None else parsed(amount)
    _sent(data, as_json, "withdraw", market, amount_wei=wei, to=to and address(to))


@app.command()
def earmark(
    provider: ProviderAddress,
    amount: AmountText,
    market: InMarket = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Set tokens aside for one provider, who then needs one transaction a job."""
    _sent(data, as_json, "earmark", market, provider=address(provider), amount_wei=parsed(amount))


@app.command()
def unearmark(
    provider: ProviderAddress,
    amount: MaybeAmount = None,
    market: InMarket = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Begin to take an earmark back; without an amount, take back what has thawed."""
    wei = None if amount is None else parsed(amount)
    _sent(data, as_json, "unearmark", market, provider=address(provider), amount_wei=wei)


@app.command()
def stake(amount: AmountText, market: InMarket = None, data: Data = None, as_json: AsJson = False) -> None:
    """Move free tokens into the stake that a provider's bonds are locked from."""
    _sent(data, as_json, "stake", market, amount_wei=parsed(amount))


@app.command()
def unstake(
    amount: MaybeAmount = None,
    market: InMarket = None,
    yes: Yes = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Begin to take stake back; without an amount, take back what has thawed."""
    if amount is not None and not yes and not as_json:
        typer.confirm("A node without stake gets no jobs. Go on?", abort=True)
    _sent(data, as_json, "unstake", market, amount_wei=None if amount is None else parsed(amount))


@app.command()
def migrate(
    to: Annotated[int | None, typer.Option(metavar="VERSION", help="Where to; else the newest active one.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Move unlocked money from older versions of the market to the newest; run it again when it says so."""
    answer = reached(data).wallet_call("migrate", market=to)
    if as_json:
        emit(answer)
        return
    say(f"moved {tokens(answer['moved_wei'])} tokens to version {answer['to']} of the market")
    if answer["staked_wei"]:
        say(f"staked {tokens(answer['staked_wei'])} tokens there")
    for entry in answer["waiting"]:
        then = f", then {duration(entry['then_s'])} more in the free balance" if entry["then_s"] else ""
        note(f"{entry['what']}: {tokens(entry['amount_wei'])} tokens thaw until {when(entry['ready_at'])}{then}")
    if answer["locked_wei"] or answer["kept_wei"]:
        kept = tokens(answer["locked_wei"] + answer["kept_wei"])
        note(f"{kept} tokens stay where they are until the open deals have ended")
    if answer["is_done"]:
        note("nothing is left in older versions of the market")
    else:
        note("run `capanode wallet migrate` again after that to go on")


@app.command()
def transactions(data: Data = None, as_json: AsJson = False) -> None:
    """Show this node's transactions that wait for a block."""
    waiting = reached(data).wallet()["transactions"]
    if as_json:
        emit(waiting)
        return
    rows = [
        (
            one["nonce"],
            f"{one['state']}, cancelled" if one["is_cancel"] else one["state"],
            gwei(one["max_fee_wei"]),
            when(one["signed_at"]),
            one["key"],
        )
        for one in waiting
    ]
    table(("NONCE", "STATE", "FEE GWEI", "SIGNED", "KEY"), rows, "no transaction waits")


@app.command("cancel-transaction")
def cancel_transaction(transaction: Transaction, data: Data = None, as_json: AsJson = False) -> None:
    """Put a transfer of nothing in the place of a waiting transaction; a deal that needs it sends it anew."""
    _replaced(data, as_json, "cancel-transaction", transaction)


@app.command("speed-up")
def speed_up(transaction: Transaction, data: Data = None, as_json: AsJson = False) -> None:
    """Offer a waiting transaction with higher fees now."""
    _replaced(data, as_json, "speed-up", transaction)


def parsed(amount: str) -> Wei:
    """Base units of an amount on the command line."""
    try:
        return wei_from_tokens(amount)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def address(text: str) -> str:
    """An address on the command line, checked."""
    from capanode.node.addresses import address_of

    try:
        return address_text(address_of(text))
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong)) from None


def address_text(raw: bytes) -> str:
    """An address for reading."""
    return f"0x{raw.hex()}"


def when(unix_s: float) -> str:
    """A time for reading, in the user's own zone."""
    from datetime import datetime

    return datetime.fromtimestamp(unix_s).astimezone().isoformat(" ", "seconds")


def made(data: Path | None, password_file: Path | None, weak: bool) -> tuple[str, Path]:
    """Make the wallet; its address and file."""
    import trio

    from capanode.node.cli.passwords import new_password
    from capanode.node.data_folder import data_folder, prepare
    from capanode.node.keys.wallet import ScryptCost, create_wallet

    folder = data_folder(data)
    if folder.wallet.exists():
        raise Misconfigured(f"there is a wallet in {folder.wallet} already: choose another --data for a new one.")
    prepare(folder)
    password = new_password(password_file)
    cost = ScryptCost.DEVNET if weak else ScryptCost.STANDARD
    signer = trio.run(create_wallet, folder.wallet, password, cost)
    return address_text(signer.address), folder.wallet


def _standing(place: dict[str, Any]) -> str:
    if place["is_newest"]:
        return " (the newest)"
    return " (deprecated)" if place["is_deprecated"] else ""


def _sent(data: Path | None, as_json: bool, verb: str, market: int | None, **arguments: Any) -> None:
    if market is not None:
        arguments["market"] = market
    answer = reached(data).wallet_call(verb, **arguments)
    if as_json:
        emit(answer)
        return
    say(f"{verb} done in transaction {answer['tx_hash']}")
    if "ready_at" in answer:
        ended = "run the same command without an amount then" if verb == "withdraw" else "a running node ends it then"
        note(f"it thaws until {when(answer['ready_at'])}; {ended}")


def _replaced(data: Path | None, as_json: bool, verb: str, transaction: str) -> None:
    answer = reached(data).wallet_call(verb, transaction=transaction)
    if as_json:
        emit(answer)
        return
    done = "its cancellation is offered" if answer["is_cancel"] else "it is offered"
    say(f"{done} at {gwei(answer['max_fee_wei'])} gwei as {answer['tx_hash']}")
