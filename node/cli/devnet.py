"""`capanode devnet …`: a whole network on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from capanode.node.cli.options import AsJson
from capanode.node.cli.output import emit, note, pairs, say, table

app = typer.Typer(help="A whole network on this machine.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--data", metavar="DIR", help="Where chain, keys and nodes live.")]
DEFAULT = Path("~/.local/share/capanode-devnet")
IDLE_BLOCK_S = 2


@app.command()
def up(
    providers: Annotated[int, typer.Option(min=1, max=20, help="How many provider nodes.")] = 4,
    cheater: Annotated[bool, typer.Option("--cheater", help="And one that cheats, to practise challenges on.")] = False,
    block_time: Annotated[
        int | None, typer.Option(metavar="S", min=1, help="Else one a transaction, and every 2 s.")
    ] = None,
    data: Folder = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Start a chain, the contracts and provider nodes; Ctrl-C stops everything."""
    from capanode.node.devnet import DevnetPlan, run_devnet

    idle_block_s = IDLE_BLOCK_S if block_time is None else None
    plan = DevnetPlan(
        data.expanduser().absolute(),
        providers,
        cheater=cheater,
        block_time_s=block_time,
        idle_block_s=idle_block_s,
    )
    run_devnet(plan, note, emit if as_json else lambda _: None)


@app.command()
def down(data: Folder = DEFAULT, as_json: AsJson = False) -> None:
    """Stop a devnet that runs in another terminal."""
    from capanode.node.devnet import stop_devnet

    was_up = stop_devnet(data.expanduser().absolute())
    if as_json:
        emit({"stopped": was_up})
    else:
        say("the devnet is down" if was_up else "no devnet was running there")


@app.command()
def status(data: Folder = DEFAULT, as_json: AsJson = False) -> None:
    """Show the processes of a devnet."""
    from capanode.node.devnet import devnet_status

    answer = devnet_status(data.expanduser().absolute())
    if as_json:
        emit(answer)
        return
    pairs({"chain": answer["rpc_url"], "profile": answer["profile"], "requester": answer["requester"]})
    rows = [(n["name"], n["state"], n["peers"], n["wallet"]) for n in answer["nodes"]]
    table(("NODE", "STATE", "PEERS", "WALLET"), rows, "no node is up")
